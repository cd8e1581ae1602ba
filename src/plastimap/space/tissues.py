"""A person's tissues in the midpoint space, each place from the sessions that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.transforms import Chain, Grid, Warp, resample

LEAST_SHOWN = 0.5
"""Least share of a voxel, summed over sessions, that shows sound tissue for the voxel to have a value."""

LEAST_TOLD_ML = 1.0
"""Volume of brain from which it is told that a session does not show it."""

Mask = NDArray[np.bool_]
Share = NDArray[np.float32]


@dataclass(frozen=True)
class MeanTissues:
    """Tissues of a person.

    Attributes
    ----------
    tissues : dict of str to Volume
        Mean probabilities; NaN where no session shows sound tissue.
    notes : tuple of str
        How much of the brain a session does not show, and how much none does.
    """

    tissues: dict[str, Volume]
    notes: tuple[str, ...] = ()


def field_of_view(volume: Volume, warp: Warp) -> Share:
    """Share of each voxel of a warp's grid that lies inside the image that it pulls from."""
    return shown(volume, None, warp, warp)


def shown(volume: Volume, lesion: Mask | None, transform: Chain, grid: Volume | Warp | Grid) -> Share:
    """Share of each voxel that an image shows as sound tissue: inside its field of view, outside of its lesion.

    Parameters
    ----------
    volume : Volume
        Its data play no part.
    lesion : ndarray of bool, optional
        On the grid of `volume`.
    transform : Warp, ndarray (4, 4) or a sequence of them
        Pull map grid → volume.
    grid : Volume, Warp or (shape, affine)
    """
    sound = np.ones(volume.shape, dtype=np.float32) if lesion is None else (~lesion).astype(np.float32)
    share = resample(Volume(sound, volume.affine), grid, transform, validity=False)
    # Weights of an interpolation add up to 1 but for rounding.
    return np.where(share > 1 - 1e-5, np.float32(1), share)


def mean_tissues(
    tissues: Sequence[Mapping[str, Volume]],
    transforms: Sequence[Warp],
    *,
    lesions: Sequence[Mask | None] | None = None,
    brain: Mask | None = None,
    names: Sequence[str] | None = None,
) -> MeanTissues:
    """Mean tissue probabilities pulled into the template, over the sessions that show sound tissue there.

    Parameters
    ----------
    tissues : sequence of mapping of str to Volume
        Per session, the same tissues in all, on one grid.
    transforms : sequence of Warp
        Template → session.
    lesions : sequence of (ndarray of bool or None), optional
        Per session, on the grid of its tissues: what they say there does not count.
    brain : ndarray of bool, optional
        On the template's grid: what the notes tell of; without it there are none.
    names : sequence of str, optional
        What the notes call the sessions.
    """
    where = transforms[0]
    holes = [None] * len(tissues) if lesions is None else list(lesions)
    firsts = [next(iter(session.values())) for session in tissues]
    shares = [shown(*each, where) for each in zip(firsts, holes, transforms, strict=True)]
    mean: dict[str, Volume] = {}
    for name in tissues[0]:
        sound = [_without(session[name], hole) for session, hole in zip(tissues, holes, strict=True)]
        mean[name] = Volume(_weighted_mean(sound, transforms, shares), where.affine)
    if brain is None:
        return MeanTissues(mean)
    called = names or [f"session {number + 1}" for number in range(len(tissues))]
    views = [field_of_view(volume, transform) for volume, transform in zip(firsts, transforms, strict=True)]
    voxel_ml = Volume(brain, where.affine).voxel_volume / 1000
    return MeanTissues(mean, _notes(dict(zip(called, zip(shares, views, strict=True), strict=True)), brain, voxel_ml))


def _without(tissue: Volume, lesion: Mask | None) -> Volume:
    return tissue if lesion is None else Volume(np.where(lesion, 0, tissue.data).astype(np.float32), tissue.affine)


def _weighted_mean(volumes: Sequence[Volume], transforms: Sequence[Warp], shares: Sequence[Share]) -> Share:
    """Mean of what is pulled to the template; what a volume does not show is 0 in it and in its share."""
    pulled = [resample(volume, transforms[0], t, validity=False) for volume, t in zip(volumes, transforms, strict=True)]
    total, share = np.sum(pulled, axis=0, dtype=np.float64), np.sum(shares, axis=0, dtype=np.float64)
    mean = np.divide(total, share, out=np.full_like(total, np.nan), where=share >= LEAST_SHOWN)
    return mean.astype(np.float32)


def _notes(sessions: Mapping[str, tuple[Share, Share]], brain: Mask, voxel_ml: float) -> tuple[str, ...]:
    notes: list[str] = []
    for name, (share, view) in sessions.items():
        cut = float((1 - view)[brain].sum(dtype=np.float64)) * voxel_ml
        hurt = float((view - share)[brain].sum(dtype=np.float64)) * voxel_ml
        if cut >= LEAST_TOLD_ML:
            notes.append(f"{name} does not cover {cut:.0f} ml of the brain")
        if hurt >= LEAST_TOLD_ML:
            notes.append(f"{name} has a lesion mask on {hurt:.0f} ml of the brain")
    if notes and len(sessions) > 1:
        notes.append("where a session shows no sound tissue, midpoint image and tissues are those of the others")
    lost = float((np.sum([share for share, _ in sessions.values()], axis=0) < LEAST_SHOWN)[brain].sum()) * voxel_ml
    if lost >= LEAST_TOLD_ML:
        notes.append(f"no session shows {lost:.0f} ml of the brain as sound tissue: this person has no tissue there")
    return tuple(notes)
