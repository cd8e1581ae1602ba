from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from plastimap.behaviour import BehaviourProblem, read, tidy

OUTCOMES = ["csr_percent", "rt_ms"]


def write(path: Path, text: str) -> Path:
    path.write_text(text.replace(" ", "\t"))
    return path


def test_bids_table_takes_the_participant_from_its_name(tmp_path: Path) -> None:
    file = write(
        tmp_path / "sub-07_ses-01_task-dance_beh.tsv",
        "day side csr_percent rt_ms\n0 Left 40 60\n0 right n/a 55\n7 left 50 50\n",
    )
    table = tidy([read(file)], outcomes=OUTCOMES)
    assert list(table.columns) == ["participant_id", "day", "side", "outcome", "value"]
    assert set(table["participant_id"]) == {"sub-07"}
    assert len(table) == 5
    left = table[(table["side"] == "left") & (table["outcome"] == "csr_percent")]
    assert left[["day", "value"]].to_numpy().tolist() == [[0, 40], [7, 50]]


def test_plain_table_of_everybody(tmp_path: Path) -> None:
    file = write(tmp_path / "behaviour.tsv", "participant_id day csr_percent\n01 0 40\nsub-02 0 50\n")
    table = tidy([read(file)], outcomes=OUTCOMES)
    assert list(table["participant_id"]) == ["sub-01", "sub-02"]
    assert set(table["side"]) == {"both"}


def test_days_of_the_sessions(tmp_path: Path) -> None:
    file = write(tmp_path / "sub-01_ses-02_task-dance_beh.tsv", "csr_percent\n44\n")
    frame = read(file)
    assert tidy([frame], outcomes=OUTCOMES, days={"sub-01_ses-02": 28.0})["day"].tolist() == [28]
    with pytest.raises(BehaviourProblem, match="day of sub-01_ses-02 is not known"):
        tidy([frame], outcomes=OUTCOMES)


def test_responses_are_scored_per_day_and_side() -> None:
    frame = pd.DataFrame(
        {
            "participant_id": "sub-01",
            "day": [0, 0, 0, 7],
            "side": ["left", "left", "right", "left"],
            "cue_time": [1.0, 2.0, 1.5, 1.0],
            "response_time": [1.05, 2.2, 1.5, 1.0],
        }
    )
    table = tidy([frame], outcomes=OUTCOMES).set_index(["day", "side", "outcome"])["value"]
    assert table[0, "left", "csr_percent"] == 50
    assert table[0, "left", "rt_ms"] == pytest.approx(125)
    assert table[0, "right", "csr_percent"] == 100
    assert table[7, "left", "rt_ms"] == 0


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"csr_percent": [1.0]}, "no column participant_id"),
        ({"participant_id": ["sub-01"], "day": [0]}, "none of the outcomes"),
        ({"participant_id": ["sub-01"], "day": ["later"], "csr_percent": [1.0]}, "'later' in column day"),
        ({"participant_id": ["sub-01"], "day": [0], "csr_percent": ["good"]}, "'good'"),
        ({"participant_id": ["sub-01"] * 2, "day": [0, 0], "csr_percent": [1.0, 2.0]}, "more than once"),
    ],
)
def test_problems_are_named(columns: dict[str, list[object]], words: str) -> None:
    with pytest.raises(BehaviourProblem, match=words):
        tidy([pd.DataFrame(columns)], outcomes=OUTCOMES)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(BehaviourProblem, match="no such file"):
        read(tmp_path / "behaviour.tsv")
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(BehaviourProblem, match="not a tab-separated table"):
        read(tmp_path / "empty.tsv")
    with pytest.raises(BehaviourProblem, match="no participant"):
        read(write(tmp_path / "scores.tsv", "day csr_percent\n0 4\n"))


def test_input_stays_as_it_was() -> None:
    frame = pd.DataFrame({"participant_id": ["sub-01"], "day": [0], "side": ["LEFT"], "csr_percent": [1.0]})
    before = frame.copy()
    tidy([frame], outcomes=OUTCOMES)
    pd.testing.assert_frame_equal(frame, before)


def test_nothing_gives_an_empty_table() -> None:
    assert tidy([], outcomes=OUTCOMES).empty


def test_a_side_with_blanks_is_that_side() -> None:
    frame = pd.DataFrame(
        {"participant_id": ["sub-01"] * 2, "day": [0, 7], "side": ["Left ", " l"], "csr_percent": [1.0, 2]}
    )
    assert set(tidy([frame], outcomes=OUTCOMES)["side"]) == {"left"}
