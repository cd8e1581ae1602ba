from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from plastimap.stats.problems import StatsProblem
from plastimap.stats.sandwich import SandwichFit, fit_sandwich

DAYS = np.array([0, 7, 14, 28, 84.0])


def study(rng: np.random.Generator, *, missing: float = 0.0, voxels: int = 2000) -> dict[str, object]:
    """Two groups of ten, own levels and slopes; slopes vary three times as much in the second group."""
    rows = [(i, k) for i in range(20) for k in range(5) if rng.random() >= missing]
    who, visit = (np.array(part) for part in zip(*rows, strict=True))
    t, first = DAYS[visit], who < 10
    levels = rng.normal(size=(20, voxels))
    slopes = 0.05 * rng.normal(size=(20, voxels)) * np.where(np.arange(20) < 10, 1, 3)[:, None]
    data = 5 + levels[who] + slopes[who] * t[:, None] + 0.5 * rng.normal(size=(len(rows), voxels))
    course = np.vander(t, 3, increasing=True)
    return {
        "data": data,
        "matrix": np.column_stack([course * first[:, None], course * ~first[:, None]]),
        "people": [f"{i:02d}" for i in who],
        "visits": [str(k) for k in visit],
        "groups": np.where(first, "a", "b").tolist(),
        "between": np.column_stack([np.arange(20) < 10, np.arange(20) >= 10]).astype(float),
    }


SLOPES = [0, 1, 0, 0, -1, 0]


def fit(given: dict[str, object], **changes: object) -> SandwichFit:
    return fit_sandwich(**(given | changes))  # type: ignore[arg-type]


def test_with_all_visits_it_is_welchs_test_of_own_slopes(rng: np.random.Generator) -> None:
    given = study(rng, voxels=50)
    found = fit(given).t_map(SLOPES)
    operator = np.linalg.pinv(np.vander(DAYS, 3, increasing=True))[1]
    slopes = np.stack([operator @ rows for rows in np.split(np.asarray(given["data"]), 20)])
    welch = stats.ttest_ind(slopes[:10], slopes[10:], equal_var=False)
    np.testing.assert_allclose(found.effect, slopes[:10].mean(axis=0) - slopes[10:].mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.effect / found.standard_error, welch.statistic, rtol=1e-9)
    assert found.dof == 18
    np.testing.assert_allclose(2 * stats.t.sf(np.abs(found.t), 18), welch.pvalue, rtol=1e-9)


def test_missing_visits_keep_the_error_rate(rng: np.random.Generator) -> None:
    given = study(rng, missing=0.15)
    model = fit(given)
    found = model.t_map(SLOPES)
    rate = (2 * stats.t.sf(np.abs(found.t), found.dof) < 0.05).mean()
    # 2000 voxels: the standard error of the rate is .005.
    assert 0.03 < rate < 0.075
    joint = model.f_map([SLOPES, [0, 0, 1, 0, 0, -1]])
    assert joint.dof == (2, 17)
    assert 0.02 < (stats.f.sf(joint.f, *joint.dof) < 0.05).mean() < 0.075


def test_dependence_that_least_squares_ignores_is_seen(rng: np.random.Generator) -> None:
    given = study(rng)
    model = fit(given)
    plain, found = model.glm.t_map(SLOPES), model.t_map(SLOPES)
    np.testing.assert_allclose(found.effect, plain.effect)
    ignored = (2 * stats.t.sf(np.abs(plain.t), plain.dof) < 0.05).mean()
    rate = (2 * stats.t.sf(np.abs(found.t), found.dof) < 0.05).mean()
    assert abs(rate - 0.05) < 0.02 < abs(ignored - 0.05)


def test_one_contrast_by_f_is_its_t_squared(rng: np.random.Generator) -> None:
    model = fit(study(rng, missing=0.1, voxels=30))
    t, f = model.t_map(SLOPES), model.f_map([SLOPES])
    np.testing.assert_allclose(f.f, t.t**2, rtol=1e-6)
    assert f.dof == (1, t.dof)


def test_degrees_of_freedom_go_by_the_rank_between_people(rng: np.random.Generator) -> None:
    given = study(rng, voxels=5)
    between = np.asarray(given["between"])
    assert fit(given, between=np.column_stack([between, np.ones(20)])).dof == 18
    assert fit(given, between=np.column_stack([between, np.arange(20.0) % 7])).dof == 17


def test_weights_change_estimates_and_not_what_is_estimated(rng: np.random.Generator) -> None:
    given = study(rng, voxels=1000)
    weights = rng.uniform(0.2, 5, len(np.asarray(given["data"])))
    found = fit(given, weights=weights).t_map(SLOPES)
    assert abs(found.effect.mean()) < 0.01
    assert 0.02 < (2 * stats.t.sf(np.abs(found.t), found.dof) < 0.05).mean() < 0.09


def test_voxels_with_gaps_are_left_out_and_data_unchanged(rng: np.random.Generator) -> None:
    given = study(rng, voxels=6)
    data = np.asarray(given["data"])
    data[4, 2] = np.nan
    data.setflags(write=False)
    found = fit(given).t_map(SLOPES)
    np.testing.assert_array_equal(np.isnan(found.t), np.arange(6) == 2)


def test_a_group_of_one_is_refused(rng: np.random.Generator) -> None:
    given = study(rng, voxels=3)
    groups = ["alone" if who == "00" else group for who, group in zip(given["people"], given["groups"], strict=True)]  # type: ignore[call-overload]
    with pytest.raises(StatsProblem, match="two people in every group; there is one in alone"):
        fit(given, groups=groups)
