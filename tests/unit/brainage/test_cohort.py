"""Statistics of a cohort: peers, planted effects, and what is left out with a reason."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from plastimap.brainage import statistics
from plastimap.brainage.classify import Classified, classify
from plastimap.brainage.cohort import LESION, MOTOR, TIME, cohort_models, mediation, predictors
from plastimap.brainage.longitudinal import change_models, natural_spline, noise_floor, time_curves
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.statistics import cohort_statistics, group_table

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


def test_a_planted_slope_is_found_on_its_side_alone(rng: np.random.Generator) -> None:
    ages, people = cohort(rng)
    table = cohort_models(ages, people.drop(columns="motor_score")).table
    lesion = table[table["term"] == LESION].set_index(["network", "side"])
    for network in NETWORKS:
        row = lesion.loc[(network, "ipsilesional")]
        assert abs(row["estimate"] - 3) < 3 * row["error"]
        assert row["q"] < 0.01
        assert abs(lesion.loc[(network, "contralesional"), "t"]) < 4
    assert (table["q"] >= table["p"]).all()


def test_mediation_finds_the_path_that_was_planted(rng: np.random.Generator) -> None:
    ages, people = cohort(rng, 120)
    found = mediation(ages, people).table.set_index(["network", "side"])
    row = found.loc[("frontoparietal", "ipsilesional")]
    assert row["lower"] < -6 < row["upper"]  # 3 years per unit × −2 points per year
    assert row["upper"] < 0


def test_classifiers_are_judged_by_people_not_seen(rng: np.random.Generator) -> None:
    table = pd.DataFrame(rng.normal(size=(120, 4)), columns=list("abcd"))
    outcome = (table["a"] + rng.normal(0, 0.3, 120) > 0).to_numpy()
    found = classify(table, outcome, np.arange(120), trees=8)
    assert found.scores.groupby("classifier")["auc"].mean().min() > 0.8
    assert set(found.importance.groupby("classifier")["feature"].first()) == {"a"}
    with pytest.raises(BrainageProblem, match="of either"):
        classify(table, np.arange(120) < 3, np.arange(120))


def test_noise_is_not_classified_though_people_come_again(rng: np.random.Generator) -> None:
    """Neither what was fitted on everybody nor another session of the same person tells an outcome."""
    noise = np.repeat(rng.normal(size=(60, 4)), 6, axis=0)
    noise += rng.normal(0, 0.05, noise.shape)
    outcome, who = np.repeat(rng.random(60) < 0.5, 6), np.repeat(np.arange(60), 6)
    found = classify(pd.DataFrame(noise), outcome, who, trees=8)
    # 60 people: the area's SD by chance is 0.075. A forest that has seen its people at all gives 0.9 and more.
    assert found.scores.groupby("classifier")["auc"].mean().max() < 0.8


def test_who_does_badly_is_below_the_score(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    ages, people = cohort(rng, 40)
    asked: list[tuple[pd.DataFrame, np.ndarray, np.ndarray]] = []

    def record(table: pd.DataFrame, outcome: np.ndarray, who: np.ndarray, **_options: object) -> Classified:
        asked.append((table, outcome, who))
        return Classified(pd.DataFrame({"auc": [0.5]}), pd.DataFrame())

    monkeypatch.setattr(statistics, "classify", record)
    found = cohort_statistics(ages, people, poor_outcome=float(people["motor_score"].sort_values().iloc[12]))
    ((table, outcome, who),) = asked
    scores = people.set_index("participant_id")["motor_score"][who]
    assert scores[outcome].max() < scores[~outcome].min()
    assert (outcome.sum(), len(outcome)) == (12, 40)
    assert "motor_score" not in table
    assert found.tables["classifiers"].loc[0, ["people_below", "people"]].tolist() == [12, 40]


def test_a_spline_is_straight_outside_and_smooth_inside() -> None:
    x = np.linspace(-2, 12, 1401)
    basis = natural_spline(x, [0, 3, 6, 10])
    second = np.diff(basis, 2, axis=0) / 0.01**2
    assert np.abs(second[x[1:-1] < -0.05]).max() < 1e-6
    assert np.abs(second[x[1:-1] > 10.05]).max() < 1e-5
    assert np.abs(np.diff(second, axis=0)).max() < 0.5  # second derivatives do not jump


def test_a_curve_over_time_is_found(rng: np.random.Generator) -> None:
    ages, people = cohort(rng)
    found = time_curves(ages, people).table
    contra = found[(found["side"] == "contralesional") & (found["network"] == "visual")]
    slope = np.polyfit(np.log(contra["days"]), contra["pad"], 1)[0]
    assert slope == pytest.approx(-2, abs=0.5)
    assert contra["q"].iloc[0] < 0.001
    assert (contra["lower"] <= contra["pad"]).all()


def test_terms_are_logarithms_and_age_is_squared() -> None:
    people = pd.DataFrame({"age": [40.0, 50.0, 60.0], "sex": [0.0, 1.0, np.nan], "lesion_volume_ml": [0.0, 1.0, 3.0],
                           "days_since_stroke": [0.0, 10.0, 100.0], "motor_score": [1.0, 2.0, 3.0]})  # fmt: skip
    terms = predictors(people)
    assert list(terms) == [LESION, MOTOR, TIME, "age", "age²", "sex"]
    np.testing.assert_allclose(terms[LESION], np.log([1, 2, 4]))
    np.testing.assert_allclose(terms[TIME], np.log([1, 10, 100]))
    np.testing.assert_allclose(terms["age²"], [100, 0, 100])


def test_rates_of_false_discovery_are_over_regions_per_term(rng: np.random.Generator) -> None:
    table = cohort_models(*cohort(rng, 60)).table
    for _, part in table.groupby("term"):
        np.testing.assert_allclose(part["q"], false_discovery_control(part["p"]))
    assert (table["q"] > table["p"]).any()


def repeated(rng: np.random.Generator, n: int = 60, times: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cohort scanned again and again, with little that changes."""
    ages, people = cohort(rng, n, site_sd=0.0)
    labels = [str(number) for number in range(1, times + 1)]
    scans = [ages.assign(session=label, pad_corrected=ages["pad_corrected"] + rng.normal(0, 0.5, len(ages)))
             for label in labels]  # fmt: skip
    visits = [people.assign(session=label) for label in labels]
    return pd.concat(scans, ignore_index=True), pd.concat(visits, ignore_index=True)


