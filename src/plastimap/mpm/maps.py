"""R1, signal amplitude, MT saturation and MT ratio from the signals at echo time zero.

Each function is one formula: arrays in, arrays out. Where a formula has no
answer (a negative rate, a division by zero) the value is NaN or out of range;
:func:`within` turns the latter into NaN and counts them.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating]

B1Correction = Literal["helms", "lipp", "none"]
"""How a measured B1+ corrects MTsat."""

B1_CONSTANTS: dict[str, float] = {"helms": 0.4, "lipp": 1.2, "none": 0.0}
"""Default constant of each correction (Helms 2015 for a 220° Gaussian pulse at 3 T; Lipp 2023)."""

R1_RANGE = (0.0, 2.0)
"""Plausible R1 in 1/s."""

R2S_RANGE = (0.0, 1e4)
"""Plausible R2* in 1/s."""

MTSAT_RANGE = (-5.0, 5.0)
"""Plausible MT saturation in percent units."""

MTR_RANGE = (-100.0, 100.0)
"""Plausible MT ratio in percent units."""

AMPLITUDE_RANGE = (0.0, np.inf)
"""The amplitude has the scanner's arbitrary units; it can only be asked to be positive."""


def r1_and_a(
    s_pdw: ArrayLike,
    s_t1w: ArrayLike,
    *,
    flip_pdw_deg: float,
    flip_t1w_deg: float,
    tr_pdw: float,
    tr_t1w: float,
    b1: ArrayLike | None = None,
    small_angle: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Longitudinal relaxation rate and signal amplitude from two flip angles.

    With t = fα for small flip angles (Helms 2008, doi:10.1002/mrm.21542), or t = 2 tan(fα/2) without that assumption:

        R1 = ½ (S_P t_P/TR_P − S_T t_T/TR_T) / (S_T/t_T − S_P/t_P)
        A  = S_T S_P (TR_T t_P/t_T − TR_P t_T/t_P) / (S_P TR_T t_P − S_T TR_P t_T)

    Parameters
    ----------
    s_pdw, s_t1w : array_like
        PD- and T1-weighted signals at TE = 0, of one shape.
    flip_pdw_deg, flip_t1w_deg : float
        Nominal flip angles in degrees.
    tr_pdw, tr_t1w : float
        Repetition times in seconds.
    b1 : array_like, optional
        B1+ ratio f (actual / nominal flip angle), of the signals' shape; 1 when not given.
    small_angle : bool
        Use the small flip angle form.

    Returns
    -------
    r1 : ndarray
        R1 in 1/s.
    a : ndarray
        Amplitude in the units of the signals: proton density × receive sensitivity × a constant.
    """
    p, t = np.asarray(s_pdw, dtype=np.float64), np.asarray(s_t1w, dtype=np.float64)
    angle_p, angle_t = (angle_term(flip, b1, small_angle) for flip in (flip_pdw_deg, flip_t1w_deg))
    with np.errstate(divide="ignore", invalid="ignore"):
        r1 = 0.5 * (p * angle_p / tr_pdw - t * angle_t / tr_t1w) / (t / angle_t - p / angle_p)
        ratio = angle_p / angle_t
        a = t * p * (tr_t1w * ratio - tr_pdw / ratio) / (p * tr_t1w * angle_p - t * tr_pdw * angle_t)
    return r1, a


def mtsat(
    s_pdw: ArrayLike,
    s_t1w: ArrayLike,
    s_mtw: ArrayLike,
    *,
    flip_pdw_deg: float,
    flip_t1w_deg: float,
    flip_mtw_deg: float,
    tr_pdw: float,
    tr_t1w: float,
    tr_mtw: float,
    b1: ArrayLike | None = None,
    correction: B1Correction = "helms",
    constant: float | None = None,
    small_angle: bool = False,
) -> FloatArray:
    """Magnetisation transfer saturation in percent units (Helms 2008, doi:10.1002/mrm.21732).

        MTsat = 100 [ (A α_M / S_M − 1) R1 TR_M − α_M²/2 ]

    With ``helms`` all angles, A and R1 are the nominal ones, and a measured B1+ ratio f enters as the factor
    (1 − C)/(1 − C f). With ``lipp`` (Lipp 2023, doi:10.1002/mrm.29524) f enters everywhere, and the factor is
    1/(1 + C (f − 1)). With ``none``, or without `b1`, the nominal form stays as it is.

    Parameters
    ----------
    s_pdw, s_t1w, s_mtw : array_like
        Signals at TE = 0, of one shape.
    flip_pdw_deg, flip_t1w_deg, flip_mtw_deg : float
        Nominal flip angles in degrees.
    tr_pdw, tr_t1w, tr_mtw : float
        Repetition times in seconds.
    b1 : array_like, optional
        Measured B1+ ratio.
    correction : {"helms", "lipp", "none"}
        How `b1` corrects the saturation.
    constant : float, optional
        C; :data:`B1_CONSTANTS` when not given.
    small_angle : bool
        Form of A and R1, as in :func:`r1_and_a`. The MT-weighted angle is always in small-angle form.

    Returns
    -------
    ndarray
        MTsat in p.u.
    """
    if correction not in get_args(B1Correction):
        raise ValueError(f"unknown B1 correction {correction!r}; use one of {', '.join(get_args(B1Correction))}")
    measured = correction == "lipp" and b1 is not None
    r1, a = r1_and_a(
        s_pdw,
        s_t1w,
        flip_pdw_deg=flip_pdw_deg,
        flip_t1w_deg=flip_t1w_deg,
        tr_pdw=tr_pdw,
        tr_t1w=tr_t1w,
        b1=b1 if measured else None,
        small_angle=small_angle,
    )
    angle = angle_term(flip_mtw_deg, b1 if measured else None, True)
    with np.errstate(divide="ignore", invalid="ignore"):
        saturation = 100 * ((a * angle / np.asarray(s_mtw, dtype=np.float64) - 1) * r1 * tr_mtw - angle**2 / 2)
        return saturation * saturation_factor(b1, correction, constant)


def mtr(s_pdw: ArrayLike, s_mtw: ArrayLike) -> FloatArray:
    """Magnetisation transfer ratio, 100 (S_P − S_M)/S_P, in percent units.

    Meaningful only where the two contrasts share repetition time and flip angle.
    """
    p = np.asarray(s_pdw, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 100 * (p - np.asarray(s_mtw, dtype=np.float64)) / p


def within(data: FloatArray, limits: tuple[float, float]) -> tuple[NDArray[np.float32], int]:
    """Set values not strictly inside `limits` to NaN.

    Parameters
    ----------
    data : ndarray
        A map; NaN stays NaN and is not counted.
    limits : tuple of float
        Lower and upper limit, both excluded.

    Returns
    -------
    limited : ndarray of float32
    n_outside : int
        How many finite or infinite values were set to NaN.
    """
    low, high = limits
    inside = (data > low) & (data < high)
    n_outside = int(np.count_nonzero(~inside & ~np.isnan(data)))
    return np.where(inside, data, np.nan).astype(np.float32), n_outside


def angle_term(flip_deg: float, b1: ArrayLike | None, small_angle: bool) -> FloatArray:
    """Give the angle term t of the signal equations.

    Parameters
    ----------
    flip_deg : float
        Nominal flip angle in degrees.
    b1 : array_like or None
        B1+ ratio; 1 when None.
    small_angle : bool
        t = fα; else 2 tan(fα/2).

    Returns
    -------
    ndarray
        Radians.
    """
    factor = np.float64(1.0) if b1 is None else np.asarray(b1, dtype=np.float64)
    angle = np.deg2rad(flip_deg) * factor
    return np.asarray(angle if small_angle else 2 * np.tan(angle / 2))


def saturation_factor(b1: ArrayLike | None, correction: B1Correction, constant: float | None) -> FloatArray:
    """Factor that brings the saturation to the nominal B1+.

    Parameters
    ----------
    b1 : array_like or None
        B1+ ratio; without it the factor is 1.
    correction : {"helms", "lipp", "none"}
    constant : float or None
        C; :data:`B1_CONSTANTS` when None.

    Returns
    -------
    ndarray
    """
    if b1 is None or correction == "none":
        return np.asarray(1.0)
    f = np.asarray(b1, dtype=np.float64)
    c = B1_CONSTANTS[correction] if constant is None else constant
    return (1 - c) / (1 - c * f) if correction == "helms" else 1 / (1 + c * (f - 1))
