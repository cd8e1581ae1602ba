"""Compiled inner loops of the fits to multi-echo signals.

Voxels lie side by side in memory, so that the loops over them run on vector units. numba has no vectorised logarithm
and exponential without Intel's library; those below are the usual argument reductions with polynomials: the logarithm
good to 3e-14 (absolute), the exponential to 1e-14, and one in single precision for weights, which need no more, to 5e-7
(relative). Logarithms and lines are kept in double precision; what a fit adds to the line of the one before is small
and is found in single precision, from residuals. Everything runs in one thread: scans run side by side instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

Array = Any

SINGLE = np.float32
ONE, HALF = SINGLE(1), SINGLE(0.5)

BLOCK = 512
"""Voxels worked on at once: what is kept of their echoes stays in the processor's nearer caches."""

NEAR = SINGLE(0.3)
"""Residual of a logarithm up to which a short series gives the residual of the signal."""

ROBUST_ROUNDS = 15
"""Reweightings of the robust fit; Tukey's weights settle sooner."""

TUKEY = 4.685
"""Residuals beyond so many standard deviations have no weight (95 % efficiency without outliers)."""

SD_PER_MAD = 1.4826

LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
LN2 = LN2_HIGH + LN2_LOW
LOG2_E = 1.4426950408889634
ROUND = 6755399441055744.0
"""1.5 · 2⁵²: adding it rounds a double to an integer, which then stands in the low bits."""

LOG_SERIES = (
    1.0000000000000024, -0.5000000000003151, 0.3333333333239188, -0.24999999952231752, 0.20000000644401303,
    -0.1666668732903488, 0.1428556548758141, -0.12496307403171932, 0.11124189092869462, -0.10291216013776744,
    0.08798390946665315,
)  # fmt: skip
"""Chebyshev fit of ln(1 + f)/f for 1 + f between 2^(−1/6) and 2^(1/6); off by 6e-16 at most."""

THIRD, SIXTH = 2.0 ** (1 / 3), 2.0 ** (1 / 6)
DOWN, UP = SINGLE(1 / THIRD), SINGLE(THIRD)
LOG_DOWN, LOG_UP = float(np.log(np.float64(DOWN))), float(np.log(np.float64(UP)))
FAR_UP, FAR_DOWN = SINGLE(SIXTH), SINGLE(1 / SIXTH)

SQRT_HALF = np.int32(0x3F3504F3)
"""Bits of √½ in single precision: mantissas below it are doubled."""

SHIFT_TO_SQRT_HALF = np.int32(0x3F800000 - 0x3F3504F3)
MANTISSA = np.int32(0x007FFFFF)
LEAST = SINGLE(np.finfo(np.float32).tiny)
"""A signal below the smallest normal number is none."""

# For the exponential in single precision.
LN2_HIGH_32, LN2_LOW_32 = SINGLE(0.693145751953125), SINGLE(1.42860682030941723212e-6)
LOG2_E_32, ROUND_32, LARGEST_32 = SINGLE(LOG2_E), SINGLE(12582912.0), SINGLE(87.0)
EXPONENT_AT, EXPONENT_BIAS = np.int32(23), np.int32(127)
MOST_WEIGHT = SINGLE(1e30)

SAME_STEP = 1e-9
"""Steps from echo to echo that differ by less (in seconds) are one and the same."""

EXP_SERIES = tuple(SINGLE(1 / c) for c in (6, 24, 120, 720, 5040))

# No reordering of sums: the result must not depend on the width of the vector unit.
OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
_INLINE: dict[str, Any] = {"inline": "always", "error_model": "numpy", "fastmath": {"contract", "nsz"}}


def _cast(source: Any, target: Any, kind: ir.Type) -> Any:
    """Read the bits of one type as another of the same size."""

    def code(_context: Any, _value: Any) -> Any:
        return target(source), lambda _c, builder, _s, args: builder.bitcast(args[0], kind)

    return intrinsic(code)