def test_people_scanned_again_do_not_make_the_cohort_larger(rng: np.random.Generator) -> None:
    ages, people = repeated(rng)
    once = ages["session"] == "1", people["session"] == "1"
    single, several = (cohort_models(*data).table.set_index(["network", "side", "term"])
                       for data in ((ages[once[0]], people[once[1]]), (ages, people)))  # fmt: skip
    # Noise of scans is small beside what people differ by: errors stay as they were, not less by the root of three.
    assert (several["error"] / single["error"]).median() == pytest.approx(1, abs=0.1)
    assert several["people"].eq(60).all()
    assert several["n"].eq(180).all()
    bars = group_table(ages).set_index(["network", "place"]), group_table(ages[once[0]]).set_index(["network", "place"])
    assert (bars[0]["error"] / bars[1]["error"]).to_numpy() == pytest.approx(1, abs=0.1)
    assert bars[0]["people"].equals(bars[1]["people"])


def test_mediation_draws_people_not_scans(rng: np.random.Generator) -> None:
    ages, people = repeated(rng, 40)
    single, several = (mediation(one, other).table for one, other in (
        (ages[ages["session"] == "1"], people[people["session"] == "1"]), (ages, people)))  # fmt: skip
    width = [(table["upper"] - table["lower"]).to_numpy() for table in (single, several)]
    np.testing.assert_allclose(width[1] / width[0], 1, atol=0.25)
    assert several[["n", "people"]].drop_duplicates().to_numpy().tolist() == [[120, 40]]


def test_one_bad_region_leaves_the_others(rng: np.random.Generator) -> None:
    ages, people = cohort(rng, 60)
    lost = (ages["network"] == "visual") & (ages["side"] == "ipsilesional") & (ages["participant_id"] > "sub-006")
    ages.loc[lost, "pad_corrected"] = np.nan
    for model in (cohort_models, mediation, time_curves):
        found = model(ages, people)
        left = set(map(tuple, found.table[["network", "side"]].drop_duplicates().to_numpy()))
        assert left == {(network, side) for network in NETWORKS for side in ("ipsilesional", "contralesional")
                        } - {("visual", "ipsilesional")}  # fmt: skip
        assert any("visual ipsilesional" in note for note in found.notes)


def test_words_among_numbers_of_people_are_told(rng: np.random.Generator) -> None:
    ages, people = cohort(rng, 40)
    people["motor_score"] = people["motor_score"].astype(object).where(people.index > 0, "not done")
    with pytest.raises(BrainageProblem, match="motor_score of the people has what is no number: not done"):
        cohort_models(ages, people)


