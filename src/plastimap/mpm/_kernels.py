"""Compiled inner loops of the fits to multi-echo signals.

Voxels lie side by side in memory, so that the loops over them run on vector units. numba has no vectorised logarithm
and exponential without Intel's library; those below are the usual argument reductions with polynomials: the logarithm
good to 2e-15 (absolute), the exponential to 1e-14, and one in single precision for weights, which need no more, to
5e-7 (relative). Everything runs in one thread: scans run side by side instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

Array = Any

BLOCK = 256
"""Voxels worked on at once: what is kept of their echoes stays in the processor's nearer caches."""

NEAR = 0.3
"""Residual of a logarithm up to which a short series gives the residual of the signal."""

ROBUST_ROUNDS = 15
"""Reweightings of the robust fit; Tukey's weights settle sooner."""

TUKEY = 4.685
"""Residuals beyond so many standard deviations have no weight (95 % efficiency without outliers)."""

SD_PER_MAD = 1.4826

LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
LOG2_E = 1.4426950408889634
ROUND = 6755399441055744.0
"""1.5 · 2⁵²: adding it rounds a double to an integer, which then stands in the low bits."""

TWO_52 = 4503599627370496.0
BITS_OF_TWO_52 = 0x4330000000000000
MANTISSA = 0x000FFFFFFFFFFFFF
SQRT_HALF = 0x3FE6A09E667F3BCD
"""Bits of √½: mantissas below it are doubled."""

SHIFT_TO_SQRT_HALF = 0x3FF0000000000000 - SQRT_HALF

# For the exponential in single precision.
ONE, HALF = np.float32(1), np.float32(0.5)
LN2_HIGH_32, LN2_LOW_32 = np.float32(0.693145751953125), np.float32(1.42860682030941723212e-6)
LOG2_E_32, ROUND_32, LARGEST_32 = np.float32(LOG2_E), np.float32(12582912.0), np.float32(87.0)
EXPONENT_AT, EXPONENT_BIAS = np.int32(23), np.int32(127)
EXP_SERIES = tuple(np.float32(1 / c) for c in (6, 24, 120, 720))

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
    """Natural logarithm of a positive, normal number."""
    # x = m · 2^k with m between √½ and √2; then the series of fdlibm in s = f/(2 + f), f = m − 1.
    shifted = _bits(np.float64(x)) + SHIFT_TO_SQRT_HALF
    k = _double(((shifted >> 52) & 0xFFF) | BITS_OF_TWO_52) - (TWO_52 + 1023.0)
    f = _double((shifted & MANTISSA) + SQRT_HALF) - 1.0
    s = f / (2.0 + f)
    z = s * s
    tail = 1.818357216161805012e-01 + z * (1.531383769920937332e-01 + z * 1.479819860511658591e-01)
    tail = 2.857142874366239149e-01 + z * (2.222219843214978396e-01 + z * tail)
    series = z * (6.666666666666735130e-01 + z * (3.999999999940941908e-01 + z * tail))
    half = 0.5 * f * f
    return k * LN2_HIGH - ((half - (s * (half + series) + k * LN2_LOW)) - f)


