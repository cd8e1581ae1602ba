"""Compiled interpolation of images under affine maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def sample(image: NDArray, matrix: NDArray, voxels: NDArray) -> NDArray:
    """Linear interpolation at mapped voxels; beyond the image its border goes on.

    Parameters
    ----------
    image : ndarray of float32, shape (X, Y, Z)
    matrix : ndarray, shape (4, 4)
        From `voxels` to the image's voxel indices.
    voxels : ndarray, shape (n, 3)

    Returns
    -------
    ndarray of float32, shape (n,)
    """
    result = np.empty(voxels.shape[0], np.float32)
    low = np.empty(3, np.int64)
    share = np.empty(3)
    for number in range(voxels.shape[0]):
        for d in range(3):
            place = matrix[d, 3]
            for k in range(3):
                place += matrix[d, k] * voxels[number, k]
            place = min(max(place, 0.0), image.shape[d] - 1.0)
            low[d] = min(int(place), max(image.shape[d] - 2, 0))
            share[d] = place - low[d]
        i, j, k = low
        # A step of 0 where the image is one voxel thin.
        up, right, on = min(1, image.shape[0] - 1), min(1, image.shape[1] - 1), min(1, image.shape[2] - 1)
        a, b, c = share
        near = (image[i, j, k] * (1 - a) + image[i + up, j, k] * a) * (1 - b)
        near += (image[i, j + right, k] * (1 - a) + image[i + up, j + right, k] * a) * b
        far = (image[i, j, k + on] * (1 - a) + image[i + up, j, k + on] * a) * (1 - b)
        far += (image[i, j + right, k + on] * (1 - a) + image[i + up, j + right, k + on] * a) * b
        result[number] = near * (1 - c) + far * c
    return result


@_compiled
def _spline_weights(share: float, weights: NDArray) -> None:
    """Cubic B-spline weights of the four coefficients around a place `share` beyond the second."""
    rest = 1.0 - share
    weights[0] = rest**3 / 6.0
    weights[1] = (4.0 - 6.0 * share**2 + 3.0 * share**3) / 6.0
    weights[2] = (4.0 - 6.0 * rest**2 + 3.0 * rest**3) / 6.0
    weights[3] = share**3 / 6.0


@_compiled
def _mirrored(index: int, size: int) -> int:
    """Index of the coefficient that a mirror at the centres of the border voxels shows at `index`."""
    if size == 1:
        return 0
    index = abs(index) % (2 * size - 2)
    return index if index < size else 2 * size - 2 - index


@_compiled
def spline_resampled(coefficients: NDArray, matrix: NDArray) -> NDArray:
    """Cubic spline interpolation over a whole grid; 0 more than half a voxel beyond the image.

    Parameters
    ----------
    coefficients : ndarray, shape (X, Y, Z)
        Of the spline, mirrored at the borders (``scipy.ndimage.spline_filter``).
    matrix : ndarray, shape (4, 4)
        From voxel indices of the result to those of the image.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
    """
    shape = coefficients.shape
    result = np.zeros(shape, np.float32)
    weights = np.empty((3, 4))
    places = np.empty((3, 4), np.int64)
    for i in range(shape[0]):
        for j in range(shape[1]):
            for k in range(shape[2]):
                inside = True
                for d in range(3):
                    place = matrix[d, 0] * i + matrix[d, 1] * j + matrix[d, 2] * k + matrix[d, 3]
                    inside = inside and -0.5 <= place <= shape[d] - 0.5
                    low = int(np.floor(place))
                    _spline_weights(place - low, weights[d])
                    for step in range(4):
                        places[d, step] = _mirrored(low - 1 + step, shape[d])
                if not inside:
                    continue
                total = 0.0
                for a in range(4):
                    for b in range(4):
                        line = coefficients[places[0, a], places[1, b]]
                        part = 0.0
                        for c in range(4):
                            part += weights[2, c] * line[places[2, c]]
                        total += weights[0, a] * weights[1, b] * part
                result[i, j, k] = total
    return result
