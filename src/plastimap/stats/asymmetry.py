"""Values of the two hemispheres, as they are or right minus left: does change differ between the sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.stats.problems import StatsProblem

SIDE = "R"
"""Search volume of the differences, which lie on the right."""

REMARK = (
    "Values are right minus left hemisphere, voxel by mirrored voxel, shown on the right side; they suppose a target "
    "space that is symmetric."
)


@dataclass(frozen=True)
class Sides:
    """Values of all scans in the voxels of a mask.

    Attributes
    ----------
    maps : ndarray of float32, shape (n, n_voxels)
        C order.
    mask : ndarray of bool, shape (X, Y, Z)
        Of differences: voxels right of the midline that are in the analysis mask, and whose mirror is too.
    search_volumes : dict of str to ndarray of bool
        Of differences: one, of the right, where both sides' search volumes mirror each other.
    errors : ndarray of float32, shape (n, n_voxels), or None
        Standard errors, where those of the maps were given; those of the two sides are independent.
    remarks : tuple of str
        What was done, for the report.
    """

    maps: NDArray[np.float32]
    mask: NDArray[np.bool_]
    search_volumes: dict[str, NDArray[np.bool_]]
    errors: NDArray[np.float32] | None = None
    remarks: tuple[str, ...] = ()

    @property
    def arguments(self) -> dict[str, Any]:
        """Keywords of :func:`plastimap.stats.analysis.analyse` beside the maps."""
        names = ("mask", "search_volumes", "errors", "remarks")
        return {name: getattr(self, name) for name in names}


def mirrored(volume: NDArray[np.floating], affine: NDArray[np.floating]) -> NDArray[np.float32]:
    """Volume seen in a mirror in the plane x = 0, on its own grid, with linear interpolation between its planes.

    Parameters
    ----------
    volume : ndarray, shape (X, Y, Z)
        NaN where there is no value; also where a mirrored place lies outside the grid.
    affine : ndarray, shape (4, 4)
        Its first axis must be the world's x, whichever way.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)

    Raises
    ------
    StatsProblem
        If the grid is oblique.
    """
    step = float(affine[0, 0])
    if np.abs(affine[0, 1:3]).max() > 1e-6 * abs(step) or np.abs(affine[1:3, 0]).max() > 1e-6 * abs(step):
        raise StatsProblem("a mirror needs a grid whose first axis runs from left to right")
    # Voxel i lies at x = step i + x0; its mirror -x is voxel -i - 2 x0 / step. Rounding must not make neighbours of it.
    place = np.round(-np.arange(volume.shape[0]) - 2 * float(affine[0, 3]) / step, 6)
    low = np.floor(place).astype(int)
    share = (place - low)[:, None, None]
    padded = np.concatenate([volume, np.full((1, *volume.shape[1:]), np.nan)]).astype(np.float64)
    outside = volume.shape[0]
    first, second = (padded[np.where((at >= 0) & (at < outside), at, outside)] for at in (low, low + 1))
    return np.where(share == 0, first, (1 - share) * first + share * second).astype(np.float32)


def right_minus_left(
    volumes: Sequence[NDArray[np.floating]],
    mask: NDArray[np.bool_],
    search_volumes: Mapping[str, NDArray[np.bool_]],
    affine: NDArray[np.floating],
    *,
    errors: Sequence[NDArray[np.floating]] = (),
) -> Sides:
    """Take the left hemisphere's values from the right one's.

    Parameters
    ----------
    volumes : sequence of ndarray, shape (X, Y, Z)
        Smoothed maps of all scans.
    mask : ndarray of bool, shape (X, Y, Z)
    search_volumes : mapping of str to ndarray of bool
        ``L`` and ``R``.
    affine : ndarray, shape (4, 4)
    errors : sequence of ndarray, shape (X, Y, Z)
        Standard errors of the maps, where they are known.

    Returns
    -------
    Sides

    Raises
    ------
    StatsProblem
        If the grid is oblique, or nothing is left of the mask.
    """

    def both(region: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return region & (np.nan_to_num(mirrored(other.astype(np.float32), affine)) > 0.5)

    x = affine[0, 0] * np.arange(mask.shape[0]) + affine[0, 3]
    sided = both(mask, mask) & (x > 0)[:, None, None]
    region = both(search_volumes["R"], search_volumes["L"])
    if not (sided & region).any():
        raise StatsProblem("no voxel of the search volumes has a mirrored one: are there regions on both sides?")
    maps = np.stack([(volume - mirrored(volume, affine))[sided] for volume in volumes]).astype(np.float32)
    joint = [np.hypot(error, mirrored(error, affine))[sided].astype(np.float32) for error in errors]
    return Sides(maps, sided, {SIDE: region}, np.stack(joint) if joint else None, (REMARK,))


def sides_of(
    volumes: Sequence[Volume], mask: Volume, search: Volume, *, errors: Sequence[Volume], difference: bool
) -> Sides:
    """Values of all scans, as they are or right minus left.

    Parameters
    ----------
    volumes : sequence of Volume
        Smoothed maps.
    mask : Volume
        Analysis mask.
    search : Volume
        Labels: 1 = left, 2 = right search volume.
    errors : sequence of Volume
        Standard errors of the maps; empty where they are not known.
    difference : bool
        Right minus left.
    """
    inside = mask.data > 0
    regions = {side: search.data == label for label, side in enumerate(("L", "R"), start=1)}
    maps, known = [volume.data for volume in volumes], [volume.data for volume in errors]
    if difference:
        return right_minus_left(maps, inside, regions, mask.affine, errors=known)
    values, error = (
        np.stack([data[inside] for data in images]).astype(np.float32) if images else None for images in (maps, known)
    )
    if values is None:
        raise StatsProblem("no map was given")
    return Sides(values, inside, regions, error)
