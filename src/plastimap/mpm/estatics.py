"""R2* and the signals at echo time zero, from all multi-echo contrasts together (ESTATICS).

The model of Weiskopf 2014 (doi:10.3389/fnins.2014.00278) is

    ln S_c(TE) = ln A_c − R2* · TE

with one R2* for all contrasts and one intercept per contrast. Its normal
equations have the shape of an arrow: given the weights, the intercepts drop
out and R2* is the slope pooled within the contrasts. That closed form is what
is computed here, for many voxels at once; no matrix is inverted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Method = Literal["ols", "wls1", "wls2", "wls3"]
"""Ordinary least squares of the logarithms, or one to three reweightings by the squared predicted signal."""

Order = Literal["C", "F"]
FloatArray = NDArray[np.floating]

LEAST_ECHOES = 4
"""Echoes over all contrasts below which R2* is not fitted."""

LONGEST_ECHO_S = 0.2
"""An echo time above this is taken for milliseconds, and refused."""

CHUNK = 1 << 15
"""Voxels per step: the working arrays of 22 echoes then stay within a processor's cache."""


@dataclass(frozen=True)
class EstaticsFit:
    """Result of :func:`fit_estatics`; arrays are float32 of the images' shape, NaN where nothing was fitted.

    Attributes
    ----------
    r2s : ndarray
        Effective transverse relaxation rate in 1/s (not limited to any range).
    intercepts : dict of str to ndarray
        Signal at TE = 0 per contrast, in the units of the images.
    residual_sd : dict of str to ndarray
        Root mean square of the residuals per contrast, in signal units (divisor: number of echoes).
    r2s_se : ndarray
        Standard error of `r2s` in 1/s, under equal noise in all echoes; NaN without a degree of freedom left.
    r2s_difference : dict of str to ndarray
        R2* of one contrast alone minus `r2s`, in 1/s; empty for a single contrast, and without an entry for a contrast
        of one echo. Motion inside a contrast shows here.
    n_invalid : int
        Voxels asked for whose echoes were not all finite and positive.
    """

    r2s: FloatArray
    intercepts: dict[str, FloatArray]
    residual_sd: dict[str, FloatArray]
    r2s_se: FloatArray
    r2s_difference: dict[str, FloatArray]
    n_invalid: int


def fit_estatics(
    echoes: Mapping[str, Sequence[NDArray]],
    echo_times: Mapping[str, Sequence[float]],
    *,
    method: Method = "wls1",
    mask: ArrayLike | None = None,
) -> EstaticsFit:
    """Fit one R2* and one TE = 0 signal per contrast to multi-echo magnitude images.

    Parameters
    ----------
    echoes : mapping of str to sequence of ndarray
        Images per contrast (for instance ``PDw``, ``T1w``, ``MTw``), all of one shape.
    echo_times : mapping of str to sequence of float
        Echo times in seconds, in the order of the images.
    method : {"ols", "wls1", "wls2", "wls3"}
        Estimator. Logarithms of weak signals are noisy: the weighted fits give each echo its squared predicted signal
        as weight, predicted by the fit before.
    mask : array_like of bool, optional
        Voxels to fit; all when not given.

    Returns
    -------
    EstaticsFit

    Raises
    ------
    ValueError
        When images, times and mask do not go together, fewer than four echoes are there in all, no contrast has two
        different echo times, or the times look like milliseconds.
    """
    times = _checked_times(echoes, echo_times)
    if method not in get_args(Method):
        raise ValueError(f"unknown R2* fit {method!r}; use one of {', '.join(get_args(Method))}")
    n_reweightings = 0 if method == "ols" else int(method[-1])
    first = next(iter(echoes.values()))[0]
    # Flattened views instead of copies need the order in which the images lie in memory (NIfTI: Fortran).
    order: Order = "F" if first.flags.f_contiguous else "C"
    flat = {name: [np.asarray(image).reshape(-1, order=order) for image in images] for name, images in echoes.items()}
    where = _voxels(mask, first.shape, order)

    result = _unfitted(first.size, times)
    n_invalid = 0
    for start in range(0, where.size, CHUNK):
        voxels = where[start : start + CHUNK]
        signals = {
            name: np.stack([image[voxels] for image in images], dtype=np.float64) for name, images in flat.items()
        }
        valid = np.all([(np.isfinite(s) & (s > 0)).all(axis=0) for s in signals.values()], axis=0)
        n_invalid += int(np.count_nonzero(~valid))
        if not valid.all():
            signals = {name: s[:, valid] for name, s in signals.items()}
        _scatter(_fit_voxels(signals, times, n_reweightings), result, voxels[valid])
    return _reshaped(result, first.shape, order, n_invalid)