_bits = _cast(types.float64, types.int64, ir.IntType(64))
_double = _cast(types.int64, types.float64, ir.DoubleType())
_bits_32 = _cast(types.float32, types.int32, ir.IntType(32))
_single = _cast(types.int32, types.float32, ir.FloatType())


@njit(**_INLINE)
def _log(x: Any) -> float:
    """Natural logarithm of a positive, normal float32, in double precision."""
    # x = m · 2^k with m between √½ and √2; one of three factors takes m to within a sixth of an octave of 1. Both have
    # 24 bits, so that f = m · factor − 1 is exact.
    shifted = np.int32(_bits_32(x) + SHIFT_TO_SQRT_HALF)
    k = np.int32(np.int32(shifted >> EXPONENT_AT) - EXPONENT_BIAS)
    m = _single(np.int32(np.int32(shifted & MANTISSA) + SQRT_HALF))
    factor = DOWN if m > FAR_UP else (UP if m < FAR_DOWN else ONE)
    removed = LOG_DOWN if m > FAR_UP else (LOG_UP if m < FAR_DOWN else 0.0)
    f = np.float64(m) * np.float64(factor) - 1.0
    a = LOG_SERIES
    g = f * f
    low = (a[0] + f * a[1]) + g * (a[2] + f * a[3])
    middle = (a[4] + f * a[5]) + g * (a[6] + f * a[7])
    high = (a[8] + f * a[9]) + g * a[10]
    h = g * g
    return (np.float64(k) * LN2 - removed) + f * (low + h * (middle + h * high))


@njit(**_INLINE)
def _tail(r: Any) -> Any:
    """Terms of the exponential's series from r³ on, over r³, in single precision."""
    a = EXP_SERIES
    return a[0] + r * (a[1] + r * (a[2] + r * (a[3] + r * a[4])))


@njit(**_INLINE)
def _weight(x: Any) -> Any:
    """Exponential of a float32 between −87 and 87, good to 5e-7."""
    x = min(max(x, -LARGEST_32), LARGEST_32)
    rounded = x * LOG2_E_32 + ROUND_32
    n = rounded - ROUND_32
    r = (x - n * LN2_HIGH_32) - n * LN2_LOW_32
    p = ONE + r * (ONE + r * (HALF + r * _tail(r)))
    return p * _single(np.int32((_bits_32(rounded) + EXPONENT_BIAS) << EXPONENT_AT))


@njit(**_INLINE)
def _exp(x: float) -> float:
    """Exponential; `x` is taken to lie between −700 and 700."""
    x = min(max(x, -700.0), 700.0)
    rounded = x * LOG2_E + ROUND
    n = rounded - ROUND
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    # Taylor's series to the eleventh power: |r| ≤ ½ ln 2.
    p = 1 / 40320.0 + r * (1 / 362880.0 + r * (1 / 3628800.0 + r / 39916800.0))
    p = 1 / 24.0 + r * (1 / 120.0 + r * (1 / 720.0 + r * (1 / 5040.0 + r * p)))
    p = 1.0 + r * (1.0 + r * (0.5 + r * (1 / 6.0 + r * p)))
    return p * _double((_bits(rounded) + 1023) << 52)


