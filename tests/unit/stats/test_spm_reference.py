"""SPM12's reference: a two-sample comparison of slopes (A), and 24 people at 5 visits with variance components (B)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from plastimap.stats.clusters import RandomField, cluster_table, search_volume
from plastimap.stats.fitted import noise_smoothness
from plastimap.stats.glm import GlmFit, fit_glm
from plastimap.stats.reml import (
    CovarianceEstimate,
    estimate_covariance,
    group_components,
    pooled_products,
    visit_components,
)
from plastimap.stats.rft import FField, TField
from plastimap.stats.smoothness import Smoothness

pytestmark = pytest.mark.shared

# SPM stores maps in float32: half a unit in the last place of a t near 10 is 5e-7.
T_TOLERANCE = 1e-6


def covariance_of(spm: Any, components: Any) -> CovarianceEstimate:
    products, n_voxels = pooled_products(spm.data, spm.matrix)
    return estimate_covariance(products, spm.matrix, components, n_voxels=n_voxels)


@pytest.fixture(scope="module")
def unequal(spm: Any) -> CovarianceEstimate:
    return covariance_of(spm, group_components(["1"] * 12 + ["2"] * 12))


@pytest.fixture(scope="module")
def repeated(spm_repeated: Any) -> CovarianceEstimate:
    design = spm_repeated.design
    return covariance_of(spm_repeated, visit_components(design["subject"].tolist(), design["timepoint"].tolist()))


@pytest.fixture(scope="module")
def fit(spm: Any, unequal: CovarianceEstimate) -> GlmFit:
    # SPM floors the variance.
    return fit_glm(spm.data, spm.matrix, covariance=unequal.covariance, variance_floor=1e-3)


@pytest.fixture(scope="module")
def fit_repeated(spm_repeated: Any, repeated: CovarianceEstimate) -> GlmFit:
    return fit_glm(spm_repeated.data, spm_repeated.matrix, covariance=repeated.covariance, variance_floor=1e-3)


def test_variance_components_of_groups(spm: Any, unequal: CovarianceEstimate) -> None:
    np.testing.assert_allclose(unequal.sizes, spm.model["reml_h"], rtol=1e-9)
    np.testing.assert_allclose(unequal.covariance, spm.numbers("xVi_V"), atol=1e-9)


def test_variance_components_of_visits(spm_repeated: Any, repeated: CovarianceEstimate) -> None:
    assert repeated.n_voxels == spm_repeated.model["S_voxels"]
    # The covariances come in another order than SPM's.
    np.testing.assert_allclose(np.sort(repeated.sizes), np.sort(spm_repeated.model["reml_h"]), rtol=1e-9)
    np.testing.assert_allclose(repeated.covariance, spm_repeated.numbers("xVi_V"), atol=1e-9)
    assert repeated.converged


def test_weights_are_the_same_as_a_diagonal_covariance(spm: Any, unequal: CovarianceEstimate, fit: GlmFit) -> None:
    weighted = fit_glm(spm.data, spm.matrix, weights=1 / np.diag(unequal.covariance), variance_floor=1e-3)
    np.testing.assert_allclose(weighted.t_map([1, -1, 0, 0]).t, fit.t_map([1, -1, 0, 0]).t, atol=1e-9)


def test_maps_of_groups(spm: Any, fit: GlmFit) -> None:
    assert_maps(spm, fit)


def test_maps_of_visits(spm_repeated: Any, fit_repeated: GlmFit) -> None:
    assert_maps(spm_repeated, fit_repeated)
    f = fit_repeated.f_map(spm_repeated.model["contrasts"][3]["c"])
    assert f.dof == pytest.approx(spm_repeated.model["contrasts"][3]["df"])
    np.testing.assert_allclose(f.f, spm_repeated.image("spmF_0004"), atol=1e-5)


def assert_maps(spm: Any, fit: GlmFit) -> None:
    assert fit.dof == pytest.approx(spm.model["erdf"])
    assert fit.analysed.all()
    np.testing.assert_allclose(fit.resms, spm.image("ResMS"), rtol=1e-9)
    for number, contrast in enumerate(spm.model["contrasts"], start=1):
        if contrast["STAT"] == "T":
            found = fit.t_map(contrast["c"])
            np.testing.assert_allclose(found.t, spm.image(f"spmT_{number:04d}"), atol=T_TOLERANCE)
            np.testing.assert_allclose(found.effect, spm.image(f"con_{number:04d}"), atol=T_TOLERANCE)
            np.testing.assert_allclose(found.effect / found.standard_error, found.t, rtol=1e-12)


def test_smoothness_and_resels(spm: Any, fit: GlmFit, spm_repeated: Any, fit_repeated: GlmFit) -> None:
    for reference, fitted in ((spm, fit), (spm_repeated, fit_repeated)):
        found = noise_smoothness(fitted, reference.mask)
        np.testing.assert_allclose(found.fwhm, reference.model["FWHM_vox"], rtol=1e-9)
        np.testing.assert_allclose(found.resels, reference.model["RESELS_R"], rtol=1e-9)
        rpv = reference.image("RPV")
        inside = np.isfinite(found.rpv)
        np.testing.assert_array_equal(inside, np.nan_to_num(rpv) > 0)
        np.testing.assert_allclose(found.rpv[inside], rpv[inside], rtol=1e-6)


@pytest.fixture(scope="module")
def smoothness(spm: Any, fit: GlmFit) -> Smoothness:
    return noise_smoothness(fit, spm.mask)


@pytest.fixture(scope="module")
def smoothness_repeated(spm_repeated: Any, fit_repeated: GlmFit) -> Smoothness:
    return noise_smoothness(fit_repeated, spm_repeated.mask)


TABLES = [
    ("wholebrain", None, 0.001, 20, 16, 4),
    ("wholebrain_p01_k0", None, 0.01, 1, 1, 8),
    ("svc_roi_A_15mm", "roi_A_15mm", 0.001, 20, 16, 4),
    ("svc_roi_B_15mm", "roi_B_15mm", 0.001, 20, 16, 4),
]


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("rule", TABLES, ids=lambda rule: rule[0])
def test_tables_of_groups(spm: Any, fit: GlmFit, smoothness: Smoothness, number: int, rule: tuple[Any, ...]) -> None:
    assert_table(spm, fit, smoothness, number, rule)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("rule", TABLES, ids=lambda rule: rule[0])
def test_tables_of_visits(
    spm_repeated: Any, fit_repeated: GlmFit, smoothness_repeated: Smoothness, number: int, rule: tuple[Any, ...]
) -> None:
    assert_table(spm_repeated, fit_repeated, smoothness_repeated, number, rule)


def assert_table(spm: Any, fit: GlmFit, smoothness: Smoothness, number: int, rule: tuple[Any, ...]) -> None:
    name, roi, p, extent, maxima, distance = rule
    contrast = spm.model["contrasts"][number - 1]
    if not (spm.folder / f"clusters_{name}_con{number:02d}.csv").exists():
        pytest.skip("SPM found no cluster there, and wrote no table")
    values = np.full(spm.mask.shape, np.nan)
    if contrast["STAT"] == "T":
        found = fit.t_map(contrast["c"])
        values[spm.mask], field = found.t, TField(found.dof)
    else:
        joint = fit.f_map(contrast["c"])
        values[spm.mask], field = joint.f, FField(joint.dof)
    search = search_volume(spm.mask if roi is None else spm.roi(roi), spm.mask, smoothness.fwhm)
    if roi is not None:
        assert search.n_voxels == contrast[f"svc_{roi}"]["S"]
        np.testing.assert_allclose(search.resels, contrast[f"svc_{roi}"]["R"], rtol=1e-9)
    threshold = field.threshold(p)
    table, _ = cluster_table(
        values,
        search,
        judge=RandomField(field, search, threshold, smoothness.fwhm),
        field=field,
        affine=spm.affine,
        threshold=threshold,
        minimum_extent=extent,
        maxima=maxima,
        distance_mm=distance,
    )
    assert_rows(table, spm.table(f"{name}_con{number:02d}"))


def assert_rows(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert len(found) == len(expected)
    np.testing.assert_array_equal(found[["x", "y", "z"]], expected[["x_mm", "y_mm", "z_mm"]])
    np.testing.assert_allclose(found["peak_t"], expected["peak_T"], rtol=1e-6)
    # SPM's tails saturate below about 1e-10; ours are exact there.
    honest = (expected["peak_pUnc"] > 1e-10).to_numpy()
    for mine, theirs in (("peak_p_fwe", "peak_pFWE"), ("peak_q", "peak_qFDR")):
        np.testing.assert_allclose(found[mine][honest], expected[theirs][honest], rtol=2e-5)
    # SPM's uncorrected peak p is 1 - exp(-p), and its Z the deviate of that; ours are of p itself.
    p = -np.expm1(-found["peak_p_unc"][honest])
    np.testing.assert_allclose(p, expected["peak_pUnc"][honest], rtol=1e-5)
    np.testing.assert_allclose(-stats.norm.ppf(p), expected["peak_Z"][honest], atol=1e-5)
    first, heads = found[found["peak"] == 1], expected[expected["cluster_k_vox"].notna()]
    np.testing.assert_array_equal(first["k"], heads["cluster_k_vox"])
    for mine, theirs in (("cluster_p_fwe", "cluster_pFWE"), ("cluster_p_unc", "cluster_pUnc"),
                         ("cluster_q", "cluster_qFDR")):  # fmt: skip
        # SPM takes 1 - exp(-x), which loses 1e-16.
        np.testing.assert_allclose(first[mine], heads[theirs], rtol=2e-6, atol=1e-16)
