"""Brain extraction without a network: a balloon, then the template's outline, then intensities.

A whole head is cut below the neck and a deformable surface is grown in it
(Smith 2002). The template is matched to what it encloses; around the
template's outline a mixture of brain and non-brain tissues with
distance-dependent priors decides voxel by voxel, twice. A scan that shows a
brain only needs its foreground, with fissures and ventricles filled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.anat.grids import closed, largest_piece, resample_isotropic, sample
from plastimap.anat.head import HeadBrain, brain_of_head
from plastimap.anat.outline import CLOSING_MM, below_outline, find_foreground
from plastimap.images import Volume
from plastimap.registration import RegistrationProblem
from plastimap.transforms import Warp

FINEST_MM, COARSEST_MM = 2.0, 3.0
"""Brain extraction works on voxels of this size, whatever the scan has."""

LARGEST_BRAIN_ML = 2500.0
"""A foreground larger than this holds more than an intracranial space: it is a whole head."""

CROWN_MM = 70.0
"""Scalp, bone and brain are looked at in this uppermost part of the head, where they lie like shells."""

DEPTHS_MM = tuple(range(0, 27, 3))
"""Depths below the surface at which the intensity is looked at."""

SKULL_DIP = 0.1
"""A brain brightens steadily from its surface inwards; bone under a scalp makes a dip of a quarter or more."""

SCALP_MM = 6.0
"""No brain is nearer to the outline of a head: scalp and bone are thicker together."""

MOST_IN_SCALP = 0.05
"""Share of the mask's surface that may be, by noise and vessels: it is below .003 where masks are right."""


class BrainMaskProblem(ValueError):
    """No brain could be found; the message says why."""


@dataclass(frozen=True)
class BrainMask:
    """A brain mask on the grid of its scan.

    Attributes
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Brain with its CSF.
    method : str
        ``"head"``: a whole head was stripped; ``"foreground"``: the scan showed a brain only; ``"deepbet"``: drawn
        by that network; ``"given"``: by the user.
    notes : tuple of str
        What a person should know.
    warp : Warp or None
        Pull map scan to template, where one was found on the way.
    log_field : Volume or None
        Logarithm of the bias field, likewise.
    """

    mask: NDArray[np.bool_]
    method: str
    notes: tuple[str, ...]
    warp: Warp | None = None
    log_field: Volume | None = None


def brain_mask(
    volume: Volume,
    *,
    quantitative: bool = False,
    skull_stripped: bool | None = None,
    lesion: NDArray[np.bool_] | None = None,
) -> BrainMask:
    """Find the brain in a structural scan.

    Parameters
    ----------
    volume : Volume
        Shape (X, Y, Z); T1-like contrast, any orientation. NaN counts as air.
    quantitative : bool
        True for maps in physical units, which have no bias field.
    skull_stripped : bool, optional
        Whether the scan shows a brain only; judged from it by :func:`shows_skull` unless given.
    lesion : ndarray of bool, shape (X, Y, Z), optional
        Left out of the match with the template.

    Returns
    -------
    BrainMask

    Raises
    ------
    BrainMaskProblem
        When the scan is empty or nothing of a brain's size is found.
    plastimap.registration.RegistrationProblem
        When the template cannot be matched to the head.
    """
    working = _working(volume, sharp=not quantitative)
    foreground = find_foreground(working.data)
    hull, depth = below_outline(working, foreground)
    stripped = not _has_skull(working, hull, depth) if skull_stripped is None else skull_stripped
    if stripped:
        solid = _solid(foreground, working.voxel_size)
        volume_ml = float(solid.sum()) * working.voxel_volume / 1000
        brain, method = HeadBrain(Volume(solid.astype(np.float32), working.affine)), "foreground"
        notes = (f"a brain without skull: the foreground of {volume_ml:.0f} ml was taken",)
    else:
        there = None if lesion is None else sample(lesion, volume.affine, working.shape, working.affine) > 0.5
        brain, notes = _below_scalp(working, depth, quantitative=quantitative, lesion=there)
        method = "head"
    mask = _on_scan(brain.probability, volume)
    if not mask.any():
        raise BrainMaskProblem("nothing of a brain's size and place was found; give a mask (desc-brain_mask)")
    return BrainMask(mask, method, notes, brain.warp, brain.log_field)


