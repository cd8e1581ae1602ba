from __future__ import annotations

import numpy as np
import pytest

from plastimap.dwi.denoise import denoise_mppca, noise_components, patch_radius


def low_rank(rng, shape=(16, 15, 14), n=20, rank=3):
    """A series whose patches have few components, like diffusion data."""
    weights = rng.uniform(0.5, 1.5, (*shape, rank))
    return 100 * weights @ rng.uniform(0.5, 1.5, (rank, n))


@pytest.mark.parametrize("stride", [None, 2])
def test_noise_goes_and_sigma_is_found(rng, stride):
    clean = low_rank(rng)
    noisy = clean + rng.normal(0, 8, clean.shape)
    made = denoise_mppca(noisy, stride=stride)
    # A projection to rank 3, and the mean, of 27 voxels × 20 volumes keeps 1 - (1 - 3/20)(1 - 4/27) = 0.28 of the
    # noise's variance, so 0.53 of its standard deviation.
    assert np.sqrt(np.mean((made.data - clean) ** 2)) < 0.53 * 8
    assert np.median(made.sigma) == pytest.approx(8, rel=0.05)


def test_signal_without_noise_stays(rng):
    clean = low_rank(rng)
    made = denoise_mppca(clean + rng.normal(0, 1e-3, clean.shape))
    np.testing.assert_allclose(made.data, clean, atol=0.01)


def test_equals_dipy(rng):
    from dipy.denoise.localpca import mppca

    noisy = (low_rank(rng, (12, 11, 10), 18) + rng.normal(0, 8, (12, 11, 10, 18))).astype(np.float32)
    ours = denoise_mppca(noisy, stride=1)
    theirs = mppca(noisy, mask=np.ones(noisy.shape[:3], dtype=bool), patch_radius=1)
    # Rounding moves a component of single patches across the threshold, hence a share instead of a maximum.
    assert np.mean(np.abs(ours.data - theirs) < 0.01) > 0.97


def test_outside_the_mask_nothing_changes(rng):
    noisy = (low_rank(rng) + rng.normal(0, 8, (16, 15, 14, 20))).astype(np.float32)
    mask = np.zeros(noisy.shape[:3], dtype=bool)
    mask[4:9, 5:9, 6:10] = True
    before = noisy.copy()
    made = denoise_mppca(noisy, mask=mask)
    np.testing.assert_array_equal(noisy, before)
    np.testing.assert_array_equal(made.data[~mask], noisy[~mask])
    np.testing.assert_array_equal(np.isnan(made.sigma), ~mask)
    assert (made.data[mask] != noisy[mask]).any()
    # The mask's edge does not matter inside: patches reach over it.
    whole = denoise_mppca(noisy, stride=1)
    part = denoise_mppca(noisy, mask=mask, stride=1)
    np.testing.assert_allclose(part.data[mask], whole.data[mask], rtol=1e-4)


def test_nan_and_negative_values(rng):
    noisy = rng.normal(0, 5, (9, 9, 9, 12))
    noisy[4, 4, 4, 3] = np.nan
    made = denoise_mppca(noisy)
    assert np.isfinite(made.data).all()
    assert made.data.min() >= 0


@pytest.mark.parametrize(("n_volumes", "radius"), [(7, 1), (26, 1), (27, 2), (66, 2), (124, 2), (125, 3)])
def test_patch_has_more_voxels_than_volumes(n_volumes, radius):
    assert patch_radius(n_volumes) == radius


def test_pure_noise_is_all_noise(rng):
    samples = rng.normal(0, 2, (200, 125, 30))
    values = np.linalg.eigvalsh(samples.transpose(0, 2, 1) @ samples / 125)
    variance, n_noise = noise_components(values, 125)
    assert np.mean(n_noise >= 29) > 0.95
    assert np.median(variance) == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(
    ("shape", "stride", "words"),
    [((9, 9, 9), None, "X, Y, Z, N"), ((2, 9, 9, 12), None, "smaller than the patch"), ((9, 9, 9, 12), 4, "stride 4")],
)
def test_impossible_input_is_refused(shape, stride, words):
    with pytest.raises(ValueError, match=words):
        denoise_mppca(np.ones(shape), stride=stride)