@njit(**_INLINE)
def _weight(x: Any) -> Any:
    """Exponential of a float32 between −87 and 87, good to 5e-7."""
    x = min(max(x, -LARGEST_32), LARGEST_32)
    rounded = x * LOG2_E_32 + ROUND_32
    n = rounded - ROUND_32
    r = (x - n * LN2_HIGH_32) - n * LN2_LOW_32
    p = EXP_SERIES[0] + r * (EXP_SERIES[1] + r * (EXP_SERIES[2] + r * EXP_SERIES[3]))
    p = ONE + r * (ONE + r * (HALF + r * p))
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
    counts, centre = contrast_means(times, contrast, n_contrasts)
    time_squares = np.zeros(n_contrasts)
    for e in range(len(times)):
        time_squares[contrast[e]] += (times[e] - centre[contrast[e]]) ** 2
    # All of one block lies in rows of its own, which the compiler knows not to overlap and to be dense.
    logs = np.empty((len(times), BLOCK))
    line, short = np.empty((n_contrasts + 1, BLOCK)), np.empty((n_contrasts + 1, BLOCK), dtype=np.float32)
    squares = np.empty((n_contrasts, BLOCK))
    sums = np.empty((n_contrasts, 5, BLOCK))
    invalid = np.empty(BLOCK, dtype=np.float32)
    n_invalid: Any = 0
    for start in range(0, n_voxels, BLOCK):
        stop = start + BLOCK
        sums[:] = 0.0
        invalid[:] = 0.0
        for e in range(len(times)):
            own = sums[contrast[e]]
            t = times[e] - centre[contrast[e]]
            _take_logs(signals[e, start:stop], t, logs[e], invalid, own[3], own[4])
        for c in range(n_contrasts):
            sums[c, 0, :] = counts[c]
            sums[c, 2, :] = time_squares[c]
        shared_slope(sums, centre, line)
        for _ in range(reweightings):
            sums[:] = 0.0
            _doubled(line, short)
            for e in range(len(times)):
                own = sums[contrast[e]]
                t = times[e] - centre[contrast[e]]
                _take_weighted(
                    short[contrast[e]], short[n_contrasts], np.float32(times[e]), t, logs[e],
                    own[0], own[1], own[2], own[3], own[4],
                )  # fmt: skip
            shared_slope(sums, centre, line)
        squares[:] = 0.0
        for e in range(len(times)):
            c = contrast[e]
            _add_squares(signals[e, start:stop], logs[e], line[c], line[n_contrasts], times[e], squares[c])
        _store(line[n_contrasts], invalid, rate[start:stop])
        for c in range(n_contrasts):
            _signal_and_rms(line[c], squares[c], counts[c])
            _store(line[c], invalid, intercepts[c, start:stop])
            _store(squares[c], invalid, rms[c, start:stop])
        n_invalid += np.count_nonzero(invalid)
    return n_invalid


@njit(**OPTIONS)
def contrast_means(times: Array, contrast: Array, n_contrasts: int) -> tuple[Array, Array]:
    """Number of echoes and mean echo time of each contrast.

    Times are counted from this mean, so that sums of squares lose no digits to cancellation.
    """
    counts, centre = np.zeros(n_contrasts), np.zeros(n_contrasts)
    for e in range(len(times)):
        counts[contrast[e]] += 1.0
        centre[contrast[e]] += times[e]
    return counts, centre / counts


@njit(**OPTIONS)
def _take_logs(signal: Array, t: float, logs: Array, invalid: Array, y0: Array, y1: Array) -> None:
    """Logarithms of one echo, and their sums with 1 and t."""
    for v in range(BLOCK):
        s = signal[v]
        usable = (s > np.float32(0)) & (s < np.float32(np.inf))
        invalid[v] += np.float32(0) if usable else ONE
        y = _log(s if usable else ONE)
        logs[v] = y
        y0[v] += y
        y1[v] += y * t


@njit(**OPTIONS)
def _doubled(line: Array, short: Array) -> None:
    for i in range(len(line)):
        for v in range(BLOCK):
            short[i, v] = np.float32(2.0 * line[i, v])


@njit(**OPTIONS)
def _take_weighted(
    intercept: Array,
    rate: Array,
    time: Any,
    t: float,
    logs: Array,
    w0: Array,
    w1: Array,
    w2: Array,
    y0: Array,
    y1: Array,
) -> None:
    """Weight one echo by its squared prediction, and add it to the weighted sums of 1, t, t², y and t·y."""
    for v in range(BLOCK):
        w = np.float64(_weight(intercept[v] - rate[v] * time))
        wy = w * logs[v]
        w0[v] += w
        w1[v] += w * t
        w2[v] += w * (t * t)
        y0[v] += wy
        y1[v] += wy * t