def _below_scalp(
    working: Volume, depth: NDArray[np.float64], *, quantitative: bool, lesion: NDArray[np.bool_] | None
) -> tuple[HeadBrain, tuple[str, ...]]:
    """Find a head's brain; once more without the scalp, where the first result reaches into it."""
    first = brain_of_head(working, quantitative=quantitative, lesion=lesion)
    if (share := _share_in_scalp(first, working, depth)) <= MOST_IN_SCALP:
        return first, ()
    said = f"{100 * share:.0f} % of the brain mask's surface lay within {SCALP_MM:.0f} mm of the head's outline"
    outer = depth <= SCALP_MM
    try:
        second = brain_of_head(working, quantitative=quantitative, lesion=lesion, outer=outer)
    except RegistrationProblem:
        second = None
    if second is None or not (second.probability.data > 0.5).any():
        return first, (f"{said}, and without the scalp no brain was found; look at the mask",)
    return second, (f"{said}: it was drawn again without the scalp; look at the mask",)


def _share_in_scalp(brain: HeadBrain, working: Volume, depth: NDArray[np.float64]) -> float:
    """Share of the mask's outermost voxels that lie in the scalp."""
    mask = sample(brain.probability.data, brain.probability.affine, working.shape, working.affine) > 0.5
    # The edge of the field of view is no surface.
    surface = mask & ~np.asarray(ndimage.binary_erosion(mask, border_value=1), dtype=bool)
    return float((depth[surface] <= SCALP_MM).mean()) if surface.any() else 0.0


def looks_like_head(volume: Volume) -> bool:
    """Whether a scan shows a head with its skull; `volume` and errors as in :func:`brain_mask`."""
    working = _working(volume, sharp=False)
    return shows_skull(working, find_foreground(working.data))


def _working(volume: Volume, *, sharp: bool) -> Volume:
    """Bring a scan to the grid of the mask. Maps have noise where there is nothing, which splines would keep."""
    if volume.data.ndim != 3:
        raise BrainMaskProblem(f"the scan has {volume.data.ndim} dimensions, where 3 are wanted")
    data = np.nan_to_num(np.asarray(volume.data, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if not (data > 0).any():
        raise BrainMaskProblem("the scan has no positive values")
    return resample_isotropic(Volume(data, volume.affine), _working_mm(volume), sharp=sharp)


def shows_skull(volume: Volume, foreground: NDArray[np.bool_]) -> bool:
    """Whether a scan shows a head with its skull, or a brain only.

    Parameters
    ----------
    volume : Volume
        Isotropic voxels along the world's axes (RAS).
    foreground : ndarray of bool
        What is not air.

    Returns
    -------
    bool
        True when the foreground is larger than any brain, or when the intensity dips below its surface.
    """
    return _has_skull(volume, *below_outline(volume, foreground))


def _has_skull(volume: Volume, hull: NDArray[np.bool_], depth: NDArray[np.float64]) -> bool:
    if float(hull.sum()) * volume.voxel_volume / 1000 > LARGEST_BRAIN_ML:
        return True
    if not hull.any():
        return False
    height = np.arange(hull.shape[2]) * volume.voxel_size[2]
    crown = hull & (height > height[hull.any(axis=(0, 1))].max() - CROWN_MM)
    shells = [volume.data[crown & (depth > start) & (depth <= start + 3)] for start in DEPTHS_MM]
    profile = np.array([np.median(shell) for shell in shells if shell.size])
    dip = (np.maximum.accumulate(profile) - profile).max()
    return bool(dip > SKULL_DIP * profile.max())


def _working_mm(volume: Volume) -> float:
    return float(np.clip(volume.voxel_size.min(), FINEST_MM, COARSEST_MM))


def _solid(foreground: NDArray[np.bool_], voxel_size: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Keep the largest piece, its fissures closed and its holes filled."""
    piece = largest_piece(np.asarray(ndimage.binary_opening(foreground), dtype=bool))
    return closed(piece, voxel_size, CLOSING_MM / 2)


def _on_scan(probability: Volume, volume: Volume) -> NDArray[np.bool_]:
    sampled = sample(probability.data, probability.affine, volume.shape, volume.affine)
    return np.asarray(ndimage.binary_fill_holes(largest_piece(sampled > 0.5)), dtype=bool)