def _checked_times(
    echoes: Mapping[str, Sequence[NDArray]], echo_times: Mapping[str, Sequence[float]]
) -> dict[str, NDArray[np.float64]]:
    """Echo times as arrays, or a ValueError saying what does not fit together."""
    if not echoes:
        raise ValueError("no echoes given")
    times = {name: np.asarray(echo_times.get(name, ()), dtype=np.float64) for name in echoes}
    shapes = {image.shape for images in echoes.values() for image in images}
    if len(shapes) > 1:
        raise ValueError(f"the echoes have different shapes: {', '.join(map(str, sorted(shapes)))}")
    for name, images in echoes.items():
        if len(images) != times[name].size or not len(images):
            raise ValueError(f"{name}: {len(images)} images but {times[name].size} echo times")
        if not (np.isfinite(times[name]).all() and (times[name] > 0).all()):
            raise ValueError(f"{name}: echo times must be positive numbers of seconds, not {times[name].tolist()}")
        if times[name].max() > LONGEST_ECHO_S:
            raise ValueError(f"{name}: echo times {times[name].tolist()} look like milliseconds; give seconds")
    n_echoes = sum(t.size for t in times.values())
    if n_echoes < LEAST_ECHOES:
        raise ValueError(f"{n_echoes} echoes in all; R2* needs at least {LEAST_ECHOES} (6 recommended)")
    if all(np.ptp(t) == 0 for t in times.values()):
        raise ValueError("no contrast has two different echo times; R2* cannot be told from the signal")
    return times


def _voxels(mask: ArrayLike | None, shape: tuple[int, ...], order: Order) -> NDArray[np.intp]:
    """Flat indices of the voxels to fit."""
    if mask is None:
        return np.arange(int(np.prod(shape)))
    chosen = np.asarray(mask, dtype=bool)
    if chosen.shape != shape:
        raise ValueError(f"the mask's shape {chosen.shape} is not the images' {shape}")
    return np.flatnonzero(chosen.reshape(-1, order=order))


def _fit_voxels(
    signals: Mapping[str, NDArray[np.float64]], times: Mapping[str, NDArray[np.float64]], n_reweightings: int
) -> EstaticsFit:
    """Fit positive signals of shape (n_echoes, n_voxels) per contrast."""
    logs = {name: np.log(s) for name, s in signals.items()}
    weights = {name: np.ones_like(s) for name, s in signals.items()}
    line = _shared_slope(logs, weights, times)
    predicted = {name: np.exp(line.at(name, t)) for name, t in times.items()}
    for _ in range(n_reweightings):
        weights = {name: p * p for name, p in predicted.items()}
        line = _shared_slope(logs, weights, times)
        predicted = {name: np.exp(line.at(name, t)) for name, t in times.items()}

    squares = {name: ((signals[name] - predicted[name]) ** 2).sum(axis=0) for name in times}
    degrees_of_freedom = sum(t.size for t in times.values()) - len(times) - 1
    noise_variance = (
        sum(squares.values()) / degrees_of_freedom if degrees_of_freedom else np.full(line.rate.shape, np.nan)
    )
    return EstaticsFit(
        r2s=line.rate,
        intercepts={name: np.exp(value) for name, value in line.intercepts.items()},
        residual_sd={name: np.sqrt(value / times[name].size) for name, value in squares.items()},
        r2s_se=np.sqrt(noise_variance * line.rate_variance(weights, predicted, times)),
        r2s_difference={name: rate - line.rate for name, rate in line.single_rates.items()},
        n_invalid=0,
    )


