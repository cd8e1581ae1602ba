"""R1, PD amplitude, MTsat and R2* by maximum likelihood, from all echoes at once.

The echoes of all contrasts are fitted as signals (not as logarithms) under the noise that magnitude images have
(Rician, Gudbjartsson 1995, doi:10.1002/mrm.1910340618), and the fit is read as R1, A and MTsat through the signal
equations themselves: no small angles, no small TR·R1. With as many signals at TE = 0 as parameters this is the joint
maximum-likelihood estimate, for likelihoods do not mind in which parameters they are written. What curvature adds to
the estimates at low SNR is taken off to second order (Box 1971, doi:10.1111/j.2517-6161.1971.tb00871.x).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.mpm import maps
from plastimap.mpm.errors import Excitation
from plastimap.mpm.estatics import (
    CHUNK,
    EstaticsFit,
    chosen_voxels,
    echo_scheme,
    fit_estatics,
    memory_order,
    noise_variance,
)

Noise = Literal["rician", "gaussian"]
Vector = NDArray[np.float64]
Image = NDArray[np.float32]

NOISE_FWHM_MM = 15.0
"""Noise changes over centimetres (coils, parallel imaging); residuals are averaged over this."""

NEWTON_ROUNDS = 6
"""Rounds in which R1 is brought from the approximate to the exact equations; the error squares in each."""

POINT_DISTANCE = 0.5
"""Distance, in standard errors, at which the maps' curvature is measured."""


@dataclass(frozen=True)
class JointFit:
    """Result of :func:`fit_joint`; arrays are float32 of the images' shape, NaN where nothing was found.

    Attributes
    ----------
    maps : dict of str to ndarray
        ``R2s`` (1/s); with ``PDw`` and ``T1w`` ``R1`` (1/s) and ``A``; with ``MTw`` too ``MTsat`` (p.u.).
    standard_errors : dict of str to ndarray
        Of the same maps, in their units.
    noise_sd : ndarray
        σ that was used, in units of the images.
    n_invalid : int
        Voxels asked for whose echoes were not all finite and positive.
    n_unsettled : int
        Voxels whose fit did not settle.
    start : EstaticsFit
        The weighted fit of the logarithms that the likelihood was climbed from.
    """

    maps: dict[str, Image]
    standard_errors: dict[str, Image]
    noise_sd: Image
    n_invalid: int
    n_unsettled: int
    start: EstaticsFit


def fit_joint(
    echoes: Mapping[str, Sequence[NDArray]],
    echo_times: Mapping[str, Sequence[float]],
    excitation: Excitation,
    *,
    b1: NDArray | None = None,
    mask: ArrayLike | None = None,
    noise: Noise = "rician",
    noise_sd: ArrayLike | None = None,
    voxel_size: Sequence[float] = (1.0, 1.0, 1.0),
) -> JointFit:
    """Fit R2*, R1, A and MTsat to all echoes at once.

    Parameters
    ----------
    echoes : mapping of str to sequence of ndarray
        Magnitude images per contrast, all of one shape.
    echo_times : mapping of str to sequence of float
        Seconds.
    excitation : Excitation
        Angles, repetition times and the B1 correction of MTsat; `small_angle` plays no part.
    b1 : ndarray, optional
        B1+ ratio; 1 when not given.
    mask : array_like of bool, optional
        Voxels to fit; all when not given.
    noise : {"rician", "gaussian"}
    noise_sd : float or array_like, optional
        σ of the noise of the real and imaginary channels; from the residuals of a weighted fit when not given.
    voxel_size : sequence of float
        In mm; for the smoothness of the noise.

    Returns
    -------
    JointFit

    Raises
    ------
    ValueError
        As :func:`plastimap.mpm.estatics.fit_estatics`.
    """
    first = fit_estatics(echoes, echo_times, method="wls1", mask=mask)
    sigma = noise_map(first, voxel_size) if noise_sd is None else np.broadcast_to(noise_sd, first.r2s.shape)
    order = memory_order(first.r2s)
    flat = [np.asarray(image).reshape(-1, order=order) for each in echoes.values() for image in each]
    start = [first.intercepts[name].reshape(-1, order=order) for name in echoes]
    rate, noise_row = first.r2s.reshape(-1, order=order), np.asarray(sigma).reshape(-1, order=order)
    ratio = None if b1 is None else np.asarray(b1).reshape(-1, order=order)
    where = chosen_voxels(mask, first.r2s.shape, order)
    where = where[np.isfinite(rate[where]) & (noise_row[where] > 0)]
    rows: dict[str, Image] = {}
    unsettled = 0
    for begin in range(0, where.size, CHUNK):
        voxels = where[begin : begin + CHUNK]
        signals = np.stack([image[voxels] for image in flat], dtype=np.float64)
        line = np.stack([*(np.log(image[voxels]) for image in start), rate[voxels]], axis=1, dtype=np.float64)
        likely, lost = _most_likely(signals, first.echo_times, noise_row[voxels], line, noise == "rician")
        unsettled += lost
        local = None if ratio is None else ratio[voxels].astype(np.float64)
        for name, found in _read_as_maps(likely, tuple(echoes), excitation, local).items():
            rows.setdefault(name, np.full(rate.size, np.nan, dtype=np.float32))[voxels] = found
    images = {name: row.reshape(first.r2s.shape, order=order) for name, row in rows.items()}
    names = [name for name in images if not name.endswith(_ERROR)]
    return JointFit(
        maps={name: images[name] for name in names},
        standard_errors={name: images[name + _ERROR] for name in names},
        noise_sd=np.asarray(sigma, dtype=np.float32),
        n_invalid=first.n_invalid,
        n_unsettled=unsettled,
        start=first,
    )


