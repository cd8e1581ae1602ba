"""Parcels without a surface: means over the labels of an image in the target space.

From the workflow's own maps: the mean of modulated grey matter (its volume per label), and of R1, MTsat or other maps
over the label's grey matter. Lesion masks of a scan are brought to the same space and become shares of its labels.
Which label lies in which network and hemisphere a table says; labels that touch in the image are joined by an edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.lesions import VOLUME_ML, lesion_shares, lesion_volume_ml
from plastimap.brainage.parcels import Parcels, as_parcels, listed
from plastimap.brainage.problems import BrainageProblem
from plastimap.images import Volume, same_grid
from plastimap.transforms import Chain, resample

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

GREY_MATTER = 0.5
"""Probability of grey matter from which on a voxel of a quantitative map counts."""

LEAST_VOXELS = 20
"""Fewer voxels of a label with a value give no mean."""

VOLUME = "vbm"
"""The map whose mean is a volume (modulated grey matter), so that every voxel of the label counts."""


@dataclass(frozen=True)
class Labels:
    """Labels of an image.

    Attributes
    ----------
    numbers : tuple of int
    names, hemispheres, networks : tuple of str
    """

    numbers: tuple[int, ...]
    names: tuple[str, ...]
    hemispheres: tuple[str, ...]
    networks: tuple[str, ...]


def as_labels(table: pd.DataFrame, image: ArrayLike) -> Labels:
    """Check the table of labels against its image.

    Parameters
    ----------
    table : DataFrame
        ``index``, ``name``, ``hemisphere`` (L, R), ``network``.
    image : array-like of int

    Raises
    ------
    BrainageProblem
        With everything that is wrong.
    """
    wanted = ("index", "name", "hemisphere", "network")
    missing = [name for name in wanted if name not in table]
    if missing:
        raise BrainageProblem(f"the table of labels has no column {', '.join(missing)}")
    as_parcels(table)
    there = set(np.unique(np.asarray(image)).astype(int).tolist())
    absent = [f"{name} ({index})" for index, name in zip(table["index"], table["name"], strict=True)
              if int(index) not in there]  # fmt: skip
    if absent:
        raise BrainageProblem(f"labels without a voxel in the image: {listed(absent)}; leave them out of the table")
    parcels = as_parcels(table)
    numbers = tuple(int(one) for one in table["index"])
    return Labels(numbers, parcels.names, parcels.hemispheres, parcels.networks)


def parcels_of_labels(labels: Labels, image: ArrayLike, maps: Sequence[str]) -> Parcels:
    """Parcels of a volumetric study: every label once per map.

    Edges join labels that touch (faces of voxels), within each map, and the maps of one label.

    Parameters
    ----------
    labels : Labels
    image : array-like of int, three-dimensional
    maps : sequence of str
    """
    touching = _touching(np.asarray(image), labels.numbers)
    n, k = len(labels.names), len(maps)
    edges = [(i + m * n, j + m * n) for m in range(k) for i, j in touching]
    edges += [(i + one * n, i + other * n) for i in range(n) for one in range(k) for other in range(one + 1, k)]
    return Parcels(
        names=tuple(column_name(name, map_name) for map_name in maps for name in labels.names),
        hemispheres=labels.hemispheres * k,
        networks=labels.networks * k,
        measures=tuple(map_name for map_name in maps for _ in labels.names),
        edges=np.array(edges, dtype=np.int64).reshape(-1, 2),
    )


def column_name(label: str, map_name: str) -> str:
    """Name of a label's mean of a map."""
    return f"{map_name}_{label}"


def label_means(
    image: ArrayLike, labels: Labels, maps: Mapping[str, ArrayLike], *, grey_matter: ArrayLike
) -> dict[str, float]:
    """Means of one scan.

    Parameters
    ----------
    image : array-like of int, three-dimensional
    labels : Labels
    maps : mapping of str to array-like
        On the image's grid; ``vbm`` is modulated grey matter.
    grey_matter : array-like
        Its probability.

    Returns
    -------
    dict
        Name of the parcel → mean; NaN where fewer than :data:`LEAST_VOXELS` voxels have a value.
    """
    marks, tissue = np.asarray(image), np.asarray(grey_matter)
    _same_shape(marks, {**maps, "grey matter": tissue})
    found: dict[str, float] = {}
    for name, values in maps.items():
        data = np.asarray(values, dtype=np.float64)
        counted = np.isfinite(data) & (marks > 0)
        if name != VOLUME:
            counted &= tissue >= GREY_MATTER
        size = np.bincount(marks[counted].astype(np.intp), minlength=max(labels.numbers) + 1)
        total = np.bincount(marks[counted].astype(np.intp), data[counted], minlength=max(labels.numbers) + 1)
        for number, label in zip(labels.numbers, labels.names, strict=True):
            enough = size[number] >= LEAST_VOXELS
            found[column_name(label, name)] = float(total[number] / size[number]) if enough else float("nan")
    return found


