from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plastimap.stats.analysis import AnalysisResult, analyse
from plastimap.stats.fitted import Inference
from plastimap.stats.inference import CLUSTER_COLUMNS, FAMILY_COLUMNS
from plastimap.stats.models import FitOptions
from plastimap.stats.problems import StatsProblem

Maker = Callable[..., Any]


def run(study: Any, **changes: object) -> AnalysisResult:
    return analyse(study.maps, study.scans, study.participants, **(study.arguments | changes))  # type: ignore[arg-type]


def subset(study: Any, keep: np.ndarray) -> Any:
    return replace(study, maps=study.maps[keep], scans=study.scans[keep].reset_index(drop=True))


def test_a_planted_change_is_found_where_it_is(toy: Maker) -> None:
    study = toy()
    result = run(study)
    assert list(result.clusters.columns) == list(CLUSTER_COLUMNS)
    assert list(result.families.columns) == list(FAMILY_COLUMNS)
    # One contrast, both directions, two terms, two hemispheres.
    assert len(result.families) == 8
    found = result.clusters[result.clusters["cluster_p_fwe"] < 0.05]
    assert len(found) == 1
    row = found.iloc[0]
    # CON comes first in the alphabet: the change of SCI-UL is "<".
    assert (row["test"], row["direction"], row["hemisphere"], row["term"]) == ("CON <> SCI-UL", "<", "R", "linear")
    assert np.linalg.norm(row[["x", "y", "z"]].to_numpy(float) - [12, 0, 0]) < 6
    assert row["effect"] == pytest.approx(-0.002, rel=0.3)
    assert row["effect_percent"] == pytest.approx(-0.002 * 84 * 100, rel=0.3)
    assert row["n_by_group"] == "CON 6, SCI-UL 6"
    assert row["n"] == 12
    assert row["cluster_t"] < -3
    assert row["warnings"] == ""
    assert result.families["min_p"].min() == pytest.approx(row["cluster_p_fwe"])
    assert (result.families.loc[result.families["n_clusters"] == 0, "min_p"] == 1).all()
    volume = result.volume(result.tests[0].effect)
    assert volume[study.blob].mean() == pytest.approx(-0.002, rel=0.2)
    assert np.isnan(volume[0]).all()
    scans = result.cluster_scans[result.cluster_scans["cluster"] == row["cluster"]]
    assert len(scans) == 36
    last = scans[scans["day"] == 84].groupby("group")["value"].mean()
    assert last["SCI-UL"] - last["CON"] == pytest.approx(0.168, abs=0.08)


def test_order_of_rows_changes_nothing(toy: Maker) -> None:
    study = toy()
    order = np.random.default_rng(0).permutation(len(study.scans))
    shuffled = replace(
        study,
        maps=study.maps[order],
        scans=study.scans.iloc[order],
        participants=study.participants[::-1],
    )
    one, other = run(study), run(shuffled)
    for first, second in zip(one.tests, other.tests, strict=True):
        np.testing.assert_array_equal(first.values, second.values)
    pd.testing.assert_frame_equal(one.clusters, other.clusters)
    pd.testing.assert_frame_equal(one.families, other.families)
    pd.testing.assert_frame_equal(one.cluster_scans, other.cluster_scans)


def test_maps_on_the_grid_are_the_same_as_maps_in_the_mask(toy: Maker) -> None:
    study = toy()
    mask = study.arguments["mask"]
    volumes = np.full((len(study.maps), *mask.shape), np.nan, dtype=np.float32)
    volumes[:, mask] = study.maps
    np.testing.assert_array_equal(run(replace(study, maps=volumes)).tests[0].values, run(study).tests[0].values)


def test_inputs_are_not_changed(toy: Maker) -> None:
    study = toy()
    scans, participants = study.scans.copy(), study.participants.copy()
    study.maps.setflags(write=False)
    study.arguments["mask"].setflags(write=False)
    run(study)
    pd.testing.assert_frame_equal(study.scans, scans)
    pd.testing.assert_frame_equal(study.participants, participants)


def test_people_with_too_few_sessions_are_named_and_n_is_printed(toy: Maker) -> None:
    study = toy()
    gone = ((study.scans["participant_id"] == "02") & (study.scans["session"] == "02")).to_numpy()
    result = run(subset(study, ~gone))
    assert set(result.families["n"]) == {11}
    assert set(result.families["n_by_group"]) == {"CON 6, SCI-UL 5"}
    assert any("02 (2)" in note and "11 of 12 people" in note for note in result.notes)


