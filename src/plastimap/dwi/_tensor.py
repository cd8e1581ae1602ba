"""Compiled core of :mod:`plastimap.dwi.tensor`.

Fits run on blocks of voxels side by side, volumes along rows: every inner loop does the same to all voxels of a block,
which is what vector units want. Kernels that call each other share this file, for numba's store on disk does not see
that a kernel in another file has changed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

_compiled: Any = njit(cache=True, nogil=True, error_model="numpy")
# Sums may be reordered for vector units; NaN and infinity keep their meaning. Divisions by 0 give infinity, as a check
# for them would keep loops from vector units.
_vectorised: Any = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})

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

LANES = 128
"""Voxels of a block: its arrays stay in the processor's fastest cache."""

PRODUCTS = 28
"""Lower triangle of the normal equations."""

INVALID, FITTED, FLOORED = 0, 1, 2
"""States of a voxel: not fitted; fitted; fitted with a signal raised to the floor."""

_LOG2 = np.float32(np.log(2))
_PER_LOG2 = np.float32(1 / np.log(2))
_ROOT_HALF_BITS = np.int32(np.float32(np.sqrt(0.5)).view(np.int32))


class Equations(NamedTuple):
    """What the normal equations of all voxels share, as float32.

    Attributes
    ----------
    design, inverse : ndarray, shape (N, 7)
        Design matrix and its transposed pseudo-inverse.
    products : ndarray, shape (N, 28)
        Lower triangle of each volume's outer product.
    """

    design: NDArray[np.float32]
    inverse: NDArray[np.float32]
    products: NDArray[np.float32]


class Room(NamedTuple):
    """Arrays of shape (N, LANES) that a block's fit works in, and those of its equations.

    `bits` is the memory of `weights`; `sums` has shape (28, LANES), `factor` too, `step` and `coefficients` (7, LANES);
    `good` says in which lanes the equations are positive.
    """

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
    coefficients: NDArray[np.float64]
    good: NDArray[np.bool_]


def equations_of(design: NDArray[np.float64]) -> Equations:
    """Prepare a design matrix of shape (N, 7) for :func:`fit_rows`."""
    rows, columns = np.tril_indices(UNKNOWNS)
    parts = (design, np.linalg.pinv(design).T, design[:, rows] * design[:, columns])
    return Equations(*(np.ascontiguousarray(part, dtype=np.float32) for part in parts))


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
        # Without these conversions numba would go on in 64 bits, in which vector units cannot shift.
        power = np.int32(np.int32(bits[n] - _ROOT_HALF_BITS) >> np.int32(23))
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
    """Logarithms (N, LANES) that the coefficients (7, LANES) predict."""
    c = coefficients.astype(np.float32)
    low, high = np.float32(-LARGEST_LOG), np.float32(LARGEST_LOG)
    for n in range(logs.shape[0]):
        row, line = design[n], logs[n]
        d0, d1, d2, d3, d4, d5, d6 = row[0], row[1], row[2], row[3], row[4], row[5], row[6]
        for lane in range(LANES):
            value = d0 * c[0, lane] + d1 * c[1, lane] + d2 * c[2, lane] + d3 * c[3, lane]
            value += d4 * c[4, lane] + d5 * c[5, lane] + d6 * c[6, lane]
            line[lane] = min(max(value, low), high)


@_vectorised
def _products(weights: NDArray, values: NDArray, sums: NDArray) -> None:
    """Sums over volumes of values (N, LANES) times each column of weights (N, k), into sums (k, LANES)."""
    k = weights.shape[1]
    sums[:k] = np.float32(0)
    for n in range(values.shape[0]):
        row, line = weights[n], values[n]
        for group in range(0, k - 3, 4):
            w0, w1, w2, w3 = row[group], row[group + 1], row[group + 2], row[group + 3]
            one, two, three, four = sums[group], sums[group + 1], sums[group + 2], sums[group + 3]
            for lane in range(LANES):
                value = line[lane]
                one[lane] += w0 * value
                two[lane] += w1 * value
                three[lane] += w2 * value
                four[lane] += w3 * value
        for single in range(k - k % 4, k):
            weight, total = row[single], sums[single]
            for lane in range(LANES):
                total[lane] += weight * line[lane]


