"""Every model and way of inference, through the same door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from plastimap.stats.analysis import AnalysisResult, analyse
from plastimap.stats.fitted import Inference
from plastimap.stats.longitudinal import TimeCoding
from plastimap.stats.models import FitOptions
from plastimap.stats.problems import StatsProblem
from plastimap.stats.study import with_motion

Maker = Callable[..., Any]


def run(study: Any, **changes: object) -> AnalysisResult:
    return analyse(study.maps, study.scans, study.participants, **(study.arguments | changes))  # type: ignore[arg-type]


def planted(result: AnalysisResult) -> bool:
    """Whether the planted change, and nothing else, was found."""
    found = result.clusters[result.clusters["cluster_p_fwe"] < 0.05]
    return len(found) == 1 and tuple(found.iloc[0][["hemisphere", "term"]]) == ("R", "linear")


@pytest.mark.parametrize("method", ["robust", "pooled", "sandwich", "mixed"])
def test_every_model_finds_a_planted_change(toy: Maker, method: str) -> None:
    study = toy(days=(0.0, 7.0, 28.0, 84.0))
    result = run(study, method=method)
    assert planted(result)
    assert result.method == method
    inside = study.blob[study.arguments["mask"]]
    assert result.tests[0].effect[inside].mean() == pytest.approx(-0.002, rel=0.2)
    assert result.clusters["effect_percent"].iloc[0] == pytest.approx(-0.002 * 84 * 100, rel=0.3)
    assert result.clusters["cluster_t"].iloc[0] < -3
    for test in result.tests:
        np.testing.assert_allclose(
            np.sign(test.effect / test.standard_error), np.sign(test.values), err_msg=f"{method} {test.term}"
        )


@pytest.mark.parametrize("method", ["sandwich", "mixed"])
def test_with_all_visits_models_of_scans_estimate_what_people_say(toy: Maker, method: str) -> None:
    study = toy(days=(0.0, 7.0, 28.0, 84.0))
    # To 7 digits: the mixed model's covariance differs between voxels, its estimate here does not.
    for one, other in zip(run(study).tests, run(study, method=method).tests, strict=True):
        np.testing.assert_allclose(other.effect, one.effect, rtol=1e-4, atol=1e-9)


def test_covariates_may_go_with_the_level_alone(toy: Maker) -> None:
    study = toy()
    level = run(study, method="sandwich", covariates_over_time=False).tests[0]
    without = run(study, covariates=[]).tests[0]
    np.testing.assert_allclose(level.effect, without.effect, rtol=1e-4, atol=1e-9)
    assert np.abs(level.effect - run(study, method="sandwich").tests[0].effect).max() > 1e-5


def test_people_with_few_sessions_stay_in_models_of_scans(toy: Maker) -> None:
    study = toy()
    keep = ~((study.scans["participant_id"] == "02") & (study.scans["session"] != "01")).to_numpy()
    study = replace(study, maps=study.maps[keep], scans=study.scans[keep].reset_index(drop=True))
    assert set(run(study).families["n"]) == {11}
    for method in ("pooled", "mixed"):
        assert set(run(study, method=method).families["n"]) == {12}


def test_one_session_per_person_in_a_model_of_scans(toy: Maker) -> None:
    study = toy(days=(0.0,))
    study = replace(study, scans=study.scans.assign(session=None, day=np.nan))
    found, expected = run(study, method="sandwich"), run(study)
    assert {test.term for test in found.tests} == {"level"}
    np.testing.assert_allclose(found.tests[0].effect, expected.tests[0].effect, rtol=1e-5)
    refused = run(study, method="mixed")
    assert refused.tests == ()
    assert any("more than one time point" in note for note in refused.notes)


def test_all_change_at_once(toy: Maker) -> None:
    study = toy(days=(0.0, 7.0, 28.0, 84.0))
    result = run(study, method="pooled", terms=["change", "linear"], contrasts=["SCI-UL != CON", "SCI-UL > CON"])
    joint, single = result.tests[0], result.tests[2]
    assert (joint.statistic, joint.term, joint.field.dof[0]) == ("F", "change", 2)
    assert (single.statistic, single.field.dof[0]) == ("F", 1)
    np.testing.assert_allclose(single.values, result.tests[3].values ** 2, rtol=1e-6)
    assert set(result.families["direction"]) == {"!=", ">"}
    assert np.isnan(joint.effect).all()
    row = result.clusters[result.clusters["term"] == "change"].iloc[0]
    assert (row["direction"], row["warnings"], row["cluster_p_fwe"] < 0.05) == ("!=", "", True)


def test_pieces_and_the_last_day(toy: Maker) -> None:
    study = toy(days=(0.0, 7.0, 28.0, 84.0))
    inside = study.blob[study.arguments["mask"]]
    pieces = run(study, terms=["piece1", "piece2"], time=TimeCoding("piecewise", knots=(28.0,)))
    for test in pieces.tests:
        assert test.effect[inside].mean() == pytest.approx(-0.002, rel=0.35)
    assert "piece2 from day 28 to 84" in pieces.time_coding
    training = run(study, terms=["linear"], time=TimeCoding(last_day=28.0))
    assert "days 0, 7, 28;" in training.time_coding
    assert any("12 scans of sessions after day 28" in note for note in training.notes)


@pytest.mark.parametrize("statistic", ["extent", "mass", "tfce", "height"])
def test_permutation_finds_a_planted_change(toy: Maker, statistic: str) -> None:
    study = toy()
    result = run(study, inference=Inference("permutation", statistic=statistic, resamples=120))  # type: ignore[arg-type]
    assert planted(result)
    assert result.clusters["cluster_p_fwe"].min() == pytest.approx(1 / 120)
    assert result.nulls.shape == (len(result.families), 120)
    # The data themselves are the first resample, in the direction in which the change was found.
    (family,) = np.flatnonzero(result.families["min_p"] < 0.05)
    assert result.nulls[family, 0] == result.nulls[family].max() > 0
    assert any("120 permutations" in note and "rough" in note for note in result.notes)
    assert not any("random field" in note for note in result.notes)


def test_other_ways_of_inference_find_it_too(toy: Maker) -> None:
    study = toy()
    assert planted(run(study, inference=Inference("local_random_field")))
    assert planted(run(study, inference=Inference("permutation", resamples=120, unequal_variance=True)))
    assert planted(run(study, method="sandwich", inference=Inference("wild_bootstrap", resamples=120)))
    flips = run(study, contrasts=["SCI-UL <> 0"], inference=Inference("permutation", resamples=200))
    assert any("sign flips" in note for note in flips.notes)
    found = flips.clusters.iloc[0]
    # Six people have 64 patterns of signs: the least p is 1/64, reached by chance 2 or 3 times in 200.
    assert 1 / 200 <= found["cluster_p_fwe"] < 0.05


def test_what_cannot_be_resampled_is_said_and_not_tested(toy: Maker) -> None:
    study = toy()
    for method, how in (("mixed", "permutation"), ("summary", "wild_bootstrap")):
        result = run(study, method=method, inference=Inference(how, resamples=100))  # type: ignore[arg-type]
        assert result.tests == ()
        assert any("not tested" in note and "goes with the method" in note for note in result.notes)


def test_weights_by_motion_and_by_group(toy: Maker, rng: np.random.Generator) -> None:
    study = toy(days=(0.0, 7.0, 28.0, 84.0))
    index = rng.gamma(2, 1, len(study.scans))
    noise = 0.03 * index[:, None] * rng.normal(size=study.maps.shape)
    study = replace(study, maps=(study.maps + noise).astype(np.float32), scans=study.scans.assign(motion_index=index))
    options = FitOptions(weighting="motion")
    spread = {}
    for method in ("summary", "pooled", "sandwich", "mixed"):
        result = run(study, method=method, options=options, terms=["linear"])
        assert any("motion^1" in note for note in result.notes)
        outside = ~study.blob[study.arguments["mask"]]
        spread[method] = np.std(result.tests[0].effect[outside])
    plain = np.std(run(study, terms=["linear"]).tests[0].effect[outside])
    assert max(spread["pooled"], spread["sandwich"], spread["mixed"]) < 0.95 * plain
    groups = run(study, options=FitOptions(weighting="groups"), terms=["linear"])
    assert any("variance SCI-UL" in note for note in groups.notes)


def test_weights_by_visits_make_estimates_surer(toy: Maker) -> None:
    study = toy(days=(0.0, 7.0, 28.0, 84.0))
    gone = (study.scans["participant_id"].astype(int) % 3 == 0) & (study.scans["day"] == 84)
    keep = ~gone.to_numpy()
    study = replace(study, maps=study.maps[keep], scans=study.scans[keep].reset_index(drop=True))
    outside = ~study.blob[study.arguments["mask"]]
    equal, weighted = (
        np.std(run(study, terms=["linear"], options=FitOptions(weighting=weighting)).tests[0].effect[outside])
        for weighting in ("equal", "visits")
    )
    assert weighted < 0.8 * equal


def test_motion_needs_its_index(toy: Maker) -> None:
    study = toy()
    with pytest.raises(StatsProblem, match="motion index for every scan"):
        run(study, options=FitOptions(weighting="motion"))
    motion = study.scans[["participant_id", "session"]].assign(motion_index=np.arange(len(study.scans)) + 1.0)
    joined = with_motion(study.scans.iloc[::-1], motion)
    np.testing.assert_array_equal(joined["motion_index"], np.arange(len(study.scans))[::-1] + 1)
    with pytest.raises(StatsProblem, match="see 00 01"):
        with_motion(study.scans, motion.iloc[1:])


def test_what_does_not_go_together_comes_at_once(toy: Maker) -> None:
    study = toy()
    with pytest.raises(StatsProblem) as caught:
        run(study, method="pooled", options=FitOptions(weighting="groups"), terms=["linaer"])
    assert len(caught.value.problems) == 2
    with pytest.raises(StatsProblem, match="'change' needs a model of scans"):
        run(study, terms=["change"])
    with pytest.raises(StatsProblem, match="unknown method 'least squares'"):
        run(study, method="least squares")


def test_clusters_carry_bayes_factors(toy: Maker) -> None:
    row = run(toy()).clusters.iloc[0]
    assert row["cluster_bf10"] > 10
    # Six against six, one covariate: no sample of that size can say much for the null hypothesis.
    assert 1.5 < row["largest_bf01"] < 3


def test_false_discovery_rates_stand_beside_family_wise_p(toy: Maker) -> None:
    result = run(toy())
    assert result.clusters["cluster_q"].iloc[0] < 0.05
    assert result.maxima["peak_q"].between(0, 1).all()
    assert stats.norm.sf(result.maxima["peak_z"].iloc[0]) == pytest.approx(
        result.maxima["peak_p_unc"].iloc[0], rel=1e-6
    )


def noisy_by_error(study: Any, rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    """Add noise whose size differs between scans and sides of the grid, and say how large it is."""
    errors = 0.01 * rng.gamma(1, 1, (len(study.scans), 1)) * rng.uniform(0.5, 2, study.maps.shape)
    noisy = study.maps + errors * rng.normal(size=study.maps.shape)
    return replace(study, maps=noisy.astype(np.float32)), errors


def test_weights_by_known_errors(toy: Maker, rng: np.random.Generator) -> None:
    study, errors = noisy_by_error(toy(days=(0.0, 7.0, 28.0, 84.0)), rng)
    outside = ~study.blob[study.arguments["mask"]]
    told = {"options": FitOptions(weighting="errors"), "errors": errors, "terms": ["linear"]}
    for method in ("summary", "robust", "pooled", "sandwich", "mixed"):
        plain = run(study, terms=["linear"], method=method)
        weighted = run(study, method=method, **told)
        # Noise of a null voxel's slope: less than when scans count alike; least of all for the sandwich, which takes
        # visits as independent.
        assert np.std(weighted.tests[0].effect[outside]) < 0.99 * np.std(plain.tests[0].effect[outside]), method
        assert not any("motion" in note for note in weighted.notes)
    ours = run(study, **told)
    assert any("Known errors are" in note for note in ours.notes)
    doubled = run(study, **(told | {"errors": 2 * errors}))
    np.testing.assert_allclose(doubled.tests[0].values, ours.tests[0].values, rtol=1e-9)


def test_maps_without_errors_count_equally_and_say_so(toy: Maker) -> None:
    study = toy()
    blind = run(study, options=FitOptions(weighting="errors"))
    assert any("no error maps" in note for note in blind.notes)
    for one, other in zip(run(study).tests, blind.tests, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    with pytest.raises(StatsProblem, match="errors of shape"):
        run(study, options=FitOptions(weighting="errors"), errors=study.maps[1:])


def test_missing_visits_weigh_little_where_people_differ_much(toy: Maker, rng: np.random.Generator) -> None:
    """Own slopes that outweigh the noise: people count almost equally, however many visits they came to."""
    study = toy(days=(0.0, 7.0, 28.0, 84.0))
    gone = (study.scans["participant_id"].astype(int) % 3 == 0) & (study.scans["day"] == 84)
    keep = ~gone.to_numpy()
    number = study.scans["participant_id"].astype(int).to_numpy()
    slopes = 0.02 * rng.normal(size=(number.max() + 1, study.maps.shape[1]))
    maps = study.maps + slopes[number] * study.scans["day"].to_numpy()[:, None]
    study = replace(study, maps=maps[keep].astype(np.float32), scans=study.scans[keep].reset_index(drop=True))
    told = next(note for note in run(study, terms=["linear"], options=FitOptions(weighting="visits")).notes
                if "weights by their visits" in note)  # fmt: skip
    least = float(told.split("visits: ")[1].split(" to")[0])
    assert least > 0.8


def test_with_all_visits_nothing_is_weighted(toy: Maker) -> None:
    study = toy()
    one, other = (run(study, options=FitOptions(weighting=name)) for name in ("equal", "visits"))
    for first, second in zip(one.tests, other.tests, strict=True):
        np.testing.assert_array_equal(first.values, second.values)
