from __future__ import annotations

import numpy as np
import pytest

from plastimap.stats.glm import fit_glm
from plastimap.stats.problems import StatsProblem
from plastimap.stats.robust import fit_robust


def design(rng: np.random.Generator, n: int = 24) -> np.ndarray:
    return np.column_stack([np.arange(n) < n // 2, np.arange(n) >= n // 2, rng.normal(size=n)]).astype(float)


def test_statsmodels_agrees(rng: np.random.Generator) -> None:
    import statsmodels.api as peer

    matrix, data = design(rng), rng.standard_t(2, size=(24, 5))
    fit = fit_robust(data, matrix)
    found = fit.t_map([1, -1, 0])
    for voxel in range(5):
        model = peer.RLM(data[:, voxel], matrix, M=peer.robust.norms.HuberT()).fit(tol=1e-12, maxiter=200)
        contrast = model.t_test([1, -1, 0])
        np.testing.assert_allclose(fit.beta[:, voxel], model.params, atol=1e-6)
        assert found.effect[voxel] == pytest.approx(float(contrast.effect.item()), abs=1e-6)
        assert found.standard_error[voxel] == pytest.approx(float(contrast.sd.item()), rel=1e-6)


def test_an_outlier_moves_it_little(rng: np.random.Generator) -> None:
    matrix, data = design(rng), rng.normal(size=(24, 100))
    spoilt = data.copy()
    spoilt[5] += 50
    moved = fit_robust(spoilt, matrix).t_map([1, -1, 0]).effect - fit_robust(data, matrix).t_map([1, -1, 0]).effect
    dragged = fit_glm(spoilt, matrix).t_map([1, -1, 0]).effect - fit_glm(data, matrix).t_map([1, -1, 0]).effect
    assert np.abs(moved).max() < 0.25 * np.abs(dragged).min()


def test_without_outliers_it_is_least_squares_when_nothing_is_cut(rng: np.random.Generator) -> None:
    matrix, data, weights = design(rng), rng.normal(size=(24, 20)), rng.uniform(0.5, 2, 24)
    robust = fit_robust(data, matrix, weights=weights, tuning=1e6)
    plain = fit_glm(data, matrix, weights=weights)
    np.testing.assert_allclose(robust.t_map([1, -1, 0]).t, plain.t_map([1, -1, 0]).t, rtol=1e-7)
    np.testing.assert_allclose(
        robust.f_map([[1, -1, 0], [0, 0, 1]]).f, plain.f_map([[1, -1, 0], [0, 0, 1]]).f, rtol=1e-7
    )
    np.testing.assert_allclose(robust.residual(3), plain.residual(3), atol=1e-9)
    assert robust.dof == plain.dof


def test_gaps_constants_and_what_cannot_be_told(rng: np.random.Generator) -> None:
    matrix, data = design(rng), rng.normal(size=(24, 4))
    data[0, 1], data[:, 2] = np.nan, 1.0
    data.setflags(write=False)
    fit = fit_robust(data, np.column_stack([matrix, np.ones(24)]))
    np.testing.assert_array_equal(fit.analysed, [True, False, False, True])
    assert np.isnan(fit.t_map([1, 0, 0, 0]).t).all()
    assert np.isfinite(fit.t_map([1, -1, 0, 0]).t[[0, 3]]).all()
    with pytest.raises(StatsProblem, match="no degrees of freedom"):
        fit_robust(np.zeros((3, 1)), np.eye(3))
