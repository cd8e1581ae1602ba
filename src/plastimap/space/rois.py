"""Regions of interest and search volumes in the target space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.space.grids import TARGET_SPACE, hemispheres
from plastimap.transforms import Grid, resample, world_points

Mask = NDArray[np.bool_]

PROBABILITY_THRESHOLD = 0.5
"""Cut of a probability image where the configuration names none."""

SMALL_VOXELS = 20
"""Search volumes and regions below this size (the least cluster extent) are named in a note."""

TISSUE_THRESHOLDS = {"GM": 0.2, "WM": 0.6}
"""Least group-mean probability per analysed tissue."""

HEMISPHERES = ("L", "R")
"""Left is x < 0."""

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
"""Swaps left and right in a symmetric space."""


class RoiProblem(ValueError):
    """A region that cannot be made from its configuration; the message says why."""


@dataclass(frozen=True)
class Roi:
    """A named region on the target grid."""

    name: str
    mask: Mask
    notes: tuple[str, ...] = ()


def sphere(centre: Sequence[float], radius: float, grid: Grid, *, mirror: bool = False) -> Mask:
    """Voxels within `radius` mm of `centre`.

    Parameters
    ----------
    centre : sequence of float, shape (3,)
        World mm.
    radius : float
        Millimetres.
    grid : (shape, affine)
    mirror : bool
        Add the sphere at −x.

    Returns
    -------
    ndarray of bool, shape of `grid`
    """
    if len(centre) != 3 or not np.isfinite(centre).all() or not radius > 0:
        raise RoiProblem(f"a sphere needs three coordinates and a positive radius, not {list(centre)} and {radius}")
    points = world_points(grid)
    middle = np.asarray(centre, dtype=np.float64).reshape(3, 1, 1, 1)
    mask = ((points - middle) ** 2).sum(axis=0) <= radius**2
    if mirror:
        middle = middle * np.array([-1.0, 1.0, 1.0]).reshape(3, 1, 1, 1)
        mask |= ((points - middle) ** 2).sum(axis=0) <= radius**2
    return mask


def image_roi(
    image: Volume,
    grid: Grid,
    *,
    labels: int | Sequence[int] | None = None,
    threshold: float | None = None,
    mirror: bool = False,
) -> Mask:
    """Cut a region from a label image or a probability image.

    Parameters
    ----------
    image : Volume
        In the target space, on any grid.
    grid : (shape, affine)
    labels : int or sequence of int, optional
        Values of a label image that belong to the region (nearest neighbour).
    threshold : float, optional
        Least probability, in the image's own units (trilinear); 0.5 of the
        maximum when neither is given.
    mirror : bool
        Add the region reflected at x = 0.

    Returns
    -------
    ndarray of bool, shape of `grid`
    """
    if labels is not None and threshold is not None:
        raise RoiProblem("a region is cut either by labels or by a threshold, not by both")
    if image.data.ndim != 3:
        raise RoiProblem(f"a region's image has {image.data.ndim} dimensions, where 3 are wanted")
    sides = [np.eye(4), MIRROR] if mirror else [np.eye(4)]
    return np.logical_or.reduce([_cut(image, grid, side, labels, threshold) for side in sides])


def _cut(
    image: Volume, grid: Grid, side: NDArray[np.float64], labels: int | Sequence[int] | None, threshold: float | None
) -> Mask:
    if labels is not None:
        values = resample(image, grid, side, order="nearest", validity=False)
        return np.isin(np.rint(values), np.atleast_1d(np.asarray(labels)))
    values = resample(image, grid, side, validity=False)
    cut = PROBABILITY_THRESHOLD * float(np.nanmax(image.data)) if threshold is None else threshold
    return (values >= cut) & (values > 0)


def build_rois(
    specifications: Sequence[Mapping[str, Any]],
    grid: Grid,
    *,
    images: Mapping[str, Volume] | None = None,
    space: str = TARGET_SPACE,
) -> tuple[Roi, ...]:
    """Regions from the `rois` section of the configuration.

    Parameters
    ----------
    specifications : sequence of mapping
        Each with ``name`` and either ``sphere: {centre, radius}`` or
        ``image`` (with ``label`` or ``threshold``, ``space``); ``mirror`` adds
        the other side.
    grid : (shape, affine)
        Of the target.
    images : mapping of str to Volume
        Per region's name, the image that it asks for.
    space : str
        BIDS name of the target space; an image that declares another one, or
        none, is used as it is and a note says so.

    Returns
    -------
    tuple of Roi

    Raises
    ------
    RoiProblem
        When a region has neither sphere nor image, or its image is missing.
    """
    return tuple(_build(specification, grid, images or {}, space) for specification in specifications)


def _build(specification: Mapping[str, Any], grid: Grid, images: Mapping[str, Volume], space: str) -> Roi:
    name = str(specification.get("name", "unnamed"))
    mirror = bool(specification.get("mirror", False))
    notes: list[str] = []
    if specification.get("sphere"):
        ball = specification["sphere"]
        mask = sphere(ball["centre"], float(ball["radius"]), grid, mirror=mirror)
    elif specification.get("image"):
        if name not in images:
            raise RoiProblem(f"region {name}: its image {specification['image']} was not given")
        notes += _space_notes(name, specification.get("space"), space)
        labels, threshold = specification.get("label"), specification.get("threshold")
        mask = image_roi(images[name], grid, labels=labels, threshold=threshold, mirror=mirror)
    else:
        raise RoiProblem(f"region {name}: either a sphere or an image is wanted")
    return Roi(name, mask, tuple(notes + _size_notes(f"region {name}", int(mask.sum()))))


def _space_notes(name: str, declared: Any, space: str) -> list[str]:
    if declared == space:
        return []
    said = f"is in {declared}" if declared else "declares no space"
    return [f"region {name} {said}, the study is in {space}: it may lie off by millimetres; look at the overlay"]


def _size_notes(what: str, voxels: int) -> list[str]:
    if voxels == 0:
        return [f"{what} is empty"]
    return [f"{what} has {voxels} voxels only"] if voxels < SMALL_VOXELS else []


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
    space: str = TARGET_SPACE,
) -> SearchVolumes:
    """All regions together, cut into one search volume per hemisphere × tissue.

    Parameters
    ----------
    specifications, grid, images, space
        As in :func:`build_rois`; no region: whole hemispheres.
    tissues : mapping of str to ndarray of bool
        From :func:`tissue_masks`.

    Returns
    -------
    SearchVolumes
        The plane x = 0 belongs to neither side.

    Raises
    ------
    RoiProblem
        As in :func:`build_rois`.
    """
    rois = build_rois(specifications, grid, images=images, space=space)
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
        notes += _size_notes(f"search volume {name}", count)
    return tuple(notes)