def test_two_rows_of_a_person_without_a_session_are_refused(rng: np.random.Generator) -> None:
    ages, people = cohort(rng, 40)
    with pytest.raises(BrainageProblem, match="more than one row of people for sub-000"):
        cohort_models(ages, pd.concat([people, people[:1]], ignore_index=True))


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
    table = change_models(ages, people).table.set_index("term")
    assert table.loc["group stroke", "estimate"] == pytest.approx(4, abs=4 * table.loc["group stroke", "error"])
    assert table.loc["session 03 × group stroke", "estimate"] == pytest.approx(4, abs=3)
    change = table.loc["change (healthy, session 02)"]
    assert abs(change["estimate"]) < 4 * change["error"]


def test_the_noise_floor_is_that_of_the_difference(rng: np.random.Generator) -> None:
    ages, people = sessions(rng, 400)
    healthy = ages[ages["participant_id"].isin(people.loc[people["group"] == "healthy", "participant_id"])]
    row = noise_floor(healthy).table.iloc[0]
    assert row["floor"] == pytest.approx(1.96 * 2 * np.sqrt(2), rel=0.12)
    assert row["icc"] == pytest.approx(36 / 40, abs=0.04)


def test_change_counts_from_the_first_session_in_time(rng: np.random.Generator) -> None:
    """After falls behind before in the alphabet; who lacks a region before has no change there."""
    ages, people = sessions(rng)
    ages = ages[ages["session"] != "03"].replace({"session": {"01": "pre", "02": "post"}})
    ages["age"] += (ages["session"] == "post") * 0.5
    found = change_models(ages, people)
    table = found.table.set_index("term")
    assert table.loc["group stroke", "estimate"] == pytest.approx(4, abs=4 * table.loc["group stroke", "error"])
    assert found.notes[0] == "Sessions in the order of ages: pre, post."
    ages.loc[(ages["session"] == "pre") & (ages["participant_id"] < "sub-10"), "pad_corrected"] = np.nan
    fewer = change_models(ages, people)
    assert fewer.table["people"].unique().tolist() == [50]
    assert any("10 people lack a region" in note for note in fewer.notes)
    with pytest.raises(BrainageProblem, match="order of the sessions post, pre"):
        change_models(ages.assign(age=50.0), people)


def test_a_baseline_that_is_lost_is_not_replaced_by_the_next(rng: np.random.Generator) -> None:
    ages, people = sessions(rng, 40)
    rise = ages["session"].astype(int) * 3.0
    ages["pad_corrected"] = rng.normal(0, 5, 40)[ages.groupby("session").cumcount()] + rise
    ages.loc[(ages["session"] == "01") & (ages["participant_id"] < "sub-20"), "pad_corrected"] = np.nan
    ages["pad_corrected"] += rng.normal(0, 0.1, len(ages))
    found = change_models(ages, people.assign(group="all")).table
    assert found["estimate"].to_numpy() == pytest.approx(3, abs=0.2)


def test_people_without_a_group_or_a_session_are_told_and_left_out(rng: np.random.Generator) -> None:
    ages, people = sessions(rng)
    people.loc[people["participant_id"] == "sub-45", "group"] = None
    ages.loc[ages["participant_id"] == "sub-02", "session"] = None
    found = cohort_statistics(ages, people)
    assert {"change", "noise_floor"} <= set(found.tables)
    assert any("1 people with several sessions have no group" in note for note in found.notes)
    assert any("1 people have ages without a session" in note for note in found.notes)
    two = pd.concat([people, people[:1].assign(group="healthy"), people[-1:].assign(group="stroke")])
    with pytest.raises(BrainageProblem, match="more than one group: sub-00, sub-59"):
        change_models(ages, two)


@pytest.mark.parametrize("name", ["healthy", "Controls", "healthy_controls", "HC"])
def test_the_healthy_are_known_by_several_names(rng: np.random.Generator, name: str) -> None:
    ages, people = sessions(rng)
    people["group"] = people["group"].replace({"healthy": name, "stroke": "a stroke"})
    found = cohort_statistics(ages, people)
    assert found.tables["noise_floor"]["people"].tolist() == [30]
    # Others are compared with them, though the alphabet has another order.
    assert f"change ({name}, session 02)" in set(found.tables["change"]["term"])


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
