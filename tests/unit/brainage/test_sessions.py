"""The order of sessions, and ages at them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.sessions import age_at_sessions, order_sessions


def visits(*labels: str, people: int = 3, **columns: list[float]) -> pd.DataFrame:
    rows = [{"participant_id": f"sub-{person}", "session": label, **{key: one[place] for key, one in columns.items()}}
            for person in range(people) for place, label in enumerate(labels)]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("labels", "columns", "told"),
    [
        (("pre", "post"), {"age": [50.0, 50.5]}, "ages"),
        (("pre", "post"), {"age": [50.0, 50.0], "day": [0.0, 28.0]}, "days"),
        (("baseline", "1year"), {"days_since_stroke": [10.0, 375.0]}, "days since stroke"),
        (("2", "10"), {}, "their numbers"),
        (("ses-2", "SES-10"), {"age": [50.0, 50.0]}, "their numbers"),
        # Days are asked before labels: who names sessions backwards is believed by the calendar.
        (("2", "1"), {"day": [0.0, 28.0]}, "days"),
    ],
)
def test_what_tells_the_order(labels: tuple[str, ...], columns: dict[str, list[float]], told: str) -> None:
    table = visits(*labels, **columns)
    people = table.drop(columns="age", errors="ignore")
    found = order_sessions(table[[name for name in table if name in ("participant_id", "session", "age")]], people)
    assert found.labels == labels
    assert found.notes == (f"Sessions in the order of {told}: {', '.join(labels)}.",)
    first = found.visits.loc[found.visits["visit"] == 0, "session"]
    assert set(first) == {labels[0]}


def test_ages_without_any_session_are_refused() -> None:
    with pytest.raises(BrainageProblem, match="have a session"):
        order_sessions(visits("1", "2").assign(session=None))


@pytest.mark.parametrize("labels", [("pre", "post"), ("6months", "1year"), ("first", "2")])
def test_what_tells_nothing_is_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(BrainageProblem, match="nothing tells the order"):
        order_sessions(visits(*labels, age=[50.0, 50.0]))


def test_ages_in_whole_years_tell_by_those_who_had_a_birthday() -> None:
    table = visits("pre", "post", age=[50.0, 50.0])
    table.loc[3, "age"] = 51.0
    found = order_sessions(table)
    assert found.labels == ("pre", "post")
    assert "in whom they differ" in found.notes[0]
    table.loc[5, "age"] = 49.0
    with pytest.raises(BrainageProblem, match="nothing tells"):
        order_sessions(table)


def test_people_who_lack_the_first_session_count_from_their_own() -> None:
    table = visits("a", "b", "c", age=[50.0, 51.0, 52.0])
    found = order_sessions(table[1:])
    assert found.labels == ("a", "b", "c")
    assert found.visits.loc[found.visits["visit"] == 0, "session"].tolist() == ["b", "a", "a"]
    assert found.notes[1].startswith("1 people have no session a")


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 6))
def test_labels_keep_their_order_whoever_misses_a_session(random: object, count: int) -> None:
    generator = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    labels = [chr(ord("z") - number) for number in range(count)]
    table = visits(*labels, people=12, age=[50 + 1.5 * number for number in range(count)])
    table["age"] += generator.permutation(12)[np.arange(len(table)) // count] * 7
    kept = generator.random(len(table)) < 0.7
    kept[:count] = True  # one person has them all
    assert order_sessions(table[kept]).labels == tuple(labels)


def test_one_age_grows_by_the_days_that_are_known() -> None:
    table = visits("1", "2", age=[50.0, 50.0])
    told, notes = age_at_sessions(table.assign(day=[0.0, 365.25] * 3))
    assert told["age"].tolist() == [50, 51] * 3
    assert notes == ("3 people have one age for all sessions: age at a session is that age + days / 365.25.",)
    since, _ = age_at_sessions(table.assign(days_since_stroke=[100.0, 465.25] * 3))
    assert since["age"].tolist() == [50, 51] * 3
    assert age_at_sessions(told) == (told, ())
    same, notes = age_at_sessions(table)
    assert same["age"].tolist() == [50] * 6
    assert "contains the years that passed" in notes[0]


def test_ages_that_differ_and_single_sessions_stay() -> None:
    once = pd.DataFrame([{"participant_id": "x", "session": "2", "age": 40.0, "day": 365.25}])
    table = pd.concat([visits("1", "2", people=1, age=[50.0, 51.5], day=[0.0, 28.0]), once])
    kept, notes = age_at_sessions(table)
    assert kept["age"].tolist() == [50, 51.5, 40]
    assert notes == ()
