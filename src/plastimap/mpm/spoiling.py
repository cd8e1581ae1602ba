"""Imperfect spoiling: what transverse magnetisation left over from earlier pulses does to R1, and its correction.

RF spoiling leaves a signal that differs from the ideal one by some percent, and the R1 of two flip angles by about one.
The signal is computed here by extended phase graphs with diffusion (Weigel 2015, doi:10.1002/jmri.24619), and

    T1 = Pa(f) + Pb(f) · T1app

is fitted to it, with Pa and Pb quadratics in the B1+ ratio f (Preibisch & Deichmann 2009, doi:10.1002/mrm.21776), for
the protocol at hand instead of from a table of protocols. The RF phase increment decides: 50° and 137° give corrections
that differ by several percent of T1 for the same flip angles and repetition times.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.mpm.maps import r1_and_a

GYROMAGNETIC_RATIO = 2.6752218708e8
"""Of the proton, in rad/s/T."""

FORGOTTEN = 1e-12
"""Share of the signal below which a phase graph state is left out."""

FloatArray = NDArray[np.float64]
Quadratic = tuple[float, float, float]
"""Coefficients of f², f and 1."""


@dataclass(frozen=True)
class Spoiler:
    """How a gradient echo is spoiled.

    Attributes
    ----------
    phase_increment_deg : float
        Increment of the RF phase step from pulse to pulse, in degrees (BIDS: ``SpoilingRFPhaseIncrement``).
    gradient_mt_per_m, gradient_ms : float
        Amplitude and duration of the spoiler gradient at the end of each repetition.
    """

    phase_increment_deg: float = 137.0
    gradient_mt_per_m: float = 26.0
    gradient_ms: float = 3.3876


@dataclass(frozen=True)
class Tissue:
    """What the correction is fitted for.

    Attributes
    ----------
    t1_ms : tuple of float
        Longitudinal relaxation times.
    t2_ms : float
        Transverse relaxation time.
    b1 : tuple of float
        B1+ ratios f.
    diffusion_um2_per_ms : float
        Diffusion coefficient.
    """

    t1_ms: tuple[float, ...] = tuple(range(500, 2001, 100))
    t2_ms: float = 70.0
    b1: tuple[float, ...] = tuple(round(0.7 + 0.05 * step, 2) for step in range(13))
    diffusion_um2_per_ms: float = 0.8


@dataclass(frozen=True)
class SpoilingCorrection:
    """Result of :func:`fit_spoiling`.

    Attributes
    ----------
    a, b : tuple of float
        Pa in ms and Pb: coefficients of f², f and 1.
    rmse_before, rmse_after : float
        Root mean square error of the simulated T1 without and with the correction, in percent of T1.
    small_angle : bool
        Form of R1 that the correction goes with.
    spoiler : Spoiler
    tissue : Tissue
    """

    a: Quadratic
    b: Quadratic
    rmse_before: float
    rmse_after: float
    small_angle: bool
    spoiler: Spoiler
    tissue: Tissue


def spoiled_signal(
    t1_ms: ArrayLike,
    flip_deg: ArrayLike,
    *,
    tr: float,
    t2_ms: float,
    diffusion_um2_per_ms: float,
    spoiler: Spoiler,
) -> FloatArray:
    """Signal of an RF-spoiled gradient echo in its steady state, directly after the pulse.

    With a phase that grows quadratically, the states of order k turn by a constant angle k · increment per repetition:
    the steady state is a fixed point, and each order hangs on its two neighbours only. Going down from the highest
    order, an order sends back a share of what it gets from the one below; this continued fraction ends at order 0
    (in the spirit of Ganter 2006, doi:10.1002/mrm.20736). No pulse train is played.

    Parameters
    ----------
    t1_ms, flip_deg : array_like
        Longitudinal relaxation time and actual flip angle; broadcast against each other.
    tr : float
        Repetition time in seconds.
    t2_ms : float
        Transverse relaxation time.
    diffusion_um2_per_ms : float
        Diffusion coefficient; 0 for none.
    spoiler : Spoiler

    Returns
    -------
    ndarray
        Magnitude for an equilibrium magnetisation of 1.

    Raises
    ------
    ValueError
        When the spoiler gradient does not fit into the repetition time, or no relaxation time is positive.
    """
    tr_ms = 1000 * tr
    if not 0 <= spoiler.gradient_ms <= tr_ms:
        raise ValueError(f"a spoiler gradient of {spoiler.gradient_ms:g} ms does not fit into a TR of {tr_ms:g} ms")
    t1, angle = np.broadcast_arrays(np.asarray(t1_ms, dtype=np.float64), np.deg2rad(flip_deg))
    if t2_ms <= 0 or np.any(t1 <= 0):
        raise ValueError("relaxation times must be positive")
    e1 = np.exp(-tr_ms / t1)
    cosine, sine = np.cos(angle), np.sin(angle)
    returned = _returned_share(e1, cosine, sine, tr_ms, t2_ms, diffusion_um2_per_ms, spoiler)
    # Order 0 in the pulse's frame: x + iy after the pulse, of which the share `returned` is there before the next one.
    fed_back = returned.imag / (1 - returned.real)
    mixing = (cosine - e1) / (1 - e1 * cosine)
    y = sine * (1 - e1) / (1 - e1 * cosine) / (1 + mixing * (returned.real - returned.imag * fed_back))
    return np.asarray(np.abs(y) * np.hypot(1, fed_back))


def _returned_share(
    e1: FloatArray,
    cosine: FloatArray,
    sine: FloatArray,
    tr_ms: float,
    t2_ms: float,
    diffusion: float,
    spoiler: Spoiler,
) -> NDArray[np.complex128]:
    """What comes back to order 0 of a unit of transverse magnetisation that the gradient has sent to order 1."""
    half_sine2, half_cosine2 = (1 - cosine) / 2, (1 + cosine) / 2
    e2 = np.exp(-tr_ms / t2_ms)
    turn = np.exp(1j * np.deg2rad(spoiler.phase_increment_deg))
    # mT/m · ms = 1e-6 T·s/m; rad/m = 1e-6 rad/µm.
    step = GYROMAGNETIC_RATIO * spoiler.gradient_mt_per_m * spoiler.gradient_ms * 1e-12
    before_ms = tr_ms - spoiler.gradient_ms

    def kept(order: int, change: int) -> float:
        """What diffusion leaves of order k whose gradient moment changes by `change` at the end of the repetition."""
        during = order**2 + order * change + change**2 / 3
        return float(np.exp(-diffusion * step**2 * (order**2 * before_ms + during * spoiler.gradient_ms)))

    share = np.zeros(e1.shape, dtype=np.complex128)
    # A state of order k was transverse for 2k repetitions when it is back.
    highest = int(np.ceil(-np.log(FORGOTTEN) * t2_ms / (2 * tr_ms))) + 1
    for order in range(highest, 0, -1):
        arriving = e2 * turn ** (order - 1) * kept(order - 1, 1)
        from_above = e2 * turn ** (order + 1) * kept(order + 1, -1) * share
        stored = e1 * turn**order * kept(order, 0)
        tipped = 0.5j * sine / (1 - cosine * stored)
        echo = 1j * sine * stored * tipped
        transverse = arriving * (half_cosine2 + echo) / (1 - (half_sine2 - echo) * from_above)
        longitudinal = tipped * (from_above * transverse - arriving)
        share = half_sine2 * arriving + half_cosine2 * from_above * transverse + 1j * sine * stored * longitudinal
    return e2 * turn * kept(1, -1) * share


@lru_cache(maxsize=64)
def fit_spoiling(
    *,
    flip_pdw_deg: float,
    flip_t1w_deg: float,
    tr_pdw: float,
    tr_t1w: float,
    small_angle: bool = False,
    spoiler: Spoiler = Spoiler(),
    tissue: Tissue = Tissue(),
) -> SpoilingCorrection:
    """Fit the correction of R1 for imperfect spoiling to a simulation of the protocol.

    At each f a line T1 = A + B · T1app is fitted over the range of T1, then quadratics in f to A and to B.

    Parameters
    ----------
    flip_pdw_deg, flip_t1w_deg : float
        Nominal flip angles in degrees.
    tr_pdw, tr_t1w : float
        Repetition times in seconds.
    small_angle : bool
        Form of R1 that will be corrected, as in :func:`~plastimap.mpm.maps.r1_and_a`.
    spoiler : Spoiler
        Of both acquisitions.
    tissue : Tissue
        Ranges that the correction is for; at least three values of f, and two of T1.

    Returns
    -------
    SpoilingCorrection

    Raises
    ------
    ValueError
        When the protocol gives no R1, or the spoiler gradient does not fit into a repetition time.
    """
    _check(flip_pdw_deg, flip_t1w_deg, tr_pdw, tr_t1w, tissue)
    t1 = np.asarray(tissue.t1_ms, dtype=np.float64)[:, np.newaxis]
    b1 = np.asarray(tissue.b1, dtype=np.float64)
    signals = [
        spoiled_signal(
            t1,
            b1 * flip,
            tr=tr,
            t2_ms=tissue.t2_ms,
            diffusion_um2_per_ms=tissue.diffusion_um2_per_ms,
            spoiler=spoiler,
        )
        for flip, tr in ((flip_pdw_deg, tr_pdw), (flip_t1w_deg, tr_t1w))
    ]
    r1, _ = r1_and_a(
        *signals,
        flip_pdw_deg=flip_pdw_deg,
        flip_t1w_deg=flip_t1w_deg,
        tr_pdw=tr_pdw,
        tr_t1w=tr_t1w,
        b1=np.broadcast_to(b1, signals[0].shape),
        small_angle=small_angle,
    )
    apparent = 1000 / r1
    slopes, offsets = np.transpose([np.polyfit(column, t1[:, 0], 1) for column in apparent.T])
    a, b = np.polyfit(b1, offsets, 2), np.polyfit(b1, slopes, 2)
    corrected = np.polyval(a, b1) + np.polyval(b, b1) * apparent
    return SpoilingCorrection(
        a=(float(a[0]), float(a[1]), float(a[2])),
        b=(float(b[0]), float(b[1]), float(b[2])),
        rmse_before=_rmse_percent(apparent, t1),
        rmse_after=_rmse_percent(corrected, t1),
        small_angle=small_angle,
        spoiler=spoiler,
        tissue=tissue,
    )


def correct_spoiling(r1: ArrayLike, b1: ArrayLike | None, correction: SpoilingCorrection) -> NDArray[np.floating]:
    """Correct R1 for imperfect spoiling.

    Parameters
    ----------
    r1 : array_like
        Apparent R1 in 1/s, computed with the same `b1` and in the form `correction` was fitted for.
    b1 : array_like or None
        B1+ ratio of R1's shape; 1 when None.
    correction : SpoilingCorrection
        Of the protocol that `r1` comes from.

    Returns
    -------
    ndarray
        R1 in 1/s; 0 stays 0, and what is not finite becomes NaN.
    """
    apparent = np.asarray(r1, dtype=np.float64)
    f = np.float64(1.0) if b1 is None else np.asarray(b1, dtype=np.float64)
    # T1 = Pa + Pb · T1app, both sides turned over: no division by R1 where there is none.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(apparent / (np.polyval(correction.b, f) + apparent * np.polyval(correction.a, f) / 1000))


def _check(flip_pdw_deg: float, flip_t1w_deg: float, tr_pdw: float, tr_t1w: float, tissue: Tissue) -> None:
    """Raise ValueError for what cannot be fitted."""
    if not 0 < flip_pdw_deg < flip_t1w_deg < 90:
        raise ValueError(
            f"flip angles {flip_pdw_deg:g}° (PDw) and {flip_t1w_deg:g}° (T1w) give no R1; the T1w one must be larger"
        )
    if not (0 < tr_pdw <= 1 and 0 < tr_t1w <= 1):
        raise ValueError(f"repetition times {tr_pdw:g} and {tr_t1w:g}; seconds are wanted (0.025, not 25)")
    if len(set(tissue.b1)) < 3 or len(set(tissue.t1_ms)) < 2:
        raise ValueError("the correction needs at least three values of f and two of T1")


def _rmse_percent(t1: FloatArray, truth: FloatArray) -> float:
    return float(100 * np.sqrt(np.mean((t1 / truth - 1) ** 2)))