def test_a_missing_visit_of_many_does_not_bias_the_effect(toy: Maker) -> None:
    study = toy(days=(0.0, 7.0, 14.0, 28.0, 84.0))
    gone = ((study.scans["participant_id"].astype(int) % 2 == 0) & (study.scans["session"] == "03")).to_numpy()
    full, part = run(study, terms=["linear"]), run(subset(study, ~gone), terms=["linear"])
    assert part.tests[0].n == 12
    inside = study.blob[study.arguments["mask"]]
    assert part.tests[0].effect[inside].mean() == pytest.approx(full.tests[0].effect[inside].mean(), rel=0.02)
    weighted = run(subset(study, ~gone), terms=["linear"], options=FitOptions(weighting="visits"))
    assert weighted.tests[0].effect[inside].mean() == pytest.approx(-0.002, rel=0.2)


def test_one_session_per_person_compares_values(toy: Maker) -> None:
    study = toy(days=(0.0,))
    scans = study.scans.assign(session=None, day=np.nan)
    study = replace(study, scans=scans)
    result = run(study)
    assert {test.term for test in result.tests} == {"level"}
    assert "One time point" in result.time_coding
    only = run(study, group=None)
    assert only.tests == ()
    assert len(only.families) == 0
    assert any("comparing a value with 0" in note for note in only.notes)


def test_a_slope_has_its_own_people(toy: Maker) -> None:
    study = toy()
    study.participants.loc[0, "delta"] = np.nan
    result = run(study, contrasts=[{"name": "learning", "test": "delta in SCI-UL <> 0"}], terms=["linear"])
    (test,) = result.tests
    assert (test.n, test.design.people) == (5, ("01", "02", "03", "04", "05"))
    assert any("no delta for 00" in note for note in result.notes)
    assert any("degrees of freedom" in note for note in result.notes)


def test_a_group_that_is_lost_takes_only_its_contrasts_with_it(toy: Maker) -> None:
    study = toy()
    keep = study.scans["participant_id"].isin([f"{n:02d}" for n in range(6)]).to_numpy()
    result = run(subset(study, keep), contrasts=["SCI-UL > CON", "SCI-UL > 0"])
    assert {test.contrast.test for test in result.tests} == {"SCI-UL > 0"}
    assert any("nobody is left of CON" in note for note in result.notes)
    assert any("No scan of this map: 06" in note for note in result.notes)


def test_an_effect_of_one_person_is_named(toy: Maker) -> None:
    study = toy(slope=0.0)
    maps = study.maps.copy()
    inside = study.blob[study.arguments["mask"]]
    last = ((study.scans["participant_id"] == "04") & (study.scans["day"] == 84)).to_numpy()
    maps[np.ix_(last, inside)] += 5
    # Only a threshold this low can let a single person through.
    result = run(replace(study, maps=maps), inference=Inference(cluster_forming_p=0.3), terms=["linear"])
    blamed = result.clusters[result.clusters["hemisphere"] == "R"]
    assert "04" in set(blamed.loc[blamed["influence"] > 0.5, "influential"])
    assert blamed["warnings"].str.contains("without 04").any()


def test_voxels_with_gaps_follow_the_rule(toy: Maker) -> None:
    study = toy()
    maps = study.maps.copy()
    maps[0, 100] = np.nan
    gaps = replace(study, maps=maps)
    assert np.isnan(run(gaps).tests[0].values[100])
    lenient = run(gaps, options=FitOptions(minimum_subjects=0.8))
    assert np.isfinite(lenient.tests[0].values).all()
    np.testing.assert_allclose(
        np.delete(lenient.tests[0].values, 100), np.delete(run(gaps).tests[0].values, 100), rtol=1e-5
    )


def test_a_search_volume_without_voxels_is_said_and_not_counted(toy: Maker) -> None:
    study = toy()
    volumes = study.arguments["search_volumes"] | {"L": np.zeros_like(study.arguments["mask"])}
    result = run(study, search_volumes=volumes)
    assert set(result.families["hemisphere"]) == {"R"}
    assert any("search volume L" in note for note in result.notes)


def test_every_problem_comes_at_once(toy: Maker) -> None:
    study = toy()
    with pytest.raises(StatsProblem) as caught:
        run(
            study,
            terms=["linaer"],
            search_volumes={"L": np.zeros((2, 2, 2), dtype=bool)},
            options=FitOptions(weighting="some"),
        )
    assert len(caught.value.problems) == 3
    assert "did you mean 'linear'" in str(caught.value)
    scans = study.scans.copy()
    scans.loc[0, "day"] = np.nan
    scans.loc[5, "session"] = "02"
    people = study.participants.drop(index=11).assign(age=np.nan)
    with pytest.raises(StatsProblem) as caught:
        run(replace(study, scans=scans, participants=people), contrasts=["CONN > SCI-UL"])
    text = str(caught.value)
    for expected in ("not in the participants table: 11", "days since baseline are missing for 00 01",
                     "two maps of 01, session 02", "covariate 'age' is missing", "did you mean 'CON'?"):  # fmt: skip
        assert expected in text
    with pytest.raises(StatsProblem, match="do not fit"):
        run(replace(study, maps=study.maps[:, :-1]))
