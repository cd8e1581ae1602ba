"""Compiled core of :mod:`plastimap.dwi.tensor`: small equations and 3 × 3 eigenvalues, voxel after voxel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

_compiled: Any = njit(cache=True, nogil=True)
# Sums may be reordered for vector units; NaN and infinity keep their meaning.
_vectorised: Any = njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})

UNKNOWNS = 7
"""Six tensor elements and ln S0."""

RIDGE = 1e-12
"""Relative addition to the diagonal: voxels of pure noise can make the equations singular to rounding."""

FLOOR = 1e-3
"""Share of the voxel's b = 0 signal to which signals of zero or less are raised before the logarithm."""

LARGEST_LOG = 20.0
"""Predicted logarithms are cut at this distance from 0, for voxels of noise whose weights would overflow."""

OUTLIER_SD = 3.0
"""Residuals beyond so many robust standard deviations are outliers."""

MOST_OUTLIERS = 1 / 3
"""A voxel with a larger share of outliers is no tensor with outliers: all its volumes are kept."""

LANES = 16
"""Volumes are filled up to a multiple of this with ones that carry no weight: loops then fill whole vector units."""

ROWS = 8
"""Unknowns filled up to a multiple of four, and ..."""

PRODUCTS = 28
"""... their products: the lower triangle of the normal equations."""

INVALID, FITTED, FLOORED = 0, 1, 2
"""States of a voxel: not fitted; fitted; fitted with a signal raised to the floor."""

_LOG2 = np.float32(np.log(2))
_PER_LOG2 = np.float32(1 / np.log(2))
_ROOT_HALF_BITS = np.int32(np.float32(np.sqrt(0.5)).view(np.int32))


class Equations(NamedTuple):
    """What the normal equations of all voxels share: float32 arrays with volumes (filled up) along rows.

    Attributes
    ----------
    design, inverse : ndarray, shape (8, N)
        Design matrix and its pseudo-inverse; the last row is 0.
    products : ndarray, shape (28, N)
        Lower triangle of each volume's outer product.
    """

    design: NDArray[np.float32]
    inverse: NDArray[np.float32]
    products: NDArray[np.float32]


class Room(NamedTuple):
    """Arrays that a voxel's fit works in; `bits` is the memory of `weights`."""

    relative: NDArray[np.float32]
    logs: NDArray[np.float32]
    predicted: NDArray[np.float32]
    weights: NDArray[np.float32]
    kept: NDArray[np.float32]
    bits: NDArray[np.int32]
    powers: NDArray[np.int32]
    sums: NDArray[np.float32]
    factor: NDArray[np.float64]
    step: NDArray[np.float64]