@njit(**OPTIONS)
def _add_squares(signal: Array, logs: Array, intercept: Array, rate: Array, t: float, squares: Array) -> None:
    """Add the squared residuals of one echo, s² (1 − exp d)² with d the residual of its logarithm."""
    # Integers may be added in any order, so that counting runs on vector units; a maximum would not.
    far = 0
    for v in range(BLOCK):
        far += int(abs(intercept[v] - rate[v] * t - logs[v]) >= NEAR)
    if far == 0:
        for v in range(BLOCK):
            d = intercept[v] - rate[v] * t - logs[v]
            # exp(d) − 1 by its series, to 1e-9 for what is near.
            p = 1 / 120.0 + d * (1 / 720.0 + d * (1 / 5040.0 + d * (1 / 40320.0)))
            gap = signal[v] * (d * (1.0 + d * (0.5 + d * (1 / 6.0 + d * (1 / 24.0 + d * p)))))
            squares[v] += gap * gap
        return
    for v in range(BLOCK):
        gap = signal[v] - _exp(intercept[v] - rate[v] * t)
        squares[v] += gap * gap


@njit(**OPTIONS)
def shared_slope(sums: Array, centre: Array, line: Array) -> None:
    """Solve the normal equations: logarithms of the intercepts, one row per contrast, and the rate as the last row.

    They have the shape of an arrow: the intercepts drop out, and the rate is the slope pooled within the contrasts.
    """
    n_contrasts = len(centre)
    squares, product = np.zeros(BLOCK), np.zeros(BLOCK)
    for c in range(n_contrasts):
        _pool(sums[c, 0], sums[c, 1], sums[c, 2], sums[c, 3], sums[c, 4], squares, product)
    _negative_ratio(product, squares, line[n_contrasts])
    for c in range(n_contrasts):
        _intercept(sums[c, 0], sums[c, 1], sums[c, 3], centre[c], line[n_contrasts], line[c])


@njit(**OPTIONS)
def _pool(w0: Array, w1: Array, w2: Array, y0: Array, y1: Array, squares: Array, product: Array) -> None:
    for v in range(BLOCK):
        mean = w1[v] / w0[v]
        squares[v] += w2[v] - mean * w1[v]
        product[v] += y1[v] - mean * y0[v]


@njit(**OPTIONS)
def _negative_ratio(product: Array, squares: Array, rate: Array) -> None:
    for v in range(BLOCK):
        rate[v] = -product[v] / squares[v]


@njit(**OPTIONS)
def _intercept(w0: Array, w1: Array, y0: Array, centre: float, rate: Array, intercept: Array) -> None:
    for v in range(BLOCK):
        intercept[v] = (y0[v] + rate[v] * w1[v]) / w0[v] + rate[v] * centre


@njit(**OPTIONS)
def _signal_and_rms(intercept: Array, squares: Array, count: float) -> None:
    """Turn a contrast's logarithms into signals, and its sums of squares into root means, in place."""
    for v in range(BLOCK):
        intercept[v] = _exp(intercept[v])
        squares[v] = np.sqrt(squares[v] / count)


@njit(**OPTIONS)
def _store(row: Array, invalid: Array, target: Array) -> None:
    for v in range(BLOCK):
        target[v] = np.float32(row[v]) if invalid[v] == np.float32(0) else np.float32(np.nan)


@njit(**OPTIONS)
def fit_lines_robust(signals: Array, times: Array, contrast: Array, rate: Array, intercepts: Array, rms: Array) -> int:
    """Let outlying echoes lose their weight, starting from the weighted fit; arguments as of :func:`fit_lines`.

    The weight of an echo is its squared prediction times Tukey's biweight of its residual in signal units.
    """
    n_contrasts, n_voxels = intercepts.shape
    counts, _ = contrast_means(times, contrast, n_contrasts)
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
