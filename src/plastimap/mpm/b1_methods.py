"""Transmit field (B1+) from raw acquisitions: the ratio actual / nominal flip angle from images and their parameters.

Each function is one method: arrays of one shape in, a ratio of that shape out (float64, NaN where there is none).
Nothing is smoothed or filled here; :func:`plastimap.mpm.b1.b1_on_grid` does that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.mpm.foreground import THRESHOLD

FloatArray = NDArray[np.float64]

EPI_T1_S = 1.192
"""T1 in seconds of an average brain at 3 T, for the stimulated echo's decay during the mixing time."""

EPI_ANGLES = 5
"""Nominal angles per voxel that are used: those with the brightest spin echoes."""

EPI_LARGEST_SD = 0.05
"""Spread of f over nominal angles above which a voxel has no value."""

TFL_DEGREES_PER_UNIT = 0.1
"""Siemens' ``tfl_b1_map`` stores ten times the flip angle in degrees."""

RFM_CENTRE = 2048
"""Siemens' ``rf_map`` stores the flip angle as a 12-bit phase: 2048 is 0°, and 2048 more are 180°."""

RFM_NOMINAL_DEG = 90.0
"""Nominal flip angle of ``rf_map``."""


def afi(images: Sequence[ArrayLike], tr: Sequence[float], *, flip_deg: float) -> FloatArray:
    """Actual flip angle imaging (Yarnykh 2007, doi:10.1002/mrm.21120).

    With r = S2/S1 and n = TR2/TR1, TR2 the longer one: f = acos((r n − 1)/(n − r))/α. The repetition times tell the two
    images apart, not their order.

    Parameters
    ----------
    images : sequence of two array_like
        Magnitude images.
    tr : sequence of two float
        Their repetition times in one unit.
    flip_deg : float
        Nominal flip angle in degrees.

    Returns
    -------
    ndarray
        Ratio f.

    Raises
    ------
    ValueError
        When there are not two images with different positive repetition times, or the image with the longer one is the
        brighter.
    """
    _check_flips([flip_deg])
    if len(images) != 2 or len(tr) != 2 or min(tr) <= 0 or tr[0] == tr[1]:
        raise ValueError(
            f"actual flip angle imaging needs two images with two different repetition times; there are {len(images)} "
            f"with {', '.join(f'{time:g}' for time in tr) or 'none'}; correct RepetitionTimeExcitation in the sidecars"
        )
    short, long = (_image(images[i]) for i in np.argsort(tr))
    n = max(tr) / min(tr)
    there = _bright(short) & (long > 0)
    r = _ratio(long, short)
    if there.any() and float(np.median(r[there])) > 1:
        raise ValueError(
            "the image with the longer repetition time is the brighter one, which no flip angle can make; are the "
            "repetition times of the two images interchanged in the sidecars?"
        )
    return np.where(there, _arccos(_ratio(r * n - 1, n - r)) / np.deg2rad(flip_deg), np.nan)


def double_angle(images: Sequence[ArrayLike], flip_deg: Sequence[float]) -> FloatArray:
    """Double angle method (Insko & Bolinger 1993, doi:10.1006/jmra.1993.1133).

    f = acos(S(2α)/(2 S(α)))/α, for repetition times of several T1.

    Parameters
    ----------
    images : sequence of two array_like
        Magnitude images.
    flip_deg : sequence of two float
        Their nominal flip angles in degrees: α and 2α, in any order.

    Returns
    -------
    ndarray
        Ratio f.

    Raises
    ------
    ValueError
        When there are not two images whose flip angles are α and 2α.
    """
    _check_flips(flip_deg)
    alpha, double = min(flip_deg), max(flip_deg)
    if len(images) != 2 or len(flip_deg) != 2 or abs(double / alpha - 2) > 0.01:
        raise ValueError(
            "the double angle method needs two images with the flip angles α and 2α; there are "
            f"{', '.join(f'{angle:g}°' for angle in flip_deg)}; correct FlipAngle in the sidecars"
        )
    single, doubled = (_image(images[i]) for i in np.argsort(flip_deg))
    there = _bright(single) & (doubled > 0)
    return np.where(there, _arccos(_ratio(doubled, 2 * single)) / np.deg2rad(alpha), np.nan)


