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
def _spline_at(coefficients: NDArray, place: NDArray, weights: NDArray, places: NDArray) -> float:
    """Cubic spline at a place in voxels; 0 more than half a voxel beyond the image."""
    for d in range(3):
        if not -0.5 <= place[d] <= coefficients.shape[d] - 0.5:
            return 0.0
        low = int(np.floor(place[d]))
        _spline_weights(place[d] - low, weights[d])
        for step in range(4):
            places[d, step] = _mirrored(low - 1 + step, coefficients.shape[d])
    total = 0.0
    for a in range(4):
        for b in range(4):
            line = coefficients[places[0, a], places[1, b]]
            part = 0.0
            for c in range(4):
                part += weights[2, c] * line[places[2, c]]
            total += weights[0, a] * weights[1, b] * part
    return total


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
    weights, places, place = np.empty((3, 4)), np.empty((3, 4), np.int64), np.empty(3)
    for i in range(shape[0]):
        for j in range(shape[1]):
            for k in range(shape[2]):
                for d in range(3):
                    place[d] = matrix[d, 0] * i + matrix[d, 1] * j + matrix[d, 2] * k + matrix[d, 3]
                result[i, j, k] = _spline_at(coefficients, place, weights, places)
    return result


@_compiled
def spline_displaced(coefficients: NDArray, matrix: NDArray, shift: NDArray, along: NDArray) -> NDArray:
    """As :func:`spline_resampled`, each place moved on by its `shift` (X, Y, Z) times the vector `along` (voxels)."""
    shape = shift.shape
    result = np.zeros(shape, np.float32)
    weights, places, place = np.empty((3, 4)), np.empty((3, 4), np.int64), np.empty(3)
    for i in range(shape[0]):
        for j in range(shape[1]):
            for k in range(shape[2]):
                for d in range(3):
                    place[d] = matrix[d, 0] * i + matrix[d, 1] * j + matrix[d, 2] * k + matrix[d, 3]
                    place[d] += shift[i, j, k] * along[d]
                result[i, j, k] = _spline_at(coefficients, place, weights, places)
    return result


@_compiled
def shifted_lines(coefficients: NDArray, shift: NDArray) -> tuple[NDArray, NDArray]:
    """Cubic splines along the last axis at places moved by `shift` voxels: values and slopes, shape (X, Y, Z).

    Parameters
    ----------
    coefficients : ndarray, shape (X, Y, Z)
        Of splines along the last axis (``scipy.ndimage.spline_filter1d``, mirrored). Beyond the ends the end goes on.
    shift : ndarray, shape (X, Y, Z)
    """
    values, slopes = np.empty(shift.shape), np.empty(shift.shape)
    weights, n = np.empty(4), shift.shape[2]
    for i in range(shift.shape[0]):
        for j in range(shift.shape[1]):
            line = coefficients[i, j]
            for k in range(n):
                wanted = k + shift[i, j, k]
                place = min(max(wanted, 0.0), n - 1.0)
                low = int(place)
                share = place - low
                _spline_weights(share, weights)
                rest = 1.0 - share
                four = (
                    line[_mirrored(low - 1, n)],
                    line[_mirrored(low, n)],
                    line[_mirrored(low + 1, n)],
                    line[_mirrored(low + 2, n)],
                )
                values[i, j, k] = (
                    weights[0] * four[0] + weights[1] * four[1] + weights[2] * four[2] + weights[3] * four[3]
                )
                slope = -0.5 * rest**2 * four[0] + (1.5 * share**2 - 2.0 * share) * four[1]
                slope += (2.0 * rest - 1.5 * rest**2) * four[2] + 0.5 * share**2 * four[3]
                slopes[i, j, k] = slope if wanted == place else 0.0
    return values, slopes
