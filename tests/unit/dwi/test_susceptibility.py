from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from tests.unit.dwi.conftest import make_phantom
from tests.unit.dwi.test_pipeline import run

from plastimap.dwi import susceptibility
from plastimap.dwi.alignment import eddy_matrix, rigid_matrix
from plastimap.dwi.resampling import Distortion, resampled
from plastimap.dwi.susceptibility import LEAST_MOVE_MM, FieldMap, ReversedPhase, find_distortion, from_field
from plastimap.images import Volume

PHASE = np.array([0.0, 1.0, 0.0])


def true_shift(affine, shape):
    """Displacement in mm along y: strong in front and below, weak elsewhere."""
    x, y, z = np.tensordot(affine[:3, :3], np.indices(shape), axes=1) + affine[:3, 3][:, None, None, None]
    return 8 * np.exp(-(x**2 + (y - 35) ** 2 + (z + 10) ** 2) / (2 * 30**2)) - 1.0


def distorted(images, shift_mm, voxel_mm):
    """What is seen of images whose signal moves along y: the inverse of the displacement, found by iteration."""
    shift, slope = shift_mm / voxel_mm, np.gradient(shift_mm / voxel_mm, axis=1)
    place = np.indices(shift.shape).astype(float)
    back = place.copy()
    # The displacement changes by less than a third from voxel to voxel, so twelve rounds settle it.
    for _ in range(12):
        back[1] = place[1] - ndimage.map_coordinates(shift, back, order=1, mode="nearest")
    gain = 1 + ndimage.map_coordinates(slope, back, order=1, mode="nearest")
    return [ndimage.map_coordinates(image, back, order=3) / gain for image in images]


@pytest.fixture(scope="module")
def seen():
    """A series of a still head seen with j, a b = 0 image seen with j-, the displacement, and the series at rest."""
    phantom = make_phantom(motion=0.0, seed=3, snr=60)
    size = phantom.affine[1, 1]
    shift = true_shift(phantom.affine, phantom.brain.shape)
    series = np.stack(distorted(np.moveaxis(phantom.data, -1, 0), shift, size), axis=-1)
    (backward,) = distorted([phantom.data[..., 1]], -shift, size)
    return phantom, np.maximum(series, 0).astype(np.float32), backward.astype(np.float32), shift


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def test_pair_gives_the_displacement_with_either_sign(seen):
    phantom, series, backward, shift = seen
    reference = Volume(series[..., 0], phantom.affine)
    made = find_distortion(
        reference, ReversedPhase(Volume(backward, phantom.affine)), phase_encoding="j", mask=phantom.brain
    )
    assert rms(shift[phantom.brain]) > 1.5
    assert rms((made.shift_mm - shift)[phantom.brain]) < 0.5  # a tenth of a voxel
    np.testing.assert_allclose(made.axis, PHASE)


def test_head_motion_between_the_two_is_not_taken_for_a_field(seen, monkeypatch):
    phantom, series, _, shift = seen
    affine, size = phantom.affine, phantom.affine[1, 1]
    pull = rigid_matrix(np.array([2.0, 0, -1.5]), np.deg2rad([3.0, -1, 2]), phantom.points.mean(axis=0))
    back = np.linalg.inv(affine) @ np.linalg.inv(pull) @ affine
    moved, own = (
        ndimage.affine_transform(image, back, order=order, mode="nearest")
        for image, order in ((phantom.data[..., 1], 3), (shift, 1))
    )
    (backward,) = distorted([moved], -own, size)
    reference, source = Volume(series[..., 0], affine), ReversedPhase(Volume(backward.astype(np.float32), affine))
    errors = []
    for rounds in (susceptibility.ROUNDS, 0):
        monkeypatch.setattr(susceptibility, "ROUNDS", rounds)
        made = find_distortion(reference, source, phase_encoding="j", mask=phantom.brain)
        errors.append(rms((made.shift_mm - shift)[phantom.brain]))
    assert errors[0] < 0.6  # an eighth of a voxel
    assert errors[0] < 0.6 * errors[1]


@pytest.mark.parametrize("sign", [1, -1])
def test_field_becomes_a_displacement_by_readout_time(seen, sign):
    phantom, _, _, shift = seen
    hz = sign * shift / phantom.affine[1, 1] / 0.05
    made = find_distortion(
        Volume(phantom.data[..., 0], phantom.affine),
        FieldMap(Volume(hz, phantom.affine), 0.05),
        phase_encoding="j" if sign > 0 else "j-",
        mask=phantom.brain,
    )
    np.testing.assert_allclose(made.shift_mm, shift, atol=1e-4)
    assert any("magnitude" in note for note in made.notes)