def epi_echoes(
    spin: Sequence[ArrayLike],
    stimulated: Sequence[ArrayLike],
    *,
    flip_deg: Sequence[float],
    mixing_time: float,
    t1: float = EPI_T1_S,
    n_angles: int = EPI_ANGLES,
    largest_sd: float = EPI_LARGEST_SD,
) -> FloatArray:
    """Spin and stimulated echoes of an EPI sequence at several flip angles.

    After Jiru & Klose 2006 (doi:10.1002/mrm.21083) and Lutti 2010 (doi:10.1002/mrm.22421). Each nominal angle β gives
    |cos fβ| = e^(TM/T1) · STE/SE. Magnitudes do not tell fβ from 180° − fβ; of all ways to put the smaller nominal
    angles below 90° and the larger ones above, each voxel takes the one with the smallest standard deviation of f over
    its brightest angles.

    Parameters
    ----------
    spin, stimulated : sequence of array_like
        Magnitude images, one of each per nominal angle.
    flip_deg : sequence of float
        Nominal angles β in degrees: of the stimulated echo's pulse, half that of the spin echo.
    mixing_time : float
        TM in seconds.
    t1 : float
        Longitudinal relaxation time in seconds.
    n_angles : int
        Nominal angles used per voxel: those with the brightest spin echoes.
    largest_sd : float
        Voxels whose f spreads more over the angles have none.

    Returns
    -------
    ndarray
        Ratio f.

    Raises
    ------
    ValueError
        When the pairs are not complete, there are fewer than two nominal angles, or the mixing time is implausible.
    """
    _check_flips(flip_deg)
    if n_angles < 2:
        raise ValueError(f"SE/STE mapping over {n_angles} angle; at least 2 are needed to see whether they agree")
    if not len(spin) == len(stimulated) == len(flip_deg) or len(set(flip_deg)) < 2:
        raise ValueError(
            f"SE/STE mapping needs a pair of echoes at each of at least two flip angles; there are {len(spin)} spin "
            f"echoes, {len(stimulated)} stimulated echoes and {len(set(flip_deg))} flip angles"
        )
    if not 0 < mixing_time < 1:
        raise ValueError(f"a mixing time of {mixing_time:g} s; seconds are wanted (0.0312, not 31.2)")
    order = np.argsort(flip_deg)
    se = np.stack([_image(spin[i]) for i in order])
    ste = np.stack([_image(stimulated[i]) for i in order])
    angle = _arccos(_ratio(ste, se) * np.exp(mixing_time / t1))
    nominal = np.deg2rad(np.sort(flip_deg)).reshape(-1, *[1] * (se.ndim - 1))
    chosen = np.sort(np.argsort(se, axis=0)[-n_angles:], axis=0)
    below, above = (np.take_along_axis(f, chosen, axis=0) for f in (angle / nominal, (np.pi - angle) / nominal))
    mean, spread = _most_consistent(below, above)
    there = _bright(se.max(axis=0)) & (spread <= largest_sd)
    return np.where(there, mean, np.nan)


def _most_consistent(below: FloatArray, above: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation over the first axis, for the number of leading `below` that agrees best."""
    n = len(below)
    candidates = [np.concatenate([below[:first], above[first:]]) for first in range(n + 1)]
    spreads = np.stack([candidate.std(axis=0, ddof=1) for candidate in candidates])
    means = np.stack([candidate.mean(axis=0) for candidate in candidates])
    # A voxel without an angle has no spread in any candidate; infinity keeps it from being chosen, then refused.
    best = np.argmin(np.where(np.isnan(spreads), np.inf, spreads), axis=0)[np.newaxis]
    return np.take_along_axis(means, best, axis=0)[0], np.take_along_axis(spreads, best, axis=0)[0]


def turbo_flash(anatomical: ArrayLike, flip_map: ArrayLike, *, flip_deg: float) -> FloatArray:
    """Pre-saturated turbo-FLASH, Siemens ``tfl_b1_map`` (Chung 2010, doi:10.1002/mrm.22423).

    Parameters
    ----------
    anatomical : array_like
        Anatomical image (``acq-anat``); it says where there is tissue.
    flip_map : array_like
        Ten times the flip angle in degrees (``acq-famp``).
    flip_deg : float
        Nominal flip angle of the saturation pulse in degrees (not of the readout).

    Returns
    -------
    ndarray
        Ratio f.
    """
    _check_flips([flip_deg])
    angle = _image(flip_map)
    there = _bright(_image(anatomical)) & (angle > 0)
    return np.where(there, angle * TFL_DEGREES_PER_UNIT / flip_deg, np.nan)


def rf_map(anatomical: ArrayLike, flip_map: ArrayLike) -> FloatArray:
    """Siemens ``rf_map``: the flip angle is stored as a phase, 2048 + 2048 · angle/180°, and 90° is nominal.

    Parameters
    ----------
    anatomical : array_like
        Anatomical image (``acq-anat``); it says where there is tissue.
    flip_map : array_like
        Scaled flip angle (``acq-famp``).

    Returns
    -------
    ndarray
        Ratio f.
    """
    angle = (_image(flip_map) - RFM_CENTRE) * 180 / RFM_CENTRE
    there = _bright(_image(anatomical)) & (angle > 0)
    return np.where(there, angle / RFM_NOMINAL_DEG, np.nan)


def _image(data: ArrayLike) -> FloatArray:
    """Float64, 0 where not finite: "not measured"."""
    image = np.nan_to_num(np.asarray(data, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if not np.any(image > 0):
        raise ValueError("an image of the B1+ acquisition holds no signal; convert it again, or leave the set out")
    return image


def _bright(image: FloatArray) -> NDArray[np.bool_]:
    """Voxels that hold more than noise."""
    return image > THRESHOLD * np.percentile(image[image > 0], 98)


def _ratio(over: FloatArray, under: FloatArray) -> FloatArray:
    return np.divide(over, under, out=np.full_like(over, np.nan), where=under != 0)


def _arccos(cosine: FloatArray) -> FloatArray:
    """Angle in radians; NaN where noise has made the cosine larger than 1."""
    return np.arccos(np.where(np.abs(cosine) <= 1, cosine, np.nan))


def _check_flips(flip_deg: Sequence[float]) -> None:
    if not flip_deg or not all(0 < angle < 360 for angle in flip_deg):
        raise ValueError(
            f"the B1+ acquisition's flip angles are {', '.join(f'{angle:g}' for angle in flip_deg) or 'missing'}; "
            "write FlipAngle (degrees) in the sidecars"
        )
