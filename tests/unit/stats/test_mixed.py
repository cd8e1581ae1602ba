from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import optimize

from plastimap.stats.glm import fit_glm
from plastimap.stats.mixed import fit_mixed
from plastimap.stats.problems import StatsProblem

DAYS = np.array([0, 7, 14, 28, 84.0])


def study(
    rng: np.random.Generator, *, people: int = 16, missing: float = 0.0, voxels: int = 40, slope_sd: float = 0.02
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Data, design (two groups × 1, t, t²), people, days."""
    rows = [(i, day) for i in range(people) for day in DAYS if rng.random() >= missing]
    who, t = (np.array(part) for part in zip(*rows, strict=True))
    first = (who < people // 2)[:, None]
    course = np.column_stack([np.ones(t.size), t, t**2])
    levels, slopes = rng.normal(size=(people, voxels)), slope_sd * rng.normal(size=(people, voxels))
    data = 5 + levels[who] + slopes[who] * t[:, None] + 0.5 * rng.normal(size=(t.size, voxels))
    return data, np.column_stack([course * first, course * ~first]), who, t


def names(who: np.ndarray) -> list[str]:
    return [f"{i:03d}" for i in who]


def criterion(theta: np.ndarray, y: np.ndarray, matrix: np.ndarray, who: np.ndarray, t: np.ndarray) -> float:
    """−2 × restricted log-likelihood with σ² profiled out, by dense matrices."""
    root = np.array([[theta[0], 0], [theta[1], theta[2]]])
    own = np.column_stack([np.ones(t.size), (t - t.mean()) / t.std()])
    covariance = np.eye(t.size) + (own @ root @ root.T @ own.T) * (who[:, None] == who[None, :])
    inverse = np.linalg.inv(covariance)
    scaled = matrix / np.sqrt((matrix**2).sum(axis=0))
    normal = scaled.T @ inverse @ scaled
    beta = np.linalg.solve(normal, scaled.T @ inverse @ y)
    quadratic = float(y @ inverse @ (y - scaled @ beta))
    logdets = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(normal)[1]
    return float(logdets + (t.size - matrix.shape[1]) * np.log(quadratic))


@pytest.mark.parametrize("slope_sd", [0.02, 0.0])
def test_no_other_covariance_is_likelier(rng: np.random.Generator, slope_sd: float) -> None:
    data, matrix, who, t = study(rng, missing=0.15, voxels=3, slope_sd=slope_sd)
    fit = fit_mixed(data, matrix, people=names(who), time=t)
    assert fit.notes == ()
    for voxel in range(3):
        mine = criterion(fit.theta[voxel], data[:, voxel], matrix, who, t)
        best = optimize.minimize(criterion, fit.theta[voxel] + 0.05, (data[:, voxel], matrix, who, t), tol=1e-8)
        assert mine <= best.fun + 1e-6


def test_statsmodels_agrees(rng: np.random.Generator) -> None:
    import statsmodels.regression.mixed_linear_model as peer

    data, matrix, who, t = study(rng, missing=0.15, voxels=2)
    fit = fit_mixed(data, matrix, people=names(who), time=t)
    vector = np.array([0, 1, 0, 0, -1, 0])
    found = fit.t_map(vector)
    unit = np.array([1, 1e-2, 1e-4] * 2)
    for voxel in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = peer.MixedLM(
                data[:, voxel], matrix * unit, who, exog_re=np.column_stack([np.ones(t.size), t / 40])
            ).fit(reml=True)
        np.testing.assert_allclose(fit.beta[:, voxel] / unit, model.fe_params, atol=1e-4)
        assert fit.error_variance[voxel] == pytest.approx(model.scale, rel=1e-3)
        np.testing.assert_allclose(
            fit.random[voxel], np.asarray(model.cov_re) / np.outer([1, 40], [1, 40]), rtol=5e-3, atol=1e-6
        )
        weights = (vector * unit)[:6]
        error = np.sqrt(weights @ model.cov_params()[:6, :6] @ weights)
        assert found.standard_error[voxel] == pytest.approx(error, rel=3e-3)


def test_with_all_visits_it_is_the_test_of_own_slopes(rng: np.random.Generator) -> None:
    data, matrix, who, t = study(rng, voxels=200, slope_sd=0.05)
    found = fit_mixed(data, matrix, people=names(who), time=t).t_map([0, 1, 0, 0, -1, 0])
    # Linear time alone: with the square in the model, own slopes would be those at one day.
    operator = np.linalg.pinv(np.vander(DAYS, 3, increasing=True))[1]
    slopes = np.stack([operator @ rows for rows in np.split(data, 16)])
    groups = np.column_stack([np.arange(16) < 8, np.arange(16) >= 8]).astype(float)
    expected = fit_glm(slopes, groups).t_map([1, -1])
    np.testing.assert_allclose(found.effect, expected.effect, rtol=1e-7, atol=1e-12)
    assert found.dof == expected.dof == 14


def test_degrees_of_freedom_follow_the_contrast(rng: np.random.Generator) -> None:
    data, matrix, who, t = study(rng, missing=0.1, voxels=3)
    fit = fit_mixed(data, matrix, people=names(who), time=t)
    assert fit.contrast_dof([1, 0, 0, -1, 0, 0]) == 14
    assert fit.contrast_dof([0, 1, 0, 0, -1, 0]) == 14
    # People have no curvature of their own: it is judged against the error.
    assert fit.contrast_dof([0, 0, 1, 0, 0, -1]) == len(t) - 16 * 2 - 2
    joint = fit.f_map([[0, 1, 0, 0, -1, 0], [0, 0, 1, 0, 0, -1]])
    assert joint.dof == (2, 14)
    np.testing.assert_allclose(fit.f_map([[0, 1, 0, 0, -1, 0]]).f, fit.t_map([0, 1, 0, 0, -1, 0]).t ** 2, rtol=1e-8)


def test_people_with_one_scan_take_part(rng: np.random.Generator) -> None:
    data, matrix, who, t = study(rng, voxels=20)
    keep = (who != 3) | (t == 0)
    fit = fit_mixed(data[keep], matrix[keep], people=names(who[keep]), time=t[keep])
    assert np.isfinite(fit.t_map([0, 1, 0, 0, -1, 0]).t).all()


def test_a_column_too_many_changes_nothing(rng: np.random.Generator) -> None:
    data, matrix, who, t = study(rng, missing=0.1, voxels=5)
    more = np.column_stack([matrix, np.ones(t.size)])
    one = fit_mixed(data, matrix, people=names(who), time=t)
    two = fit_mixed(data, more, people=names(who), time=t)
    vector = [0, 1, 0, 0, -1, 0]
    np.testing.assert_allclose(two.t_map([*vector, 0]).t, one.t_map(vector).t, rtol=1e-5)
    assert two.dof == one.dof
    assert np.isnan(two.t_map([1, 0, 0, 0, 0, 0, 0]).t).all()


def test_noisier_scans_count_less(rng: np.random.Generator) -> None:
    data, matrix, who, t = study(rng, voxels=400)
    noisy = rng.random(t.size) < 0.3
    data = data + 3 * noisy[:, None] * rng.normal(size=data.shape)
    options = {"people": names(who), "time": t}
    plain = fit_mixed(data, matrix, **options).t_map([0, 1, 0, 0, -1, 0])
    weighted = fit_mixed(data, matrix, weights=1 / (0.25 + 9 * noisy), **options).t_map([0, 1, 0, 0, -1, 0])
    assert weighted.effect.var() < 0.8 * plain.effect.var()


def test_too_few_scans_are_refused(rng: np.random.Generator) -> None:
    data, matrix, who, t = study(rng, voxels=2)
    with pytest.raises(StatsProblem, match="more than one time point"):
        fit_mixed(data[t == 0], matrix[t == 0][:, [0, 3]], people=names(who[t == 0]), time=t[t == 0])
    few = t <= 7
    with pytest.raises(StatsProblem, match="needs more scans"):
        fit_mixed(data[few], matrix[few], people=names(who[few]), time=t[few])
