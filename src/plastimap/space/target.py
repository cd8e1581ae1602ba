"""The target space of a study: ICBM152, or what a user's tissue probabilities show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.images import ImageProblem, Volume, read_volume
from plastimap.space.grids import BRAIN_BOX_MM, Box, target_grid
from plastimap.space.mni import WORKING_MM, Standard, coarse_tissues, standard_tissues
from plastimap.transforms import grid_of, world_points
from plastimap.writing import PathLike

BRAIN_SHARE = 0.05
"""GM + WM above which a voxel counts as brain when the box around it is made."""

MOST_OFF_MIDDLE_MM = 10.0
"""How far the middle of a template's brain may lie from x = 0, where left and right are told apart."""


@dataclass(frozen=True)
class Target:
    """A target space.

    Attributes
    ----------
    standard : Standard
        Its tissue probabilities, on a coarse grid for registration.
    box : (lower corner, upper corner)
        Around its brain, in world mm.
    """

    standard: Standard
    box: Box

    def grid(self, resolution_mm: float) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
        """Grid of everything that is brought here, as :func:`plastimap.space.grids.target_grid`."""
        return target_grid(resolution_mm, self.box)


def read_target(template: Mapping[str, PathLike] | None) -> Target:
    """Read the target of a configuration.

    Parameters
    ----------
    template : mapping, or None
        Files of the tissue probabilities ``GM`` and ``WM`` (0 to 1, or any
        scale: the maximum counts as 1); None = ICBM152.

    Raises
    ------
    ImageProblem
        When an image is no map of probabilities, or lies beside x = 0.
    """
    if template is None:
        return Target(standard_tissues(), BRAIN_BOX_MM)
    gm, wm = (_probability(template[tissue]) for tissue in ("GM", "WM"))
    return target_of(gm, wm, str(template["GM"]))


def target_of(gm: Volume, wm: Volume, name: str = "the template") -> Target:
    """Make a target of tissue probabilities; `name` is what a problem calls it.

    Raises
    ------
    ImageProblem
        When its brain does not lie around x = 0.
    """
    standard = coarse_tissues(gm, wm, voxel_mm=WORKING_MM)
    brain = standard.gm.data + standard.wm.data > BRAIN_SHARE
    points = world_points(grid_of(standard.gm))[:, brain]
    if not brain.any() or abs(points[0].mean()) > MOST_OFF_MIDDLE_MM:
        raise ImageProblem(f"{name}: the brain does not lie around x = 0; left and right could not be told apart")
    return Target(standard, (points.min(axis=1).tolist(), points.max(axis=1).tolist()))


def _probability(path: PathLike) -> Volume:
    volume = read_volume(path)
    if volume.data.ndim != 3 or not np.nanmax(volume.data) > 0 or np.nanmin(volume.data) < 0:
        raise ImageProblem(f"{path}: not a 3D map of probabilities; give one of grey or white matter")
    return Volume((np.nan_to_num(volume.data) / np.nanmax(volume.data)).astype(np.float32), volume.affine)