@njit(**OPTIONS)
def fit_lines(
    signals: Array, times: Array, contrast: Array, reweightings: int, rate: Array, intercepts: Array, rms: Array
) -> int:
    """Fit parallel lines to the logarithms of many voxels, and count the voxels that cannot be fitted.

    Parameters
    ----------
    signals : ndarray of float32, shape (n_echoes, n_voxels)
        The number of voxels is a multiple of :data:`BLOCK`.
    times : ndarray, shape (n_echoes,)
        Echo times in seconds.
    contrast : ndarray of int, shape (n_echoes,)
        Number of each echo's contrast; every contrast has an echo.
    reweightings : int
        0 for ordinary least squares; each further round weights by the squared prediction of the one before.
    rate, intercepts, rms : ndarray, shapes (n_voxels,), (n_contrasts, n_voxels) twice
        Filled: R2*, signal at TE = 0, root mean square residual. NaN where a signal is not positive and finite.
    """
    n_contrasts, n_voxels = intercepts.shape
    counts, centre, first, time_squares = contrast_times(times, contrast, n_contrasts)
    # All of one block lies in rows of its own, which the compiler knows not to overlap and to be dense.
    logs, line = np.empty((len(times), BLOCK)), np.empty((n_contrasts + 1, BLOCK))
    sums, step = np.empty((n_contrasts, 5, BLOCK), dtype=SINGLE), np.empty((n_contrasts + 1, BLOCK), dtype=SINGLE)
    weights, row = np.empty((n_contrasts, BLOCK), dtype=SINGLE), np.empty(BLOCK, dtype=SINGLE)
    gaps, squares = np.empty((len(times), BLOCK), dtype=SINGLE), np.empty((n_contrasts, BLOCK), dtype=SINGLE)
    n_invalid: Any = 0
    for start in range(0, n_voxels, BLOCK):
        stop = start + BLOCK
        sums[:] = 0.0
        for e in range(len(times)):
            own, t = sums[contrast[e]], SINGLE(times[e] - centre[contrast[e]])
            _take_logs(signals[e, start:stop], t, logs[e], own[3], own[4])
        for c in range(n_contrasts):
            sums[c, 0, :] = counts[c]
            sums[c, 2, :] = time_squares[c]
        shared_slope(sums, centre, step)
        line[:] = step
        weights[:] = 1.0
        for _ in range(max(reweightings, 1)):
            sums[:] = 0.0
            for e in range(len(times)):
                c = contrast[e]
                if reweightings > 0:
                    _weigh(line[c], line[0], line[n_contrasts], times, contrast, e, weights[c], row)
                t, own = SINGLE(times[e] - first[c]), sums[c]
                _take_weighted(
                    logs[e], line[c], line[n_contrasts], times[e], weights[c], t,
                    gaps[e], own[0], own[1], own[2], own[3], own[4],
                )  # fmt: skip
            shared_slope(sums, first, step)
            line += step
        _square_gaps(signals, start, times, contrast, step, line, gaps, squares)
        n_invalid += _store(line[n_contrasts], rate[start:stop])
        for c in range(n_contrasts):
            _signal_and_rms(line[c], squares[c], counts[c])
            _store(line[c], intercepts[c, start:stop])
            _store(squares[c], rms[c, start:stop])
    return n_invalid


@njit(**OPTIONS)
def contrast_times(times: Array, contrast: Array, n_contrasts: int) -> tuple[Array, Array, Array, Array]:
    """Each contrast's number of echoes, mean echo time, first echo time, and sum of squares about the mean.

    Times are counted from one of these, so that sums of squares lose few digits to cancellation.
    """
    counts, centre, first = np.zeros(n_contrasts), np.zeros(n_contrasts), np.zeros(n_contrasts)
    squares = np.zeros(n_contrasts)
    for e in range(len(times)):
        c = contrast[e]
        first[c] = times[e] if counts[c] == 0.0 else first[c]
        counts[c] += 1.0
        centre[c] += times[e]
    centre /= counts
    for e in range(len(times)):
        squares[contrast[e]] += (times[e] - centre[contrast[e]]) ** 2
    return counts, centre, first, squares


@njit(**_INLINE)
def _take_logs(signal: Array, t: Any, logs: Array, y0: Array, y1: Array) -> None:
    """Logarithms of one echo, and their sums with 1 and t; NaN, which then spreads to all of the voxel's fit."""
    for v in range(BLOCK):
        s = signal[v]
        y = _log(s) if (s >= LEAST) & (s < SINGLE(np.inf)) else np.nan
        logs[v] = y
        y0[v] += SINGLE(y)
        y1[v] += SINGLE(y) * t


