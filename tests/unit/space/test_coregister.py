"""Diffusion on structural images: turned headers, lesions, and what is no match at all."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation
from tests.unit.space.phantom import AFFINE, SHAPE, rigid_matrix, session_of

from plastimap.images import Volume
from plastimap.registration import RegistrationProblem
from plastimap.space import coregister as coregistration
from plastimap.space.coregister import coregister
from plastimap.transforms import apply_matrix, world_points

POSE = rigid_matrix((3, -2, 4), (2, -1, 3))


@pytest.fixture(scope="module")
def head(phantom):
    """A brain whose outline tells its axes apart, as image and b = 0 image (other contrast, moved)."""
    points = world_points((SHAPE, AFFINE))
    flat = (points[2] > -18) & (np.abs(points[0]) < 30) & ~((points[1] < -5) & (points[2] > 0))
    mask = phantom.mask & flat
    image = Volume(np.where(mask, phantom.image.data, 0).astype(np.float32), AFFINE)
    moved, _ = session_of(phantom, pose=POSE, seed=4)
    shape = ndimage.affine_transform(mask.astype(float), *_voxels(np.linalg.inv(POSE)), order=1) > 0.5
    b0 = Volume(np.where(shape, 3 - moved.data, 0).astype(np.float32), AFFINE)
    return image, mask, b0, shape


def _voxels(pull):
    matrix = np.linalg.inv(AFFINE) @ pull @ AFFINE
    return matrix[:3, :3], matrix[:3, 3]


def error_mm(matrix, truth, mask):
    points = world_points((SHAPE, AFFINE))[:, mask]
    return np.linalg.norm(apply_matrix(matrix, points) - apply_matrix(truth, points), axis=0).mean()


def test_a_header_that_is_right_stays(head):
    image, mask, b0, b0_mask = head
    made = coregister(image, mask, b0, b0_mask)
    assert error_mm(made.matrix, POSE, mask) < 0.5
    assert made.qa["coreg_mask_dice"] > 0.95
    assert made.qa["coreg_turned_deg"] == 0
    assert made.notes == ()


@pytest.mark.parametrize(("axis", "degrees"), [("z", 180), ("x", 90)])
def test_a_turned_header_is_found_and_told(head, axis, degrees):
    image, mask, b0, b0_mask = head
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    made = coregister(image, mask, Volume(b0.data, turn @ AFFINE), b0_mask)
    assert error_mm(made.matrix, turn @ POSE, mask) < 0.5
    # The head itself was turned by 5 degrees.
    assert made.qa["coreg_turned_deg"] == pytest.approx(degrees, abs=6)
    assert "header is turned" in made.notes[0]


def test_a_lesion_is_left_out_of_the_match(head):
    image, mask, b0, b0_mask = head
    points = world_points((SHAPE, AFFINE))
    hole = mask & (np.linalg.norm(points - np.array([12.0, 10, 8]).reshape(3, 1, 1, 1), axis=0) < 22)
    # Within a large lesion tissue is displaced by 9 mm; there the b = 0 image shows what was there before.
    displaced = Volume(np.where(hole, np.roll(image.data, 3, axis=1), image.data).astype(np.float32), AFFINE)
    made = coregister(displaced, mask, b0, b0_mask, lesion=hole)
    # As without a lesion (.24 mm); where it is compared, it is .5.
    assert error_mm(made.matrix, POSE, mask) < 0.35
    assert made.notes[0] == "lesions were left out of the match"


def test_what_does_not_match_is_told_or_refused(head, monkeypatch):
    monkeypatch.setattr(coregistration, "TRIED", 1)
    image, mask, b0, b0_mask = head
    half = mask.copy()
    half[:, :20] = False
    assert any("overlap by Dice" in note for note in coregister(image, half, b0, b0_mask).notes)
    points = world_points((SHAPE, AFFINE))
    rods = (np.hypot(points[0] - 40, points[1] - 40) < 6) | (np.hypot(points[0] + 40, points[1] + 45) < 6)
    with pytest.raises(RegistrationProblem):
        coregister(image, mask, Volume(np.where(rods, b0.data + 1, 0).astype(np.float32), AFFINE), rods)