def noise_map(fit: EstaticsFit, voxel_size: Sequence[float], *, fwhm_mm: float = NOISE_FWHM_MM) -> Image:
    """σ of the noise from the residuals of a fit, as a smooth map.

    Logarithms are averaged, so that vessels and edges, which fit badly, do not carry the map away; the mean logarithm
    of a χ² variable is known and taken off.

    Parameters
    ----------
    fit : EstaticsFit
    voxel_size : sequence of float
        In mm.
    fwhm_mm : float
        Of the Gaussian kernel.

    Returns
    -------
    ndarray of float32
        NaN where nothing was fitted, or without a degree of freedom left.
    """
    from scipy import ndimage, special

    variance = noise_variance(fit)
    valid = np.isfinite(variance) & (variance > 0)
    half = max(fit.degrees_of_freedom, 1) / 2
    logs = np.where(valid, np.log(np.where(valid, variance, 1.0)) - special.digamma(half) + np.log(half), 0.0)
    sd = fwhm_mm / np.sqrt(8 * np.log(2)) / np.asarray(voxel_size, dtype=np.float64)
    # One axis after the other, and one voxel at a time for lists of voxels, which have no neighbours.
    sd = sd if variance.ndim == len(sd) else 0.0
    weight = ndimage.gaussian_filter(valid.astype(np.float64), sd, mode="constant")
    mean = np.divide(
        ndimage.gaussian_filter(logs, sd, mode="constant"), weight, out=np.full(logs.shape, np.nan), where=valid
    )
    return np.exp(0.5 * mean).astype(np.float32)


def exact_relaxation(
    s_pdw: ArrayLike, s_t1w: ArrayLike, excitation: Excitation, *, b1: ArrayLike | None = None
) -> tuple[Vector, Vector]:
    """R1 and A from the signal equation as it is, S = A sin α (1 − E)/(1 − cos α E) with E = exp(−TR R1).

    Parameters
    ----------
    s_pdw, s_t1w : array_like
        Signals at TE = 0.
    excitation : Excitation
    b1 : array_like, optional

    Returns
    -------
    r1, a : ndarray
        1/s and the units of the signals; NaN where no positive R1 gives these signals.
    """
    f = 1.0 if b1 is None else np.asarray(b1, dtype=np.float64)
    alpha_p, alpha_t = (np.deg2rad(excitation.flip_deg[name]) * f for name in ("PDw", "T1w"))
    tr_p, tr_t = excitation.tr["PDw"], excitation.tr["T1w"]
    p, t = np.asarray(s_pdw) / np.sin(alpha_p), np.asarray(s_t1w) / np.sin(alpha_t)
    r1, _ = maps.r1_and_a(
        s_pdw,
        s_t1w,
        flip_pdw_deg=excitation.flip_deg["PDw"],
        flip_t1w_deg=excitation.flip_deg["T1w"],
        tr_pdw=tr_p,
        tr_t1w=tr_t,
        b1=b1,
    )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in range(NEWTON_ROUNDS):
            a_p, slope_p = _amplitude(p, alpha_p, tr_p, r1)
            a_t, slope_t = _amplitude(t, alpha_t, tr_t, r1)
            r1 = r1 - (a_p - a_t) / (slope_p - slope_t)
        r1 = np.where(r1 > 0, r1, np.nan)
        return r1, _amplitude(p, alpha_p, tr_p, r1)[0]


def exact_saturation(
    s_mtw: ArrayLike, r1: ArrayLike, a: ArrayLike, excitation: Excitation, *, b1: ArrayLike | None = None
) -> Vector:
    """MTsat (p.u., at nominal B1+) from S = A sin α (1 − E)/(1 − (1 − δ) cos α E), δ the saturation per TR.

    With a measured B1+ the saturation is brought to its nominal value: by 1/f² and the residual dependence of the
    pulse (1 − C)/(1 − C f) in the form "helms", by 1/(1 + C (f − 1)) in the form "lipp".

    Parameters
    ----------
    s_mtw : array_like
        Signal at TE = 0.
    r1, a : array_like
        From :func:`exact_relaxation`.
    excitation : Excitation
    b1 : array_like, optional

    Returns
    -------
    ndarray
    """
    f = 1.0 if b1 is None else np.asarray(b1, dtype=np.float64)
    alpha = np.deg2rad(excitation.flip_deg["MTw"]) * f
    decay = np.exp(-excitation.tr["MTw"] * np.asarray(r1))
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = (1 - np.asarray(a) * np.sin(alpha) * (1 - decay) / np.asarray(s_mtw)) / (np.cos(alpha) * decay)
        factor = maps.saturation_factor(b1, excitation.correction, excitation.constant)
        # "lipp" asks for the actual saturation; the others for one per squared B1+, as the apparent-rate form has it.
        return 100 * (1 - kept) * factor / (1.0 if excitation.correction == "lipp" else np.square(f))


