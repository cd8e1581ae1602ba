"""Where CSF is expected to be wide around the template's brain."""

from __future__ import annotations

import numpy as np
import pytest

from plastimap.anat.rim import LEAST_RIM, WIDEST_RIM, expected_rim
from plastimap.images import Volume
from plastimap.transforms import Warp

VERTEX, OCCIPUT, CLIVUS, ASIDE = (0, 20, 80), (0, -100, 0), (0, -20, -40), (50, -20, -40)


@pytest.fixture(scope="module")
def grid() -> Volume:
    """A grid of 10 mm voxels over the template's world."""
    affine = np.diag([10.0, 10.0, 10.0, 1.0])
    affine[:3, 3] = (-80, -110, -80)
    return Volume(np.zeros((17, 20, 19)), affine)


def rim_at(place: tuple[int, int, int], grid: Volume, shift_mm: float = 0.0, *, cisterns: bool) -> float:
    matrix = np.eye(4)
    matrix[2, 3] = shift_mm
    warp = Warp(np.zeros((*grid.shape, 3), dtype=np.float32), grid.affine, matrix)
    voxel = tuple(((np.array(place) - grid.affine[:3, 3] - (0, 0, shift_mm)) / 10).astype(int))
    return float(expected_rim(warp, grid, cisterns=cisterns)[voxel])


def test_wide_at_the_vertex_and_thin_behind(grid: Volume) -> None:
    assert rim_at(VERTEX, grid, cisterns=False) > 0.9 * WIDEST_RIM
    assert rim_at(OCCIPUT, grid, cisterns=False) == LEAST_RIM


def test_wide_in_front_of_the_brain_stem_where_cisterns_are_asked_for(grid: Volume) -> None:
    assert rim_at(CLIVUS, grid, cisterns=True) == WIDEST_RIM
    assert rim_at(CLIVUS, grid, cisterns=False) == LEAST_RIM
    assert rim_at(ASIDE, grid, cisterns=True) == LEAST_RIM


def test_places_are_those_of_the_template(grid: Volume) -> None:
    # A head that lies 20 mm lower in its scanner has its cisterns 20 mm lower.
    assert rim_at(CLIVUS, grid, 20.0, cisterns=True) == WIDEST_RIM
