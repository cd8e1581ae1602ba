"""Analysis masks, and the search volume of each hemisphere and tissue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.space.grids import TARGET_SPACE, hemispheres
from plastimap.space.rois import Mask, Roi, build_rois, size_notes
from plastimap.transforms import Chain, Grid

TISSUE_THRESHOLDS = {"GM": 0.2, "WM": 0.6}
"""Least group-mean probability per analysed tissue."""

HEMISPHERES = ("L", "R")
"""Left is x < 0."""


def tissue_masks(
    means: Mapping[str, NDArray[np.floating]], thresholds: Mapping[str, float] | None = None
) -> dict[str, Mask]:
    """Analysis masks: the group-mean probability reaches its threshold, and the tissue is the largest class.

    Parameters
    ----------
    means : mapping of str to ndarray, one shape
        Group-mean probabilities in the target space: ``GM``, ``WM``, and
        ``CSF`` where there is one.
    thresholds : mapping of str to float, optional
        Least probability per tissue; 0.2 (GM) and 0.6 (WM) unless given. Other keys are ignored.

    Returns
    -------
    dict of str to ndarray of bool
        ``GM`` and ``WM``, with no voxel in common.
    """
    least = {**TISSUE_THRESHOLDS, **(thresholds or {})}
    known = {name: np.nan_to_num(mean) for name, mean in means.items()}
    grey, white = known["GM"], known["WM"]
    rest = known.get("CSF", np.zeros_like(grey))
    return {
        "GM": (grey >= least["GM"]) & (grey > white) & (grey > rest),
        "WM": (white >= least["WM"]) & (white >= grey) & (white > rest),
    }


@dataclass(frozen=True)
class SearchVolumes:
    """Where clusters are looked for.

    Attributes
    ----------
    labels : dict of str to ndarray of uint8
        Per tissue: 1 = left, 2 = right, 0 = not searched.
    voxels : dict of str to dict of str to int
        Voxels per region (and ``all``) and search volume (``L GM`` …).
    notes : tuple of str
        Other spaces; regions and volumes that are empty or small.
    """

    labels: dict[str, NDArray[np.uint8]]
    voxels: dict[str, dict[str, int]]
    notes: tuple[str, ...] = ()

    def mask(self, hemisphere: str, tissue: str) -> Mask:
        """One search volume, for example ``mask("L", "GM")``."""
        return self.labels[tissue] == HEMISPHERES.index(hemisphere) + 1


def search_volumes(
    specifications: Sequence[Mapping[str, Any]],
    tissues: Mapping[str, Mask],
    grid: Grid,
    *,
    images: Mapping[str, Volume] | None = None,
    transforms: Mapping[str, Chain] | None = None,
    space: str = TARGET_SPACE,
) -> SearchVolumes:
    """All regions together, cut into one search volume per hemisphere × tissue.

    Parameters
    ----------
    specifications, grid, images, transforms, space
        As in :func:`plastimap.space.rois.build_rois`; no region: whole hemispheres.
    tissues : mapping of str to ndarray of bool
        From :func:`tissue_masks`.

    Returns
    -------
    SearchVolumes
        The plane x = 0 belongs to neither side.

    Raises
    ------
    RoiProblem
        As in :func:`plastimap.space.rois.build_rois`.
    """
    rois = build_rois(specifications, grid, images=images, transforms=transforms, space=space)
    sides = hemispheres(grid)
    everywhere = np.ones(tuple(grid[0]), dtype=bool)
    region = np.logical_or.reduce([roi.mask for roi in rois]) if rois else everywhere
    labels = {name: _labelled(region & mask, sides) for name, mask in tissues.items()}
    found = SearchVolumes(labels, {})
    for roi in (*rois, Roi("all", everywhere)):
        found.voxels[roi.name] = {
            f"{side} {name}": int((found.mask(side, name) & roi.mask).sum()) for side in HEMISPHERES for name in tissues
        }
    return SearchVolumes(labels, found.voxels, _search_notes(rois, found.voxels))


def _labelled(mask: Mask, sides: Mapping[str, Mask]) -> NDArray[np.uint8]:
    labels = np.zeros(mask.shape, dtype=np.uint8)
    for number, side in enumerate(HEMISPHERES, start=1):
        labels[mask & sides[side]] = number
    return labels


def _search_notes(rois: Sequence[Roi], voxels: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
    notes = [note for roi in rois for note in roi.notes]
    notes += [
        f"region {roi.name} holds no voxel of an analysed tissue"
        for roi in rois
        if roi.mask.any() and not any(voxels[roi.name].values())
    ]
    for name, count in voxels["all"].items():
        notes += size_notes(f"search volume {name}", count)
    return tuple(notes)
