from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plastimap.behaviour import BehaviourProblem, DifficultyRule, replay, training_summary
from plastimap.behaviour.training import off_rule, read_log


def test_levels_by_hand() -> None:
    # Good bouts need not follow each other; poor ones must.
    assert replay([85, 50, 80, 20, 90, 85], start=2) == [2, 2, 2, 2, 2, 3]
    assert replay([20, 20, 40, 20, 20, 29.9, 50], start=2) == [2, 2, 2, 2, 2, 2, 1]
    assert replay([20] * 7, start=1) == [1] * 7


def test_counts_start_anew_at_a_new_level() -> None:
    assert replay([90] * 7, start=1) == [1, 1, 1, 2, 2, 2, 3]


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(1, 8))
def test_a_log_by_the_rule_has_nothing_off(percent: list[float], start: int) -> None:
    levels = replay(percent, start=start)
    assert off_rule(percent, levels) == []
    assert all(abs(b - a) <= 1 for a, b in itertools.pairwise(levels))
    assert all(level >= 1 for level in levels)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=40), st.data())
def test_one_slip_is_found_where_it_is(percent: list[float], data: st.DataObject) -> None:
    levels = replay(percent, start=5)
    slip = data.draw(st.integers(1, len(levels) - 1))
    levels[slip] += 3
    assert off_rule(percent, levels)[0] == slip


def test_a_slip_counts_once() -> None:
    percent = [90, 90, 90, 50, 50, 50]
    # The game should have gone up after the third bout and did not.
    assert off_rule(percent, [1, 1, 1, 1, 1, 1]) == [3]
    assert off_rule([], []) == []


def log(percent: list[float], levels: list[int], person: str = "sub-01") -> pd.DataFrame:
    days = [1] * 3 + [2] * (len(percent) - 3)
    bouts = [1, 2, 3, *range(1, len(percent) - 2)]
    return pd.DataFrame({"participant_id": person, "day": days, "bout": bouts, "level": levels, "percent": percent})


def test_summary_of_two_people() -> None:
    whole = pd.concat([log([90, 90, 90, 50], [1, 1, 1, 2]), log([50, 50, 50, 50], [1, 1, 1, 2], "sub-02")])
    found = training_summary(whole.sample(frac=1, random_state=1)).set_index("participant_id")
    assert found["off_rule"].tolist() == [0, 1]
    assert found.loc["sub-02", "first_off_rule"] == "day 2, bout 1"
    assert found.loc["sub-01", ["training_days", "bouts", "highest_level"]].tolist() == [2, 4, 2]
    assert found.loc["sub-01", "mean_percent"] == 80


def test_another_rule() -> None:
    rule = DifficultyRule(up_percent=60, up_bouts=1)
    assert replay([70, 70, 70], start=1, rule=rule) == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"percent": [90, 90, 90, 190]}, "between 0 and 100"),
        ({"percent": [90, 90, 90, "many"]}, "'many' in column percent"),
        ({"level": [1, 1, 1, 1.5]}, "whole numbers"),
        ({"bout": [1, 2, 2, 1]}, "there twice"),
    ],
)
def test_problems_are_named(change: dict[str, list[object]], words: str) -> None:
    with pytest.raises(BehaviourProblem, match=words):
        training_summary(log([90, 90, 90, 50], [1, 1, 1, 2]).assign(**change))


def test_missing_columns_are_named() -> None:
    with pytest.raises(BehaviourProblem, match="no column level"):
        training_summary(log([90, 90, 90, 50], [1, 1, 1, 2]).drop(columns="level"))
    assert training_summary(log([90, 90, 90, 50], [1, 1, 1, 2]).iloc[:0]).empty


def test_logs_are_read_from_files(tmp_path: Path) -> None:
    text = log([90, 90, 90, 50], [1, 1, 1, 2], "01").to_csv(sep="\t", index=False)
    (tmp_path / "training.tsv").write_text(text)
    found = training_summary(read_log([tmp_path / "training.tsv"]))
    assert found["participant_id"].tolist() == ["sub-01"]
    assert found["off_rule"].tolist() == [0]
    assert training_summary(read_log([])).empty
