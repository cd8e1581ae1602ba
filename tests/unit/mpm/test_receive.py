from __future__ import annotations

import numpy as np
import pytest

from plastimap.images import Volume
from plastimap.mpm.receive import calibrate_pd, relative_sensitivity, sensitivities

SIZE = 5.0
SHAPE = (32, 36, 32)
CENTRE = np.array([15.5, 17.5, 15.5])
AFFINE = np.diag([SIZE, SIZE, SIZE, 1.0])
AFFINE[:3, 3] = -SIZE * CENTRE
X, Y, Z = (np.indices(SHAPE).T * SIZE + AFFINE[:3, 3]).T
RADIUS = np.sqrt((X / 65) ** 2 + (Y / 80) ** 2 + (Z / 65) ** 2)
BRAIN = RADIUS < 1


def sensitivity(shift=0.0):
    """Of a head coil: bright at the surface, brighter towards where the head has moved to."""
    return 2 + 0.6 * (X**2 + Y**2 + Z**2) / 70**2 + 0.3 * (X - shift) / 70


def anatomy():
    return np.where(BRAIN, 300 + 200 * (np.sin(X / 11) * np.sin(Y / 13) * np.sin(Z / 9) > 0), 0.0)


def volume(image, rng, noise=0.0):
    return Volume(np.abs(image + rng.normal(0, 1, SHAPE) * noise).astype(np.float32), AFFINE)


def pair(rng, shift=0.0, noise=5.0):
    body = anatomy()
    return volume(body * sensitivity(shift), rng, noise), volume(body, rng, noise)


def test_sensitivity_is_found_and_goes_on_smoothly(rng):
    head, body = pair(rng)
    found = relative_sensitivity(head, body, body)
    inner = RADIUS < 0.9
    np.testing.assert_allclose(found[inner], sensitivity()[inner], rtol=0.02)
    assert np.isfinite(found).all()
    assert found.min() > 0.9 * sensitivity()[BRAIN].min()
    assert found.max() < 1.1 * sensitivity()[BRAIN].max()


def test_air_does_not_bleed_in(rng):
    """At the brain's rim plain smoothing of both images keeps the ratio, but noise of the air would not."""
    head, body = pair(rng, noise=30.0)
    found = relative_sensitivity(head, body, body)
    rim = (RADIUS > 0.85) & BRAIN
    assert np.abs(found[rim] / sensitivity()[rim] - 1).mean() < 0.03


def test_each_contrast_gets_its_own_sensitivity(rng):
    shifts = {"PDw": 0.0, "T1w": 30.0}
    volumes, labels = [], []
    for name, shift in shifts.items():
        for coil, image in zip(("head", "body"), pair(rng, shift), strict=True):
            volumes.append(image)
            labels.append(f"{coil}{name}")
    found, notes = sensitivities(volumes, {"acq": labels}, volumes[0], contrasts=["PDw", "T1w"])
    assert list(found) == ["PDw", "T1w"]
    inner = RADIUS < 0.8
    true = (sensitivity(0.0) / sensitivity(30.0))[inner]
    # The scale is kept between contrasts: a common one would turn motion into R1.
    np.testing.assert_allclose((found["PDw"] / found["T1w"])[inner], true, rtol=0.02)
    assert len(notes) == 1


def test_one_pair_serves_all_and_is_told(rng):
    volumes = list(pair(rng))
    found, notes = sensitivities(volumes, {"acq": ["head", "body"]}, volumes[0], contrasts=["PDw", "T1w", "MTw"])
    assert found["PDw"] is found["MTw"]
    assert "motion between them is not corrected" in notes[1]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["headPDw", "bodyPDw"], r"no pair .* for T1w"),
        (["headPDw", "bodyT1w"], r"no pair .* for PDw, T1w"),
        (["coil", "body"], "acq-coil names no coil"),
        ([None, "body"], "names no coil"),
    ],
)
def test_incomplete_sensitivities_are_told(rng, labels, words):
    volumes = list(pair(rng))
    with pytest.raises(ValueError, match=words):
        sensitivities(volumes, {"acq": labels}, volumes[0], contrasts=["PDw", "T1w"])