@njit(**_INLINE)
def _weigh(
    intercept: Array, reference: Array, rate: Array, times: Array, contrast: Array, e: int, weights: Array, ratio: Array
) -> None:
    """Squared prediction of an echo, over that of the first contrast at TE = 0; from the echo before if there is one.

    From echo to echo the square shrinks by a factor that depends on the step in time alone: for even steps it is
    worked out once.
    """
    if e == 0 or contrast[e - 1] != contrast[e]:
        time = SINGLE(2.0 * times[e])
        for v in range(BLOCK):
            weights[v] = _weight(SINGLE(2.0 * (intercept[v] - reference[v])) - SINGLE(rate[v]) * time)
        return
    apart = times[e] - times[e - 1]
    if e == 1 or abs(apart - (times[e - 1] - times[e - 2])) > SAME_STEP or contrast[e - 2] != contrast[e]:
        time = SINGLE(-2.0 * apart)
        for v in range(BLOCK):
            ratio[v] = _weight(SINGLE(rate[v]) * time)
    for v in range(BLOCK):
        weights[v] = min(weights[v] * ratio[v], MOST_WEIGHT)


@njit(**_INLINE)
def _take_weighted(
    logs: Array, intercept: Array, rate: Array, time: float, weights: Array, t: Any,
    gaps: Array, w0: Array, w1: Array, w2: Array, y0: Array, y1: Array,
) -> None:  # fmt: skip
    """Add an echo to the weighted sums of 1, t, t², its residual y, and t·y; keep y in `gaps`."""
    for v in range(BLOCK):
        y = SINGLE(logs[v] - (intercept[v] - rate[v] * time))
        gaps[v] = y
        w = weights[v]
        wt, wy = w * t, w * y
        w0[v] += w
        w1[v] += wt
        w2[v] += wt * t
        y0[v] += wy
        y1[v] += wy * t


@njit(**_INLINE)
def _square_gaps(
    signals: Array, start: int, times: Array, contrast: Array, step: Array, line: Array, gaps: Array, squares: Array
) -> None:
    """Sum the squared residuals of each contrast's signals; `gaps` holds those of the logarithms before `step`."""
    last, stop = len(line) - 1, start + BLOCK
    squares[:] = 0.0
    for e in range(len(times)):
        c = contrast[e]
        n_far = _to_new_line(step[c], step[last], SINGLE(times[e]), gaps[e])
        if n_far == 0:
            _add_near(signals[e, start:stop], gaps[e], squares[c])
        else:
            _add_far(signals[e, start:stop], line[c], line[last], times[e], squares[c])


@njit(**_INLINE)
def _to_new_line(step: Array, rate: Array, time: Any, gaps: Array) -> int:
    """Turn an echo's residuals from the line before into what the new line exceeds it by; count the large ones."""
    # Integers may be added in any order, so that counting runs on vector units; a maximum would not.
    n_far: Any = 0
    for v in range(BLOCK):
        d = (step[v] - rate[v] * time) - gaps[v]
        gaps[v] = d
        n_far += int(abs(d) >= NEAR)
    return n_far


@njit(**_INLINE)
def _add_near(signal: Array, gaps: Array, squares: Array) -> None:
    """Add the squared residuals of one echo, s² (1 − exp d)²; exp d − 1 by its series, to 3e-8 of what is near."""
    for v in range(BLOCK):
        d = gaps[v]
        gap = signal[v] * (d * (ONE + d * (HALF + d * _tail(d))))
        squares[v] += gap * gap


@njit(**_INLINE)
def _add_far(signal: Array, intercept: Array, rate: Array, time: float, squares: Array) -> None:
    for v in range(BLOCK):
        gap = SINGLE(signal[v] - _exp(intercept[v] - rate[v] * time))
        squares[v] += gap * gap