_ERROR = " standard error"


@dataclass(frozen=True)
class _Likely:
    """Most likely parameters of some voxels, shape (n_voxels, n), their bias, and a square root of their covariance."""

    line: Vector
    root: NDArray[np.floating]


def _most_likely(
    signals: Vector, times: Mapping[str, Vector], noise_sd: NDArray, line: Vector, rician: bool
) -> tuple[_Likely, int]:
    from plastimap.mpm._likelihood import fit_likely

    n_voxels, n = line.shape
    fitted, sigma = line.copy(), np.asarray(noise_sd, dtype=np.float64)
    information, lean = np.empty((n_voxels, n, n)), np.empty((n_voxels, n))
    shares = rician_information() if rician else np.empty(0)
    lost = fit_likely(signals, *echo_scheme(times), sigma, shares, fitted, information, lean)
    covariance = np.linalg.inv(information) * (sigma**2)[:, None, None]
    bias = -0.5 * np.einsum("vij,vj->vi", covariance, lean)
    return _Likely(line=fitted - bias, root=np.linalg.cholesky(covariance)), int(lost)


@lru_cache(maxsize=1)
def rician_information() -> Vector:
    """Share of a normal variable's information about the signal that a Rician one holds.

    Returns
    -------
    ndarray
        At signals of 0, 1, 2 … tenths of σ, up to 12 σ: 0 without a signal, near 1 above 5 σ.
    """
    from scipy import special

    from plastimap.mpm._likelihood import SHARES_PER_SD

    # E[(∂ ln p/∂μ)²] = E[(m I₁(mμ)/I₀(mμ) − μ)²] for σ = 1, summed over m; read between two entries.
    signal = (np.arange(12 * SHARES_PER_SD + 1)[:, None] + 0.5) / SHARES_PER_SD
    m = np.linspace(1e-4, 24, 4000)
    density = m * np.exp(-0.5 * (m - signal) ** 2) * special.ive(0, m * signal)
    score = m * special.ive(1, m * signal) / special.ive(0, m * signal) - signal
    return (density * score**2).sum(axis=1) / density.sum(axis=1)


def _read_as_maps(
    likely: _Likely, contrasts: tuple[str, ...], excitation: Excitation, b1: Vector | None
) -> dict[str, Vector]:
    """Maps without their second-order bias, and standard errors, by differences along the axes of the covariance."""
    centre = _maps_of(likely.line, contrasts, excitation, b1)
    curvature = {name: np.zeros_like(value) for name, value in centre.items()}
    variance = {name: np.zeros_like(value) for name, value in centre.items()}
    for k in range(likely.line.shape[1]):
        step = POINT_DISTANCE * likely.root[:, :, k]
        ahead, behind = (_maps_of(likely.line + sign * step, contrasts, excitation, b1) for sign in (1, -1))
        for name, value in centre.items():
            curvature[name] += 0.5 * (ahead[name] + behind[name] - 2 * value) / POINT_DISTANCE**2
            variance[name] += ((ahead[name] - behind[name]) / (2 * POINT_DISTANCE)) ** 2
    found = {name: value - curvature[name] for name, value in centre.items()}
    return found | {name + _ERROR: np.sqrt(value) for name, value in variance.items()}


def _maps_of(line: Vector, contrasts: tuple[str, ...], excitation: Excitation, b1: Vector | None) -> dict[str, Vector]:
    signals = dict(zip(contrasts, np.exp(line[:, :-1].T), strict=True))
    found = {"R2s": line[:, -1]}
    if {"PDw", "T1w"} <= signals.keys():
        found["R1"], found["A"] = exact_relaxation(signals["PDw"], signals["T1w"], excitation, b1=b1)
    if {"PDw", "T1w", "MTw"} <= signals.keys():
        found["MTsat"] = exact_saturation(signals["MTw"], found["R1"], found["A"], excitation, b1=b1)
    return found


def _amplitude(
    scaled: NDArray[np.floating], alpha: ArrayLike, tr: float, r1: NDArray[np.floating]
) -> tuple[Vector, Vector]:
    """A that a signal over sin α asks for at this R1, and its derivative by R1."""
    decay = np.exp(-tr * r1)
    cos = np.cos(alpha)
    a = scaled * (1 - cos * decay) / (1 - decay)
    return a, scaled * tr * decay * (cos - 1) / (1 - decay) ** 2
