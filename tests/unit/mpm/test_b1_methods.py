from __future__ import annotations

import numpy as np
import pytest

from plastimap.mpm import b1_methods

SHAPE = (14, 12, 10)
ANGLES = tuple(range(115, 60, -5))
MIXING = 0.0312


@pytest.fixture
def planted():
    """A ratio from 0.6 to 1.4, smooth."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    return 1.0 + 0.25 * x + 0.1 * y * z + 0.05 * z


def noisy(image, rng, snr):
    """Magnitude of `image` with complex noise: 1/snr of its largest value."""
    sd = np.max(image) / snr
    return np.abs(image + rng.normal(0, sd, image.shape) + 1j * rng.normal(0, sd, image.shape))


def afi_images(f, *, flip, n):
    cosine = np.cos(f * np.deg2rad(flip))
    return 100 * np.sin(f * np.deg2rad(flip)), 100 * np.sin(f * np.deg2rad(flip)) * (1 + n * cosine) / (n + cosine)


def epi_images(f, angles=ANGLES, *, t1=b1_methods.EPI_T1_S):
    spin = [100 * np.sin(f * np.deg2rad(angle)) ** 3 for angle in angles]
    decay = np.exp(-MIXING / t1)
    return spin, [se * np.abs(np.cos(f * np.deg2rad(a))) * decay for se, a in zip(spin, angles, strict=True)]


def test_afi_finds_a_planted_field_whatever_the_order(planted):
    short, long = afi_images(planted, flip=60, n=5)
    for images, tr in (((short, long), (0.02, 0.1)), ((long, short), (0.1, 0.02))):
        np.testing.assert_allclose(b1_methods.afi(images, tr, flip_deg=60), planted, rtol=1e-10)


def test_afi_with_noise_is_unbiased(planted, rng):
    images = [noisy(image, rng, 60) for image in afi_images(planted, flip=60, n=5)]
    found = b1_methods.afi(images, (0.02, 0.1), flip_deg=60)
    assert np.isfinite(found).mean() > 0.99
    assert abs(np.nanmean(found - planted)) < 0.01
    assert np.nanstd(found - planted) < 0.06


@pytest.mark.parametrize(("tr", "n"), [((0.02, 0.02), 2), ((0.02,), 1), ((0.0, 0.1), 2)])
def test_afi_needs_two_repetition_times(planted, tr, n):
    with pytest.raises(ValueError, match=r"two different repetition times.*RepetitionTimeExcitation"):
        b1_methods.afi(afi_images(planted, flip=60, n=5)[:n], tr, flip_deg=60)


def test_afi_with_interchanged_times_is_told(planted):
    with pytest.raises(ValueError, match="interchanged"):
        b1_methods.afi(afi_images(planted, flip=60, n=5), (0.1, 0.02), flip_deg=60)


def test_double_angle_finds_a_planted_field_whatever_the_order(planted):
    single, double = (100 * np.sin(planted * np.deg2rad(angle)) for angle in (60, 120))
    double = np.abs(double)
    below = planted * 60 < 90
    for images, flips in (((single, double), (60, 120)), ((double, single), (120, 60))):
        np.testing.assert_allclose(b1_methods.double_angle(images, flips)[below], planted[below], rtol=1e-10)


def test_double_angle_with_noise(planted, rng):
    images = [noisy(100 * np.sin(planted * np.deg2rad(angle)), rng, 100) for angle in (50, 100)]
    found = b1_methods.double_angle(images, (50, 100))
    assert abs(np.nanmean(found - planted)) < 0.01
    assert np.nanstd(found - planted) < 0.03


@pytest.mark.parametrize("flips", [(60, 90), (60, 60), (60,)])
def test_double_angle_needs_the_double(planted, flips):
    with pytest.raises(ValueError, match=r"α and 2α.*FlipAngle"):
        b1_methods.double_angle([planted] * len(flips), flips)


def test_echoes_find_a_planted_field_whatever_the_order(planted, rng):
    spin, stimulated = epi_images(planted)
    order = rng.permutation(len(ANGLES))
    found = b1_methods.epi_echoes(
        [spin[i] for i in order],
        [stimulated[i] for i in order],
        flip_deg=[ANGLES[i] for i in order],
        mixing_time=MIXING,
    )
    np.testing.assert_allclose(found, planted, rtol=1e-9)


def test_echoes_with_noise(planted, rng):
    spin, stimulated = ([noisy(image, rng, 50) for image in images] for images in epi_images(planted))
    found = b1_methods.epi_echoes(spin, stimulated, flip_deg=ANGLES, mixing_time=MIXING)
    assert np.isfinite(found).mean() > 0.97
    assert abs(np.nanmean(found - planted)) < 0.01
    assert np.nanstd(found - planted) < 0.02


def test_longitudinal_relaxation_is_accounted_for(planted):
    spin, stimulated = epi_images(planted, t1=0.3)
    right = b1_methods.epi_echoes(spin, stimulated, flip_deg=ANGLES, mixing_time=MIXING, t1=0.3)
    wrong = b1_methods.epi_echoes(spin, stimulated, flip_deg=ANGLES, mixing_time=MIXING, largest_sd=1)
    np.testing.assert_allclose(right, planted, rtol=1e-9)
    assert np.abs(wrong - planted).max() > 0.003


def test_inconsistent_voxels_and_air_have_no_value(planted, rng):
    spin, stimulated = epi_images(planted)
    for images in (spin, stimulated):
        for image in images:
            image[:3] = rng.uniform(0, 1, image[:3].shape)
    for se, ste in zip(spin, stimulated, strict=True):
        ste[9, 9, 9] = 1.2 * se[9, 9, 9]
    for n, (se, ste) in enumerate(zip(spin, stimulated, strict=True)):
        ste[8, 8, 8] = (0.9, 0.2)[n % 2] * se[8, 8, 8]
    found = b1_methods.epi_echoes(spin, stimulated, flip_deg=ANGLES, mixing_time=MIXING)
    assert np.isnan(found[:3]).all()
    assert np.isnan(found[9, 9, 9])
    assert np.isnan(found[8, 8, 8])
    assert np.count_nonzero(np.isnan(found[3:])) == 2


@pytest.mark.parametrize(
    ("n_spin", "angles", "changes", "words"),
    [
        (3, (90, 80, 70), {"mixing_time": 31.2}, "seconds are wanted"),
        (2, (90, 80, 70), {}, "a pair of echoes"),
        (1, (90,), {}, "at least two flip angles"),
        (2, (90, 80), {"n_angles": 1}, "at least 2"),
        (2, (90, 0), {}, "FlipAngle"),
    ],
)
def test_echoes_that_cannot_be_used(planted, n_spin, angles, changes, words):
    spin, stimulated = epi_images(planted, angles)
    with pytest.raises(ValueError, match=words):
        b1_methods.epi_echoes(spin[:n_spin], stimulated, **{"flip_deg": angles, "mixing_time": MIXING, **changes})


def test_turbo_flash_is_ten_times_degrees(planted):
    anatomical = np.full(SHAPE, 500.0)
    anatomical[0] = 3
    flip_map = planted * 80 * 10
    flip_map[1] = 0
    found = b1_methods.turbo_flash(anatomical, flip_map, flip_deg=80)
    np.testing.assert_allclose(found[2:], planted[2:], rtol=1e-12)
    assert np.isnan(found[:2]).all()


def test_rf_map_is_a_phase_around_2048(planted):
    anatomical = np.full(SHAPE, 500.0)
    anatomical[0] = 3
    flip_map = 2048 + 2048 * planted * 90 / 180
    flip_map[1] = 0
    found = b1_methods.rf_map(anatomical, flip_map)
    np.testing.assert_allclose(found[2:], planted[2:], rtol=1e-12)
    assert np.isnan(found[:2]).all()


def test_images_of_zeros_are_told(planted):
    for call in (
        lambda zero: b1_methods.afi((planted, zero), (0.02, 0.1), flip_deg=60),
        lambda zero: b1_methods.double_angle((planted, zero), (60, 120)),
        lambda zero: b1_methods.turbo_flash(zero, planted, flip_deg=80),
        lambda zero: b1_methods.rf_map(planted, zero),
        lambda zero: b1_methods.epi_echoes((planted, zero), (planted, zero), flip_deg=(90, 70), mixing_time=MIXING),
    ):
        with pytest.raises(ValueError, match="no signal"):
            call(np.zeros(SHAPE))


def test_inputs_stay_as_they_are(planted):
    short, long = afi_images(planted, flip=60, n=5)
    short[0], long[0] = 0, np.nan
    before = short.copy(), long.copy()
    found = b1_methods.afi((short, long), (0.02, 0.1), flip_deg=60)
    np.testing.assert_array_equal((short, long), before)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1:]).all()