@dataclass(frozen=True)
class _Lines:
    """Parallel lines, one per contrast, fitted to the logarithms of many voxels; arrays of shape (n_voxels,)."""

    rate: NDArray[np.float64]
    intercepts: dict[str, NDArray[np.float64]]
    single_rates: dict[str, NDArray[np.float64]]
    mean_times: dict[str, NDArray[np.float64]]
    time_squares: NDArray[np.float64]

    def at(self, name: str, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Evaluate the line of one contrast at `times`, shape (n_times, n_voxels)."""
        return self.intercepts[name] - np.multiply.outer(times, self.rate)

    def rate_variance(
        self,
        weights: Mapping[str, NDArray[np.float64]],
        predicted: Mapping[str, NDArray[np.float64]],
        times: Mapping[str, NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """Variance of `rate` for unit noise in the signals: ln S then has the variance 1/S² (first order)."""
        # The slope is a weighted sum of the logarithms; its variance is the sum of squared factors times 1/S².
        total = np.zeros_like(self.rate)
        for name, t in times.items():
            factors = weights[name] * (t[:, None] - self.mean_times[name])
            total += ((factors / predicted[name]) ** 2).sum(axis=0)
        return total / self.time_squares**2


def _shared_slope(
    logs: Mapping[str, NDArray[np.float64]],
    weights: Mapping[str, NDArray[np.float64]],
    times: Mapping[str, NDArray[np.float64]],
) -> _Lines:
    """Weighted least squares of ln S = ln A_c − R2*·TE with one slope; all contrasts, many voxels."""
    means: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    products: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for name, t in times.items():
        w = weights[name]
        # Times are counted from their plain mean, so that the sums of squares lose no digits to cancellation.
        centred = t - t.mean()
        basis = np.stack([np.ones_like(t), centred, centred**2])
        sum_w, sum_wt, sum_wtt = basis @ w
        sum_wy, sum_wty = basis[:2] @ (w * logs[name])
        means[name] = (t.mean() + sum_wt / sum_w, sum_wy / sum_w)
        products[name] = (sum_wtt - sum_wt**2 / sum_w, sum_wty - sum_wt * sum_wy / sum_w)
    time_squares = np.sum([tt for tt, _ in products.values()], axis=0)
    rate = -np.sum([ty for _, ty in products.values()], axis=0) / time_squares
    return _Lines(
        rate=rate,
        intercepts={name: y + rate * t for name, (t, y) in means.items()},
        single_rates={
            name: -ty / tt for name, (tt, ty) in products.items() if len(times) > 1 and np.ptp(times[name]) > 0
        },
        mean_times={name: t for name, (t, _) in means.items()},
        time_squares=time_squares,
    )


def _unfitted(n_voxels: int, times: Mapping[str, NDArray[np.float64]]) -> EstaticsFit:
    """Make a flat result full of NaN, to be filled chunk by chunk."""

    def empty() -> NDArray[np.float32]:
        return np.full(n_voxels, np.nan, dtype=np.float32)

    several = len(times) > 1
    return EstaticsFit(
        r2s=empty(),
        intercepts={name: empty() for name in times},
        residual_sd={name: empty() for name in times},
        r2s_se=empty(),
        r2s_difference={name: empty() for name, t in times.items() if several and np.ptp(t) > 0},
        n_invalid=0,
    )


def _scatter(part: EstaticsFit, whole: EstaticsFit, voxels: NDArray[np.intp]) -> None:
    """Write the fit of some voxels into their places."""
    whole.r2s[voxels] = part.r2s
    whole.r2s_se[voxels] = part.r2s_se
    for field in ("intercepts", "residual_sd", "r2s_difference"):
        for name, image in getattr(whole, field).items():
            image[voxels] = getattr(part, field)[name]


def _reshaped(flat: EstaticsFit, shape: tuple[int, ...], order: Order, n_invalid: int) -> EstaticsFit:
    """Give the flat result the images' shape."""

    def whole(images: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        return {name: image.reshape(shape, order=order) for name, image in images.items()}

    return EstaticsFit(
        r2s=flat.r2s.reshape(shape, order=order),
        intercepts=whole(flat.intercepts),
        residual_sd=whole(flat.residual_sd),
        r2s_se=flat.r2s_se.reshape(shape, order=order),
        r2s_difference=whole(flat.r2s_difference),
        n_invalid=n_invalid,
    )
