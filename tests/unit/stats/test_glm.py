from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from plastimap.stats.glm import estimable, fit_glm, rank
from plastimap.stats.problems import StatsProblem


def two_groups(n1: int, n2: int) -> np.ndarray:
    return np.column_stack([np.r_[np.ones(n1), np.zeros(n2)], np.r_[np.zeros(n1), np.ones(n2)]])


def test_two_groups_are_students_test(rng: np.random.Generator) -> None:
    data = rng.normal(size=(15, 7))
    t, effect, *_ = fit_glm(data, two_groups(7, 8)).t_map([1, -1])
    expected = stats.ttest_ind(data[:7], data[7:])
    np.testing.assert_allclose(t, expected.statistic, rtol=1e-10)
    np.testing.assert_allclose(effect, data[:7].mean(axis=0) - data[7:].mean(axis=0), rtol=1e-10)


def test_a_slope_is_the_partial_regression_coefficient(rng: np.random.Generator) -> None:
    x, nuisance = rng.normal(size=20), 1500 + 100 * rng.normal(size=20)
    data = (0.7 * x + 0.01 * nuisance + rng.normal(size=20))[:, None]
    fit = fit_glm(data, np.column_stack([np.ones(20), x, nuisance]))
    r = np.corrcoef(
        x - np.polyval(np.polyfit(nuisance, x, 1), nuisance),
        data[:, 0] - np.polyval(np.polyfit(nuisance, data[:, 0], 1), nuisance),
    )[0, 1]
    t, _, *_ = fit.t_map([0, 1, 0])
    assert t[0] == pytest.approx(r * np.sqrt(17 / (1 - r**2)), rel=1e-8)


def test_degrees_of_freedom_go_by_rank(rng: np.random.Generator) -> None:
    matrix = np.column_stack([two_groups(6, 6), np.ones(12)])
    data = rng.normal(size=(12, 5))
    fit = fit_glm(data, matrix)
    plain = fit_glm(data, two_groups(6, 6))
    assert fit.dof == plain.dof == 10
    np.testing.assert_allclose(fit.t_map([1, -1, 0]).t, plain.t_map([1, -1]).t, rtol=1e-10)
    assert np.isnan(fit.t_map([1, 0, 0]).t).all()
    assert not estimable(matrix, [1, 0, 0])
    assert rank(matrix * [1, 1, 1e9]) == 2


def test_weights_follow_generalised_least_squares(rng: np.random.Generator) -> None:
    matrix, weights = two_groups(5, 6), rng.uniform(0.3, 3, 11)
    data = rng.normal(size=(11, 4))
    fit = fit_glm(data, matrix, weights=weights)
    inverse = np.linalg.inv(matrix.T @ np.diag(weights) @ matrix)
    beta = inverse @ matrix.T @ np.diag(weights) @ data
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-10)
    rss = (weights[:, None] * (data - matrix @ beta) ** 2).sum(axis=0)
    expected = (beta[0] - beta[1]) / np.sqrt(rss / 9 * (inverse[0, 0] + inverse[1, 1]))
    np.testing.assert_allclose(fit.t_map([1, -1]).t, expected, rtol=1e-10)
    np.testing.assert_allclose(fit_glm(data, matrix, weights=7 * weights).t_map([1, -1]).t, expected, rtol=1e-10)


def test_a_missing_value_takes_the_voxel_out_unless_the_rule_allows(rng: np.random.Generator) -> None:
    data = rng.normal(size=(12, 6))
    data[3, 1] = np.nan
    data[:4, 2] = np.nan
    strict = fit_glm(data, two_groups(6, 6))
    np.testing.assert_array_equal(strict.analysed, [True, False, False, True, True, True])
    lenient = fit_glm(data, two_groups(6, 6), minimum_subjects=0.9)
    np.testing.assert_array_equal(lenient.analysed, [True, True, False, True, True, True])
    t, effect, *_ = lenient.t_map([1, -1])
    keep = np.arange(12) != 3
    expected = stats.ttest_ind(data[keep][:5, 1], data[keep][5:, 1])
    # Its t belongs to 9 degrees of freedom; at the common 10 it is the value of equal p.
    assert 2 * stats.t.sf(abs(t[1]), 10) == pytest.approx(expected.pvalue, rel=1e-9)
    assert np.sign(t[1]) == np.sign(expected.statistic)
    np.testing.assert_allclose(np.delete(t, [1, 2]), np.delete(strict.t_map([1, -1]).t, [1, 2]))
    assert effect[1] == pytest.approx(np.nanmean(data[:6, 1]) - np.nanmean(data[6:, 1]))
    assert lenient.residual(3)[1] == 0


def test_constant_voxels_have_no_t(rng: np.random.Generator) -> None:
    data = rng.normal(size=(10, 3))
    data[:, 1] = 0.1
    fit = fit_glm(data, two_groups(5, 5))
    np.testing.assert_array_equal(fit.analysed, [True, False, True])
    assert np.isnan(fit.t_map([1, -1]).t[1])


def test_the_variance_floor_is_a_share_of_the_largest_variance(rng: np.random.Generator) -> None:
    data = rng.normal(size=(10, 50))
    fit = fit_glm(data, two_groups(5, 5), variance_floor=1e-3)
    np.testing.assert_allclose(fit.resms - fit.variance, 1e-3 * fit.variance.max(), rtol=1e-9)


def test_residuals_are_what_the_model_leaves(rng: np.random.Generator) -> None:
    data = rng.normal(size=(10, 4))
    fit = fit_glm(data, two_groups(5, 5))
    residuals = np.stack([fit.residual(i) for i in range(10)])
    np.testing.assert_allclose(two_groups(5, 5).T @ residuals, 0, atol=1e-12)
    np.testing.assert_allclose((residuals**2).sum(axis=0) / 8, fit.variance, rtol=1e-12)


def test_data_are_not_changed_and_float32_is_summed_in_float64() -> None:
    data = np.full((8, 3), 1000.0, dtype=np.float32) + np.arange(24, dtype=np.float32).reshape(8, 3) / 64
    data.setflags(write=False)
    fit = fit_glm(data, two_groups(4, 4))
    expected = stats.ttest_ind(data[:4].astype(float), data[4:].astype(float)).statistic
    np.testing.assert_allclose(fit.t_map([1, -1]).t, expected, rtol=1e-9)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(StatsProblem, match="do not go together"):
        fit_glm(np.zeros((4, 2)), np.ones((3, 1)))
    with pytest.raises(StatsProblem, match="no degrees of freedom"):
        fit_glm(np.zeros((2, 2)), np.eye(2))
    with pytest.raises(StatsProblem, match="weights"):
        fit_glm(np.zeros((3, 2)), np.ones((3, 1)), weights=[1, 0, 1])
