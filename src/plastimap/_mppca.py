"""Compiled core of :mod:`plastimap.denoise`: one pass over the patches of a series.

Of a patch's covariance all eigenvalues are wanted, but only the few eigenvectors of signal. So it is brought to
tridiagonal form (half the work of a full decomposition, and all of its bulk), its eigenvalues come from the root-free
QL iteration, and the wanted vectors from inverse iteration (Parlett 1998, doi:10.1137/1.9781611971163).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Sums may be reordered for vector units; NaN and infinity keep their meaning.
_compiled: Any = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
_exact: Any = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def tridiagonal(a: NDArray, diagonal: NDArray, beside: NDArray, scale: NDArray) -> None:
    """Bring the symmetric matrix `a` (lower triangle) to tridiagonal form by Householder reflections.

    Rows are reduced from the last upwards, such that every inner loop runs along the start of a row. Row i of `a` then
    holds its reflection's vector and `scale[i]` its factor; `beside[i]` couples i and i + 1.
    """
    n = a.shape[0]
    product = np.empty(n, a.dtype)
    for i in range(n - 1, 0, -1):
        row = a[i]
        tail = 0.0
        for j in range(i - 1):
            tail += row[j] * row[j]
        pivot = row[i - 1]
        diagonal[i] = row[i]
        scale[i] = 0.0
        beside[i - 1] = pivot
        if tail == 0.0:
            continue
        length = np.sqrt(tail + pivot * pivot)
        beta = -length if pivot > 0 else length
        beside[i - 1] = beta
        factor = (beta - pivot) / beta
        scale[i] = factor
        inverse = 1.0 / (pivot - beta)
        for j in range(i - 1):
            row[j] *= inverse
        row[i - 1] = 1.0
        _reflect(a, i, factor, product)
    diagonal[0] = a[0, 0]


@_compiled
def _reflect(a: NDArray, size: int, factor: float, product: NDArray) -> None:
    """Apply the reflection in row `size` from both sides to the lower triangle of the block above it."""
    row = a[size]
    # product = factor · A v, from the lower triangle alone.
    for j in range(size):
        line, known = a[j], row[j]
        total = line[j] * known
        for k in range(j):
            total += line[k] * row[k]
            product[k] += line[k] * known
        product[j] = total
    inner = 0.0
    for j in range(size):
        product[j] *= factor
        inner += product[j] * row[j]
    inner *= 0.5 * factor
    for j in range(size):
        product[j] -= inner * row[j]
    for j in range(size):
        line, known, other = a[j], row[j], product[j]
        for k in range(j + 1):
            line[k] -= known * product[k] + other * row[k]


@_exact
def tridiagonal_eigenvalues(diagonal: NDArray, beside: NDArray, values: NDArray) -> None:
    """Eigenvalues of a symmetric tridiagonal matrix, ascending, into `values` (root-free QL with Wilkinson shifts)."""
    n = diagonal.size
    squares = np.empty(n)
    values[:] = diagonal
    for i in range(n - 1):
        squares[i] = beside[i] * beside[i]
    squares[n - 1] = 0.0
    tiny = 2.220446e-16**2
    for start in range(n):
        for _ in range(60):
            end = start
            while end < n - 1 and squares[end] > tiny * abs(values[end] * values[end + 1]):
                end += 1
            if end < n - 1:
                squares[end] = 0.0
            if end == start:
                break
            _ql_sweep(values, squares, start, end)
    values.sort()


@_exact
def _ql_sweep(values: NDArray, squares: NDArray, start: int, end: int) -> None:
    """One root-free QL sweep over the block `start` … `end`."""
    root = np.sqrt(squares[start])
    shift = (values[start + 1] - values[start]) / (2.0 * root)
    distance = np.sqrt(shift * shift + 1.0)
    shift = values[start] - root / (shift + (distance if shift >= 0 else -distance))
    cosine, sine = 1.0, 0.0
    gamma = values[end] - shift
    p = gamma * gamma
    for i in range(end - 1, start - 1, -1):
        square = squares[i]
        r = p + square
        if i != end - 1:
            squares[i + 1] = sine * r
        if r == 0.0:
            # An exact zero row: it has split already.
            r = 1e-300
        before = cosine
        cosine = p / r
        sine = square / r
        old = gamma
        alpha = values[i]
        gamma = cosine * (alpha - shift) - sine * old
        values[i + 1] = old + (alpha - gamma)
        p = gamma * gamma / cosine if cosine != 0.0 else before * square
    squares[start] = sine * p
    values[start] = shift + gamma


@_exact
def tridiagonal_vectors(diagonal: NDArray, beside: NDArray, wanted: NDArray, vectors: NDArray) -> None:
    """Unit eigenvectors of the eigenvalues `wanted`, one per row of `vectors`: inverse iteration, made orthogonal."""
    n = diagonal.size
    scale = max(np.abs(diagonal).max(), 1e-290)
    least = 1e-15 * scale
    upper, second, third, ratio = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    swapped = np.empty(n, np.bool_)
    for number in range(wanted.size):
        _factor(diagonal, beside, wanted[number], least, upper, second, third, ratio, swapped)
        vector = vectors[number]
        for i in range(n):
            # Any start will do that no eigenvector is orthogonal to; it must not be left to chance.
            vector[i] = 1.0 + 0.5 * np.cos(1.7 * (i + 1) * (number + 1))
        for _ in range(3):
            _solve_factored(upper, second, third, ratio, swapped, vector)
            for earlier in range(number):
                overlap = 0.0
                for i in range(n):
                    overlap += vectors[earlier, i] * vector[i]
                for i in range(n):
                    vector[i] -= overlap * vectors[earlier, i]
            length = np.sqrt(np.sum(vector * vector))
            vector /= length


@_exact
def _factor(
    diagonal: NDArray,
    beside: NDArray,
    value: float,
    least: float,
    upper: NDArray,
    second: NDArray,
    third: NDArray,
    ratio: NDArray,
    swapped: NDArray,
) -> None:
    """LU factors, with row exchanges, of the tridiagonal matrix less `value`."""
    n = diagonal.size
    head, after = diagonal[0] - value, beside[0] if n > 1 else 0.0
    for i in range(n - 1):
        below, following = beside[i], beside[i + 1] if i + 1 < n - 1 else 0.0
        middle = diagonal[i + 1] - value
        swapped[i] = abs(below) > abs(head)
        if swapped[i]:
            upper[i], second[i], third[i] = below, middle, following
            ratio[i] = head / below
            head, after = after - ratio[i] * middle, -ratio[i] * following
        else:
            if abs(head) < least:
                head = least
            upper[i], second[i], third[i] = head, after, 0.0
            ratio[i] = below / head
            head, after = middle - ratio[i] * after, following
    upper[n - 1] = head if abs(head) > least else least
    second[n - 1] = third[n - 1] = 0.0


@_exact
def _solve_factored(
    upper: NDArray, second: NDArray, third: NDArray, ratio: NDArray, swapped: NDArray, vector: NDArray
) -> None:
    """Solve in place with the factors of :func:`_factor`, scaled against overflow."""
    n = upper.size
    for i in range(n - 1):
        if swapped[i]:
            vector[i], vector[i + 1] = vector[i + 1], vector[i] - ratio[i] * vector[i + 1]
        else:
            vector[i + 1] -= ratio[i] * vector[i]
    for i in range(n - 1, -1, -1):
        total = vector[i]
        if i + 1 < n:
            total -= second[i] * vector[i + 1]
        if i + 2 < n:
            total -= third[i] * vector[i + 2]
        vector[i] = total / upper[i]
    vector /= np.abs(vector).max()


@_compiled
def reflect_back(a: NDArray, scale: NDArray, vectors: NDArray) -> None:
    """Eigenvectors (rows) of the tridiagonal matrix to those of the matrix given to :func:`tridiagonal`."""
    n = a.shape[0]
    for i in range(1, n):
        if scale[i] == 0.0:
            continue
        for number in range(vectors.shape[0]):
            vector = vectors[number]
            overlap = 0.0
            for j in range(i):
                overlap += a[i, j] * vector[j]
            overlap *= scale[i]
            for j in range(i):
                vector[j] -= overlap * a[i, j]


@_exact
def noise_split(values: NDArray, n_samples: int) -> tuple[float, int]:
    """Noise variance and number of noise components of one patch.

    The largest set of smallest eigenvalues is taken whose spread does not exceed that of the Marchenko–Pastur
    distribution with their mean as variance; then every eigenvalue below the edge for that variance counts as noise.

    Parameters
    ----------
    values : ndarray, shape (N,)
        Ascending eigenvalues of a covariance of `n_samples` voxels.
    n_samples : int
        More than N.
    """
    # A covariance has none below zero but by rounding.
    least = max(values[0], 0.0)
    total, variance = 0.0, 0.0
    for k in range(values.size):
        value = max(values[k], 0.0)
        total += value
        if value - least <= 4.0 * np.sqrt((k + 1) / n_samples) * total / (k + 1):
            variance = total / (k + 1)
    edge = (1.0 + np.sqrt(values.size / n_samples)) ** 2 * variance
    n_noise = 0
    while n_noise < values.size and max(values[n_noise], 0.0) <= edge:
        n_noise += 1
    return variance, n_noise


@_exact
def shrinkage(value: float, variance: float, ratio: float) -> float:
    """Factor on a component of covariance `value` that brings it closest to its noise-free self in mean square.

    Gavish 2017, doi:10.1109/TIT.2017.2653801, for the Frobenius norm; `ratio` is volumes over voxels.
    """
    if variance <= 0.0:
        return 1.0
    relative = value / variance
    inside = (relative - ratio - 1.0) ** 2 - 4.0 * ratio
    return np.sqrt(inside) / relative if inside > 0.0 and relative > 1.0 + ratio else 0.0


@_exact
def _gather(data: NDArray, corner: NDArray, edge: int, patch: NDArray, mean: NDArray) -> None:
    """Copy a patch (voxels, N) and take the volumes' means off it."""
    n_samples, n_volumes = patch.shape
    mean[:] = 0.0
    row = 0
    for i in range(corner[0], corner[0] + edge):
        for j in range(corner[1], corner[1] + edge):
            for k in range(corner[2], corner[2] + edge):
                voxel = data[i, j, k]
                for n in range(n_volumes):
                    patch[row, n] = voxel[n]
                    mean[n] += voxel[n]
                row += 1
    for n in range(n_volumes):
        mean[n] /= n_samples
    for row in range(n_samples):
        for n in range(n_volumes):
            patch[row, n] -= mean[n]


