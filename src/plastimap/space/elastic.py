"""Gauss-Newton steps of a registration with a bending-energy prior.

The cost of a displacement u (mm) of one image I onto a reference m is

    sum over voxels of  W (I(x + u) - m)^2 / (2 s^2)  +  stiffness / 2 * sum of |laplacian u|^2 * voxel volume,

noise variance s^2, weight W. One step solves
``(W g g' / s^2 + stiffness * L) du = W g (m - I) / s^2 - stiffness * L u`` with g the
gradient of m, by conjugate gradients preconditioned in Fourier space, where
the prior L is diagonal. Cf. Ashburner and Ridgway (2013),
https://doi.org/10.3389/fnins.2012.00197.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Array = NDArray[np.float32]

PRECONDITIONER_WEIGHT = 3.0
"""Multiple of the mean curvature of the data term that stands for it in Fourier space."""


def bending_spectrum(shape: tuple[int, ...], voxel_size: NDArray[np.float64], stiffness: float) -> Array:
    """Eigenvalues of the prior on a periodic grid, in rfftn layout.

    Parameters
    ----------
    shape : (X, Y, Z)
    voxel_size : ndarray, shape (3,)
        Millimetres.
    stiffness : float
        Weight of the squared Laplacian, per mm^3.
    """
    frequencies = [np.fft.fftfreq(n, d=size) for n, size in zip(shape[:2], voxel_size[:2], strict=True)]
    frequencies.append(np.fft.rfftfreq(shape[2], d=voxel_size[2]))
    squares = [(2 * np.pi * f) ** 2 for f in frequencies]
    total = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
    return (stiffness * float(np.prod(voxel_size)) * total**2).astype(np.float32)


def apply_spectrum(spectrum: Array, field: Array) -> Array:
    """Apply a diagonal operator in Fourier space to each component of a field, shape (3, X, Y, Z)."""
    shape = field.shape[1:]
    result = np.empty_like(field)
    for component in range(3):
        waves = np.asarray(fft.rfftn(field[component]))
        result[component] = np.asarray(fft.irfftn(spectrum * waves, s=shape))
    return result


def world_gradient(image: Array, affine: NDArray[np.float64]) -> Array:
    """Gradient of an image along the world axes, per mm, shape (3, X, Y, Z)."""
    slopes = np.stack([np.gradient(image, axis=axis) for axis in range(3)])
    to_voxel = np.asarray(np.linalg.inv(affine[:3, :3]), dtype=np.float32)
    return np.tensordot(to_voxel.T, slopes, axes=1).astype(np.float32)


def step(
    gradients: list[Array], residuals: list[Array], displacement: Array, spectrum: Array, iterations: int
) -> Array:
    """One Gauss-Newton step of one image.

    Parameters
    ----------
    gradients : list of ndarray, shape (3, X, Y, Z)
        Per channel, multiplied by sqrt(W) / s.
    residuals : list of ndarray, shape (X, Y, Z)
        Reference minus image per channel, multiplied by sqrt(W) / s.
    displacement : ndarray, shape (3, X, Y, Z)
    spectrum : ndarray
        Of the prior, from :func:`bending_spectrum`.
    iterations : int
        Of the conjugate gradients, at most.

    Returns
    -------
    ndarray, shape (3, X, Y, Z)
        What to add to the displacement.
    """
    right = -apply_spectrum(spectrum, displacement)
    for gradient, residual in zip(gradients, residuals, strict=True):
        right += gradient * residual
    return solve(gradients, right, spectrum, iterations=iterations)


def solve(gradients: list[Array], right: Array, spectrum: Array, *, iterations: int, tolerance: float = 0.01) -> Array:
    """Solve ``(sum g g' + L) x = right`` by preconditioned conjugate gradients.

    Parameters
    ----------
    gradients : list of ndarray, shape (3, X, Y, Z)
    right : ndarray, shape (3, X, Y, Z)
    spectrum : ndarray
        Eigenvalues of L.
    iterations : int
        At most.
    tolerance : float
        Relative size of the preconditioned residual at which to stop.
    """
    curvature = sum(_dot(g, g) for g in gradients) / (3 * right[0].size) * PRECONDITIONER_WEIGHT
    if curvature == 0:
        return np.zeros_like(right)
    inverse = (1 / (curvature + spectrum)).astype(np.float32)
    solution = np.zeros_like(right)
    residual = right.copy()
    direction = apply_spectrum(inverse, residual)
    # The preconditioner is curvature + L, so L of a direction follows from residuals without another transform.
    prior_of_direction = residual - curvature * direction
    size = first = _dot(residual, direction)
    for _ in range(iterations):
        if size <= tolerance**2 * first:
            break
        curved = prior_of_direction + _data_curvature(gradients, direction)
        length = size / _dot(direction, curved)
        solution += length * direction
        residual -= length * curved
        smooth = apply_spectrum(inverse, residual)
        previous, size = size, _dot(residual, smooth)
        ratio = size / previous
        direction *= ratio
        direction += smooth
        prior_of_direction *= ratio
        prior_of_direction += residual - curvature * smooth
    return solution


def _data_curvature(gradients: list[Array], field: Array) -> Array:
    result = np.zeros_like(field)
    for gradient in gradients:
        result += gradient * np.einsum("cxyz,cxyz->xyz", gradient, field)
    return result


def _dot(one: Array, other: Array) -> float:
    return float(np.einsum("cxyz,cxyz->", one, other, dtype=np.float64, casting="same_kind"))


def noise_level(residuals: list[Array], mask: NDArray[np.bool_]) -> float:
    """Robust standard deviation of an image from residuals to the mean of n images (n / (n - 1) put right)."""
    n = len(residuals)
    spread = [1.4826 * float(np.median(np.abs(residual[mask]))) for residual in residuals]
    return float(np.sqrt(np.mean(np.square(spread)) * n / max(n - 1, 1)))


def smallest(level: float, images: list[Any]) -> float:
    """`level`, but never so small against the images' range that the data term runs away (noise-free input)."""
    return max(level, 1e-3 * max(float(np.abs(image).max()) for image in images), 1e-12)
