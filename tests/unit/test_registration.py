"""Registration recovers transforms that we applied ourselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from plastimap.images import Volume
from plastimap.registration import (
    RegistrationProblem,
    affine,
    centre_of_mass,
    deformable,
    overlap_share,
    rigid,
    starting_position,
    to_itk,
)
from plastimap.transforms import Warp, apply_matrix, jacobian, resample, world_points

SHAPE = (40, 44, 38)
# Flipped x and an odd origin: a mix-up of RAS and LPS cannot hide.
AFFINE = np.array([[-3.0, 0, 0, 61], [0, 3.0, 0, -70], [0, 0, 3.0, -40], [0, 0, 0, 1]])
GRID = (SHAPE, AFFINE)


@pytest.fixture(scope="module")
def head() -> Volume:
    """A head-like ellipsoid with structure at two scales; nothing symmetric in it."""
    rng = np.random.default_rng(7)
    points = world_points(GRID) - np.array([2.0, -4, 16]).reshape(3, 1, 1, 1)
    radius = np.sqrt(((points / np.array([40.0, 50, 42]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0))
    texture = sum(ndimage.gaussian_filter(rng.normal(size=SHAPE), s) * s**1.5 for s in (1.5, 4))
    data = np.where(radius < 1, 2 + texture / texture.std(), 0)
    return Volume(ndimage.gaussian_filter(data, 0.6).astype(np.float32), AFFINE)


def pull(angles: tuple[float, float, float], shift: tuple[float, float, float], scale: float = 1.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = scale * Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def error_mm(found: np.ndarray, wanted: np.ndarray, head: Volume) -> float:
    points = world_points(GRID)[:, head.data > 0.5]
    return float(np.linalg.norm(apply_matrix(found, points) - apply_matrix(wanted, points), axis=0).mean())


TRUTH = pull((4, -5, 6), (5, -4, 3))


@pytest.mark.parametrize(("metric", "tolerance"), [("NMI", 0.3), ("NCC", 0.3), ("SSD", 0.3)])
def test_rigid_finds_the_pull_map(head, metric, tolerance):
    # Tolerance: a tenth of a 3 mm voxel; a push map instead of a pull map would be off by more than 10 mm.
    fixed = Volume(resample(head, GRID, TRUTH, validity=False), AFFINE)
    assert error_mm(rigid(fixed, head, metric=metric), TRUTH, head) < tolerance


def test_rigid_works_across_contrasts_with_gaps_and_a_mask(head):
    fixed = Volume(np.exp(-resample(head, GRID, TRUTH, validity=False)), AFFINE)
    fixed.data[:2] = np.nan
    mask = ndimage.binary_dilation(resample(head, GRID, TRUTH, validity=False) > 0.5, iterations=2)
    assert error_mm(rigid(fixed, head, fixed_mask=mask), TRUTH, head) < 0.5


def test_rigid_starts_from_far_away(head):
    away = pull((0, 0, 0), (80, -60, 90))
    moving = Volume(head.data, away @ AFFINE)
    assert error_mm(rigid(head, moving), away, head) < 0.3


def test_the_same_call_gives_the_same_numbers(head):
    fixed = Volume(resample(head, GRID, TRUTH, validity=False), AFFINE)
    np.testing.assert_array_equal(rigid(fixed, head, fast=True), rigid(fixed, head, fast=True))
    warps = [deformable(fixed, head, affine=TRUTH, iterations=(5, 5)) for _ in range(2)]
    np.testing.assert_array_equal(warps[0].displacement, warps[1].displacement)


def test_a_rigid_result_is_rigid(head):
    fixed = Volume(resample(head, GRID, TRUTH, validity=False), AFFINE)
    turn = rigid(fixed, head, fast=True)[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)


def test_affine_finds_scale(head):
    truth = pull((3, 2, -4), (2, 1, -3), 1.08) @ np.diag([1.05, 1.0, 0.95, 1.0])
    fixed = Volume(resample(head, GRID, truth, validity=False), AFFINE)
    # A fifth of a voxel; without the scales the error is 2.5 mm.
    assert error_mm(affine(fixed, head, metric="SSD"), truth, head) < 0.6


@pytest.mark.parametrize("channels", [1, 2])
def test_deformable_comes_after_the_affine_and_finds_the_bump(head, channels):
    points = world_points(GRID)
    profile = np.exp(-(points**2).sum(axis=0) / (2 * 15.0**2))[..., np.newaxis]
    truth = Warp((profile * np.array([4.0, -3, 2])).astype(np.float32), AFFINE, TRUTH)
    fixed = Volume(resample(head, GRID, truth, validity=False), AFFINE)
    found = deformable([fixed] * channels, [head] * channels, affine=TRUTH)
    np.testing.assert_array_equal(found.matrix, TRUTH)
    inside = (profile[..., 0] > 0.3) & (fixed.data > 0.5)
    before = np.linalg.norm(truth.displacement[inside], axis=1).mean()
    after = np.linalg.norm((found.displacement - truth.displacement)[inside], axis=1).mean()
    # Regularised: most of the bump is found, not all. The wrong sign or axis would make it larger than before.
    assert after < 0.4 * before
    assert (jacobian(Warp(found.displacement, AFFINE)) > 0).all()


def test_nothing_is_printed(head, capfd):
    rigid(head, head, metric="NCC", fast=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""


def test_empty_images_are_refused(head):
    with pytest.raises(RegistrationProblem, match="moving image is empty"):
        rigid(head, Volume(np.full(SHAPE, np.nan, dtype=np.float32), AFFINE))
    with pytest.raises(RegistrationProblem, match="dimensions"):
        rigid(head, Volume(head.data[..., np.newaxis], AFFINE))


def test_masks_are_checked(head):
    with pytest.raises(RegistrationProblem, match="mask of the fixed image is empty"):
        rigid(head, head, fixed_mask=np.zeros(SHAPE, dtype=bool))
    with pytest.raises(RegistrationProblem, match="shape"):
        rigid(head, head, fixed_mask=np.ones((2, 2, 2), dtype=bool))


def test_equal_images_stay_where_they_are(head):
    # The optimiser has nothing to climb there, and its jitter once led away.
    assert error_mm(rigid(head, head, metric="SSD"), np.eye(4), head) < 0.3


def test_no_overlap_is_a_failure(head):
    with pytest.raises(RegistrationProblem, match="falls inside"):
        rigid(head, head, initial=pull((0, 0, 0), (1000, 0, 0)), iterations=(1,))


def test_sheared_axes_are_refused(head):
    sheared = AFFINE.copy()
    sheared[0, 1] = 1.0
    with pytest.raises(RegistrationProblem, match="right angles"):
        to_itk(Volume(head.data, sheared))


def test_itk_image_lies_in_the_same_place(head):
    image = to_itk(head)
    index = (3, 5, 7)
    wanted = AFFINE[:3, :3] @ index + AFFINE[:3, 3]
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), wanted * [-1, -1, 1], atol=1e-9)
    assert image.GetPixel(index) == head.data[index]


def test_start_prefers_headers_when_they_fit(head):
    np.testing.assert_array_equal(starting_position(head, head), np.eye(4))
    shift = pull((0, 0, 0), (100, 0, 0))
    moved = Volume(head.data, shift @ AFFINE)
    np.testing.assert_allclose(starting_position(head, moved), shift, atol=1e-6)
    np.testing.assert_allclose(centre_of_mass(moved) - centre_of_mass(head), [100, 0, 0], atol=1e-9)


def test_overlap_share(head):
    assert overlap_share(np.eye(4), head, head) == 1
    assert overlap_share(pull((0, 0, 0), (0, 0, 500)), head, head) == 0
