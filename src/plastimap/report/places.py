"""Which region a coordinate lies in, by the study's own regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEAR_MM = 10.0
"""A peak this far from a region still gets its name, marked as near it: smoothing moves peaks."""

MIDLINE_MM = 4.0
"""Within this distance from x = 0 a place has no side."""


@dataclass(frozen=True)
class Region:
    """A named region.

    Attributes
    ----------
    name : str
    points : ndarray, shape (n, 3)
        World millimetres of its voxels.
    """

    name: str
    points: NDArray[np.float64]


def region_of(name: str, mask: NDArray[np.bool_], affine: NDArray[np.floating]) -> Region:
    """Make a region from a mask, shape (X, Y, Z), and its affine."""
    return Region(name, np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3])


def place_names(coordinates: NDArray[np.floating], regions: Sequence[Region], *, tolerance_mm: float) -> list[str]:
    """Name the region of each coordinate.

    Parameters
    ----------
    coordinates : ndarray, shape (n, 3)
        World millimetres.
    regions : sequence of Region
    tolerance_mm : float
        Distance to a region's nearest voxel that counts as inside, such as a voxel's size.

    Returns
    -------
    list of str
        ``thalamus L``; ``near thalamus L`` within `NEAR_MM`; ``hemisphere L`` where no region is near.
    """
    from scipy.spatial import KDTree

    trees: Mapping[str, KDTree] = {region.name: KDTree(region.points) for region in regions if len(region.points)}
    names: list[str] = []
    for place in np.asarray(coordinates, dtype=np.float64).reshape(-1, 3):
        side = "" if abs(place[0]) < MIDLINE_MM else " L" if place[0] < 0 else " R"
        distances = {name: float(tree.query(place)[0]) for name, tree in trees.items()}
        nearest = min(distances, key=lambda name: distances[name], default="")
        if nearest and distances[nearest] <= tolerance_mm:
            names.append(nearest + side)
        elif nearest and distances[nearest] <= NEAR_MM:
            names.append(f"near {nearest}{side}")
        else:
            names.append(f"hemisphere{side}" if side else "midline")
    return names
