"""A deformed standard brain finds its way back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from tests.unit.space.phantom import rigid_matrix

from plastimap.images import Volume
from plastimap.space.grids import target_grid
from plastimap.space.mni import averaged, standard_tissues, template_to_mni
from plastimap.space.tissues import mean_tissues
from plastimap.space.vbm import modulated
from plastimap.transforms import Warp, resample, transform_points, world_points

AFFINE = np.array([[3.0, 0, 0, -91], [0, 3.0, 0, -127], [0, 0, 3.0, -85], [0, 0, 0, 1]])
GRID = ((61, 73, 61), AFFINE)
TARGET = target_grid(3.0)


@pytest.fixture(scope="module")
def person():
    """Tissues of a person (3 mm), and the pull map person → standard that made them."""
    rng = np.random.default_rng(3)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=GRID[0]), 5) for _ in range(3)], axis=-1)
    field *= 3.0 / field.std()
    matrix = rigid_matrix((4, -3, 5), (3, -4, 2)) @ np.diag([1.06, 0.95, 1.02, 1.0])
    truth = Warp(field.astype(np.float32), AFFINE, matrix)
    standard = standard_tissues(3.0)
    gm, wm = (Volume(resample(v, GRID, truth, validity=False), AFFINE) for v in (standard.gm, standard.wm))
    return gm, wm, truth


@pytest.fixture(scope="module")
def placed(person):
    return template_to_mni(person[0], person[1], grid=TARGET)


def test_the_deformation_is_undone(person, placed):
    standard = standard_tissues(3.0)
    brain = resample(standard.wm, TARGET, np.eye(4), validity=False) > 0.5
    points = world_points(TARGET)
    moved = transform_points([placed.warp, person[2]], points)
    error = np.linalg.norm(moved - points, axis=0)[brain]
    before = np.linalg.norm(transform_points(person[2], points) - points, axis=0)[brain]
    # Half a voxel on average; tissue without edges leaves some of it open.
    assert error.mean() < 1.5
    assert before.mean() > 5


def test_the_inverse_leads_back(person, placed):
    points = world_points(GRID)
    round_trip = np.linalg.norm(transform_points([placed.inverse, placed.warp], points) - points, axis=0)
    inside = person[0].data + person[1].data > 0.5
    # Two displacements on 3 mm grids, each interpolated linearly: a thirtieth of a voxel on average.
    assert round_trip[inside].mean() < 0.1
    assert round_trip[inside].max() < 1.0


@pytest.mark.slow
def test_a_lesion_does_not_lead_the_match(person, placed):
    gm, wm, _ = person
    hole = np.linalg.norm(world_points(GRID) - np.array([25.0, 10, 25]).reshape(3, 1, 1, 1), axis=0) < 18
    hurt = [Volume(np.where(hole, 0, v.data).astype(np.float32), AFFINE) for v in (gm, wm)]
    lesion = Volume(hole.astype(np.float32), AFFINE)
    quick = {"grid": TARGET, "iterations": (40, 20)}
    error = {}
    for name, mask in {"led": None, "masked": lesion}.items():
        warp = template_to_mni(*hurt, lesion=mask, **quick).warp
        error[name] = np.linalg.norm(warp.displacement - placed.warp.displacement, axis=-1)
    there = resample(lesion, TARGET, placed.warp, validity=False) > 0.5
    assert error["masked"][there].mean() < 0.7 * error["led"][there].mean()


def test_quality_is_told(placed):
    assert placed.dice["GM"] > 0.85
    assert placed.dice["WM"] > 0.85
    assert placed.folding == 0
    assert placed.notes == ()
    assert 0.3 < placed.jacobian_range[0] < 1 < placed.jacobian_range[1] < 2


def test_tissue_volume_arrives_in_the_target(person, placed):
    gm = person[0]
    arrived = modulated(gm, placed.warp, TARGET, session_jacobian=np.ones(gm.shape, dtype=np.float32))
    # Some grey matter ends beside the target grid, and 3 mm differences are coarse.
    assert arrived.sum(dtype=float) == pytest.approx(gm.data.sum(dtype=float), rel=0.02)


def test_maps_arrive_once_interpolated(person, placed):
    image = Volume(np.where(person[0].data + person[1].data > 0.2, 1.5, np.nan).astype(np.float32), AFFINE)
    arrived = resample(image, TARGET, placed.warp)
    assert np.nanmax(np.abs(arrived - 1.5)) < 1e-4
    assert np.isnan(arrived).any()


def test_mean_tissues_pull_each_session(person):
    gm = person[0]
    shift = np.eye(4)
    shift[0, 3] = 3.0
    moved = Volume(gm.data, shift @ AFFINE)
    still = Warp(np.zeros((*GRID[0], 3), dtype=np.float32), AFFINE)
    warps = [still, Warp(still.displacement, AFFINE, shift)]
    mean = mean_tissues([{"GM": gm}, {"GM": moved}], warps).tissues["GM"]
    np.testing.assert_allclose(mean.data, gm.data, atol=1e-5)


def test_wrong_tissues_are_noticed(person):
    gm, _, _ = person
    ball = np.linalg.norm(world_points(GRID) - np.array([0, -20, 10]).reshape(3, 1, 1, 1), axis=0) < 40
    made = template_to_mni(Volume(ball.astype(np.float32), AFFINE), gm, grid=TARGET, iterations=(2,))
    assert any("Dice" in note for note in made.notes)


def test_averaging_keeps_the_mean(rng):
    fine = Volume(ndimage.gaussian_filter(rng.random((40, 40, 40)), 3).astype(np.float32), np.eye(4))
    coarse = np.diag([4.0, 4, 4, 1])
    coarse[:3, 3] = 1.5
    found = averaged(fine, ((10, 10, 10), coarse)).data
    blocks = fine.data.reshape(10, 4, 10, 4, 10, 4).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(found[1:-1, 1:-1, 1:-1], blocks[1:-1, 1:-1, 1:-1], atol=0.005)
