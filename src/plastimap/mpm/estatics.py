"""R2* and the signals at echo time zero, from all multi-echo contrasts together (ESTATICS).

The model of Weiskopf 2014 (doi:10.3389/fnins.2014.00278) is

    ln S_c(TE) = ln A_c − R2* · TE

with one R2* for all contrasts and one intercept per contrast. Its normal equations have the shape of an arrow: given
the weights, the intercepts drop out and R2* is the slope pooled within the contrasts; no matrix is inverted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Method = Literal["ols", "wls1", "wls2", "wls3", "robust"]
"""Ordinary least squares of the logarithms; one to three reweightings by the squared predicted signal; or that with
outlying echoes weighted down."""

REWEIGHTINGS: dict[Method, int] = {"ols": 0, "wls1": 1, "wls2": 2, "wls3": 3, "robust": 1}
"""Rounds of the fit that are weighted by the squared prediction of the one before."""

Order = Literal["C", "F"]
FloatArray = NDArray[np.floating]
Scheme = tuple[NDArray[np.float64], NDArray[np.intp]]
"""All echo times in one row, and the number of the contrast that each belongs to."""

LEAST_ECHOES = 4
"""Echoes over all contrasts (or of a contrast fitted alone) below which R2* is not fitted."""

LONGEST_ECHO_S = 0.2
"""An echo time above this is taken for milliseconds, and refused."""

CHUNK = 1 << 13
"""Voxels per step: what is copied on the way stays in the cache. A multiple of the kernels' blocks."""


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
    echo_times : dict of str to ndarray
        Echo times in seconds.
    method : {"ols", "wls1", "wls2", "wls3", "robust"}
    n_invalid : int
        Voxels asked for whose echoes were not all finite and positive.
    """

    r2s: FloatArray
    intercepts: dict[str, FloatArray]
    residual_sd: dict[str, FloatArray]
    echo_times: dict[str, NDArray[np.float64]]
    method: Method
    n_invalid: int

    @property
    def degrees_of_freedom(self) -> int:
        """Number of echoes less number of parameters."""
        return sum(times.size for times in self.echo_times.values()) - len(self.echo_times) - 1


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
    method : {"ols", "wls1", "wls2", "wls3", "robust"}
        Estimator. Logarithms of weak signals are noisy: the weighted fits give each echo its squared predicted signal
        as weight, predicted by the fit before. The robust one multiplies these weights by Tukey's biweight of the
        residual, until they settle; it takes some fifty times as long.
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
    times = checked_times(echoes, echo_times)
    if method not in get_args(Method):
        raise ValueError(f"unknown R2* fit {method!r}; use one of {', '.join(get_args(Method))}")
    scheme = echo_scheme(times)
    images = [np.asarray(image) for each in echoes.values() for image in each]
    order = memory_order(images[0])
    flat = [image.reshape(-1, order=order) for image in images]
    where = None if mask is None else chosen_voxels(mask, images[0].shape, order)
    values = np.empty((1 + 2 * len(times), images[0].size), dtype=np.float32)
    n_done, n_invalid = 0, 0
    if where is not None:
        values.fill(np.nan)
    elif method != "robust":
        n_done, n_invalid = _fit_in_place(flat, scheme, method, values)
    # Kernels work on whole blocks: what lies beyond the last voxel is 1, and its fit is left behind.
    signals = np.ones((len(flat), CHUNK), dtype=np.float32)
    part = np.empty((len(values), CHUNK), dtype=np.float32)
    for run, n in runs(where, n_done, images[0].size):
        for row, image in zip(signals, flat, strict=True):
            row[:n] = image[run]
        signals[:, n:] = 1
        n_invalid += _fit_rows(signals, scheme, method, part)
        values[:, run] = part[:, :n]
    maps = [row.reshape(images[0].shape, order=order) for row in values]
    return EstaticsFit(
        r2s=maps[0],
        intercepts=dict(zip(times, maps[1 : 1 + len(times)], strict=True)),
        residual_sd=dict(zip(times, maps[1 + len(times) :], strict=True)),
        echo_times=times,
        method=method,
        n_invalid=int(n_invalid),
    )


def _fit_rows(signals: NDArray[np.float32], scheme: Scheme, method: Method, fitted: NDArray[np.float32]) -> int:
    """Fill `fitted` from equally many voxels of the echoes, whole blocks of them; how many had no fit."""
    from plastimap.mpm._kernels import fit_lines
    from plastimap.mpm._voxelwise import refit_robustly

    addresses = np.array([row.ctypes.data for row in signals])
    n_invalid = fit_lines(addresses, signals.shape[1], *scheme, REWEIGHTINGS[method], fitted, 0)
    if method == "robust":
        first = 1 + len(fitted) // 2
        refit_robustly(signals, *scheme, fitted[0], fitted[1:first], fitted[first:])
    return n_invalid


def _fit_in_place(
    images: Sequence[NDArray], scheme: Scheme, method: Method, fitted: NDArray[np.float32]
) -> tuple[int, int]:
    """Fit as many whole blocks as there are without copying their echoes: how many voxels, and how many had no fit."""
    from plastimap.mpm._kernels import BLOCK, fit_lines

    n = images[0].size // BLOCK * BLOCK
    if not n or not all(i.dtype == np.float32 and i.flags.c_contiguous and i.flags.aligned for i in images):
        return 0, 0
    addresses = np.array([image.ctypes.data for image in images])
    return n, fit_lines(addresses, n, *scheme, REWEIGHTINGS[method], fitted, 0)


def fit_each_contrast(
    echoes: Mapping[str, Sequence[NDArray]],
    echo_times: Mapping[str, Sequence[float]],
    *,
    method: Method = "wls1",
    mask: ArrayLike | None = None,
) -> dict[str, EstaticsFit]:
    """Fit every contrast alone, each with an R2* of its own; arguments as of :func:`fit_estatics`.

    Returns
    -------
    dict of str to EstaticsFit
        Contrasts of fewer than four echoes are left out.

    Raises
    ------
    ValueError
        As :func:`fit_estatics`, and when no contrast has enough echoes.
    """
    times = checked_times(echoes, echo_times)
    enough = [name for name, t in times.items() if t.size >= LEAST_ECHOES]
    if not enough:
        counts = ", ".join(f"{name} {t.size}" for name, t in times.items())
        raise ValueError(f"too few echoes for a fit per contrast ({counts}); each needs at least {LEAST_ECHOES}")
    return {name: fit_estatics({name: echoes[name]}, echo_times, method=method, mask=mask) for name in enough}


def noise_variance(fit: EstaticsFit) -> NDArray[np.float64]:
    """Variance of the noise of one echo, from the residuals of all; NaN without a degree of freedom left.

    Parameters
    ----------
    fit : EstaticsFit

    Returns
    -------
    ndarray
        Units of the images squared.
    """
    squares = np.zeros(fit.r2s.shape)
    for name, times in fit.echo_times.items():
        squares += times.size * fit.residual_sd[name].astype(np.float64) ** 2
    return squares / fit.degrees_of_freedom if fit.degrees_of_freedom > 0 else np.full(squares.shape, np.nan)


def line_covariances(fit: EstaticsFit, voxels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Covariance of the fitted parameters for noise of variance 1 in every echo (first order).

    Multiply by :func:`noise_variance` for the covariance itself.

    Parameters
    ----------
    fit : EstaticsFit
    voxels : ndarray of bool
        Where.

    Returns
    -------
    ndarray, shape (n_voxels, n_contrasts + 1, n_contrasts + 1)
        Of the logarithms of the intercepts, in order, and R2* as the last.
    """
    from plastimap.mpm._voxelwise import line_covariance

    intercepts = np.stack([image[voxels] for image in fit.intercepts.values()], dtype=np.float64)
    n = len(intercepts) + 1
    covariance = np.empty((intercepts.shape[1], n, n))
    rate = fit.r2s[voxels].astype(np.float64)
    line_covariance(rate, intercepts, *echo_scheme(fit.echo_times), fit.method != "ols", covariance)
    return covariance