@njit(**OPTIONS)
def shared_slope(sums: Array, origin: Array, line: Array) -> None:
    """Solve the normal equations: logarithms of the intercepts, one row per contrast, and the rate as the last row.

    They have the shape of an arrow: the intercepts drop out, and the rate is the slope pooled within the contrasts.
    `origin` is where each contrast's times were counted from.
    """
    n_contrasts = len(origin)
    squares, product = np.zeros(BLOCK, dtype=SINGLE), np.zeros(BLOCK, dtype=SINGLE)
    for c in range(n_contrasts):
        _pool(sums[c, 0], sums[c, 1], sums[c, 2], sums[c, 3], sums[c, 4], squares, product)
    _negative_ratio(product, squares, line[n_contrasts])
    for c in range(n_contrasts):
        _intercept(sums[c, 0], sums[c, 1], sums[c, 3], SINGLE(origin[c]), line[n_contrasts], line[c])


@njit(**_INLINE)
def _pool(w0: Array, w1: Array, w2: Array, y0: Array, y1: Array, squares: Array, product: Array) -> None:
    for v in range(BLOCK):
        mean = w1[v] / w0[v]
        squares[v] += w2[v] - mean * w1[v]
        product[v] += y1[v] - mean * y0[v]


@njit(**_INLINE)
def _negative_ratio(product: Array, squares: Array, rate: Array) -> None:
    for v in range(BLOCK):
        rate[v] = -product[v] / squares[v]


@njit(**_INLINE)
def _intercept(w0: Array, w1: Array, y0: Array, origin: Any, rate: Array, intercept: Array) -> None:
    for v in range(BLOCK):
        intercept[v] = (y0[v] + rate[v] * w1[v]) / w0[v] + rate[v] * origin


@njit(**OPTIONS)
def _signal_and_rms(intercept: Array, squares: Array, count: float) -> None:
    """Turn a contrast's logarithms into signals, and its sums of squares into root means, in place."""
    for v in range(BLOCK):
        intercept[v] = _exp(intercept[v])
        squares[v] = np.sqrt(squares[v] / count)


@njit(**_INLINE)
def _store(row: Array, target: Array) -> int:
    """Store a row in single precision; how many of its values are none."""
    n_nan: Any = 0
    for v in range(BLOCK):
        target[v] = SINGLE(row[v])
        n_nan += int(row[v] != row[v])
    return n_nan


@njit(**OPTIONS)
def fit_lines_robust(signals: Array, times: Array, contrast: Array, rate: Array, intercepts: Array, rms: Array) -> int:
    """Let outlying echoes lose their weight, starting from the weighted fit; arguments as of :func:`fit_lines`.

    The weight of an echo is its squared prediction times Tukey's biweight of its residual in signal units.
    """
    n_contrasts, n_voxels = intercepts.shape
    counts, _, _, _ = contrast_times(times, contrast, n_contrasts)
    predicted, weights = np.empty(len(times)), np.empty(len(times))
    first, line = np.empty(n_contrasts + 1), np.empty(n_contrasts + 1)
    n_invalid = fit_lines(signals, times, contrast, 1, rate, intercepts, rms)
    for v in range(n_voxels):
        if np.isnan(rate[v]):
            continue
        first[:n_contrasts] = np.log(intercepts[:, v])
        first[n_contrasts] = rate[v]
        line[:] = first
        for _ in range(ROBUST_ROUNDS):
            _predict(line, times, contrast, predicted)
            _biweights(signals[:, v], predicted, n_contrasts + 1, weights)
            if not _line_through(signals[:, v], times, contrast, weights, line):
                line[:] = first
                break
        _predict(line, times, contrast, predicted)
        rate[v] = line[n_contrasts]
        intercepts[:, v] = np.exp(line[:n_contrasts])
        rms[:, v] = 0.0
        for e in range(len(times)):
            rms[contrast[e], v] += (signals[e, v] - predicted[e]) ** 2
        rms[:, v] = np.sqrt(rms[:, v] / counts)
    return n_invalid


