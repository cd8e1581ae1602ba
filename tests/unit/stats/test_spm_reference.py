"""Model A of the SPM12 reference: a two-sample comparison of slope images, 24 people, age and TIV."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from plastimap.stats.clusters import cluster_table, search_volume
from plastimap.stats.glm import GlmFit, fit_glm
from plastimap.stats.inference import noise_smoothness
from plastimap.stats.tails import t_threshold

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def fit(spm: Any) -> GlmFit:
    # SPM weights by its ReML estimate of unequal variance and floors the variance.
    return fit_glm(spm.data, spm.matrix, weights=spm.weights, variance_floor=1e-3)


def test_maps(spm: Any, fit: GlmFit) -> None:
    assert fit.dof == pytest.approx(spm.model["erdf"])
    assert fit.analysed.all()
    # SPM's weights are scaled so that V has trace n, ours to mean 1: the ratio is theirs to the weights' mean.
    np.testing.assert_allclose(fit.resms * spm.weights.mean(), spm.image("ResMS"), rtol=1e-9)
    for number, vector in ((1, [1, -1, 0, 0]), (2, [-1, 1, 0, 0])):
        t, effect, _, _ = fit.t_map(vector)
        # Stored in float32 by SPM.
        np.testing.assert_allclose(t, spm.image(f"spmT_000{number}"), atol=2e-6)
        np.testing.assert_allclose(effect, spm.image(f"con_000{number}"), atol=1e-7)


def test_smoothness_and_resels(spm: Any, fit: GlmFit) -> None:
    found = noise_smoothness(fit, spm.mask)
    np.testing.assert_allclose(found.fwhm, spm.model["FWHM_vox"], rtol=1e-9)
    np.testing.assert_allclose(found.resels, spm.model["RESELS_R"], rtol=1e-9)
    rpv = spm.image("RPV")
    inside = np.isfinite(found.rpv)
    np.testing.assert_array_equal(inside, np.nan_to_num(rpv) > 0)
    np.testing.assert_allclose(found.rpv[inside], rpv[inside], rtol=1e-6)


@pytest.mark.parametrize(
    ("table", "sign", "roi", "p", "extent", "maxima", "distance"),
    [
        ("wholebrain_con01", 1, None, 0.001, 20, 16, 4),
        ("wholebrain_con02", -1, None, 0.001, 20, 16, 4),
        ("wholebrain_p01_k0_con01", 1, None, 0.01, 1, 1, 8),
        ("wholebrain_p01_k0_con02", -1, None, 0.01, 1, 1, 8),
        ("svc_roi_A_15mm_con01", 1, "roi_A_15mm", 0.001, 20, 16, 4),
    ],
)
def test_tables(spm: Any, fit: GlmFit, table, sign, roi, p, extent, maxima, distance) -> None:
    smoothness = noise_smoothness(fit, spm.mask)
    t_map = np.full(spm.mask.shape, np.nan)
    t_map[spm.mask] = sign * fit.t_map([1, -1, 0, 0]).t
    region = spm.mask if roi is None else spm.roi(roi)
    search = search_volume(region, spm.mask, smoothness.fwhm)
    if roi is not None:
        expected_search = spm.model["contrasts"][0][f"svc_{roi}"]
        assert search.n_voxels == expected_search["S"]
        np.testing.assert_allclose(search.resels, expected_search["R"], rtol=1e-9)
    found, _ = cluster_table(
        t_map,
        search,
        affine=spm.affine,
        threshold=t_threshold(p, fit.dof),
        dof=fit.dof,
        fwhm=smoothness.fwhm,
        minimum_extent=extent,
        maxima=maxima,
        distance_mm=distance,
    )
    expected = spm.table(table).astype(float)
    assert len(found) == len(expected)
    np.testing.assert_array_equal(found[["x", "y", "z"]], expected[["x_mm", "y_mm", "z_mm"]])
    np.testing.assert_allclose(found["peak_t"], expected["peak_T"], atol=2e-6)
    np.testing.assert_allclose(found["peak_p_fwe"], expected["peak_pFWE"], rtol=2e-6)
    # SPM's uncorrected peak p is 1 - exp(-p), and its Z the deviate of that; ours are of p itself.
    np.testing.assert_allclose(-np.expm1(-found["peak_p_unc"]), expected["peak_pUnc"], rtol=2e-6)
    np.testing.assert_allclose(-stats.norm.ppf(-np.expm1(-found["peak_p_unc"])), expected["peak_Z"], atol=1e-6)
    first, heads = found[found["peak"] == 1], expected[expected["cluster_k_vox"].notna()]
    np.testing.assert_array_equal(first["k"], heads["cluster_k_vox"])
    np.testing.assert_allclose(first["cluster_p_fwe"], heads["cluster_pFWE"], rtol=2e-6)
    np.testing.assert_allclose(first["cluster_p_unc"], heads["cluster_pUnc"], rtol=2e-6)