def equations_of(design: NDArray[np.float64]) -> Equations:
    """Prepare a design matrix of shape (N, 7) for :func:`fit_rows`."""
    rows, columns = np.tril_indices(UNKNOWNS)
    parts = ((design.T, ROWS), (np.linalg.pinv(design), ROWS), ((design[:, rows] * design[:, columns]).T, PRODUCTS))
    width = -(-len(design) // LANES) * LANES
    filled = [np.zeros((height, width), dtype=np.float32) for _, height in parts]
    for whole, (part, _) in zip(filled, parts, strict=True):
        whole[: len(part), : len(design)] = part
    return Equations(*filled)


@_vectorised
def exponentials(x: NDArray, result: NDArray, bits: NDArray, powers: NDArray) -> None:
    """exp(x) in single precision, to 2e-7 of its value, by operations that vector units have.

    x = k ln 2 + t; exp(t) by its series, and 2ᵏ by adding k to the exponent's bits.

    Parameters
    ----------
    x, result : ndarray of float32, shape (N,)
        |x| below 80.
    bits : ndarray of int32, shape (N,)
        The memory of `result`.
    powers : ndarray of int32, shape (N,)
        Room to work in.
    """
    for n in range(x.size):
        whole = np.floor(x[n] * _PER_LOG2 + np.float32(0.5))
        t = x[n] - whole * _LOG2
        powers[n] = np.int32(whole)
        series = np.float32(1 / 5040)
        series = series * t + np.float32(1 / 720)
        series = series * t + np.float32(1 / 120)
        series = series * t + np.float32(1 / 24)
        series = series * t + np.float32(1 / 6)
        series = series * t + np.float32(0.5)
        series = series * t + np.float32(1)
        result[n] = series * t + np.float32(1)
    for n in range(x.size):
        bits[n] += powers[n] << np.int32(23)


@_vectorised
def logarithms(x: NDArray, bits: NDArray, result: NDArray) -> None:
    """Natural logarithms of positive normal numbers in single precision, to 2e-7, by operations that vector units have.

    x = 2ᵏ m with m between √½ and √2; ln m = 2 artanh((m − 1)/(m + 1)) by its series.

    Parameters
    ----------
    x : ndarray of float32, shape (N,)
        Holds m afterwards.
    bits : ndarray of int32, shape (N,)
        The memory of `x`.
    result : ndarray of float32, shape (N,)
    """
    for n in range(x.size):
        power = (bits[n] - _ROOT_HALF_BITS) >> np.int32(23)
        result[n] = np.float32(power) * _LOG2
        bits[n] -= power << np.int32(23)
    for n in range(x.size):
        s = (x[n] - np.float32(1)) / (x[n] + np.float32(1))
        square = s * s
        series = np.float32(2 / 9)
        series = series * square + np.float32(2 / 7)
        series = series * square + np.float32(2 / 5)
        series = series * square + np.float32(2 / 3)
        series = series * square + np.float32(2)
        result[n] += series * s


@_vectorised
def _predict(coefficients: NDArray, design: NDArray, logs: NDArray) -> None:
    """Logarithms that the coefficients predict; `design` has shape (8, N)."""
    one, two, three, four, five, six, seven = coefficients[:UNKNOWNS].astype(np.float32)
    for n in range(logs.size):
        value = one * design[0, n] + two * design[1, n] + three * design[2, n] + four * design[3, n]
        value += five * design[4, n] + six * design[5, n] + seven * design[6, n]
        logs[n] = min(max(value, np.float32(-LARGEST_LOG)), np.float32(LARGEST_LOG))


@_vectorised
def _dots(one: NDArray, others: NDArray, result: NDArray) -> None:
    """Products of a vector (N,) with vectors (4 k, N), four at a time: that keeps the processor's pipelines full."""
    for group in range(0, result.size, 4):
        first, second, third, fourth = others[group], others[group + 1], others[group + 2], others[group + 3]
        sum1 = sum2 = sum3 = sum4 = np.float32(0)
        for n in range(one.size):
            value = one[n]
            sum1 += value * first[n]
            sum2 += value * second[n]
            sum3 += value * third[n]
            sum4 += value * fourth[n]
        result[group], result[group + 1], result[group + 2], result[group + 3] = sum1, sum2, sum3, sum4


@_compiled
def _factorise(matrix: NDArray) -> bool:
    """Cholesky factor in place (lower triangle, reciprocal diagonal); False where the matrix is not positive."""
    for i in range(matrix.shape[0]):
        for j in range(i + 1):
            total = matrix[i, j] * (1.0 + RIDGE) if i == j else matrix[i, j]
            for m in range(j):
                total -= matrix[i, m] * matrix[j, m]
            if i != j:
                matrix[i, j] = total * matrix[j, j]
            elif total > 0.0:
                # Divisions are slow: the diagonal is needed as its reciprocal only.
                matrix[i, i] = 1.0 / np.sqrt(total)
            else:
                return False
    return True


@_compiled
def _substitute(factor: NDArray, right: NDArray) -> None:
    """Solve in place with the factor of :func:`_factorise`."""
    k = right.size
    for i in range(k):
        total = right[i]
        for m in range(i):
            total -= factor[i, m] * right[m]
        right[i] = total * factor[i, i]
    for i in range(k - 1, -1, -1):
        total = right[i]
        for m in range(i + 1, k):
            total -= factor[m, i] * right[m]
        right[i] = total * factor[i, i]


@_compiled
def fit_rows(
    signals: NDArray,
    b0_weights: NDArray,
    equations: Equations,
    rounds: int,
    robust: bool,
    fitted: NDArray,
    states: NDArray,
) -> int:
    """Fit tensors to many voxels.

    Each weighted fit is found as a step from the one before it: single precision then blurs the step, not the whole.

    Parameters
    ----------
    signals : ndarray of float32, shape (n, N)
    b0_weights : ndarray of float32, shape (N,)
        Their products with the signals sum to the level near which signals are brought to 1.
    equations : Equations
    rounds : int
        Reweightings; 0 is the plain fit.
    robust : bool
        Whether to look for outliers afterwards, and to fit without them.
    fitted : ndarray of float64, shape (n, 8)
        Filled with six tensor elements, ln S0, and the residuals' standard deviation in signal units.
    states : ndarray of int8, shape (n,)
        Filled with `INVALID`, `FITTED` or `FLOORED`.

    Returns
    -------
    int
        Outliers left out.
    """
    n_volumes = signals.shape[1]
    room = _room(equations.design.shape[1])
    n_outliers = 0
    for voxel in range(signals.shape[0]):
        level, states[voxel] = _normalise(signals[voxel], b0_weights, room.relative)
        coefficients = fitted[voxel]
        if states[voxel] == INVALID:
            coefficients[:] = np.nan
            continue
        room.kept[:] = np.float32(1)
        coefficients[:] = 0.0
        _start(equations, room, coefficients, 1 if rounds else 2)
        for _ in range(rounds):
            _reweight(equations, room, coefficients)
        if robust:
            n_outliers += _without_outliers(equations, room, coefficients, rounds, n_volumes)
        _predict(coefficients, equations.design, room.predicted)
        exponentials(room.predicted, room.weights, room.bits, room.powers)
        square = 0.0
        for n in range(n_volumes):
            square += (room.relative[n] - room.weights[n]) ** 2
        coefficients[UNKNOWNS - 1] += np.log(level)
        freedom = n_volumes - UNKNOWNS
        coefficients[UNKNOWNS] = level * np.sqrt(square / freedom) if freedom > 0 else np.nan
    return n_outliers


@_compiled
def _room(width: int) -> Room:
    line = np.ones((5, width), np.float32)
    return Room(
        line[0],
        line[1],
        line[2],
        line[3],
        line[4],
        line[3].view(np.int32),
        np.empty(width, np.int32),
        np.empty(PRODUCTS, np.float32),
        np.empty((UNKNOWNS, UNKNOWNS)),
        np.empty(UNKNOWNS),
    )


@_vectorised
def _normalise(signals: NDArray, b0_weights: NDArray, relative: NDArray) -> tuple[float, int]:
    """Signals over their level, raised to the floor; that level, and the voxel's state."""
    level, poison = np.float32(0), np.float32(0)
    for n in range(signals.size):
        level += signals[n] * b0_weights[n]
        poison += signals[n] * np.float32(0)
    # 0 times anything finite is 0.
    if poison != 0 or not level > 0:
        return np.nan, INVALID
    inverse, n_low = np.float32(1) / level, 0
    for n in range(signals.size):
        value = signals[n] * inverse
        n_low += value < np.float32(FLOOR)
        relative[n] = max(value, np.float32(FLOOR))
    return float(level), FLOORED if n_low else FITTED


@_compiled
def _start(equations: Equations, room: Room, coefficients: NDArray, steps: int) -> None:
    """Plain least squares of the logarithms; a second step removes what single precision left of the first."""
    # The logarithm's mantissas overwrite what they are made of.
    room.weights[:] = room.relative
    logarithms(room.weights, room.bits, room.logs)
    room.predicted[:] = room.logs
    for step in range(steps):
        if step:
            _predict(coefficients, equations.design, room.predicted)
            for n in range(room.logs.size):
                room.predicted[n] = room.logs[n] - room.predicted[n]
        _dots(room.predicted, equations.inverse, room.sums[:ROWS])
        for k in range(UNKNOWNS):
            coefficients[k] += room.sums[k]


@_compiled
def _reweight(equations: Equations, room: Room, coefficients: NDArray) -> None:
    """One weighted fit in place: weights are the squared predicted signals times `kept`."""
    logs, predicted, weights = room.logs, room.predicted, room.weights
    _predict(coefficients, equations.design, predicted)
    for n in range(logs.size):
        weights[n] = predicted[n] + predicted[n]
        predicted[n] = logs[n] - predicted[n]
    exponentials(weights, weights, room.bits, room.powers)
    for n in range(logs.size):
        weights[n] *= room.kept[n]
        predicted[n] *= weights[n]
    _dots(predicted, equations.design, room.sums[:ROWS])
    for k in range(UNKNOWNS):
        room.step[k] = room.sums[k]
    _dots(weights, equations.products, room.sums)
    entry = 0
    for i in range(UNKNOWNS):
        for j in range(i + 1):
            room.factor[i, j] = room.sums[entry]
            entry += 1
    # Where the weights leave no tensor determined, the last fit stands.
    if _factorise(room.factor):
        _substitute(room.factor, room.step)
        for k in range(UNKNOWNS):
            coefficients[k] += room.step[k]


@_compiled
def _without_outliers(equations: Equations, room: Room, coefficients: NDArray, rounds: int, n_volumes: int) -> int:
    """Fit in place with weights for how well a volume fits, then without those that do not; how many these are."""
    n_left = 0
    for turn in range(2 * rounds):
        _predict(coefficients, equations.design, room.predicted)
        exponentials(room.predicted, room.weights, room.bits, room.powers)
        n_left = _judge(room.relative[:n_volumes], room.weights[:n_volumes], room.kept[:n_volumes], turn >= rounds)
        _reweight(equations, room, coefficients)
    return n_left


@_compiled
def _judge(signals: NDArray, predicted: NDArray, kept: NDArray, final: bool) -> int:
    """Weights in place from residuals over their robust spread; how many volumes are left out.

    Geman–McClure weights at first (what fits counts fully, what is far off hardly at all), in the end 0 or 1.
    """
    n_volumes = signals.size
    residuals = np.abs(signals - predicted)
    # A fit of seven terms takes a share of the noise; without it the residuals would look too large beside it.
    spread = 1.4826 * np.median(residuals) * np.sqrt(n_volumes / max(n_volumes - UNKNOWNS, 1))
    n_left = 0
    for n in range(n_volumes):
        ratio = residuals[n] / spread if spread > 0.0 else 0.0
        n_left += ratio > OUTLIER_SD
        kept[n] = np.float32(ratio <= OUTLIER_SD) if final else np.float32(1.0 / (1.0 + ratio**2) ** 2)
    if final and n_left > MOST_OUTLIERS * n_volumes:
        kept[:] = np.float32(1)
        return 0
    return n_left


@_compiled
def scalars(values: NDArray, found: NDArray) -> int:
    """Fill FA, MD, AD, RD (n, 4) from eigenvalues (n, 3), largest first; how many voxels have one below 0.

    Eigenvalues below 0 count as 0.
    """
    n_negative = 0
    for voxel in range(values.shape[0]):
        n_negative += values[voxel, 2] < 0.0
        one, two, three = max(values[voxel, 0], 0.0), max(values[voxel, 1], 0.0), max(values[voxel, 2], 0.0)
        square = one * one + two * two + three * three
        apart = (one - two) ** 2 + (two - three) ** 2 + (one - three) ** 2
        found[voxel, 0] = np.sqrt(0.5 * apart / square) if square > 0.0 else 0.0
        found[voxel, 1] = (one + two + three) / 3.0
        found[voxel, 2] = one
        found[voxel, 3] = 0.5 * (two + three)
    return n_negative


@_compiled
def eigensystems(tensors: NDArray, values: NDArray, directions: NDArray) -> None:
    """Eigenvalues, largest first, and the first eigenvector of many symmetric 3 × 3 matrices.

    Closed form (Smith 1961, doi:10.1145/355578.366316) where the largest eigenvalue stands apart; Jacobi rotations
    where two lie so close that the closed form would lose the vector.

    Parameters
    ----------
    tensors : ndarray, shape (n, 6)
        xx, yy, zz, xy, xz, yz.
    values, directions : ndarray, shape (n, 3)
        Filled in.
    """
    matrix, axes = np.empty((3, 3)), np.empty((3, 3))
    for voxel in range(tensors.shape[0]):
        xx, yy, zz, xy, xz, yz = tensors[voxel, :6]
        mean = (xx + yy + zz) / 3.0
        a, b, c = xx - mean, yy - mean, zz - mean
        spread = np.sqrt((a * a + b * b + c * c + 2.0 * (xy * xy + xz * xz + yz * yz)) / 6.0)
        if spread > 1e-7 * abs(mean):
            half = (a * (b * c - yz * yz) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)) / (2.0 * spread**3)
            angle = np.arccos(min(1.0, max(-1.0, half))) / 3.0
            first = 2.0 * spread * np.cos(angle)
            last = 2.0 * spread * np.cos(angle + 2.0 * np.pi / 3.0)
            if _null_vector(a - first, b - first, c - first, xy, xz, yz, 1e-4 * spread**4, directions[voxel]):
                values[voxel, 0], values[voxel, 1], values[voxel, 2] = mean + first, mean - first - last, mean + last
                continue
        _jacobi(tensors[voxel], matrix, axes)
        order = np.argsort(-np.diag(matrix))
        for i in range(3):
            values[voxel, i] = matrix[order[i], order[i]]
            directions[voxel, i] = axes[i, order[0]]


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
