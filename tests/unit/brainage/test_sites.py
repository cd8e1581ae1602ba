"""Whose bias and intervals people get: sites trained on, new ones, sites without a name, sites with controls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.unit.brainage.conftest import people

from plastimap.brainage.model import Settings, apply, train, with_local_controls
from plastimap.brainage.parcels import Parcels
from plastimap.brainage.tables import ParcelTable, as_parcel_table


def told_by_site(parcels: Parcels, sites: int, each: int) -> ParcelTable:
    """People of sites that are narrow in age and shift every parcel: who knows a site knows its people's age."""
    rng, number = np.random.default_rng(1), np.repeat(np.arange(sites), each)
    frame, names = people(len(number), seed=1, sites=1, site_sd=0), list(parcels.names)
    age = rng.uniform(26, 74, sites)[number] + rng.uniform(-6, 6, len(number))
    frame[names] += -0.006 * (age - frame["age"].to_numpy())[:, None] + rng.normal(0, 0.15, (sites, len(names)))[number]
    return as_parcel_table(frame.assign(age=age, site=[f"site{one}" for one in number]), parcels)


def test_everybody_gets_the_calibration_of_the_own_site(parcels: Parcels) -> None:
    table = told_by_site(parcels, 60, 40)
    site, first = np.repeat(np.arange(60), 40), np.tile(np.arange(40) < 20, 60)
    model = train(table.rows((site < 30) & first), Settings(method="ridge"))
    both = table.rows(((site < 30) & ~first) | ((site >= 30) & first))
    found, known = apply(model, both), np.repeat(np.arange(60) < 30, 20)
    assert (found.calibration == np.where(known, "known site", "new site")).all()
    gap = (found.age - found.expected)[:, -1]
    slope = [np.polyfit(both.age[one], gap[one], 1)[0] for one in (known, ~known)]
    # 30 sites of either kind: gaps of known ones have slopes of −0.15, of new ones −0.45, known to about 0.07.
    assert np.abs(slope).max() < 0.15
    inside = ((found.lower <= both.age[:, None]) & (both.age[:, None] <= found.upper))[:, -1]
    assert inside[known].mean() == pytest.approx(0.9, abs=0.05)
    assert inside[~known].mean() == pytest.approx(0.9, abs=0.08)
    # People of one kind are judged as if the others were not there.
    alone = apply(model, both.rows(~known))
    np.testing.assert_allclose(alone.expected, found.expected[~known])
    np.testing.assert_allclose(alone.upper, found.upper[~known])
    told = "sites trained on (people left out) for 600 of the people, new sites (whole sites left out) for 600 of"
    assert any(told in note for note in found.notes)


def test_sites_without_a_name_are_not_the_same_site(healthy: ParcelTable, parcels: Parcels) -> None:
    frame = people(200, seed=1).drop(columns="site")
    model = train(as_parcel_table(frame, parcels), Settings(method="ridge", harmonise="location"))
    nameless = as_parcel_table(people(40, seed=2).drop(columns="site"), parcels)
    found = apply(model, nameless)
    assert set(found.calibration) == {"new site"}
    assert any("40 of the people have no site" in note for note in found.notes)
    known = with_local_controls(model, nameless)
    np.testing.assert_array_equal(apply(known, nameless).age, found.age)
    assert any("40 controls without a site" in note for note in known.notes)
    # Nor is the shift of training people without a site that of others.
    half = healthy.people["site"].where(healthy.people["site"] > "site2", "unnamed")
    mixed = train(
        replace(healthy, people=healthy.people.assign(site=half)), Settings(method="ridge", harmonise="location")
    )
    other = replace(nameless, people=nameless.people.assign(site="elsewhere"))
    np.testing.assert_array_equal(apply(mixed, nameless).age, apply(mixed, other).age)


def test_controls_count_as_people_and_not_as_scans(healthy: ParcelTable, others: ParcelTable) -> None:
    model = train(healthy, Settings(method="ridge"))
    new = replace(others, people=others.people.assign(site="new", session="1"))
    five = new.rows(np.tile(np.arange(5), 2))
    assert any("5 controls, fewer than 10" in note for note in with_local_controls(model, five).notes)
    once, twice = (with_local_controls(model, new.rows(np.tile(np.arange(12), times))) for times in (1, 2))
    np.testing.assert_array_equal(apply(twice, new).upper, apply(once, new).upper)
    found = apply(once, new)
    assert set(found.calibration) == {"local controls"}
    assert any(note.startswith("12 of the people are among the controls, too") for note in found.notes)
    assert not any("among the controls" in note for note in apply(once, new.rows(np.arange(12, 120))).notes)


def test_controls_of_a_known_site_stand_on_what_is_known_of_such(healthy: ParcelTable, others: ParcelTable) -> None:
    model = train(healthy, Settings(method="ridge"))
    both = replace(others, people=others.people.assign(site=np.where(np.arange(120) % 2, "new", "site1")))
    known = with_local_controls(model, both).calibration
    assert (set(known.known_sites.sites), set(known.new_sites.sites)) == ({"site1"}, {"new"})
    assert (known.known_sites.scatter.within != known.new_sites.scatter.within).all()


def test_people_are_counted_once_per_site(healthy: ParcelTable) -> None:
    twice = healthy.rows(np.repeat(np.arange(200), 2))
    assert sum(train(twice, Settings(method="ridge")).sites.values()) == 200


def test_sites_that_share_people_are_left_out_together(healthy: ParcelTable) -> None:
    assert train(healthy, Settings(method="ridge")).calibration.whole_sites
    names = healthy.people["participant_id"].to_numpy().copy()
    # Somebody of each of the sites 2 to 5 was at site 1, too: two sites are left that can be left out.
    for number in range(2, 6):
        names[np.flatnonzero(healthy.site == f"site{number}")[0]] = names[
            np.flatnonzero(healthy.site == "site1")[number]
        ]
    shared = replace(healthy, people=healthy.people.assign(participant_id=names))
    model = train(shared, Settings(method="ridge"))
    assert not model.calibration.whole_sites
    assert any("Fewer than 4 sites" in note for note in model.notes)