@njit(**OPTIONS)
def _biweights(signals: Array, predicted: Array, n_parameters: int, weights: Array) -> None:
    gaps = np.abs(signals - predicted)
    # Residuals of a fit are smaller than the noise: degrees of freedom were spent on it.
    loss = np.sqrt(len(gaps) / max(len(gaps) - n_parameters, 1))
    limit = TUKEY * SD_PER_MAD * np.median(gaps) * loss
    for e in range(len(gaps)):
        # A perfect fit has no outliers.
        share = gaps[e] / limit if limit > 0 else 0.0
        weights[e] = predicted[e] ** 2 * (1.0 - share * share) ** 2 if share < 1.0 else 0.0


@njit(**OPTIONS)
def _predict(line: Array, times: Array, contrast: Array, predicted: Array) -> None:
    for e in range(len(times)):
        predicted[e] = np.exp(line[contrast[e]] - line[-1] * times[e])


@njit(**OPTIONS)
def _line_through(signals: Array, times: Array, contrast: Array, weights: Array, line: Array) -> bool:
    """Weighted fit of one voxel; False, and nothing changed, where the weights leave too little to fit."""
    n_contrasts = len(line) - 1
    total, mean_time, mean_log = np.zeros(n_contrasts), np.zeros(n_contrasts), np.zeros(n_contrasts)
    logs = np.log(signals.astype(np.float64))
    for e in range(len(times)):
        total[contrast[e]] += weights[e]
        mean_time[contrast[e]] += weights[e] * times[e]
        mean_log[contrast[e]] += weights[e] * logs[e]
    if total.min() <= 0.0:
        return False
    mean_time /= total
    mean_log /= total
    squares = 0.0
    product = 0.0
    for e in range(len(times)):
        t = times[e] - mean_time[contrast[e]]
        squares += weights[e] * t * t
        product += weights[e] * t * logs[e]
    if squares <= 0.0:
        return False
    line[n_contrasts] = -product / squares
    line[:n_contrasts] = mean_log + line[n_contrasts] * mean_time
    return True


@njit(**OPTIONS)
def line_covariance(
    rate: Array, intercepts: Array, times: Array, contrast: Array, weighted: bool, covariance: Array
) -> None:
    """Covariance of (ln intercepts, rate) for unit noise in every echo.

    A fitted value is a weighted sum of the logarithms, and the noise of a logarithm is that of the signal over the
    signal (first order); so the covariance is the sum over echoes of products of such factors.

    Parameters
    ----------
    rate, intercepts : ndarray, shapes (n_voxels,) and (n_contrasts, n_voxels)
    times, contrast
        As of :func:`fit_lines`.
    weighted : bool
        Whether the fit weighted by squared predictions.
    covariance : ndarray, shape (n_voxels, n_contrasts + 1, n_contrasts + 1)
        Filled.
    """
    n_contrasts, n_voxels = intercepts.shape
    n_echoes, n = len(times), n_contrasts + 1
    predicted, weights = np.empty(n_echoes), np.empty(n_echoes)
    total, mean = np.empty(n_contrasts), np.empty(n_contrasts)
    factors = np.empty(n)
    for v in range(n_voxels):
        total[:] = 0.0
        mean[:] = 0.0
        for e in range(n_echoes):
            c = contrast[e]
            predicted[e] = intercepts[c, v] * np.exp(-rate[v] * times[e])
            weights[e] = predicted[e] ** 2 if weighted else 1.0
            total[c] += weights[e]
            mean[c] += weights[e] * times[e]
        mean /= total
        squares = 0.0
        for e in range(n_echoes):
            squares += weights[e] * (times[e] - mean[contrast[e]]) ** 2
        covariance[v] = 0.0
        for e in range(n_echoes):
            own = contrast[e]
            slope = -weights[e] * (times[e] - mean[own]) / squares
            for c in range(n_contrasts):
                factors[c] = mean[c] * slope
            factors[own] += weights[e] / total[own]
            factors[n_contrasts] = slope
            for i in range(n):
                for j in range(n):
                    covariance[v, i, j] += factors[i] * factors[j] / predicted[e] ** 2
