"""Compiled inner loops of the fits to multi-echo signals.

Voxels lie side by side in memory, so that the loops over them run on vector units. numba has no vectorised logarithm
and exponential without Intel's library; those below are the usual argument reductions with polynomials.

A line is found twice. The first one, from logarithms in single precision, only has to be near. What the signals leave
of it is then found in full: a signal over its prediction, less 1, is worked out in double precision and is small, so
that its logarithm needs no more than single precision; and the prediction goes from echo to echo by one product. What
weighted fits add to the line comes from these residuals. Only where a signal is far from its line (noise) are
logarithms taken in double precision. Everything runs in one thread: scans run side by side instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types  # pyright: ignore[reportPrivateImportUsage]
from numba.extending import intrinsic

Array = Any

SINGLE = np.float32
ONE, HALF = SINGLE(1), SINGLE(0.5)

BLOCK = 512
"""Voxels worked on at once: what is kept of their echoes stays in the processor's nearer caches."""

BLOCK_BYTES = 4 * BLOCK
CACHE_LINE = 64

NEAR = SINGLE(0.29)
"""Residual of a logarithm up to which short series give logarithm and exponential."""

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

NEAR_LOG_SERIES = tuple(SINGLE(c) for c in (
    0.3333332857677281, -0.2500029709543931, 0.20001473480079238, -0.16642218610844495, 0.1420199096357675,
    -0.12972435295402576, 0.12714018467872532, -0.08103168168878179,
))  # fmt: skip
"""Chebyshev fit of (ln(1 + f) − f + f²/2)/f³ for 1 + f between √½ and √2; the logarithm is off by 2.4e-8 of itself."""

SQRT_HALF = np.int32(0x3F3504F3)
"""Bits of √½ in single precision: mantissas below it are doubled."""

SHIFT_TO_SQRT_HALF = np.int32(0x3F800000 - 0x3F3504F3)
MANTISSA = np.int32(0x007FFFFF)
LEAST = SINGLE(np.finfo(np.float32).tiny)
"""A signal below the smallest normal number is none."""

# For logarithm and exponential in single precision.
LN2_32, LN2_HIGH_32, LN2_LOW_32 = SINGLE(LN2), SINGLE(0.693145751953125), SINGLE(1.42860682030941723212e-6)
LOG2_E_32, ROUND_32, LARGEST_32 = SINGLE(LOG2_E), SINGLE(12582912.0), SINGLE(87.0)
EXPONENT_AT, EXPONENT_BIAS = np.int32(23), np.int32(127)
MOST_WEIGHT = SINGLE(1e30)

SAME_STEP = 1e-15
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


