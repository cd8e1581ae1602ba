"""Random intercepts of sites and people: peers, exact degrees of freedom, and how often chance is called an effect."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.random_intercept import fit_intercept


@pytest.mark.parametrize("site_sd", [0.5, 3.0])
def test_the_random_intercept_is_that_of_statsmodels(rng: np.random.Generator, site_sd: float) -> None:
    api = pytest.importorskip("statsmodels.api")
    site = rng.integers(0, 12, 200)
    design = np.column_stack([np.ones(200), rng.normal(size=(200, 2))])
    y = design @ [1.0, 2.0, -1.0] + rng.normal(0, site_sd, 12)[site] + rng.normal(0, 1, 200)
    ours = fit_intercept(y, design, site)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = api.MixedLM(y, design, site).fit(reml=True)
    assert ours.way == "mixed"
    np.testing.assert_allclose(ours.beta, theirs.fe_params, rtol=1e-4)
    # Its errors come from a numerical second derivative by the variances too: equal to a few in a thousand.
    np.testing.assert_allclose(np.sqrt(np.diag(ours.covariance)), theirs.bse_fe, rtol=5e-3)
    np.testing.assert_allclose([ours.between, ours.within], [theirs.cov_re[0, 0], theirs.scale], rtol=1e-2)


def test_sites_that_do_not_differ_fall_back_to_clustered_errors(rng: np.random.Generator) -> None:
    api = pytest.importorskip("statsmodels.api")
    site = np.arange(200) % 10
    design = np.column_stack([np.ones(200), rng.normal(size=200)])
    y = design @ [1.0, 2.0] + rng.normal(0, 1, 200)
    # Sites more alike than chance makes them: the variance between them is estimated as none.
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    y -= np.array([residual[site == one].mean() for one in range(10)])[site]
    ours = fit_intercept(y, design, site)
    theirs = api.OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": site}, use_t=True)
    assert (ours.way, ours.between) == ("clustered", 0.0)
    np.testing.assert_allclose(ours.dofs(), 9)
    np.testing.assert_allclose(np.sqrt(np.diag(ours.covariance)), theirs.bse, rtol=1e-8)
    np.testing.assert_allclose(ours.p_values(), theirs.pvalues, rtol=1e-6)


def test_dependent_columns_are_refused() -> None:
    with pytest.raises(BrainageProblem, match="depend"):
        fit_intercept(np.arange(10.0), np.ones((10, 2)), np.arange(10) % 3)


def test_intercepts_of_people_within_sites_are_those_of_statsmodels(rng: np.random.Generator) -> None:
    api = pytest.importorskip("statsmodels.formula.api")
    site, who = np.arange(90) % 9, np.repeat(np.arange(90), 1 + np.arange(90) // 9 % 3)
    a, b = rng.normal(size=90)[who], rng.normal(size=who.size)
    noise = rng.normal(0, 2, 9)[site[who]] + rng.normal(0, 1.5, 90)[who] + rng.normal(0, 1, who.size)
    data = pd.DataFrame({"y": 1 + 2 * a - b + noise, "a": a, "b": b, "site": site[who], "who": who})
    ours = fit_intercept(data["y"], np.column_stack([np.ones(who.size), a, b]), data["site"], people=who)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"groups": "site", "re_formula": "1", "vc_formula": {"who": "0 + C(who)"}}
        theirs = api.mixedlm("y ~ a + b", data, **options).fit(reml=True)
    np.testing.assert_allclose(ours.beta, theirs.fe_params, rtol=1e-3)
    np.testing.assert_allclose(np.sqrt(np.diag(ours.covariance)), theirs.bse_fe, rtol=1e-2)
    variances = [ours.between, ours.of_people, ours.within]
    np.testing.assert_allclose(variances, [theirs.cov_re.iloc[0, 0], theirs.vcomp[0], theirs.scale], rtol=2e-2)


def test_degrees_of_freedom_of_a_balanced_design_are_exact(rng: np.random.Generator) -> None:
    """Twenty people scanned four times: what differs between people has 18, what differs within 59."""
    who, visit = np.repeat(np.arange(20), 4), np.tile(np.arange(4), 20)
    between, within = (np.arange(20) % 2 - 0.5)[who], visit - 1.5
    y = rng.normal(0, 3, 20)[who] + rng.normal(size=80)
    fit = fit_intercept(y, np.column_stack([np.ones(80), between, within]), who)
    # Slopes are differences of step 0.01: right to a few in ten thousand.
    np.testing.assert_allclose(fit.dofs(), [18, 18, 59], rtol=2e-3)
    f, p = fit.wald([1, 2])
    t = fit.beta[1:] / np.sqrt(np.diag(fit.covariance)[1:])
    assert f == pytest.approx((t**2).mean())
    assert min(fit.p_values()[1:]) / 3 < p < 1
    assert fit.wald([2])[1] == pytest.approx(fit.p_values()[2])


@pytest.mark.parametrize("twice", [0, 1, 3, 10, 60])
def test_a_slope_between_people_is_found_however_few_were_scanned_twice(rng: np.random.Generator, twice: int) -> None:
    who = np.concatenate([np.arange(60), np.arange(twice)])
    x = rng.normal(size=60)[who]
    y = 2 * x + rng.normal(0, 2, 60)[who] + rng.normal(0, 1, who.size)
    fit = fit_intercept(y, np.column_stack([np.ones(who.size), x]), who)
    assert fit.p_values()[1] < 1e-6
    assert 50 <= fit.dofs()[1] <= who.size - 2


def null_rate(rng: np.random.Generator, sessions: int, sites: int, repeats: int) -> float:
    """Share of cohorts in which a score that has nothing to do with the gap is called an effect at 0.05."""
    who, found = np.repeat(np.arange(40), sessions), 0
    for _ in range(repeats):
        score = rng.normal(size=40)[who]
        gap = rng.normal(0, 6, 40)[who] + rng.normal(0, 1.5, who.size)
        fit = fit_intercept(gap, np.column_stack([np.ones(who.size), score]), who % sites, people=who)
        found += fit.p_values()[1] < 0.05
    return found / repeats


@pytest.mark.parametrize("sites", [1, 6])
def test_people_scanned_three_times_count_once(rng: np.random.Generator, sites: int) -> None:
    # 100 cohorts: 0.05 ± 0.022; sessions that count as people give 0.25 ± 0.043.
    assert null_rate(rng, 3, sites, 100) < 0.13


@pytest.mark.slow
@pytest.mark.parametrize("sessions", [1, 2, 3])
@pytest.mark.parametrize("sites", [1, 3, 8])
def test_false_positives_are_as_many_as_they_say(rng: np.random.Generator, sessions: int, sites: int) -> None:
    # 200 cohorts: 0.05 ± 0.015. Three sites that do not differ may cost some more: errors are clustered by three.
    assert 0.005 < null_rate(rng, sessions, sites, 200) < 0.12
