from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from tests.unit.dwi.conftest import directions

from plastimap.dwi.alignment import FixedImage, mean_displacement, rigid_matrix, rigid_parameters
from plastimap.dwi.motion import correct_motion, rotated, shells
from plastimap.images import Volume


def stay(fixed, moving, **options):
    """In place of the registration of different contrasts: says that nothing moved."""
    return np.eye(4)


def errors(made, phantom):
    """Mean distance in mm between where the brain's voxels are and where they were found, per volume."""
    return np.array(
        [
            np.linalg.norm((phantom.points @ (f - t)[:3, :3].T + (f - t)[:3, 3]), axis=1).mean()
            for f, t in zip(made.transforms, phantom.transforms, strict=True)
        ]
    )


def test_known_motion_is_found(phantom):
    volume = Volume(phantom.data, phantom.affine)
    made = correct_motion(volume, phantom.bvals, phantom.bvecs, mask=phantom.brain)
    before = np.array([mean_displacement(t, phantom.points) for t in phantom.transforms])
    assert before[1:].mean() > 1.8
    found = errors(made, phantom)
    # b = 0 to b = 0 is one contrast; the shell hangs on one registration across contrasts (5 mm voxels).
    assert found[:2].max() < 0.1
    assert found[2:].mean() < 0.35
    assert found.max() < 0.6
    np.testing.assert_allclose(made.displacement, before, atol=0.6)
    weighted = phantom.bvals > 0
    turned = rotated(phantom.bvecs, phantom.transforms)[weighted]
    assert np.rad2deg(np.arccos(np.clip((made.bvecs[weighted] * turned).sum(axis=1), -1, 1))).max() < 0.7
    assert made.data.min() >= 0


def test_volumes_of_a_shell_find_each_other_without_b0(phantom):
    volume = Volume(phantom.data, phantom.affine)
    made = correct_motion(volume, phantom.bvals, phantom.bvecs, mask=phantom.brain, rigid=stay)
    # A motion common to the shell cannot be known here, so it is taken out: T⁻¹ M is the same for all volumes.
    relative = np.linalg.inv(phantom.transforms[2:]) @ made.transforms[2:]
    common = relative.mean(axis=0)
    apart = [
        np.linalg.norm(phantom.points @ (r - common)[:3, :3].T + (r - common)[:3, 3], axis=1).mean() for r in relative
    ]
    assert np.mean(apart) < 0.25


def test_motion_common_to_a_shell_comes_first(phantom):
    """A point of the reference goes to the shell's mean, and from there to each volume."""
    keep = slice(0, 6)
    volume, brain = Volume(phantom.data[..., keep], phantom.affine), phantom.brain
    common = rigid_matrix(np.array([1.0, 2, 3]), np.array([0.0, 0.1, 0.3]), np.zeros(3))

    def run(rigid):
        return correct_motion(volume, phantom.bvals[keep], phantom.bvecs[keep], mask=brain, rigid=rigid)

    expected = run(stay).transforms[2:] @ common
    np.testing.assert_allclose(run(lambda *_, **__: common).transforms[2:], expected, atol=1e-12)


def test_a_still_head_stays(still_phantom):
    volume = Volume(still_phantom.data, still_phantom.affine)
    made = correct_motion(volume, still_phantom.bvals, still_phantom.bvecs, mask=still_phantom.brain)
    # A seventh of the 5 mm voxels: what one registration across contrasts leaves.
    assert made.displacement.max() < 0.75
    np.testing.assert_array_equal(made.data[..., 0], still_phantom.data[..., 0])


def test_small_shells_and_single_volumes(still_phantom):
    keep = [0, 2, 3, 4]
    bvals = np.array([0.0, 1000, 1000, 2000])
    volume = Volume(still_phantom.data[..., keep], still_phantom.affine)
    made = correct_motion(volume, bvals, still_phantom.bvecs[keep], mask=still_phantom.brain, rigid=stay)
    assert made.displacement.max() < 1
    assert made.displacement[3] == 0


def test_inputs_stay_and_bad_input_is_refused(still_phantom):
    data = still_phantom.data[..., :2]
    before = data.copy()
    correct_motion(Volume(data, still_phantom.affine), [0, 0], np.zeros((2, 3)), mask=still_phantom.brain, rigid=stay)
    np.testing.assert_array_equal(data, before)
    with pytest.raises(ValueError, match="go together"):
        correct_motion(Volume(data, still_phantom.affine), [0], np.zeros((1, 3)), mask=still_phantom.brain)
    with pytest.raises(ValueError, match="b = 0 volume"):
        correct_motion(Volume(data, still_phantom.affine), [0, 0], np.zeros((2, 3)), mask=still_phantom.brain & False)


def test_shells():
    found = shells(np.array([0, 1000, 2500, 995, 5, 2480, 1005, 700.0]), 50)
    assert [shell.tolist() for shell in found] == [[7], [1, 3, 6], [2, 5]]


def test_rotated_gradients_see_the_turned_fibre(rng):
    pulls = np.stack([rigid_matrix(rng.normal(size=3), rng.normal(0, 0.3, 3), np.zeros(3)) for _ in range(5)])
    vectors, fibre = directions(5), np.array([0.6, 0.0, 0.8])
    # In the volume the fibre points along R u; the signal there must be the one that the model computes with u.
    seen = [g @ (m[:3, :3] @ fibre) for g, m in zip(vectors, pulls, strict=True)]
    np.testing.assert_allclose(rotated(vectors, pulls) @ fibre, seen, atol=1e-12)


def test_parameters_take_a_matrix_apart(rng):
    shift, turn, centre = rng.normal(size=3), rng.normal(0, 0.1, 3), rng.normal(0, 30, 3)
    found = rigid_parameters(rigid_matrix(shift, turn, centre), centre)
    np.testing.assert_allclose(found, np.r_[shift, np.rad2deg(turn)], atol=1e-9)


def test_alignment_of_equal_contrast_is_exact_but_for_interpolation(rng):
    image = ndimage.gaussian_filter(rng.normal(size=(30, 32, 28)), 3) * 1000
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    voxels = np.argwhere(np.ones(image.shape))[::5]
    truth = rigid_matrix(np.array([2.0, -1.5, 1.0]), np.deg2rad([2.0, -1.0, 3.0]), np.array([-43.0, 46, 40]))
    back = np.linalg.inv(affine) @ np.linalg.inv(truth) @ affine
    moving = 1.7 * ndimage.affine_transform(image, back, order=3, mode="nearest")
    inner = voxels[(voxels > 4).all(axis=1) & (voxels < np.array(image.shape) - 5).all(axis=1)]
    found = FixedImage(image, affine, inner).align(moving, np.eye(4))
    points = inner @ affine[:3, :3].T + affine[:3, 3]
    assert mean_displacement(np.linalg.inv(truth) @ found, points) < 0.05


def test_alignment_without_structure_or_signal_stays():
    voxels = np.argwhere(np.ones((6, 6, 6)))
    flat = FixedImage(np.ones((6, 6, 6)), np.eye(4), voxels)
    np.testing.assert_allclose(flat.align(np.ones((6, 6, 6)), np.eye(4)), np.eye(4), atol=1e-9)
    np.testing.assert_array_equal(flat.align(np.zeros((6, 6, 6)), np.eye(4)), np.eye(4))