@_vectorised
def _factorise(factor: NDArray, good: NDArray) -> None:
    """Cholesky factors in place, all lanes at once; `good` tells where the matrix is positive.

    `factor`, shape (28, LANES), holds the lower triangle row after row; its diagonal becomes the reciprocal.
    """
    good[:] = True
    for i in range(UNKNOWNS):
        first = i * (i + 1) // 2
        for j in range(i + 1):
            total, other = factor[first + j], j * (j + 1) // 2
            for m in range(j):
                left, right = factor[first + m], factor[other + m]
                for lane in range(LANES):
                    total[lane] -= left[lane] * right[lane]
            if i != j:
                pivot = factor[other + j]
                for lane in range(LANES):
                    total[lane] *= pivot[lane]
            else:
                for lane in range(LANES):
                    positive = total[lane] > 0.0
                    good[lane] = good[lane] and positive
                    total[lane] = 1.0 / np.sqrt(total[lane] if positive else 1.0)


@_vectorised
def _substitute(factor: NDArray, right: NDArray) -> None:
    """Solve in place, right sides (7, LANES), with the factors of :func:`_factorise`."""
    for i in range(UNKNOWNS):
        first, total = i * (i + 1) // 2, right[i]
        for m in range(i):
            line, known = factor[first + m], right[m]
            for lane in range(LANES):
                total[lane] -= line[lane] * known[lane]
        pivot = factor[first + i]
        for lane in range(LANES):
            total[lane] *= pivot[lane]
    for i in range(UNKNOWNS - 1, -1, -1):
        total = right[i]
        for m in range(i + 1, UNKNOWNS):
            line, known = factor[m * (m + 1) // 2 + i], right[m]
            for lane in range(LANES):
                total[lane] -= line[lane] * known[lane]
        pivot = factor[i * (i + 1) // 2 + i]
        for lane in range(LANES):
            total[lane] *= pivot[lane]


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
    signals : ndarray of float32, shape (N, n)
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
    room = _room(signals.shape[0])
    level, state = np.empty(LANES, np.float32), np.empty(LANES, np.int8)
    n_outliers = 0
    for start in range(0, signals.shape[1], LANES):
        width = min(LANES, signals.shape[1] - start)
        # Lanes without a voxel hold what cannot go wrong.
        room.predicted[:] = np.float32(1)
        room.predicted[:, :width] = signals[:, start : start + width]
        _normalise(room.predicted, b0_weights, room.relative, level, state)
        room.kept[:] = np.float32(1)
        _start(equations, room, 1 if rounds else 2)
        for _ in range(rounds):
            _reweight(equations, room)
        if robust:
            n_outliers += _without_outliers(equations, room, rounds, state[:width])
        states[start : start + width] = state[:width]
        _write(equations, room, level, state, fitted[start : start + width])
    return n_outliers


@_compiled
def _room(n_volumes: int) -> Room:
    whole = np.ones((5, n_volumes, LANES), np.float32)
    return Room(
        whole[0],
        whole[1],
        whole[2],
        whole[3],
        whole[4],
        whole[3].view(np.int32),
        np.empty((n_volumes, LANES), np.int32),
        np.empty((PRODUCTS, LANES), np.float32),
        np.empty((PRODUCTS, LANES)),
        np.empty((UNKNOWNS, LANES)),
        np.empty((UNKNOWNS, LANES)),
        np.empty(LANES, np.bool_),
    )


@_vectorised
def _normalise(signals: NDArray, b0_weights: NDArray, relative: NDArray, level: NDArray, state: NDArray) -> None:
    """Signals over their level, raised to the floor; the levels, and the voxels' states."""
    poison, n_low = np.zeros(LANES, np.float32), np.zeros(LANES, np.int32)
    level[:] = np.float32(0)
    for n in range(signals.shape[0]):
        weight, line = b0_weights[n], signals[n]
        for lane in range(LANES):
            level[lane] += line[lane] * weight
            # 0 times anything finite is 0.
            poison[lane] += line[lane] * np.float32(0)
    for lane in range(LANES):
        if poison[lane] != 0 or not level[lane] > 0:
            state[lane], level[lane] = INVALID, np.nan
        else:
            state[lane] = FITTED
    inverse, floor = np.float32(1) / level, np.float32(FLOOR)
    for n in range(signals.shape[0]):
        line, made = signals[n], relative[n]
        for lane in range(LANES):
            value = line[lane] * inverse[lane]
            n_low[lane] += value < floor
            # What is not to be fitted is 1 here (no comparison holds for NaN).
            made[lane] = max(value, floor) if value == value else np.float32(1)
    for lane in range(LANES):
        if state[lane] == FITTED and n_low[lane]:
            state[lane] = FLOORED


@_compiled
def _start(equations: Equations, room: Room, steps: int) -> None:
    """Plain least squares of the logarithms; a second step removes what single precision left of the first."""
    # The logarithm's mantissas overwrite what they are made of.
    room.weights[:] = room.relative
    logarithms(room.weights.ravel(), room.bits.ravel(), room.logs.ravel())
    _products(equations.inverse, room.logs, room.sums)
    room.coefficients[:] = room.sums[:UNKNOWNS]
    for _ in range(steps - 1):
        _predict(room.coefficients, equations.design, room.predicted)
        room.predicted[:] = room.logs - room.predicted
        _products(equations.inverse, room.predicted, room.sums)
        room.coefficients[:] += room.sums[:UNKNOWNS]


@_vectorised
def _reweight(equations: Equations, room: Room) -> None:
    """One weighted fit in place: weights are the squared predicted signals times `kept`."""
    _predict(room.coefficients, equations.design, room.predicted)
    predicted, weights = room.predicted.ravel(), room.weights.ravel()
    logs, kept = room.logs.ravel(), room.kept.ravel()
    exponentials(predicted, weights, room.bits.ravel(), room.powers.ravel())
    for n in range(logs.size):
        weights[n] = weights[n] * weights[n] * kept[n]
        predicted[n] = (logs[n] - predicted[n]) * weights[n]
    _products(equations.design, room.predicted, room.sums)
    room.step[:] = room.sums[:UNKNOWNS]
    _products(equations.products, room.weights, room.sums)
    room.factor[:] = room.sums
    for i in range(UNKNOWNS):
        room.factor[i * (i + 1) // 2 + i] *= 1.0 + RIDGE
    _factorise(room.factor, room.good)
    _substitute(room.factor, room.step)
    # Where the weights leave no tensor determined, the last fit stands.
    for k in range(UNKNOWNS):
        for lane in range(LANES):
            room.coefficients[k, lane] += room.step[k, lane] if room.good[lane] else 0.0


@_compiled
def _without_outliers(equations: Equations, room: Room, rounds: int, state: NDArray) -> int:
    """Fit in place with weights for how well a volume fits, then without those that do not; how many these are."""
    n_left = 0
    for turn in range(2 * rounds):
        _predict(room.coefficients, equations.design, room.predicted)
        exponentials(room.predicted.ravel(), room.weights.ravel(), room.bits.ravel(), room.powers.ravel())
        n_left = 0
        for lane in range(state.size):
            if state[lane] != INVALID:
                n_left += _judge(room.relative[:, lane], room.weights[:, lane], room.kept[:, lane], turn >= rounds)
        _reweight(equations, room)
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


@_vectorised
def _write(equations: Equations, room: Room, level: NDArray, state: NDArray, fitted: NDArray) -> None:
    """Coefficients in signal units and the residuals' standard deviation, a voxel per row; NaN where invalid."""
    _predict(room.coefficients, equations.design, room.predicted)
    exponentials(room.predicted.ravel(), room.weights.ravel(), room.bits.ravel(), room.powers.ravel())
    square = np.zeros(LANES, np.float32)
    for n in range(room.relative.shape[0]):
        found, wanted = room.weights[n], room.relative[n]
        for lane in range(LANES):
            square[lane] += (wanted[lane] - found[lane]) ** 2
    freedom = room.relative.shape[0] - UNKNOWNS
    for lane in range(fitted.shape[0]):
        for k in range(UNKNOWNS):
            fitted[lane, k] = room.coefficients[k, lane] if state[lane] != INVALID else np.nan
        # In noise without signal ln S0 can be anything; it is cut where predictions are.
        intercept = min(max(fitted[lane, UNKNOWNS - 1], -LARGEST_LOG), LARGEST_LOG)
        fitted[lane, UNKNOWNS - 1] = intercept + np.log(level[lane])
        fitted[lane, UNKNOWNS] = level[lane] * np.sqrt(square[lane] / freedom) if freedom > 0 else np.nan
