from __future__ import annotations

import numpy as np
import pytest
from tests.unit.simulate.coarse import make_spec

from plastimap.simulate import SimulationSpec, people, sessions
from plastimap.simulate.people import behaviour_table, change, scan_label


def test_groups_with_one_effect_change_alike_and_others_not(spec: SimulationSpec) -> None:
    everybody = people(spec)
    first = spec.effects[0]
    for group in ("A", "B"):
        amounts = [change(first, person, 84.0, spec) for person in everybody if person.group == group]
        assert np.mean(amounts) == pytest.approx(0.05)
        assert np.std(amounts) == pytest.approx(0.2 * 0.05)
    assert all(change(first, person, 84.0, spec) == 0 for person in everybody if person.group == "C")
    assert all(change(effect, person, 0.0, spec) == 0 for person in everybody for effect in spec.effects)


def test_the_link_follows_learning_and_stays_realistic(spec: SimulationSpec) -> None:
    link = spec.effects[3]
    trained = [person for person in people(spec) if person.learning]
    amounts = np.array([change(link, person, 84.0, spec) for person in trained])
    gains = np.array([person.learning["csr_percent"]["delta"] for person in trained])
    assert np.corrcoef(amounts, gains)[0, 1] == pytest.approx(1)
    assert np.abs(amounts).max() == pytest.approx(0.05)
    assert amounts.mean() == pytest.approx(0, abs=1e-12)


def test_people_are_the_same_for_the_same_seed(spec: SimulationSpec) -> None:
    assert people(spec) == people(spec)
    assert people(make_spec(seed=2)) != people(make_spec(seed=1))
    # New noise is not new people.
    assert people(make_spec(noise_seed=5)) == people(make_spec())


def test_labels() -> None:
    spec = make_spec()
    person = people(spec)[0]
    assert [scan_label(person, visit) for visit in sessions(spec)] == [f"sub-01_ses-0{n}" for n in (1, 2, 3)]
    single = make_spec(days=[0])
    assert [scan_label(person, visit) for visit in sessions(single)] == ["sub-01"]


def test_behaviour_follows_the_persons_curve() -> None:
    spec = make_spec(behaviour_noise={"csr_percent": 0, "rt_ms": 0})
    trained, untrained = people(spec)[0], people(spec)[-1]
    table = behaviour_table(trained, spec)
    assert len(table) == 2 * len(spec.behaviour_days)
    curve = trained.learning["csr_percent"]
    expected = curve["alpha"] - curve["delta"] * np.exp(-curve["gamma"] * table["day"].to_numpy())
    assert table["csr_percent"].to_numpy() == pytest.approx(expected, abs=0.006)
    assert behaviour_table(untrained, spec).empty
