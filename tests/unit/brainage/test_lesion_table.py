"""The table of lesions: whose rows are found, what is refused, and what is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.unit.brainage.conftest import edges, nodes, people

from plastimap.brainage import training
from plastimap.brainage.lesion_table import read_lesions, with_volumes
from plastimap.brainage.model import Settings, train
from plastimap.brainage.parcels import as_parcels
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.tables import ParcelTable, as_parcel_table
from plastimap.brainage.training import judged

PARCEL = "lh_Vis_1"


def scans(labels: tuple[str, ...] = ("01", "02")) -> pd.DataFrame:
    names = [f"sub-{number:02d}" for number in range(3)]
    return pd.DataFrame([{"participant_id": name, "session": label} for name in names for label in labels])


def test_people_are_found_and_shares_checked(healthy: ParcelTable) -> None:
    table = pd.DataFrame({"participant_id": ["0003", "sub-0001"], PARCEL: [0.25, 1.0], "lesion_volume_ml": 3.0})
    found = read_lesions(table, healthy.people, healthy.parcels)
    assert found.shares.sum() == 1.25
    assert found.shares[3, 1] == 0.25
    assert np.flatnonzero(np.isfinite(found.volume_ml)).tolist() == [1, 3]
    assert found.notes == ("Table of lesions: 198 of 200 people are not in it and count as without a lesion.",)
    with pytest.raises(BrainageProblem, match="no parcels: elsewhere"):
        read_lesions(table.assign(elsewhere=1.0), healthy.people, healthy.parcels)
    with pytest.raises(BrainageProblem, match="no column participant_id"):
        read_lesions(table.drop(columns="participant_id"), healthy.people, healthy.parcels)
    with pytest.raises(BrainageProblem, match="no number in lh_Vis_1"):
        read_lesions(table.assign(lh_Vis_1=["0.5", "big"]), healthy.people, healthy.parcels)
    with pytest.raises(BrainageProblem, match="0 to 1"):
        read_lesions(table.assign(lh_Vis_1=[25.0, 100.0]), healthy.people, healthy.parcels)


def test_a_misspelt_person_is_refused(healthy: ParcelTable) -> None:
    table = healthy.people[["participant_id"]].assign(**{PARCEL: 0.8})
    table.loc[1:, "participant_id"] = "P" + table["participant_id"][1:].str[4:]
    with pytest.raises(BrainageProblem, match=r"not to be judged \(sub-P0001.*none for sub-0001"):
        read_lesions(table, healthy.people, healthy.parcels)
    # Rows that nobody misses are only counted.
    more = pd.concat([table.assign(participant_id=healthy.people["participant_id"]), table[1:3]])
    assert read_lesions(more, healthy.people, healthy.parcels).notes == (
        "Table of lesions: 2 of its rows are of scans that are not judged.",
    )


@pytest.mark.parametrize("label", ["{:02d}", "{}", "ses-{}", "ses-{:02d}"])
def test_sessions_are_found_however_they_are_spelled(healthy: ParcelTable, label: str) -> None:
    given = scans()
    table = scans((label.format(1), label.format(2))).assign(**{PARCEL: np.arange(6) / 10})
    found = read_lesions(table, given, healthy.parcels)
    np.testing.assert_allclose(found.shares[:, 1], np.arange(6) / 10)
    # Somebody whose first scan has no lesion is named; who has none at all is not.
    assert next(note for note in found.notes if "at some sessions" in note).count("sub-") == 1


def test_a_table_without_sessions_holds_for_all(healthy: ParcelTable) -> None:
    table = pd.DataFrame({"participant_id": ["00", "01", "02"], PARCEL: [0.2, 0.4, 0.0]})
    found = read_lesions(table, scans(), healthy.parcels)
    assert found.shares[:, 1].tolist() == [0.2, 0.2, 0.4, 0.4, 0.0, 0.0]
    assert found.notes == ()


def test_two_rows_and_lost_sessions_are_refused(healthy: ParcelTable) -> None:
    table = scans().assign(**{PARCEL: 0.5})
    with pytest.raises(BrainageProblem, match="more than one row for sub-00 1"):
        read_lesions(pd.concat([table, table[:1]]), scans(), healthy.parcels)
    with pytest.raises(BrainageProblem, match="no row for sub-00 2"):
        read_lesions(table.drop(index=1), scans(), healthy.parcels)
    with pytest.raises(BrainageProblem, match="more than one row for sub-00"):
        read_lesions(table, scans(("01",)).drop(columns="session"), healthy.parcels)


def test_missing_shares_are_told_or_refused(healthy: ParcelTable) -> None:
    table = scans().assign(**{PARCEL: 0.5, "lh_Vis_2": [0.1, np.nan, 0.1, 0.1, 0.1, 0.1]})
    found = read_lesions(table, scans(), healthy.parcels)
    assert found.notes == ("Table of lesions: shares that 1 scans lack count as 0.",)
    with pytest.raises(BrainageProblem, match="no share at all for sub-00 2"):
        read_lesions(table.assign(**{PARCEL: table["lh_Vis_2"]}), scans(), healthy.parcels)


def test_volumes_stand_in_where_people_have_none(healthy: ParcelTable) -> None:
    some = healthy.people.iloc[:3]
    table = pd.DataFrame({"participant_id": ["sub-0001", "sub-0000"], "lesion_volume_ml": [7.5, 9.0]})
    found = read_lesions(table, some, healthy.parcels)
    own = some.assign(lesion_volume_ml=[2.0, np.nan, np.nan])
    assert with_volumes(own, found)["lesion_volume_ml"].fillna(-1).tolist() == [2.0, 7.5, -1]
    assert with_volumes(some, found)["lesion_volume_ml"].fillna(-1).tolist() == [9.0, 7.5, -1]
    without = read_lesions(table.drop(columns="lesion_volume_ml"), some, healthy.parcels)
    assert "lesion_volume_ml" not in with_volumes(some, without)


def test_what_is_judged_says_who_had_no_row_and_keeps_both_sides_apart(
    healthy: ParcelTable, others: ParcelTable
) -> None:
    model = train(healthy, Settings(method="ridge"))
    table = others.rows(np.arange(4))
    ill = table.people.assign(lesion_side=["bilateral", "right", None, None])
    table = ParcelTable(ill, table.values, table.parcels)
    lesions = ill[["participant_id"]].iloc[:3].assign(**{PARCEL: 0.4})
    found = judged(model, table, lesions=lesions)
    assert any("1 of 4 people are not in it" in note for note in found.notes)
    left = found.table[found.table["hemisphere"] == "L"].groupby("participant_id", sort=False)["side"].first()
    assert left.fillna("").tolist() == ["", "contralesional", "ipsilesional", ""]


def test_one_age_for_two_sessions_grows_by_the_days_between(healthy: ParcelTable) -> None:
    model = train(healthy, Settings(method="ridge"))
    raw = people(6, seed=3)
    both = pd.concat([raw.assign(session="1", day=0.0), raw.assign(session="2", day=730.5)])
    found = judged(model, as_parcel_table(both, healthy.parcels))
    whole = found.table[found.table["hemisphere"] == "B"].pivot(index="participant_id", columns="session")
    np.testing.assert_allclose(whole["pad"]["2"] - whole["pad"]["1"], -2.0)
    assert any("days / 365.25" in note for note in found.notes)
    still = judged(model, as_parcel_table(both.drop(columns="day"), healthy.parcels))
    assert any("contains the years that passed" in note for note in still.notes)


def test_the_card_says_which_of_two_ways_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = {"gcn": 9.0, "gaussian_process": 10.0}
    monkeypatch.setattr(training, "cross_validate", lambda _table, settings, _scheme: settings.method)
    monkeypatch.setattr(
        training, "summary", lambda way: {"controls 0, ages all": {"mean of regions": {"mae": errors[way]}}}
    )
    table = as_parcel_table(people(20, seed=1), as_parcels(nodes(), edges()))
    told = training.errors_left_out(table, Settings(method="gcn"))["compared with gaussian_process"]
    assert told == "at least as good as Gaussian processes on sites left out: MAE of regions 9.00 and 10.00 years"
    errors["gcn"] = 11.0
    assert training.errors_left_out(table, Settings(method="gcn"))["compared with gaussian_process"].startswith("worse")
