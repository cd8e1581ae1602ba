"""Statistics of a cohort: peers, planted effects, and what is left out with a reason."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from plastimap.brainage.classify import classify
from plastimap.brainage.cohort import LESION, cohort_models, mediation
from plastimap.brainage.longitudinal import change_models, natural_spline, noise_floor, time_curves
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.random_intercept import fit_intercept
from plastimap.brainage.statistics import cohort_statistics

NETWORKS = ("frontoparietal", "visual")


def cohort(rng: np.random.Generator, n: int = 160, *, site_sd: float = 2.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ipsilesional gaps grow by 3 years per log unit of volume; contralesional ones go down with time since stroke."""
    volume, days = np.exp(rng.normal(2, 0.8, n)), np.exp(rng.uniform(3, 8, n))
    side, site = rng.choice(["L", "R"], n), rng.integers(0, 8, n)
    shift = rng.normal(0, site_sd, 8)
    names = [f"sub-{i:03d}" for i in range(n)]
    rows = []
    ipsi = {network: 3 * np.log1p(volume) + shift[site] + rng.normal(0, 3, n) for network in NETWORKS}
    for network in NETWORKS:
        contra = shift[site] - 2 * (np.log(days) - 5) + rng.normal(0, 3, n)
        for hemisphere in "LR":
            own = side == hemisphere
            rows.append(pd.DataFrame({
                "participant_id": names, "network": network, "hemisphere": hemisphere, "site": site.astype(str),
                "side": np.where(own, "ipsilesional", "contralesional"), "age": 60.0, "pad": 0.0, "imputed": 0.0,
                "pad_corrected": np.where(own, ipsi[network], contra),
                "lesioned_fraction": np.where(own, volume / 100, 0.0),
            }))  # fmt: skip
    motor = 80 - 2 * ipsi["frontoparietal"] + rng.normal(0, 5, n)
    people = pd.DataFrame({"participant_id": names, "age": rng.uniform(40, 80, n), "sex": rng.integers(0, 2, n),
                           "site": site.astype(str), "lesion_volume_ml": volume, "days_since_stroke": days,
                           "motor_score": motor})  # fmt: skip
    return pd.concat(rows, ignore_index=True), people


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
    assert (ours.way, ours.dof, ours.between) == ("clustered", 9, 0.0)
    np.testing.assert_allclose(np.sqrt(np.diag(ours.covariance)), theirs.bse, rtol=1e-8)
    np.testing.assert_allclose(ours.p_values(), theirs.pvalues, rtol=1e-6)


def test_dependent_columns_are_refused() -> None:
    with pytest.raises(BrainageProblem, match="depend"):
        fit_intercept(np.arange(10.0), np.ones((10, 2)), np.arange(10) % 3)


def test_a_planted_slope_is_found_on_its_side_alone(rng: np.random.Generator) -> None:
    ages, people = cohort(rng)
    table = cohort_models(ages, people.drop(columns="motor_score"))
    lesion = table[table["term"] == LESION].set_index(["network", "side"])
    for network in NETWORKS:
        row = lesion.loc[(network, "ipsilesional")]
        assert abs(row["estimate"] - 3) < 3 * row["error"]
        assert row["q"] < 0.01
        assert abs(lesion.loc[(network, "contralesional"), "t"]) < 4
    assert (table["q"] >= table["p"]).all()


def test_mediation_finds_the_path_that_was_planted(rng: np.random.Generator) -> None:
    ages, people = cohort(rng, 120)
    found = mediation(ages, people).set_index(["network", "side"])
    row = found.loc[("frontoparietal", "ipsilesional")]
    assert row["lower"] < -6 < row["upper"]  # 3 years per unit × −2 points per year
    assert row["upper"] < 0


def test_classifiers_are_judged_by_people_not_seen(rng: np.random.Generator) -> None:
    table = pd.DataFrame(rng.normal(size=(120, 4)), columns=list("abcd"))
    outcome = (table["a"] + rng.normal(0, 0.3, 120) > 0).to_numpy()
    found = classify(table, outcome, trees=12)
    assert found.scores.groupby("classifier")["auc"].mean().min() > 0.8
    assert set(found.importance.groupby("classifier")["feature"].first()) == {"a"}
    with pytest.raises(BrainageProblem, match="of either"):
        classify(table, np.arange(120) < 3)