@_exact
def denoised_sums(data: NDArray, corners: NDArray, edge: int, shrink: bool) -> tuple[NDArray, NDArray]:
    """Weighted sums over patches.

    Parameters
    ----------
    data : ndarray of float32, shape (X, Y, Z, N), C order
    corners : ndarray of int, shape (n_patches, 3)
        First voxel of each patch.
    edge : int
    shrink : bool
        Whether kept components are scaled by :func:`shrinkage`.

    Returns
    -------
    signal : ndarray of float32, shape (X, Y, Z, N)
        Sum of weight × denoised signal.
    sums : ndarray of float32, shape (X, Y, Z, 3)
        Sums of the weights, of weight × noise variance, and of weight × number of signal components.
    """
    n_volumes, n_samples = data.shape[3], edge**3
    signal = np.zeros(data.shape, np.float32)
    sums = np.zeros((*data.shape[:3], 3), np.float32)
    patch, mean = np.empty((n_samples, n_volumes)), np.empty(n_volumes)
    gram = np.empty((n_volumes, n_volumes))
    diagonal, beside, scale = np.empty(n_volumes), np.zeros(n_volumes), np.zeros(n_volumes)
    values, vectors = np.empty(n_volumes), np.empty((n_volumes, n_volumes))
    for number in range(corners.shape[0]):
        corner = corners[number]
        _gather(data, corner, edge, patch, mean)
        np.dot(patch.T, patch, gram)
        gram /= n_samples
        tridiagonal(gram, diagonal, beside, scale)
        tridiagonal_eigenvalues(diagonal, beside[: n_volumes - 1], values)
        variance, n_noise = noise_split(values, n_samples)
        n_signal = n_volumes - n_noise
        # The mean and the signal's components took their share of the noise with them.
        unbiased = variance * n_samples / max(n_samples - 1 - n_signal, 1)
        kept = vectors[:n_signal]
        wanted = values[n_noise:][::-1].copy()
        tridiagonal_vectors(diagonal, beside[: n_volumes - 1], wanted, kept)
        reflect_back(gram, scale, kept)
        parts = np.dot(patch, kept.T)
        if shrink:
            for k in range(n_signal):
                parts[:, k] *= shrinkage(wanted[k], unbiased, n_volumes / n_samples)
        _scatter(signal, sums, corner, edge, np.dot(parts, kept), mean, unbiased, n_signal)
    return signal, sums


@_exact
def _scatter(
    signal: NDArray,
    sums: NDArray,
    corner: NDArray,
    edge: int,
    patch: NDArray,
    mean: NDArray,
    variance: float,
    n_signal: int,
) -> None:
    """Add a denoised patch to the sums; patches of few components count more."""
    weight = 1.0 / (1.0 + n_signal)
    row = 0
    for i in range(corner[0], corner[0] + edge):
        for j in range(corner[1], corner[1] + edge):
            for k in range(corner[2], corner[2] + edge):
                voxel = signal[i, j, k]
                for n in range(mean.size):
                    voxel[n] += np.float32(weight * (patch[row, n] + mean[n]))
                total = sums[i, j, k]
                total[0] += weight
                total[1] += weight * variance
                total[2] += weight * n_signal
                row += 1
