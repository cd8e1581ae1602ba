from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tests.unit.dwi.conftest import directions, make_phantom

from plastimap.dwi._sampling import sample, spline_resampled
from plastimap.dwi.alignment import (
    FixedImage,
    Frame,
    eddy_and_turn,
    eddy_matrix,
    nearest_pull,
    rigid_matrix,
    rigid_parameters,
    rotated,
)
from plastimap.dwi.motion import correct_motion, phase_axis, shells
from plastimap.dwi.slices import lost_slices
from plastimap.images import Volume
from plastimap.transforms import mean_displacement


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


def errors_within_shell(made, phantom):
    """Mean distance in mm per volume without the motion common to all, for which T⁻¹ M is the same."""
    relative = np.linalg.inv(phantom.transforms[2:]) @ made.transforms[2:]
    apart = relative - relative.mean(axis=0)
    return np.array([np.linalg.norm(phantom.points @ r[:3, :3].T + r[:3, 3], axis=1).mean() for r in apart])


def test_volumes_of_a_shell_find_each_other_without_b0(phantom):
    volume = Volume(phantom.data, phantom.affine)
    made = correct_motion(volume, phantom.bvals, phantom.bvecs, mask=phantom.brain, rigid=stay)
    assert errors_within_shell(made, phantom).mean() < 0.25


def test_contrast_of_a_high_shell_does_not_pass_for_motion():
    high = make_phantom(bval=2500.0, n_directions=20, snr=50.0, seed=3)
    volume = Volume(high.data, high.affine)
    made = correct_motion(volume, high.bvals, high.bvecs, mask=high.brain, phase_encoding="j", rigid=stay)
    # Where every voxel counts alike, 0.7 to 0.8 mm remain; 0.25 to 0.28 as it is (5 mm voxels, two other seeds).
    assert errors_within_shell(made, high).mean() < 0.42


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


def frame_of(shape, affine, step=1, margin=0):
    voxels = np.argwhere(np.ones(shape))[::step]
    inner = (voxels >= margin).all(axis=1) & (voxels < np.array(shape) - margin).all(axis=1)
    return Frame(affine, voxels[inner].astype(np.float64))


def prepared(image, frame, **options):
    return FixedImage(frame.seen_with_slopes(image.astype(np.float32), np.eye(4)), frame, **options)


@pytest.mark.parametrize("stretch", [(0, 0, 0), (0.02, -0.015, 0.01)])
def test_alignment_of_equal_contrast_is_exact_but_for_interpolation(rng, stretch):
    image = ndimage.gaussian_filter(rng.normal(size=(30, 32, 28)), 3) * 1000
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    centre, phase = np.array([-43.0, 46, 40]), np.array([0.0, 1.0, 0.0])
    motion = rigid_matrix(np.array([2.0, -1.5, 1.0]), np.deg2rad([2.0, -1.0, 3.0]), centre)
    truth = eddy_matrix(np.array(stretch), phase, centre) @ motion
    back = np.linalg.inv(affine) @ np.linalg.inv(truth) @ affine
    moving = 1.7 * ndimage.affine_transform(image, back, order=3, mode="nearest")
    frame = frame_of(image.shape, affine, step=5, margin=5)
    found = prepared(image, frame, phase=phase if any(stretch) else None).align(moving.astype(np.float32), np.eye(4))
    assert mean_displacement(np.linalg.inv(truth) @ found, frame.points) < 0.05


def test_what_is_not_trusted_does_not_count(rng):
    image = ndimage.gaussian_filter(rng.normal(size=(30, 32, 28)), 3) * 1000
    frame = frame_of(image.shape, np.eye(4), step=5, margin=5)
    fixed = image.copy()
    fixed[:15] = np.roll(image[:15], 2, axis=1)
    trust = (frame.voxels[:, 0] > 18).astype(np.float64)
    found, fooled = (prepared(fixed, frame, trust=t).align(image.astype(np.float32), np.eye(4)) for t in (trust, None))
    # Where it counts the two are the same but for the brightness, which the other half does not change either.
    np.testing.assert_allclose(found, np.eye(4), atol=1e-6)
    assert mean_displacement(fooled, frame.points) > 0.3


def test_alignment_without_structure_or_signal_stays():
    frame = frame_of((6, 6, 6), np.eye(4))
    flat = prepared(np.ones((6, 6, 6)), frame)
    np.testing.assert_allclose(flat.align(np.ones((6, 6, 6), np.float32), np.eye(4)), np.eye(4), atol=1e-9)
    np.testing.assert_array_equal(flat.align(np.zeros((6, 6, 6), np.float32), np.eye(4)), np.eye(4))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_eddy_and_turn_take_a_matrix_apart(seed):
    rng = np.random.default_rng(seed)
    phase = rng.normal(size=3)
    phase /= np.linalg.norm(phase)
    stretch, centre = rng.uniform(-0.05, 0.05, 3), rng.normal(0, 30, 3)
    motion = rigid_matrix(rng.normal(0, 3, 3), rng.normal(0, 0.2, 3), centre)
    whole = eddy_matrix(stretch, phase, centre) @ motion
    found_stretch, found_turn = eddy_and_turn(whole, phase)
    np.testing.assert_allclose(found_stretch, stretch, atol=1e-12)
    np.testing.assert_allclose(found_turn, motion[:3, :3], atol=1e-12)
    np.testing.assert_allclose(nearest_pull(whole, phase, centre), whole, atol=1e-10)


