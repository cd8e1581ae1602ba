"""Compiled eigenvalues of many diffusion tensors, and what is read from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def scalars(values: NDArray, found: NDArray) -> int:
    """Fill FA, MD, AD, RD (n, 4) from eigenvalues (n, 3), largest first; how many voxels have one below 0.

    Eigenvalues below 0 count as 0.
    """
    n_negative = 0
    for voxel in range(values.shape[0]):
        n_negative += values[voxel, 2] < 0.0
        _scalars(values[voxel], found[voxel])
    return n_negative


@_compiled
def _scalars(values: NDArray, found: NDArray) -> None:
    """FA, MD, AD, RD of one voxel."""
    one, two, three = max(values[0], 0.0), max(values[1], 0.0), max(values[2], 0.0)
    square = one * one + two * two + three * three
    apart = (one - two) ** 2 + (two - three) ** 2 + (one - three) ** 2
    found[0] = np.sqrt(0.5 * apart / square) if square > 0.0 else 0.0
    found[1] = (one + two + three) / 3.0
    found[2] = one
    found[3] = 0.5 * (two + three)


@_compiled
def fill_maps(fitted: NDArray, places: NDArray, maps: tuple[NDArray, ...]) -> int:
    """Read all maps off many fits, a voxel at a time; how many voxels have an eigenvalue below 0.

    Parameters
    ----------
    fitted : ndarray, shape (n, 8)
        Six tensor elements, ln S0, residual; voxels where one of the first seven is not finite are passed over.
    places : ndarray of int, shape (n,)
        Where a voxel lies in the maps.
    maps : tuple of ndarray
        FA, MD, AD, RD, S0, residual, each of shape (N,), direction (N, 3) and tensor (N, 6); filled in.
    """
    fa, md, ad, rd, s0, residual, direction, tensor = maps
    matrix, axes = np.empty((3, 3)), np.empty((3, 3))
    values, along, found = np.empty(3), np.empty(3), np.empty(4)
    n_negative = 0
    for voxel in range(fitted.shape[0]):
        row, place = fitted[voxel], places[voxel]
        if not np.isfinite(row[:7].sum()):
            continue
        _eigensystem(row, values, along, matrix, axes)
        _scalars(values, found)
        n_negative += values[2] < 0.0
        fa[place], md[place], ad[place], rd[place] = found[0], found[1], found[2], found[3]
        s0[place], residual[place] = np.exp(row[6]), row[7]
        for k in range(3):
            direction[place, k] = along[k]
        for k in range(6):
            tensor[place, k] = row[k]
    return n_negative


@_compiled
def eigensystems(tensors: NDArray, values: NDArray, directions: NDArray) -> None:
    """Eigenvalues, largest first, and the first eigenvector of many symmetric 3 × 3 matrices.

    Parameters
    ----------
    tensors : ndarray, shape (n, 6)
        xx, yy, zz, xy, xz, yz.
    values, directions : ndarray, shape (n, 3)
        Filled in.
    """
    matrix, axes = np.empty((3, 3)), np.empty((3, 3))
    for voxel in range(tensors.shape[0]):
        _eigensystem(tensors[voxel], values[voxel], directions[voxel], matrix, axes)


@_compiled
def _eigensystem(tensor: NDArray, values: NDArray, direction: NDArray, matrix: NDArray, axes: NDArray) -> None:
    """One matrix, in place; `matrix` and `axes`, shape (3, 3), are room to work in.

    Closed form (Smith 1961, doi:10.1145/355578.366316) where the largest eigenvalue stands apart; Jacobi rotations
    where two lie so close that the closed form would lose the vector.
    """
    xx, yy, zz, xy, xz, yz = tensor[0], tensor[1], tensor[2], tensor[3], tensor[4], tensor[5]
    mean = (xx + yy + zz) / 3.0
    a, b, c = xx - mean, yy - mean, zz - mean
    spread = np.sqrt((a * a + b * b + c * c + 2.0 * (xy * xy + xz * xz + yz * yz)) / 6.0)
    if spread > 1e-7 * abs(mean):
        half = (a * (b * c - yz * yz) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)) / (2.0 * spread**3)
        angle = np.arccos(min(1.0, max(-1.0, half))) / 3.0
        # cos(x + 120°) from cos and sin of x: one call less.
        first = 2.0 * spread * np.cos(angle)
        last = -0.5 * first - np.sqrt(3.0) * spread * np.sin(angle)
        if _null_vector(a - first, b - first, c - first, xy, xz, yz, 1e-4 * spread**4, direction):
            values[0], values[1], values[2] = mean + first, mean - first - last, mean + last
            return
    _jacobi(tensor, matrix, axes)
    order = np.argsort(-np.diag(matrix))
    for i in range(3):
        values[i] = matrix[order[i], order[i]]
        direction[i] = axes[i, order[0]]


@_compiled
def _null_vector(a: float, b: float, c: float, xy: float, xz: float, yz: float, least: float, vector: NDArray) -> bool:
    """Unit vector that a symmetric matrix of rank 2 takes to 0: the longest cross product of two rows."""
    best = least
    for pair in range(3):
        if pair == 0:
            x, y, z = xy * yz - xz * b, xz * xy - a * yz, a * b - xy * xy
        elif pair == 1:
            x, y, z = xy * c - xz * yz, xz * xz - a * c, a * yz - xy * xz
        else:
            x, y, z = b * c - yz * yz, yz * xz - xy * c, xy * yz - b * xz
        square = x * x + y * y + z * z
        if square > best:
            best = square
            length = np.sqrt(square)
            vector[0], vector[1], vector[2] = x / length, y / length, z / length
    return best > least


@_compiled
def _jacobi(tensor: NDArray, matrix: NDArray, axes: NDArray) -> None:
    """Diagonalise in place by cyclic rotations; `axes` holds the eigenvectors in its columns."""
    for i in range(3):
        matrix[i, i] = tensor[i]
        for j in range(3):
            axes[i, j] = 1.0 if i == j else 0.0
    matrix[0, 1] = matrix[1, 0] = tensor[3]
    matrix[0, 2] = matrix[2, 0] = tensor[4]
    matrix[1, 2] = matrix[2, 1] = tensor[5]
    for _ in range(12):
        for p in range(2):
            for q in range(p + 1, 3):
                _rotate(matrix, axes, p, q)


@_compiled
def _rotate(matrix: NDArray, axes: NDArray, p: int, q: int) -> None:
    """One Jacobi rotation that makes the entry (p, q) zero."""
    if matrix[p, q] == 0.0:
        return
    theta = 0.5 * (matrix[q, q] - matrix[p, p]) / matrix[p, q]
    tangent = (1.0 if theta >= 0 else -1.0) / (abs(theta) + np.sqrt(theta * theta + 1.0))
    cosine = 1.0 / np.sqrt(tangent * tangent + 1.0)
    sine = tangent * cosine
    for k in range(3):
        one, other = matrix[k, p], matrix[k, q]
        matrix[k, p], matrix[k, q] = cosine * one - sine * other, sine * one + cosine * other
    for k in range(3):
        one, other = matrix[p, k], matrix[q, k]
        matrix[p, k], matrix[q, k] = cosine * one - sine * other, sine * one + cosine * other
        one, other = axes[k, p], axes[k, q]
        axes[k, p], axes[k, q] = cosine * one - sine * other, sine * one + cosine * other
