from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from plastimap.stats.problems import StatsProblem
from plastimap.stats.smoothness import estimate

SD = 1 / np.sqrt(8 * np.log(2))


def test_known_smoothness_is_found(rng: np.random.Generator) -> None:
    fwhm = np.array([4.0, 5.0, 6.0])
    noise = np.stack([gaussian_filter(rng.standard_normal((36, 36, 36)), fwhm * SD, mode="wrap") for _ in range(12)])
    mask = np.zeros((36, 36, 36), dtype=bool)
    mask[2:-2, 2:-2, 2:-2] = True
    found = estimate(noise[:, mask], mask, dof=12)
    # Forward differences on a lattice overestimate slightly (SPM does likewise); 12 images scatter by 2 %.
    np.testing.assert_allclose(found.fwhm, fwhm, rtol=0.07)
    assert not found.rough
    assert found.resels[3] == pytest.approx(31**3 / np.prod(found.fwhm))


def test_images_and_a_function_for_them_are_the_same(rng: np.random.Generator) -> None:
    mask = np.ones((8, 9, 7), dtype=bool)
    residuals = rng.normal(size=(70, mask.sum()))
    one = estimate(residuals, mask, dof=60)
    sd = np.sqrt((residuals**2).sum(axis=0) / 60)
    other = estimate(lambda i: residuals[i], mask, dof=60, sd=sd, n_images=70)
    np.testing.assert_array_equal(one.fwhm, other.fwhm)
    assert one.rough


def test_units_of_the_data_do_not_matter(rng: np.random.Generator) -> None:
    mask = np.ones((8, 9, 7), dtype=bool)
    residuals = rng.normal(size=(10, mask.sum()))
    scale = rng.uniform(0.1, 10, mask.sum())
    np.testing.assert_allclose(
        estimate(residuals * scale, mask, dof=9).fwhm, estimate(residuals, mask, dof=9).fwhm, rtol=1e-10
    )


def test_only_full_blocks_of_the_mask_count(rng: np.random.Generator) -> None:
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[2:8, 2:8, 2:8] = True
    found = estimate(rng.normal(size=(9, mask.sum())), mask, dof=9)
    assert np.isfinite(found.rpv).sum() == 5**3


def test_a_mask_without_any_block_is_refused(rng: np.random.Generator) -> None:
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[:, :, 2] = True
    with pytest.raises(StatsProblem, match="2 × 2 × 2"):
        estimate(rng.normal(size=(9, mask.sum())), mask, dof=9)
    with pytest.raises(StatsProblem, match="do not vary"):
        estimate(np.ones((9, 27)), np.ones((3, 3, 3), dtype=bool), dof=9)