def test_sampling_equals_scipy(rng):
    image = rng.normal(size=(7, 8, 6)).astype(np.float32)
    matrix = rigid_matrix(rng.normal(size=3), rng.normal(0, 0.1, 3), np.array([3.0, 4, 3]))
    voxels = np.argwhere(np.ones(image.shape)).astype(np.float64)
    place = voxels @ matrix[:3, :3].T + matrix[:3, 3]
    expected = ndimage.map_coordinates(image, place.T, order=1, mode="nearest")
    np.testing.assert_allclose(sample(image, matrix, voxels), expected, atol=1e-5)
    thin = image[:, :, :1]
    inside = np.column_stack([voxels[:, :2], np.zeros(len(voxels))])
    np.testing.assert_allclose(sample(thin, np.eye(4), inside), thin[tuple(inside.astype(int).T)], atol=1e-6)


def test_spline_resampling_equals_scipy_inside_and_is_zero_outside(rng):
    image = rng.normal(size=(9, 8, 7)).astype(np.float32)
    matrix = rigid_matrix(np.array([0.6, -0.8, 0.3]), np.array([0.05, -0.1, 0.1]), np.array([4.0, 4, 3]))
    coefficients = ndimage.spline_filter(image, order=3, mode="mirror")
    made = spline_resampled(coefficients, matrix)
    grid = np.indices(image.shape).reshape(3, -1)
    place = matrix[:3, :3] @ grid + matrix[:3, 3:]
    expected = ndimage.map_coordinates(image, place, order=3, mode="mirror").reshape(image.shape)
    beyond = ((place < -0.5) | (place > np.array(image.shape)[:, None] - 0.5)).any(axis=0).reshape(image.shape)
    assert beyond.any()
    np.testing.assert_allclose(made[~beyond], expected[~beyond], atol=1e-4)
    np.testing.assert_array_equal(made[beyond], 0)


def distorted(phantom, rng, size=0.02):
    """The phantom with eddy currents along y, proportional to the gradient: its volumes, and its pull matrices."""
    coupling, centre = rng.uniform(-size, size, (3, 3)), phantom.points.mean(axis=0)
    phase, data, pulls = np.array([0.0, 1.0, 0.0]), phantom.data.copy(), phantom.transforms.copy()
    for n, (b, g) in enumerate(zip(phantom.bvals, phantom.bvecs, strict=True)):
        eddy = eddy_matrix(coupling @ g * b * 1e-3, phase, centre)
        back = np.linalg.inv(phantom.affine) @ np.linalg.inv(eddy) @ phantom.affine
        data[..., n] = ndimage.affine_transform(data[..., n], back, order=3) / np.linalg.det(eddy)
        pulls[n] = eddy @ pulls[n]
    return replace(phantom, data=np.maximum(data, 0), transforms=pulls)


def test_eddy_currents_are_found(phantom, rng):
    # Half of the gradients the other way round: a half sphere alone hardly tells a mean distortion from a field.
    signs = np.where(np.arange(14) % 2, -1, 1)[:, None]
    bent = distorted(replace(phantom, bvecs=phantom.bvecs * signs), rng)
    volume = Volume(bent.data, bent.affine)
    runs = [
        correct_motion(volume, bent.bvals, bent.bvecs, mask=bent.brain, phase_encoding=p, rigid=None)
        for p in (None, "j-")
    ]
    rigid_error, error = (errors(made, bent)[2:].mean() for made in runs)
    assert error < 0.6
    assert error < 0.7 * rigid_error
    assert not runs[0].eddy.any()
    assert any("PhaseEncodingDirection" in note for note in runs[0].notes)
    assert not runs[1].notes
    np.testing.assert_allclose(runs[1].eddy[:2], 0, atol=1e-12)


def test_lost_slices_are_found_and_replaced(still_phantom):
    data, places = still_phantom.data.copy(), ((5, 14), (9, 18))
    for n, z in places:
        data[:, :, z, n] *= 0.3
    volume = Volume(data, still_phantom.affine)
    made = correct_motion(volume, still_phantom.bvals, still_phantom.bvecs, mask=still_phantom.brain, rigid=stay)
    assert made.outliers == places
    for n, z in places:
        inside = still_phantom.brain[:, :, z]
        true, found = still_phantom.data[:, :, z, n][inside], made.data[:, :, z, n][inside]
        assert np.corrcoef(true, found)[0, 1] > 0.5  # both hold their own noise
        assert np.median(found / true) == pytest.approx(1, abs=0.1)


def test_lost_slices_need_signal_and_a_clear_loss(rng):
    expected = rng.uniform(900, 1100, (12, 20))
    expected[:, :2] = 10
    measured = expected * rng.normal(1, 0.01, expected.shape)
    measured[3, 7] *= 0.8
    measured[4, 8] *= 0.95
    measured[5, 1] = 0
    measured[:, 12] *= 0.7
    assert np.argwhere(lost_slices(measured, expected)).tolist() == [[3, 7]]
    assert not lost_slices(np.zeros((3, 4)), np.zeros((3, 4))).any()


@pytest.mark.parametrize(("name", "axis"), [("i", 0), ("j-", 1), ("k", 2)])
def test_phase_axis(name, axis):
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    np.testing.assert_allclose(np.abs(phase_axis(name, affine)), np.eye(3)[axis])


def test_phase_axis_refuses_other_words():
    with pytest.raises(ValueError, match="PhaseEncodingDirection is 'AP'"):
        phase_axis("AP", np.eye(4))
