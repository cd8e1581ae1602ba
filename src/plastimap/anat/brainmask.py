"""Brain extraction without a network: a balloon, then the template's outline, then intensities.

A whole head is cut below the neck and a deformable surface is grown in it
(Smith 2002). The template is matched to what it encloses; around the
template's outline a mixture of brain and non-brain tissues with
distance-dependent priors decides voxel by voxel, twice. A scan that shows a
brain only needs its foreground, with fissures and ventricles filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.anat.grids import closed, largest_piece, resample_isotropic, sample
from plastimap.anat.head import HeadBrain, brain_of_head
from plastimap.images import Volume
from plastimap.transforms import Warp

FINEST_MM, COARSEST_MM = 2.0, 3.0
"""Brain extraction works on voxels of this size, whatever the scan has."""

LARGEST_BRAIN_ML = 2500.0
"""A foreground larger than this holds more than an intracranial space: it is a whole head."""

PIECE_SHARE = 0.1
"""Pieces of foreground smaller than this share of the largest are specks."""

CROWN_MM = 70.0
"""Scalp, bone and brain are looked at in this uppermost part of the head, where they lie like shells."""

DEPTHS_MM = tuple(range(0, 27, 3))
"""Depths below the surface at which the intensity is looked at."""

SKULL_DIP = 0.1
"""A brain brightens steadily from its surface inwards; bone under a scalp makes a dip of a quarter or more."""

AIR_SHARE = 0.2
"""Foreground is what exceeds this share of the typical tissue intensity."""

CLOSING_MM = 10.0
"""Fissures and sulci up to about this width belong to the brain."""


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
        Left out of the match with the template; part of the brain.

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
    working = _working(volume)
    foreground = _foreground(working.data)
    stripped = not shows_skull(working, foreground) if skull_stripped is None else skull_stripped
    if stripped:
        solid = _solid(foreground, working.voxel_size)
        volume_ml = float(solid.sum()) * working.voxel_volume / 1000
        brain, method = HeadBrain(Volume(solid.astype(np.float32), working.affine)), "foreground"
        notes = (f"a brain without skull: the foreground of {volume_ml:.0f} ml was taken",)
    else:
        there = None if lesion is None else sample(lesion, volume.affine, working.shape, working.affine) > 0.5
        brain = brain_of_head(working, quantitative=quantitative, lesion=there)
        method, notes = "head", ()
    mask = _on_scan(brain.probability, volume)
    if not mask.any():
        raise BrainMaskProblem("nothing of a brain's size and place was found; give a mask (desc-brain_mask)")
    return BrainMask(mask if lesion is None else mask | lesion, method, notes, brain.warp, brain.log_field)


def looks_like_head(volume: Volume) -> bool:
    """Whether a scan shows a head with its skull; `volume` and errors as in :func:`brain_mask`."""
    working = _working(volume)
    return shows_skull(working, _foreground(working.data))


def _working(volume: Volume) -> Volume:
    if volume.data.ndim != 3:
        raise BrainMaskProblem(f"the scan has {volume.data.ndim} dimensions, where 3 are wanted")
    data = np.nan_to_num(np.asarray(volume.data, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if not (data > 0).any():
        raise BrainMaskProblem("the scan has no positive values")
    return resample_isotropic(Volume(data, volume.affine), _working_mm(volume))


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
    hull = closed(_large_pieces(foreground), volume.voxel_size, CLOSING_MM / 2)
    if float(hull.sum()) * volume.voxel_volume / 1000 > LARGEST_BRAIN_ML:
        return True
    if not hull.any():
        return False
    # The edge of the field of view is no surface.
    inner = (slice(1, -1),) * 3
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(hull, 1, mode="edge")))[inner] * volume.voxel_size[0]
    height = np.arange(hull.shape[2]) * volume.voxel_size[2]
    crown = hull & (height > height[hull.any(axis=(0, 1))].max() - CROWN_MM)
    shells = [volume.data[crown & (depth > start) & (depth <= start + 3)] for start in DEPTHS_MM]
    profile = np.array([np.median(shell) for shell in shells if shell.size])
    dip = (np.maximum.accumulate(profile) - profile).max()
    return bool(dip > SKULL_DIP * profile.max())


def _large_pieces(foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    opened = np.asarray(ndimage.binary_opening(foreground), dtype=bool)
    found: Any = ndimage.label(opened)
    labels, count = found
    if count == 0:
        return foreground
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= PIECE_SHARE * sizes.max())[labels] & opened, dtype=bool)


def _working_mm(volume: Volume) -> float:
    return float(np.clip(volume.voxel_size.min(), FINEST_MM, COARSEST_MM))


def _foreground(data: NDArray[np.float32]) -> NDArray[np.bool_]:
    # A quantitative map is noise of any size in air, sometimes larger than tissue. Where the local mean does not
    # stand out from the local scatter it is weighted down (Wiener's factor); smooth tissue keeps its value.
    bounded = np.clip(data, *np.percentile(data, [0.5, 99.5]))
    mean = np.asarray(ndimage.uniform_filter(bounded, 3, mode="constant"), dtype=np.float64)
    square = np.asarray(ndimage.uniform_filter(bounded.astype(np.float64) ** 2, 3, mode="constant"))
    signal = np.clip(mean, 0, None) ** 3 / np.maximum(square, 1e-30)
    bright = signal > _otsu(signal[signal > 0])
    return signal > AIR_SHARE * float(np.median(signal[bright]))


def _otsu(values: NDArray[np.float64]) -> float:
    """Threshold between two groups with the largest variance between them (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256, range=(0, float(np.percentile(values, 99.5))))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts).astype(np.float64)
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sums[-1] * below / below[-1] - sums) ** 2 / (below * (below[-1] - below))
    return float(centres[np.nanargmax(np.where(np.isfinite(between), between, 0))])


def _solid(foreground: NDArray[np.bool_], voxel_size: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Keep the largest piece, its fissures closed and its holes filled."""
    piece = largest_piece(np.asarray(ndimage.binary_opening(foreground), dtype=bool))
    return closed(piece, voxel_size, CLOSING_MM / 2)


def _on_scan(probability: Volume, volume: Volume) -> NDArray[np.bool_]:
    sampled = sample(probability.data, probability.affine, volume.shape, volume.affine)
    return np.asarray(ndimage.binary_fill_holes(largest_piece(sampled > 0.5)), dtype=bool)
