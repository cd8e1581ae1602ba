"""The grid of the target space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plastimap.transforms import Grid, world_points

TARGET_SPACE = "MNI152NLin2009aSym"
"""BIDS name of the template that everything ends in."""

BRAIN_BOX_MM = ((-74.0, -110.0, -72.0), (74.0, 76.0, 86.0))
"""Corners, in MNI mm, of a box around the brain of that template (a test compares it with the template)."""


Box = tuple[Sequence[float], Sequence[float]]
"""Lower and upper corner in world mm."""


def target_grid(resolution_mm: float, box: Box = BRAIN_BOX_MM) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Isotropic grid around the brain in the target space; voxel centres lie at multiples of the resolution.

    Parameters
    ----------
    resolution_mm : float
        Edge length of a voxel.
    box : (lower corner, upper corner)
        Millimetres; around the ICBM152 brain unless given.

    Returns
    -------
    shape : (int, int, int)
    affine : ndarray, shape (4, 4)
        RAS; x = 0 is a plane of voxel centres.
    """
    if not 0.5 <= resolution_mm <= 10:
        raise ValueError(f"a resolution of {resolution_mm} mm is out of range; between 0.5 and 10 is wanted")
    first = np.floor(np.array(box[0]) / resolution_mm)
    last = np.ceil(np.array(box[1]) / resolution_mm)
    affine = np.diag([resolution_mm, resolution_mm, resolution_mm, 1.0])
    affine[:3, 3] = first * resolution_mm
    count = (last - first).astype(int) + 1
    return (int(count[0]), int(count[1]), int(count[2])), affine


def hemispheres(grid: Grid) -> dict[str, NDArray[np.bool_]]:
    """Left (x < 0) and right (x > 0) of a grid in MNI space; the midline plane belongs to neither."""
    x = world_points(grid)[0]
    near_zero = np.abs(x) < 1e-6
    return {"L": (x < 0) & ~near_zero, "R": (x > 0) & ~near_zero}
