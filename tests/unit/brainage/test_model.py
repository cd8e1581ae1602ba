"""Models: ages of people not seen, locality, intervals, storage, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.unit.brainage.conftest import people

from plastimap.brainage.evaluate import cross_validate
from plastimap.brainage.model import BrainAgeModel, Settings, apply, train, with_local_controls
from plastimap.brainage.parcels import Parcels
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.results import long_table
from plastimap.brainage.storage import card_beside, load_model, read_card, save_model
from plastimap.brainage.tables import ParcelTable, as_parcel_table
from plastimap.writing import write_json


@pytest.fixture(scope="module", params=["gaussian_process", "ridge"])
def model(request: pytest.FixtureRequest, healthy: ParcelTable) -> BrainAgeModel:
    return train(healthy, Settings(method=request.param))


def test_ages_of_new_people_are_found_within_the_noise(model: BrainAgeModel, others: ParcelTable) -> None:
    found = apply(model, others)
    error = np.abs(found.age - others.age[:, None]).mean(axis=0)
    # Noise of 0.1 mm over 4 parcels and 0.05 mm shared is 12 years at 0.006 mm a year; guessing the mean is 15.
    assert (error[:-1] < 11).all()
    assert error[-1] < 8


def test_intervals_hold_what_they_promise(model: BrainAgeModel, others: ParcelTable) -> None:
    found = apply(model, others)
    inside = (found.lower <= others.age[:, None]) & (others.age[:, None] <= found.upper)
    # 120 people × 7 regions that share noise: a binomial SD of about 2.7 % for one region.
    assert 0.84 <= inside.mean() <= 0.96


def test_a_change_elsewhere_does_not_reach_a_region(model: BrainAgeModel, others: ParcelTable) -> None:
    before = apply(model, others).age
    for number, region in enumerate(others.parcels.regions):
        values = others.values.copy()
        values[:, others.parcels.members(region)] -= 0.5
        moved = np.abs(apply(model, replace(others, values=values)).age - before).max(axis=0)
        local = np.delete(moved[:-1], number)
        assert local.max() < 1e-6
        assert moved[number] > 1
        assert moved[-1] > 0.1  # the whole brain is not local, and says so by its name


def test_the_correction_takes_the_bias_of_age_off(model: BrainAgeModel, others: ParcelTable) -> None:
    found = apply(model, others)
    slope = [np.polyfit(others.age, gap, 1)[0] for gap in (found.age - others.age[:, None]).T]
    corrected = [np.polyfit(others.age, gap, 1)[0] for gap in (found.age - found.expected).T]
    assert np.abs(corrected).mean() < 0.1
    assert np.abs(corrected).mean() < np.abs(slope).mean()


def test_ages_that_nobody_in_training_had_are_told(model: BrainAgeModel, others: ParcelTable) -> None:
    old = replace(others, people=others.people.assign(age=np.where(np.arange(120) < 3, 95.0, 50.0)))
    assert any("(20–80 years): 3 of the people" in note for note in apply(model, old).notes)
    assert not any("than everybody in training" in note for note in apply(model, old.rows(np.arange(3, 120))).notes)


def test_a_parcel_that_one_site_alone_has_is_refused(healthy: ParcelTable) -> None:
    values = healthy.values.copy()
    values[healthy.site != "site0", 0] = np.nan
    values[15:, 1] = np.nan
    lacking = replace(healthy, values=values)
    for fit in (lambda: train(lacking), lambda: cross_validate(lacking, Settings(method="ridge"), "sites")):
        with pytest.raises(
            BrainageProblem, match=r"lh_Vis_0 was measured at the site site0 alone.*lh_Vis_1.* 15 of 200"
        ):
            fit()


@pytest.mark.parametrize(("level", "sd"), [(4000.0, 300.0), (0.6, 0.03), (9000.0, 5000.0)])
def test_people_in_another_unit_are_refused(healthy: ParcelTable, others: ParcelTable, level: float, sd: float) -> None:
    parcels = replace(healthy.parcels, measures=("R1",) * 24)

    def scaled(table: ParcelTable) -> ParcelTable:
        return replace(table, parcels=parcels, values=np.maximum(level + sd * (table.values - 2.5) / 0.15, level / 50))

    model, right = train(scaled(healthy), Settings(method="ridge")), scaled(others)
    assert np.isfinite(apply(model, right).age).all()
    for values in (right.values * 1000, right.values / 1000, right.values + 10 * sd):
        wrong = replace(right, values=values)
        for one in (wrong, wrong.rows([0])):
            with pytest.raises(BrainageProblem, match="R1: 24 of 24 parcels"):
                apply(model, one)
        with pytest.raises(BrainageProblem, match="R1: 24 of 24 parcels"):
            with_local_controls(model, wrong)
    one = right.values.copy()
    one[:, 3] = 1e3 * level
    with pytest.raises(BrainageProblem, match=r"1 of 24 parcels .* lh_Vis_3"):
        apply(model, replace(right, values=one))
    # A parcel of one person may be anything: nothing is told by a single scan.
    assert np.isfinite(apply(model, replace(right, values=one).rows([0])).age).all()


def test_a_single_patient_may_lack_a_parcel(model: BrainAgeModel, others: ParcelTable) -> None:
    values = others.values[:1].copy()
    values[0, 0] = np.nan
    found = apply(model, replace(others.rows([0]), values=values))
    assert np.isfinite(found.age).all()
    assert found.imputed.replaced.sum() == 1


def test_words_are_no_covariates(healthy: ParcelTable) -> None:
    with pytest.raises(BrainageProblem, match="no numbers: site"):
        train(healthy, Settings(method="ridge", covariates=("sex", "site")))


def test_a_model_on_disk_says_the_same(model: BrainAgeModel, others: ParcelTable, tmp_path: Path) -> None:
    place = tmp_path / "model.safetensors"
    save_model(place, model, data="simulated", licence="none", metrics={"mae": 1.0})
    again = apply(load_model(place), others)
    before = apply(model, others)
    np.testing.assert_allclose(again.age, before.age, rtol=1e-10)
    np.testing.assert_allclose(again.lower, before.lower, rtol=1e-10)
    np.testing.assert_allclose(again.expected, before.expected, rtol=1e-10)
    card = read_card(place)
    assert card["licence_of_training_data"] == "none"
    assert sum(card["people_per_site"].values()) == 200


def test_the_card_says_whether_people_are_in_the_file(
    model: BrainAgeModel, healthy: ParcelTable, tmp_path: Path
) -> None:
    place = tmp_path / "model.safetensors"
    save_model(place, model, data="simulated", licence="none")
    processes = model.settings.method == "gaussian_process"
    assert ("personal data" in read_card(place)["personal_data"]) == processes
    # Nothing of 200 rows but what the card owns up to.
    rows = [name for name, one in load_file(place).items() if len(healthy.people) in one.shape]
    assert bool(rows) == processes


def test_a_broken_model_is_refused_in_words(model: BrainAgeModel, tmp_path: Path) -> None:
    place = tmp_path / "model.safetensors"
    save_model(place, model, data="simulated", licence="none")
    whole = place.read_bytes()
    place.write_bytes(whole[:-8] + bytes(255 - one for one in whole[-8:]))
    with pytest.raises(BrainageProblem, match="not the file that its card"):
        load_model(place)
    place.write_bytes(whole[:100])
    with pytest.raises(BrainageProblem, match="safetensors"):
        load_model(place)
    place.write_bytes(whole)
    card = read_card(place)
    narrow = {**card["settings"], "coverage": 0.5}
    for change in ({"regions": card["regions"][::-1]}, {"age_range_years": [20]}, {"sites_with_controls": {}},
                   {"settings": narrow}, {"licence_of_training_data": "any"}):  # fmt: skip
        write_json(card_beside(place), {**card, **change})
        with pytest.raises(BrainageProblem, match="card was changed"):
            load_model(place)
    write_json(card_beside(place), {**card, "format": "plastimap brain age 5"})
    with pytest.raises(BrainageProblem, match="train the model with this version"):
        load_model(place)
    write_json(card_beside(place), card)
    load_model(place)
    card_beside(place).write_text("{}")
    with pytest.raises(BrainageProblem, match="format"):
        load_model(place)
    card_beside(place).unlink()
    with pytest.raises(BrainageProblem, match="card is missing"):
        load_model(place)


def test_a_model_never_takes_the_place_of_its_card(model: BrainAgeModel, tmp_path: Path) -> None:
    for name in ("m.json", "m"):
        with pytest.raises(BrainageProblem, match=r"ends in \.safetensors"):
            save_model(tmp_path / name, model, data="simulated", licence="none")
    assert not list(tmp_path.iterdir())


def test_the_card_says_whom_each_calibration_is_for(healthy: ParcelTable, tmp_path: Path) -> None:
    few = healthy.rows(np.isin(healthy.site, ["site0", "site1"]))
    rows: list[str] = []
    for name, table in (("six", healthy), ("two", few)):
        place = tmp_path / f"{name}.safetensors"
        save_model(place, train(table, Settings(method="ridge")), data="d", licence="l", metrics={"mae": float("nan")})
        card = read_card(place)
        load_model(place)
        assert card["calibrations"]["known_sites"]["errors"] == "random folds"
        assert "say nothing of accuracy" in card["corrected_errors"]
        rows.append(card["calibrations"]["new_sites"]["errors"])
    assert rows == ["sites left out", "none"]


def test_other_parcels_are_refused(model: BrainAgeModel, others: ParcelTable) -> None:
    kept = np.arange(1, len(others.parcels.names))
    fewer = replace(others, parcels=others.parcels.only(kept), values=others.values[:, kept])
    with pytest.raises(BrainageProblem, match="other parcels"):
        apply(model, fewer)
    turned = replace(others, parcels=others.parcels.only(np.arange(len(others.parcels.names))[::-1]))
    with pytest.raises(BrainageProblem, match="order or networks"):
        apply(model, turned)


def test_local_controls_take_the_shift_of_a_new_site_off(healthy: ParcelTable, others: ParcelTable) -> None:
    model = train(healthy, Settings(method="ridge"))
    moved = replace(others, values=others.values - 0.12, people=others.people.assign(site="new"))
    controls, rest = moved.rows(np.arange(20)), moved.rows(np.arange(20, 120))
    raw = apply(model, rest)
    known = apply(with_local_controls(model, controls), rest)
    assert any("new" in note and "controls" in note for note in raw.notes)
    assert not any("without controls" in note for note in known.notes)
    gap = np.abs((raw.age - rest.age[:, None]).mean(axis=0))
    assert (np.abs((known.age - rest.age[:, None]).mean(axis=0)) < gap).all()


def test_a_model_that_knows_a_site_by_its_controls_says_the_same_on_disk(
    healthy: ParcelTable, others: ParcelTable, tmp_path: Path
) -> None:
    new = replace(others, people=others.people.assign(site="new"))
    known = with_local_controls(train(healthy, Settings(method="ridge")), new.rows(np.arange(20)))
    save_model(tmp_path / "model.safetensors", known, data="simulated", licence="none")
    again, before = apply(load_model(tmp_path / "model.safetensors"), new), apply(known, new)
    assert not any("trained on, too" in note for note in before.notes)
    seen = with_local_controls(known, others.rows(others.site == "site1"))
    assert any("trained on, too: site1." in note for note in seen.notes)
    for name in ("age", "expected", "sd", "lower", "upper"):
        np.testing.assert_allclose(getattr(again, name), getattr(before, name), rtol=1e-10)


def test_few_sites_say_what_new_ones_cost(healthy: ParcelTable, others: ParcelTable) -> None:
    new = replace(others, people=others.people.assign(site="new"))
    three = train(healthy.rows(np.isin(healthy.site, ["site0", "site1", "site2"])), Settings(method="ridge"))
    six = train(healthy, Settings(method="ridge"))
    known = others.rows(others.site == "site1")
    said = [any("outside more often" in note for note in apply(three, one).notes) for one in (new, known)]
    assert said == [True, False]
    assert not any("outside more often" in note for note in apply(six, new).notes)


@pytest.mark.parametrize("method", ["location", "combat"])
def test_harmonised_models_hold_at_new_sites_which_are_not(parcels: Parcels, method: str) -> None:
    # Sites shift parcels by 1.5 times what people differ by.
    table = as_parcel_table(people(1600, seed=3, sites=80, site_sd=0.15), parcels)
    trained = np.char.replace(table.site, "site", "").astype(int) < 40
    model = train(table.rows(trained), Settings(method="ridge", harmonise=method))  # type: ignore[arg-type]
    new = table.rows(~trained)
    found = apply(model, new)
    inside = ((found.lower <= new.age[:, None]) & (new.age[:, None] <= found.upper)).mean(axis=1)
    # People of a site err together, so 40 sites are known to a standard error of about 1.5 %, those trained on as well.
    assert inside.mean() == pytest.approx(0.9, abs=0.045)


def test_few_controls_warn_and_change_nothing(healthy: ParcelTable, others: ParcelTable) -> None:
    model = train(healthy, Settings(method="ridge"))
    new = replace(others, people=others.people.assign(site="new"))
    known = with_local_controls(model, new.rows(np.arange(9)))
    np.testing.assert_array_equal(apply(known, new).age, apply(model, new).age)
    assert any("9 controls" in note for note in known.notes)


def test_too_few_people_are_refused(healthy: ParcelTable) -> None:
    with pytest.raises(BrainageProblem, match="too few"):
        train(healthy.rows(np.arange(39)))


def test_folds_may_have_fewer_people_than_a_model(healthy: ParcelTable) -> None:
    few = healthy.rows(np.arange(42))
    found = cross_validate(few, Settings(method="ridge"), "random")
    assert found["participant_id"].nunique() == 42


def test_a_missing_covariate_is_named(healthy: ParcelTable) -> None:
    with pytest.raises(BrainageProblem, match="eTIV"):
        train(healthy, Settings(covariates=("sex", "eTIV")))


def test_the_long_table_has_a_row_per_person_and_region(model: BrainAgeModel, others: ParcelTable) -> None:
    table = long_table(model, others, apply(model, others), lesion_sides=["L"] * 120)
    assert len(table) == 120 * 7
    assert set(table.loc[table["hemisphere"] == "L", "side"]) == {"ipsilesional"}
    assert table.loc[table["hemisphere"] == "B", "side"].isna().all()
    np.testing.assert_allclose(table["pad"], table["predicted_age"] - table["age"])


def test_nothing_given_is_changed(healthy: ParcelTable, others: ParcelTable) -> None:
    before = healthy.values.copy(), others.values.copy()
    apply(train(healthy, Settings(method="ridge", harmonise="combat")), others)
    np.testing.assert_array_equal(healthy.values, before[0])
    np.testing.assert_array_equal(others.values, before[1])
