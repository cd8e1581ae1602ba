"""Regions of interest in the target space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.space.grids import TARGET_SPACE, hemispheres
from plastimap.space.region_values import region_doubts
from plastimap.transforms import Chain, Grid, as_steps, resample, world_points

Mask = NDArray[np.bool_]

PROBABILITY_THRESHOLD = 0.5
"""Cut of a probability image where the configuration names none."""

SMALL_VOXELS = 20
"""Search volumes and regions below this size (the least cluster extent) are named in a note."""

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
"""Swaps left and right in a symmetric space."""

ONE_SIDED = 0.95
"""Least share of a region's voxels on the side that it declares."""


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
    transform: Chain | None = None,
) -> Mask:
    """Cut a region from a label image or a probability image.

    Parameters
    ----------
    image : Volume
        In the target space, on any grid; or in another one, with `transform`.
    grid : (shape, affine)
    labels : int or sequence of int, optional
        Values of a label image that belong to the region (nearest neighbour).
    threshold : float, optional
        Least probability, in the image's own units (trilinear); 0.5 of the
        maximum when neither is given.
    mirror : bool
        Add the region reflected at x = 0 of the target.
    transform : Warp, ndarray (4, 4), or a sequence of them, optional
        Pull map target → space of `image`.

    Returns
    -------
    ndarray of bool, shape of `grid`
    """
    if labels is not None and threshold is not None:
        raise RoiProblem("a region is cut either by labels or by a threshold, not by both")
    if image.data.ndim != 3:
        raise RoiProblem(f"a region's image has {image.data.ndim} dimensions, where 3 are wanted")
    sides = [np.eye(4), MIRROR] if mirror else [np.eye(4)]
    onward = [] if transform is None else as_steps(transform)
    return np.logical_or.reduce([_cut(image, grid, [side, *onward], labels, threshold) for side in sides])


def _cut(image: Volume, grid: Grid, side: Chain, labels: int | Sequence[int] | None, threshold: float | None) -> Mask:
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
    transforms: Mapping[str, Chain] | None = None,
    space: str = TARGET_SPACE,
) -> tuple[Roi, ...]:
    """Regions from the `rois` section of the configuration.

    Parameters
    ----------
    specifications : sequence of mapping
        Each with ``name`` and either ``sphere: {centre, radius}`` or
        ``image`` (with ``label`` or ``threshold``, ``space``); ``mirror`` adds
        the other side, ``side`` (L or R) says where the region has to lie.
    grid : (shape, affine)
        Of the target.
    images : mapping of str to Volume
        Per region's name, the image that it asks for.
    transforms : mapping of str to Warp, matrix or chain, optional
        Per region's name, pull map target → space of its image.
    space : str
        BIDS name of the target space; an image that declares another one, or
        none, is used as it is and a note says so.

    Returns
    -------
    tuple of Roi

    Raises
    ------
    RoiProblem
        When a region has neither sphere nor image, its image is missing, or holds nothing of what is asked of it.
    """
    return tuple(_build(one, grid, images or {}, transforms or {}, space) for one in specifications)


def _build(
    specification: Mapping[str, Any],
    grid: Grid,
    images: Mapping[str, Volume],
    transforms: Mapping[str, Chain],
    space: str,
) -> Roi:
    name = str(specification.get("name", "unnamed"))
    mirror = bool(specification.get("mirror", False))
    notes: list[str] = []
    if specification.get("sphere"):
        ball = specification["sphere"]
        mask = sphere(ball["centre"], float(ball["radius"]), grid, mirror=mirror)
        notes += _clipped_notes(name, ball["centre"], float(ball["radius"]), grid, mirror=mirror)
    elif specification.get("image"):
        if name not in images:
            raise RoiProblem(f"region {name}: its image {specification['image']} was not given")
        chain = transforms.get(name)
        notes += [] if chain is not None else _space_notes(name, specification.get("space"), space)
        notes += _value_notes(name, images[name], specification)
        labels, threshold = specification.get("label"), specification.get("threshold")
        mask = image_roi(images[name], grid, labels=labels, threshold=threshold, mirror=mirror, transform=chain)
    else:
        raise RoiProblem(f"region {name}: either a sphere or an image is wanted")
    notes += _side_notes(name, mask, grid, specification.get("side"))
    return Roi(name, mask, tuple(notes + size_notes(f"region {name}", int(mask.sum()))))


def _value_notes(name: str, image: Volume, specification: Mapping[str, Any]) -> list[str]:
    doubts = region_doubts(image.data, specification)
    fatal = next((one for one in doubts if one.fatal), None)
    if fatal is not None:
        raise RoiProblem(f"region {name}: {fatal.what}; {fatal.remedy}")
    return [f"region {name}: {one.what}; {one.remedy}" for one in doubts]


def _clipped_notes(name: str, centre: Sequence[float], radius: float, grid: Grid, *, mirror: bool) -> list[str]:
    """Say how much of a sphere lies beyond the edge of the grid."""
    # The same voxels without an edge: room for the whole ball on every side.
    shape, affine = grid
    room = int(np.ceil(radius / np.linalg.norm(affine[:3, :3], axis=0).min())) + 1
    at = np.linalg.inv(affine) @ [*centre, 1.0]
    first = np.floor(at[:3]).astype(int) - room
    wide = affine.copy()
    wide[:3, 3] += affine[:3, :3] @ first
    whole = int(sphere(centre, radius, ((2 * room + 2,) * 3, wide)).sum())
    sides = [1.0, -1.0] if mirror else [1.0]
    least = min(int(sphere([side * centre[0], *centre[1:]], radius, (shape, affine)).sum()) for side in sides)
    if not 0 < least < whole:
        return []
    return [f"region {name}: {100 * least / whole:.0f} % of its sphere lie on the grid, the rest beyond its edge"]


def _side_notes(name: str, mask: Mask, grid: Grid, side: Any) -> list[str]:
    if side is None or not mask.any():
        return []
    share = float(hemispheres(grid)[str(side)][mask].mean())
    if share >= ONE_SIDED:
        return []
    return [f"region {name} should lie on side {side} (left is x < 0), but only {100 * share:.0f} % of it do"]


def _space_notes(name: str, declared: Any, space: str) -> list[str]:
    if declared == space:
        return []
    said = f"is in {declared}" if declared else "declares no space"
    return [f"region {name} {said}, the study is in {space}: it may lie off by millimetres; look at the overlay"]


def size_notes(what: str, voxels: int) -> list[str]:
    """Say so when a region is empty or small."""
    if voxels == 0:
        return [f"{what} is empty"]
    return [f"{what} has {voxels} voxels only"] if voxels < SMALL_VOXELS else []
