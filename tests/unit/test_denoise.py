from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plastimap._mppca import (
    noise_split,
    reflect_back,
    shrinkage,
    tridiagonal,
    tridiagonal_eigenvalues,
    tridiagonal_vectors,
)
from plastimap.denoise import denoise_mppca, patch_corners, patch_radius, without_rician_bias


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
    np.testing.assert_array_equal(np.isnan(made.rank), ~mask)
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
    variance, n_noise = np.transpose([noise_split(one, 125) for one in values])
    assert np.mean(n_noise >= 29) > 0.95
    assert np.median(variance) == pytest.approx(4, rel=0.05)


def decomposed(matrix, n_vectors):
    """Eigenvalues, and the last eigenvectors, by our own solver."""
    n = len(matrix)
    work, diagonal, beside, scale = matrix.copy(), np.zeros(n), np.zeros(n), np.zeros(n)
    values, vectors = np.zeros(n), np.zeros((n_vectors, n))
    tridiagonal(work, diagonal, beside, scale)
    tridiagonal_eigenvalues(diagonal, beside[: n - 1], values)
    tridiagonal_vectors(diagonal, beside[: n - 1], values[n - n_vectors :][::-1].copy(), vectors)
    reflect_back(work, scale, vectors)
    return values, vectors


@given(n=st.integers(2, 40), rank=st.integers(1, 6), size=st.floats(1, 1e4), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_eigensystems_equal_lapack(n, rank, size, seed):
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(2 * n, n)) + size * rng.normal(size=(2 * n, rank)) @ rng.normal(size=(rank, n))
    matrix = samples.T @ samples
    values, vectors = decomposed(matrix, min(rank + 1, n))
    expected = np.linalg.eigvalsh(matrix)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12 * expected[-1])
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(vectors)), atol=1e-9)
    np.testing.assert_allclose(vectors @ matrix, values[::-1][: len(vectors), None] * vectors, atol=1e-9 * expected[-1])


def test_eigensystems_of_special_matrices():
    for matrix in (np.zeros((5, 5)), np.eye(5), np.diag([1.0, 5, 2, 5, 3]), np.ones((5, 5))):
        values, vectors = decomposed(matrix, 2)
        np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), atol=1e-12)
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(2), atol=1e-9)


def test_shrinkage_takes_nothing_from_strong_components_and_all_from_noise():
    assert shrinkage(1e6, 1.0, 0.5) == pytest.approx(1, abs=1e-5)
    assert shrinkage(1.5, 1.0, 0.5) == 0
    assert shrinkage(3.0, 0.0, 0.5) == 1
    factors = [shrinkage(value, 1.0, 0.5) for value in np.linspace(3, 50, 20)]
    assert (np.diff(factors) > 0).all()


def test_shrinking_lowers_the_error(rng):
    clean = low_rank(rng)
    noisy = clean + rng.normal(0, 20, clean.shape)
    errors = [np.sqrt(np.mean((denoise_mppca(noisy, shrink=s).data - clean) ** 2)) for s in (True, False)]
    assert errors[0] < 0.97 * errors[1]


def test_threads_change_nothing(rng):
    noisy = (low_rank(rng, (30, 9, 9)) + rng.normal(0, 8, (30, 9, 9, 20))).astype(np.float32)
    one, four = (denoise_mppca(noisy, threads=threads) for threads in (1, 4))
    for name in ("data", "sigma", "rank"):
        np.testing.assert_array_equal(getattr(one, name), getattr(four, name))


@given(scale=st.floats(1e-3, 1e3))
@settings(max_examples=10, deadline=None)
def test_scaling_the_signal_scales_the_result(scale):
    rng = np.random.default_rng(3)
    noisy = low_rank(rng, (7, 7, 7), 8) + rng.normal(0, 8, (7, 7, 7, 8))
    one, other = denoise_mppca(noisy, stride=2), denoise_mppca(noisy * scale, stride=2)
    np.testing.assert_allclose(other.data, one.data * scale, rtol=1e-3, atol=1e-3 * scale)
    np.testing.assert_allclose(other.sigma, one.sigma * scale, rtol=1e-3)


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_order_of_volumes_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    noisy = low_rank(rng, (7, 7, 7), 9) + rng.normal(0, 8, (7, 7, 7, 9))
    order = rng.permutation(9)
    one, other = denoise_mppca(noisy, stride=2), denoise_mppca(noisy[..., order], stride=2)
    np.testing.assert_allclose(other.data, one.data[..., order], rtol=1e-3, atol=1e-2)


def test_rank_is_the_number_of_components(rng):
    clean = low_rank(rng, n=40, rank=3)
    made = denoise_mppca(clean + rng.normal(0, 2, clean.shape))
    assert np.median(made.rank) == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize("level", [1.0, 2.0, 20.0])
def test_rician_bias_goes(level, rng):
    parts = rng.normal(0, 10, (2, 400, 200))
    magnitudes = np.hypot(level * 10 + parts[0], parts[1])
    mean = np.full((1, 30), magnitudes.mean(), dtype=np.float32)
    signal, sigma = without_rician_bias(mean, np.array([magnitudes.std()], dtype=np.float32))
    assert sigma[0] == pytest.approx(10, rel=0.05)
    np.testing.assert_allclose(signal, level * 10, atol=0.7)
    untouched = without_rician_bias(mean, np.zeros(1, dtype=np.float32))
    np.testing.assert_array_equal(untouched[0], mean)


def test_rician_option_brings_weak_signal_down(rng):
    parts = rng.normal(0, 10, (2, 9, 9, 9, 20))
    magnitudes = np.hypot(15 + parts[0], parts[1])
    plain, corrected = (denoise_mppca(magnitudes, rician=r).data.mean() for r in (False, True))
    assert plain > 17.5
    assert corrected == pytest.approx(15, abs=0.8)


def test_every_voxel_of_the_mask_lies_in_a_patch(rng):
    mask = rng.random((13, 11, 12)) < 0.05
    for stride in (1, 2, 3):
        covered = np.zeros(mask.shape, dtype=bool)
        for corner in patch_corners(mask, 3, stride):
            covered[tuple(slice(c, c + 3) for c in corner)] = True
        assert covered[mask].all()


@pytest.mark.parametrize(
    ("shape", "stride", "words"),
    [((9, 9, 9), None, "X, Y, Z, N"), ((2, 9, 9, 12), None, "smaller than the patch"), ((9, 9, 9, 12), 4, "stride 4")],
)
def test_impossible_input_is_refused(shape, stride, words):
    with pytest.raises(ValueError, match=words):
        denoise_mppca(np.ones(shape), stride=stride)