@pytest.mark.slow
def test_noise_is_not_classified(rng: np.random.Generator) -> None:
    noise = classify(pd.DataFrame(rng.normal(size=(120, 6))), rng.random(120) < 0.5)
    # 120 people: the area's SD by chance is 0.053; features chosen outside the folds would give far more.
    assert noise.scores.groupby("classifier")["auc"].mean().max() < 0.68


def test_a_spline_is_straight_outside_and_smooth_inside() -> None:
    x = np.linspace(-2, 12, 1401)
    basis = natural_spline(x, [0, 3, 6, 10])
    second = np.diff(basis, 2, axis=0) / 0.01**2
    assert np.abs(second[x[1:-1] < -0.05]).max() < 1e-6
    assert np.abs(second[x[1:-1] > 10.05]).max() < 1e-5
    assert np.abs(np.diff(second, axis=0)).max() < 0.5  # second derivatives do not jump


def test_a_curve_over_time_is_found(rng: np.random.Generator) -> None:
    ages, people = cohort(rng)
    found = time_curves(ages, people)
    contra = found[(found["side"] == "contralesional") & (found["network"] == "visual")]
    slope = np.polyfit(np.log(contra["days"]), contra["pad"], 1)[0]
    assert slope == pytest.approx(-2, abs=0.5)
    assert contra["q"].iloc[0] < 0.001
    assert (contra["lower"] <= contra["pad"]).all()


def sessions(rng: np.random.Generator, n: int = 60) -> tuple[pd.DataFrame, pd.DataFrame]:
    group = np.where(np.arange(n) < n // 2, "stroke", "healthy")
    level = rng.normal(0, 6, n)
    rows = [
        pd.DataFrame({
            "participant_id": [f"sub-{i:02d}" for i in range(n)], "session": visit, "network": "visual",
            "hemisphere": "L", "side": None, "age": 50.0, "pad": 0.0, "imputed": 0.0, "lesioned_fraction": 0.0,
            "pad_corrected": level + 4 * number * (group == "stroke") + rng.normal(0, 2, n),
        })
        for number, visit in enumerate(("01", "02", "03"))
    ]  # fmt: skip
    people = pd.DataFrame({"participant_id": [f"sub-{i:02d}" for i in range(n)], "group": group, "age": 50.0,
                           "sex": 0.0, "site": "a"})  # fmt: skip
    return pd.concat(rows, ignore_index=True), people


def test_change_by_session_and_group(rng: np.random.Generator) -> None:
    ages, people = sessions(rng)
    table = change_models(ages, people).set_index("term")
    assert table.loc["group stroke", "estimate"] == pytest.approx(4, abs=4 * table.loc["group stroke", "error"])
    assert table.loc["session 03 × group stroke", "estimate"] == pytest.approx(4, abs=3)
    assert abs(table.loc["change", "estimate"]) < 4 * table.loc["change", "error"]


def test_the_noise_floor_is_that_of_the_difference(rng: np.random.Generator) -> None:
    ages, people = sessions(rng, 400)
    healthy = ages[ages["participant_id"].isin(people.loc[people["group"] == "healthy", "participant_id"])]
    row = noise_floor(healthy).iloc[0]
    assert row["floor"] == pytest.approx(1.96 * 2 * np.sqrt(2), rel=0.12)
    assert row["icc"] == pytest.approx(36 / 40, abs=0.04)


def test_what_cannot_be_fitted_is_said(rng: np.random.Generator) -> None:
    ages, people = cohort(rng, 40)
    found = cohort_statistics(ages, people.drop(columns=["motor_score", "days_since_stroke"]))
    assert {"groups", "cohort"} == set(found.tables)
    assert any("mediation" in note and "motor_score" in note for note in found.notes)
    assert any("classifiers" in note and "motor_score" in note for note in found.notes)
    assert any("curves" in note and "days_since_stroke" in note for note in found.notes)
    healthy = cohort_statistics(ages.assign(side=None), people)
    assert set(healthy.tables) == {"groups"}
    assert "No side" in healthy.notes[0]