def labels_on(labels: Volume, where: Volume) -> NDArray[np.int64]:
    """Labels on the grid of another image of the same space: every voxel takes the nearest label.

    Parameters
    ----------
    labels : Volume
        Of whole numbers.
    where : Volume
    """
    if same_grid(labels, where):
        return labels.data.astype(np.int64)
    solid = Volume(labels.data.astype(np.float32), labels.affine)
    brought = resample(solid, where, np.eye(4), order="nearest", validity=False)
    return np.rint(brought).astype(np.int64)


def joined(masks: Sequence[Volume]) -> Volume:
    """Where any mask of one scan has a lesion, on the grid of the first."""
    first = masks[0]
    others = [resample(one, first, np.eye(4), order="nearest", validity=False) for one in masks[1:]]
    marked = np.logical_or.reduce([np.nan_to_num(one) > 0 for one in (first.data, *others)])
    return Volume(marked.astype(np.float32), first.affine)


def scan_lesion_shares(
    lesion: Volume | None, where: Volume, chain: Chain, image: ArrayLike, labels: Labels, maps: Sequence[str]
) -> dict[str, float]:
    """Lesioned share of every parcel of one scan, every label once per map.

    Parameters
    ----------
    lesion : Volume or None
        1 where there is a lesion, on the scan's own grid.
    where : Volume
        Grid of the target space.
    chain : pull maps
        From the target space to the scan.
    image : array-like of int
        Labels on the grid of `where`.
    labels : Labels
    maps : sequence of str
    """
    if lesion is None:
        shares = np.zeros(len(labels.names))
    else:
        brought = resample(lesion, where, chain, validity=False)
        shares = np.nan_to_num(lesion_shares(brought, image, labels.numbers))
    return {column_name(name, one): round(float(share), 5)
            for one in maps for name, share in zip(labels.names, shares, strict=True)}  # fmt: skip


def person_lesion(mask: Volume, labels: Volume, table: pd.DataFrame) -> dict[str, float]:
    """Volume of a lesion (ml) and the lesioned share of every parcel, in a person's own space.

    Parameters
    ----------
    mask : Volume
        Above 0 is lesion.
    labels : Volume
        The person's parcels, on any grid; FreeSurfer's ``aparc.a2009s+aseg`` as NIfTI, say.
    table : DataFrame
        ``index`` and ``name`` of the parcels.

    Raises
    ------
    BrainageProblem
        If the table lacks a column, or no parcel lies where the mask's image is.
    """
    missing = [name for name in ("index", "name") if name not in table]
    if missing:
        raise BrainageProblem(f"the table of labels has no column {', '.join(missing)}")
    lesion = np.nan_to_num(mask.data) > 0
    shares = lesion_shares(lesion, labels_on(labels, mask), [int(one) for one in table["index"]])
    if np.isnan(shares).all():
        raise BrainageProblem("no label of the table lies inside the mask's image; are both of one space?")
    volume = lesion_volume_ml(lesion, mask.voxel_volume)
    rounded = (round(float(one), 5) for one in np.nan_to_num(shares))
    return {VOLUME_ML: round(volume, 3), **dict(zip(table["name"].astype(str), rounded, strict=True))}


def _touching(image: NDArray, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of labels, by place in `numbers`, that share a face of a voxel."""
    place = {number: position for position, number in enumerate(numbers)}
    pairs: set[tuple[int, int]] = set()
    for axis in range(image.ndim):
        one, other = np.moveaxis(image, axis, 0)[:-1], np.moveaxis(image, axis, 0)[1:]
        both = np.unique(np.stack([one[one != other], other[one != other]], axis=1), axis=0)
        for a, b in both.tolist():
            if a in place and b in place:
                pairs.add((min(place[a], place[b]), max(place[a], place[b])))
    return sorted(pairs)


def _same_shape(marks: NDArray, images: Mapping[str, ArrayLike]) -> None:
    other = [f"{name} {np.shape(one)}" for name, one in images.items() if np.shape(one) != marks.shape]
    if other:
        raise BrainageProblem(f"the labels {marks.shape} are not on the grid of {listed(other)}; resample them")