@pytest.mark.parametrize("mm", [0.5 * LEAST_MOVE_MM, 2 * LEAST_MOVE_MM])
def test_field_follows_the_head_when_it_clearly_moved(seen, mm):
    phantom, _, _, shift = seen
    hz, move = shift / phantom.affine[1, 1] / 0.05, np.eye(4)
    move[0, 3] = mm
    field = FieldMap(Volume(hz, phantom.affine), 0.05, Volume(phantom.data[..., 0], phantom.affine))
    made = from_field(
        Volume(phantom.data[..., 0], phantom.affine),
        field,
        phase_encoding="j",
        mask=phantom.brain,
        rigid=lambda *_, **__: move,
    )
    moved = mm > LEAST_MOVE_MM
    assert bool(made.notes) is moved
    assert np.allclose(made.shift_mm, shift, atol=1e-3) is not moved


def test_maps_are_restored(seen):
    phantom, series, backward, _ = seen
    rest = run(phantom, denoise=False, motion=False, mask=phantom.brain)
    bent = type(phantom)(**{**vars(phantom), "data": series})
    field = ReversedPhase(Volume(backward, phantom.affine))
    options = {"denoise": False, "motion": False, "mask": phantom.brain, "phase_encoding": "j"}
    before, after = run(bent, **options), run(bent, **options, susceptibility="auto", field=field)
    inner = phantom.brain & (rest.fa > 0)
    for name in ("fa", "md"):
        true, raw, made = (getattr(maps, name)[inner] for maps in (rest, before, after))
        assert rms(made - true) < 0.6 * rms(raw - true)
    # Sharp borders between voxels of 5 mm, interpolated twice, leave the rest.
    assert rms((after.mean_b0 - rest.mean_b0)[inner]) < 0.5 * rms((before.mean_b0 - rest.mean_b0)[inner])
    assert after.qa["susceptibility"]["source"] == "reversed"
    assert after.qa["susceptibility"]["rms_shift_mm"] > 1
    assert not any("not corrected" in note and "suscept" in note for note in after.notes)


def test_what_was_asked_for_and_cannot_be_done_is_said(still_phantom):
    made = run(still_phantom, denoise=False, motion=False, susceptibility="auto", mask=still_phantom.brain)
    assert any("susceptibility distortion is not corrected" in note for note in made.notes)
    field = FieldMap(Volume(still_phantom.data[..., 0], still_phantom.affine), 0.05)
    with pytest.raises(ValueError, match="PhaseEncodingDirection"):
        run(still_phantom, denoise=False, motion=False, susceptibility="auto", field=field)


def smooth_image(rng, shape):
    return 500 + 100 * ndimage.gaussian_filter(rng.normal(size=shape), 2.5) / 0.05


def test_motion_eddy_currents_and_susceptibility_take_one_interpolation(rng):
    """A volume made by E(R x + d(x) p) comes back."""
    shape, affine = (26, 28, 24), np.diag([3.0, 3, 3, 1])
    centre = np.array([37.0, 40, 35])
    turn = rigid_matrix(np.array([1.0, -2, 1.5]), np.deg2rad([4.0, -3, 5]), centre)
    pull = eddy_matrix(np.array([0.01, -0.015, 0.02]), PHASE, centre) @ turn
    grid = np.indices(shape).astype(float)
    far = ((grid - np.array([13, 14, 12])[:, None, None, None]) ** 2).sum(axis=0)
    shift = 4 * np.exp(-far / (2 * 5**2))
    image = smooth_image(rng, shape)
    points = np.tensordot(affine[:3, :3], grid, axes=1).reshape(3, -1)
    moved = turn[:3, :3] @ points + turn[:3, 3:] + shift.ravel() * PHASE[:, None]
    eddy = pull @ np.linalg.inv(turn)
    places = np.linalg.solve(affine[:3, :3], eddy[:3, :3] @ moved + eddy[:3, 3:]).reshape(3, *shape)
    # The volume that shows image(x) at places(x): scattered points to its grid.
    from scipy.interpolate import griddata

    slopes = np.stack(np.gradient(places, axis=(1, 2, 3)), axis=-1)
    size = np.linalg.det(np.moveaxis(slopes, 0, -2))
    values = image / size
    volume = griddata(places.reshape(3, -1).T, values.ravel(), tuple(grid), method="linear", fill_value=500.0)
    distortion = Distortion(shift.astype(np.float32), PHASE, affine, "reversed")
    made = resampled(volume.astype(np.float32), pull, affine, distortion)
    inner = tuple(slice(6, -6) for _ in range(3))
    error, spread = rms((made - image)[inner]), float(image[inner].std())
    without = rms((resampled(volume.astype(np.float32), pull, affine) - image)[inner])
    assert error < 0.1 * spread  # linear scattering
    assert error < 0.2 * without


def test_no_displacement_changes_nothing(rng):
    image = smooth_image(rng, (12, 13, 11)).astype(np.float32)
    affine = np.diag([-2.0, 2, 2.5, 1])
    pull = rigid_matrix(np.array([0.5, 0.2, -0.3]), np.array([0.02, -0.03, 0.01]), np.zeros(3))
    flat = Distortion(np.zeros(image.shape, np.float32), PHASE, affine, "field_map")
    np.testing.assert_allclose(
        resampled(image, pull, affine, flat), resampled(image, pull, affine), rtol=1e-5, atol=1e-3
    )
