"""Receive field (B1-): measured coil sensitivities per contrast, and proton density calibrated to white matter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.images import Volume, same_grid
from plastimap.mpm.b1 import b1_on_grid, n4_field, smooth_field
from plastimap.mpm.foreground import THRESHOLD

Bias = Literal["n4", "measured", "none"]
"""How the amplitude gets rid of the receive field: inferred by N4, already divided by measured sensitivities, not."""

Image = NDArray[np.float32]

SMOOTHING_FWHM_MM = 12.0
"""Of the sensitivity images (Papp 2016, doi:10.1002/mrm.26058)."""

BIAS_FWHM_MM = 50.0
"""Scale of what is left of the receive field in the amplitude."""

WHITE_MATTER_PD = 69.0
"""Proton density of white matter in percent of water (Weiskopf 2013, doi:10.3389/fnins.2013.00095)."""

WHITE_MATTER_PROBABILITY = 0.95
"""Least probability of the voxels that calibrate."""

LARGEST_SPREAD = 0.06
"""SD/mean over white matter above which the calibration is doubtful."""

_LABEL = re.compile(r"(head|body)(PDw|T1w|MTw)?")


def relative_sensitivity(head: Volume, body: Volume, grid: Volume, *, fwhm_mm: float = SMOOTHING_FWHM_MM) -> Image:
    """Sensitivity of the head coil relative to the body coil (Papp 2016, doi:10.1002/mrm.26058).

    Both images share contrast and position: their ratio is free of both. Each is smoothed first, over voxels with
    signal in both only; beyond them the ratio goes on smoothly.

    Parameters
    ----------
    head, body : Volume
        Images by the two coils, on one grid.
    grid : Volume
        The grid wanted; its data are not looked at.
    fwhm_mm : float
        Full width at half maximum of the smoothing kernel.

    Returns
    -------
    ndarray of float32, shape of `grid`
        Sensitivity, finite and positive everywhere: divide a signal by it. It is not scaled, so that those of several
        contrasts compare.

    Raises
    ------
    ValueError
        When the images lie on different grids, or share no voxel with signal.
    """
    if not same_grid(head, body):
        raise ValueError("the head and the body coil's images lie on different grids; use one reconstruction")
    there = _bright(head.data) & _bright(body.data)
    if not there.any():
        raise ValueError("the head and the body coil's images share no voxel with signal; check the files")
    over, under = (smooth_field(image.data, there, head.voxel_size, fwhm_mm=fwhm_mm) for image in (head, body))
    ratio = np.divide(over, under, out=np.full(over.shape, np.nan), where=there & (under > 0))
    return b1_on_grid(Volume(ratio, head.affine), grid, fwhm_mm=0)


def sensitivities(
    volumes: Sequence[Volume],
    acquisition: Mapping[str, Sequence[Any]],
    grid: Volume,
    *,
    contrasts: Sequence[str],
    fwhm_mm: float = SMOOTHING_FWHM_MM,
) -> tuple[dict[str, Image], tuple[str, ...]]:
    """Receive sensitivity of each contrast, from RB1COR images.

    Parameters
    ----------
    volumes : sequence of Volume
        Images by the two coils.
    acquisition : mapping
        ``acq`` of each image: ``head`` or ``body``, followed by the contrast (``headPDw``) or by nothing where one pair
        serves all.
    grid : Volume
        The grid wanted.
    contrasts : sequence of str
        ``PDw``, ``T1w``, ``MTw``: those that need a sensitivity.
    fwhm_mm : float
        As in :func:`relative_sensitivity`.

    Returns
    -------
    dict of str to ndarray
        Per contrast, float32 of the shape of `grid`: divide the contrast's signal by it.
    notes : tuple of str

    Raises
    ------
    ValueError
        When a contrast has no pair of its own and there is no common one.
    """
    pairs = _pairs(volumes, acquisition["acq"])
    lacking = [name for name in contrasts if not ({name, None} & pairs.keys())]
    if lacking:
        raise ValueError(
            f"RB1COR: no pair of acq-head… and acq-body… images for {', '.join(lacking)}; "
            "add them (acq-headPDw, acq-bodyPDw, …), or one pair for all (acq-head, acq-body)"
        )
    used = {name: name if name in pairs else None for name in contrasts}
    maps = {key: relative_sensitivity(*pairs[key], grid, fwhm_mm=fwhm_mm) for key in dict.fromkeys(used.values())}
    common = [name for name, key in used.items() if key is None]
    notes = ["signals were divided by measured receive sensitivities (head coil / body coil)"]
    if common:
        notes.append(f"one pair of sensitivity images served {', '.join(common)}: motion between them is not corrected")
    return {name: maps[key] for name, key in used.items()}, tuple(notes)


def _pairs(volumes: Sequence[Volume], labels: Sequence[str | None]) -> dict[str | None, tuple[Volume, Volume]]:
    """(head, body) by contrast; None is the contrast of a pair for all."""
    found: dict[str | None, dict[str, Volume]] = {}
    for volume, label in zip(volumes, labels, strict=True):
        match = _LABEL.match(label or "")
        if match is None:
            raise ValueError(f"RB1COR: acq-{label} names no coil; it must begin with acq-head or acq-body")
        found.setdefault(match[2], {})[match[1]] = volume
    return {name: (coils["head"], coils["body"]) for name, coils in found.items() if len(coils) == 2}


def _bright(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Voxels that hold more than noise."""
    image = np.nan_to_num(np.asarray(data, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return (image > 0) & (image > THRESHOLD * np.percentile(image, 98))


@dataclass(frozen=True)
class CalibratedPD:
    """Result of :func:`calibrate_pd`.

    Attributes
    ----------
    image : ndarray of float32
        Proton density in percent units, or the amplitude itself where `calibrated` is False.
    field : ndarray of float32
        Correction field b: the amplitude was multiplied by it before it was scaled; 1 where none was inferred.
    calibrated : bool
        Whether `image` is proton density.
    white_matter_spread : float
        SD/mean over white matter after the correction; NaN where `calibrated` is False.
    notes : tuple of str
        What a reader of the map has to know.
    """

    image: Image
    field: Image
    calibrated: bool
    white_matter_spread: float
    notes: tuple[str, ...]


def calibrate_pd(
    a: NDArray[np.floating],
    *,
    white_matter: NDArray[np.floating],
    brain: NDArray[np.bool_],
    voxel_size: ArrayLike,
    bias: Bias = "n4",
    fwhm_mm: float = BIAS_FWHM_MM,
) -> CalibratedPD:
    """Turn the amplitude into proton density: the receive field goes, and white matter is set to 69 percent units.

    The amplitude is proton density times receive sensitivity. Its smooth inhomogeneity over the brain is found by N4
    (doi:10.1109/TMI.2010.2046908), the amplitude is multiplied by its reciprocal b, and scaled.

    Parameters
    ----------
    a : ndarray, shape (X, Y, Z)
        Amplitude in arbitrary units; NaN where there is none.
    white_matter : ndarray, shape (X, Y, Z)
        Probability of white matter.
    brain : ndarray of bool, shape (X, Y, Z)
        Where the field is looked for.
    voxel_size : array_like, shape (3,)
        In mm.
    bias : {"n4", "measured", "none"}
        ``measured``: `a` is free of the receive field already (:func:`sensitivities`), and is scaled only. ``none``:
        nothing is done, and the map stays an amplitude.
    fwhm_mm : float
        Scale below which nothing is taken for receive field.

    Returns
    -------
    CalibratedPD

    Raises
    ------
    ValueError
        When `bias` is unknown, or no voxel of white matter has a positive amplitude.
    """
    if bias not in get_args(Bias):
        raise ValueError(f"unknown receive field correction {bias!r}; use one of {', '.join(get_args(Bias))}")
    flat = np.ones(a.shape, dtype=np.float32)
    if bias == "none":
        notes = ("the receive field was not removed: the map is the amplitude A, not proton density",)
        return CalibratedPD(a.astype(np.float32), flat, False, float("nan"), notes)
    usable = brain & np.isfinite(a) & (a > 0)
    reference = usable & (white_matter >= WHITE_MATTER_PROBABILITY)
    if not reference.any():
        raise ValueError(
            f"no voxel of white matter (probability {WHITE_MATTER_PROBABILITY:g} or more) has a positive amplitude; "
            "check the segmentation, or do not calibrate (the map stays the amplitude A)"
        )
    field = flat if bias == "measured" else (1 / n4_field(a, usable, voxel_size, fwhm_mm=fwhm_mm)).astype(np.float32)
    corrected = np.asarray(a, dtype=np.float64) * field
    mean, spread = float(corrected[reference].mean()), float(corrected[reference].std())
    image = (corrected * (WHITE_MATTER_PD / mean)).astype(np.float32)
    return CalibratedPD(image, field, True, spread / mean, _calibration_notes(bias, spread / mean))


def _calibration_notes(bias: Bias, spread: float) -> tuple[str, ...]:
    """Say what was done about the receive field, and whether to trust it."""
    how = {"n4": "inferred from the amplitude itself", "measured": "measured"}[bias]
    notes = [f"proton density: the receive field was {how}, and white matter set to {WHITE_MATTER_PD:g} p.u."]
    if spread > LARGEST_SPREAD:
        notes.append(
            f"proton density varies by {100 * spread:.1f} % over white matter (more than {100 * LARGEST_SPREAD:g} %): "
            "the receive field or the segmentation may be wrong"
        )
    return tuple(notes)