def test_pairs_that_do_not_fit_are_told(rng):
    head, body = pair(rng)
    with pytest.raises(ValueError, match="different grids"):
        relative_sensitivity(Volume(head.data, head.affine + np.eye(4, k=3)), body, body)
    with pytest.raises(ValueError, match="share no voxel"):
        relative_sensitivity(Volume(np.zeros_like(head.data), AFFINE), body, body)


@pytest.fixture
def tissue():
    """Proton density of a brain of two tissues, and the probability of white matter."""
    pattern = np.sin(X / 12) * np.sin(Y / 14) * np.sin(Z / 10)
    white = BRAIN & (pattern > 0)
    pd = np.where(white, 69.0, 80.0)
    return np.where(BRAIN, pd, np.nan), np.where(white, 1.0, 0.0)


def planted_bias():
    return 1 + 0.25 * np.exp(-((X - 30) ** 2 + Y**2 + (Z + 20) ** 2) / 2 / 60**2) + 0.1 * Y / 80


def test_calibration_removes_a_planted_field_in_the_right_direction(tissue, rng):
    pd, white = tissue
    a = 37.0 * pd * planted_bias() * (1 + rng.normal(0, 0.01, SHAPE))
    before = a.copy()
    found = calibrate_pd(a, white_matter=white, brain=BRAIN, voxel_size=[SIZE] * 3)
    np.testing.assert_array_equal(a, before)
    reference = white > 0.95
    assert found.calibrated
    assert found.image[reference].mean() == pytest.approx(69, rel=1e-4)
    # The field correlates with the reciprocal of the planted one; the wrong direction would double the spread.
    assert np.corrcoef(found.field[BRAIN], 1 / planted_bias()[BRAIN])[0, 1] > 0.9
    assert found.white_matter_spread < 0.5 * np.std(planted_bias()[reference])
    grey = BRAIN & ~reference
    assert np.mean(found.image[grey]) == pytest.approx(80, abs=1.5)
    assert np.isnan(found.image[~BRAIN]).all()


def test_a_measured_field_needs_a_scale_only(tissue):
    pd, white = tissue
    found = calibrate_pd(37.0 * pd, white_matter=white, brain=BRAIN, voxel_size=[SIZE] * 3, bias="measured")
    np.testing.assert_allclose(found.image[BRAIN], pd[BRAIN], rtol=1e-5)
    np.testing.assert_array_equal(found.field, 1)
    assert "was measured" in found.notes[0]


def test_without_correction_it_stays_the_amplitude(tissue):
    pd, white = tissue
    found = calibrate_pd(37.0 * pd, white_matter=white, brain=BRAIN, voxel_size=[SIZE] * 3, bias="none")
    assert not found.calibrated
    np.testing.assert_allclose(found.image[BRAIN], 37.0 * pd[BRAIN], rtol=1e-6)
    assert "not proton density" in found.notes[0]
    assert np.isnan(found.white_matter_spread)


def test_uneven_white_matter_is_a_warning(tissue):
    pd, white = tissue
    uneven = pd * (1 + 0.1 * np.sign(np.sin(X / 4)))
    found = calibrate_pd(uneven, white_matter=white, brain=BRAIN, voxel_size=[SIZE] * 3, bias="measured")
    assert any("more than 6 %" in note for note in found.notes)
    even = calibrate_pd(pd, white_matter=white, brain=BRAIN, voxel_size=[SIZE] * 3, bias="measured")
    assert len(even.notes) == 1


def test_calibration_without_white_matter_is_refused(tissue):
    pd, white = tissue
    with pytest.raises(ValueError, match=r"no voxel of white matter.*segmentation"):
        calibrate_pd(pd, white_matter=0.9 * white, brain=BRAIN, voxel_size=[SIZE] * 3)
    with pytest.raises(ValueError, match="unknown receive field correction"):
        calibrate_pd(pd, white_matter=white, brain=BRAIN, voxel_size=[SIZE] * 3, bias="n3")