def r2s_standard_error(fit: EstaticsFit) -> NDArray[np.float32]:
    """Standard error of R2* in 1/s, under equal noise in all echoes.

    Parameters
    ----------
    fit : EstaticsFit

    Returns
    -------
    ndarray of float32
        NaN outside the fit, and without a degree of freedom left.
    """
    fitted = np.isfinite(fit.r2s)
    error = np.full(fit.r2s.shape, np.nan, dtype=np.float32)
    error[fitted] = np.sqrt(noise_variance(fit)[fitted] * line_covariances(fit, fitted)[:, -1, -1])
    return error


def checked_times(
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


def echo_scheme(times: Mapping[str, NDArray[np.float64]]) -> Scheme:
    """Echo times per contrast as the kernels take them."""
    return np.concatenate(list(times.values())), np.repeat(np.arange(len(times)), [t.size for t in times.values()])


def memory_order(image: NDArray) -> Order:
    """Order in which an image lies in memory (NIfTI: Fortran), so that flattening it copies nothing."""
    return "F" if image.flags.f_contiguous else "C"


def runs(where: NDArray[np.intp] | None, first: int, size: int) -> Iterator[tuple[slice | NDArray[np.intp], int]]:
    """Voxels to fit in one step, and their number: those of `where`, or all from `first` up to `size`."""
    if where is None:
        for start in range(first, size, CHUNK):
            stop = min(start + CHUNK, size)
            yield slice(start, stop), stop - start
        return
    for start in range(0, where.size, CHUNK):
        voxels = where[start : start + CHUNK]
        # A run of neighbours is a view, and reading it costs no index.
        dense = voxels[-1] - voxels[0] + 1 == voxels.size
        yield slice(voxels[0], voxels[-1] + 1) if dense else voxels, voxels.size


def chosen_voxels(mask: ArrayLike | None, shape: tuple[int, ...], order: Order) -> NDArray[np.intp]:
    """Flat indices of the voxels to fit."""
    if mask is None:
        return np.arange(int(np.prod(shape)))
    chosen = np.asarray(mask, dtype=bool)
    if chosen.shape != shape:
        raise ValueError(f"the mask's shape {chosen.shape} is not the images' {shape}")
    return np.flatnonzero(chosen.reshape(-1, order=order))