@intrinsic
def _pointer(_context: Any, address: Any) -> Any:
    """The float32 at an address."""

    def code(_c: Any, builder: Any, _s: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(address), code


@intrinsic
def _ask_for(_context: Any, address: Any) -> Any:
    """Have the processor fetch what lies at an address; it is read in a while, a few times."""

    def code(context: Any, builder: Any, _s: Any, args: Any) -> Any:
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        builder.call(prefetch, [builder.inttoptr(args[0], pointer), number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(address), code


@njit(**_INLINE)
def _row(address: Any) -> Array:
    """The block of voxels that begins at an address."""
    return carray(_pointer(address), (BLOCK,))  # pyright: ignore[reportCallIssue]


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
def _log_near_1(f: Any) -> Any:
    """ln(1 + f) in single precision, for f between −.293 and .414; good to 1e-7 (relative)."""
    a = NEAR_LOG_SERIES
    g = f * f
    low = (a[0] + f * a[1]) + g * (a[2] + f * a[3])
    high = (a[4] + f * a[5]) + g * (a[6] + f * a[7])
    return f + g * (f * (low + (g * g) * high) - HALF)


@njit(**_INLINE)
def _rough_log(x: Any) -> Any:
    """Natural logarithm of a positive, normal float32, in single precision."""
    shifted = np.int32(_bits_32(x) + SHIFT_TO_SQRT_HALF)
    k = np.int32(np.int32(shifted >> EXPONENT_AT) - EXPONENT_BIAS)
    m = _single(np.int32(np.int32(shifted & MANTISSA) + SQRT_HALF))
    return SINGLE(k) * LN2_32 + _log_near_1(m - ONE)


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
    addresses: Array, n_voxels: int, times: Array, contrast: Array, reweightings: int, result: Array, at: int
) -> int:
    """Fit parallel lines to the logarithms of many voxels, and count the voxels that cannot be fitted.

    Parameters
    ----------
    addresses : ndarray of int, shape (n_echoes,)
        Where the first of the voxels to fit lies in memory, for each echo; the others (float32) follow it.
    n_voxels : int
        A multiple of :data:`BLOCK`.
    times : ndarray, shape (n_echoes,)
        Echo times in seconds.
    contrast : ndarray of int, shape (n_echoes,)
        Number of each echo's contrast; every contrast has an echo, and its echoes follow each other.
    reweightings : int
        0 for ordinary least squares; each further round weights by the squared prediction of the one before.
    result : ndarray of float32, shape (1 + 2 n_contrasts, at + n_voxels or more)
        Filled from column `at` on: R2*, signals at TE = 0, root mean square residuals. NaN where a signal is not
        positive and finite.
    at : int
    """
    n_contrasts = (len(result) - 1) // 2
    counts, centre, first, time_squares = contrast_times(times, contrast, n_contrasts)
    # All of one block lies in rows of its own, which the compiler knows not to overlap and to be dense.
    line, step = np.empty((n_contrasts + 1, BLOCK)), np.empty((n_contrasts + 1, BLOCK), dtype=SINGLE)
    sums, squares = np.empty((n_contrasts, 5, BLOCK), dtype=SINGLE), np.empty((n_contrasts, BLOCK), dtype=SINGLE)
    gaps, rows = np.empty((len(times), BLOCK), dtype=SINGLE), addresses.copy()
    n_invalid: Any = 0
    for start in range(at, at + n_voxels, BLOCK):
        for c in range(n_contrasts):
            sums[c] = 0.0
            sums[c, 0, :] = counts[c]
            sums[c, 2, :] = time_squares[c]
        for e in range(len(times)):
            own, t = sums[contrast[e]], SINGLE(times[e] - centre[contrast[e]])
            _take_logs(_row(rows[e]), t, own[3], own[4])
        shared_slope(sums, centre, step)
        line[:] = step
        for _ in range(max(reweightings, 1)):
            if not _weighted_sums(rows, times, contrast, first, line, reweightings > 0, True, gaps, sums):
                _weighted_sums(rows, times, contrast, first, line, reweightings > 0, False, gaps, sums)
            shared_slope(sums, first, step)
            line += step
        _square_gaps(rows, times, contrast, step, line, gaps, squares)
        n_invalid += _store(line[n_contrasts], result[0, start : start + BLOCK])
        for c in range(n_contrasts):
            _signal_and_rms(line[c], squares[c], counts[c])
            _store(line[c], result[1 + c, start : start + BLOCK])
            _store(squares[c], result[1 + n_contrasts + c, start : start + BLOCK])
        rows += BLOCK_BYTES
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
def _ask_for_row(address: Any) -> None:
    # Beyond the last voxel nothing happens: a request is no access.
    for line in range(0, BLOCK_BYTES, CACHE_LINE):
        _ask_for(address + line)  # pyright: ignore[reportCallIssue]


@njit(**_INLINE)
def _take_logs(signal: Array, t: Any, y0: Array, y1: Array) -> None:
    """Add an echo's logarithms to their sums with 1 and t; NaN, which then spreads to all of the voxel's fit."""
    for v in range(BLOCK):
        s = signal[v]
        y = _rough_log(s) if (s >= LEAST) & (s < SINGLE(np.inf)) else SINGLE(np.nan)
        y0[v] += y
        y1[v] += y * t


@njit(**_INLINE)
def _weighted_sums(
    rows: Array, times: Array, contrast: Array, first: Array, line: Array, weighted: bool, near: bool,
    gaps: Array, sums: Array,
) -> bool:  # fmt: skip
    """Fill `gaps` with what logarithms exceed the line by, and `sums` for the line through these gaps.

    A weight is the squared prediction of an echo over that of the first contrast at TE = 0, or 1. With `near`, short
    series serve; where they do not, nothing is done to the end, and False returned.
    """
    reference, rate = line[0], line[len(line) - 1]
    weights, decay = np.empty(BLOCK, dtype=SINGLE), np.empty(BLOCK, dtype=SINGLE)
    inverse, growth = np.empty(BLOCK), np.empty(BLOCK)
    sums[:] = 0.0
    apart = np.inf
    for e in range(len(times)):
        c = contrast[e]
        step = _time_step(times, contrast, e)
        if abs(step - apart) > SAME_STEP:
            apart = step
            _factors_of_step(rate, apart, growth, decay)
        if e == 0 or contrast[e - 1] != c:
            _one_step_before(line[c], reference, rate, times[e] - apart, inverse, weights)
        if not weighted:
            weights[:], decay[:] = 1.0, 1.0
        _ask_for_row(rows[e] + BLOCK_BYTES)
        if not near:
            _far_gaps(_row(rows[e]), line[c], rate, times[e], gaps[e])
        t, own = SINGLE(times[e] - first[c]), sums[c]
        n_far = _take_echo(
            _row(rows[e]), growth, decay, t, near, inverse, weights, gaps[e], own[0], own[1], own[2], own[3], own[4]
        )
        if near and n_far > 0:
            return False
    return True


@njit(**_INLINE)
def _time_step(times: Array, contrast: Array, e: int) -> float:
    """Time since the echo before, or, for a contrast's first echo, from it to its second; 0 when it is alone."""
    if e > 0 and contrast[e - 1] == contrast[e]:
        return times[e] - times[e - 1]
    if e + 1 < len(times) and contrast[e + 1] == contrast[e]:
        return times[e + 1] - times[e]
    return 0.0


@njit(**_INLINE)
def _factors_of_step(rate: Array, step: float, growth: Array, decay: Array) -> None:
    """What a step in time makes of one over the prediction, and of the squared prediction."""
    for v in range(BLOCK):
        growth[v] = _exp(rate[v] * step)
        decay[v] = SINGLE(1.0 / (growth[v] * growth[v]))


@njit(**_INLINE)
def _one_step_before(
    intercept: Array, reference: Array, rate: Array, time: float, inverse: Array, weights: Array
) -> None:
    """One over the prediction, and the weight, at a time."""
    for v in range(BLOCK):
        inverse[v] = _exp(rate[v] * time - intercept[v])
    for v in range(BLOCK):
        weights[v] = _weight(SINGLE(2.0 * (intercept[v] - reference[v])) - SINGLE(rate[v]) * SINGLE(2.0 * time))


@njit(**_INLINE)
def _take_echo(
    signal: Array, growth: Array, decay: Array, t: Any, near: bool, inverse: Array, weights: Array, gaps: Array,
    w0: Array, w1: Array, w2: Array, y0: Array, y1: Array,
) -> int:  # fmt: skip
    """Go on by a step, and add an echo to the weighted sums of 1, t, t², its gap y, and t·y; count those far off."""
    # Integers may be added in any order, so that counting runs on vector units; a maximum would not.
    n_far: Any = np.int32(0)
    for v in range(BLOCK):
        predicted = inverse[v] * growth[v]
        f = SINGLE(np.float64(signal[v]) * predicted - 1.0)
        y = _log_near_1(f) if near else gaps[v]
        w = min(weights[v] * decay[v], MOST_WEIGHT)
        n_far = np.int32(n_far + np.int32(abs(f) >= NEAR))
        inverse[v], weights[v], gaps[v] = predicted, w, y
        wt, wy = w * t, w * y
        w0[v] += w
        w1[v] += wt
        w2[v] += wt * t
        y0[v] += wy
        y1[v] += wy * t
    return n_far


@njit(**_INLINE)
def _far_gaps(signal: Array, intercept: Array, rate: Array, time: float, gaps: Array) -> None:
    for v in range(BLOCK):
        gaps[v] = SINGLE(_log(signal[v]) - (intercept[v] - rate[v] * time))


@njit(**_INLINE)
def _square_gaps(
    rows: Array, times: Array, contrast: Array, step: Array, line: Array, gaps: Array, squares: Array
) -> None:
    """Sum the squared residuals of each contrast's signals; `gaps` holds those of the logarithms before `step`."""
    last = len(line) - 1
    squares[:] = 0.0
    n_far: Any = 0
    for e in range(len(times)):
        c = contrast[e]
        n_far += _add_near(_row(rows[e]), step[c], step[last], SINGLE(times[e]), gaps[e], squares[c])
    if n_far > 0:
        squares[:] = 0.0
        for e in range(len(times)):
            c = contrast[e]
            _add_far(_row(rows[e]), line[c], line[last], times[e], squares[c])


@njit(**_INLINE)
def _add_near(signal: Array, step: Array, rate: Array, time: Any, gaps: Array, squares: Array) -> int:
    """Add the squared residuals of one echo, s² (1 − exp d)²; exp d − 1 by its series, to 3e-8 of what is near."""
    n_far: Any = np.int32(0)
    for v in range(BLOCK):
        d = (step[v] - rate[v] * time) - gaps[v]
        n_far = np.int32(n_far + np.int32(abs(d) >= NEAR))
        gap = signal[v] * (d * (ONE + d * (HALF + d * _tail(d))))
        squares[v] += gap * gap
    return n_far


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
