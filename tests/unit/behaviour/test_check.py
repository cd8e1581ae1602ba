from __future__ import annotations

from pathlib import Path

import pytest

from plastimap.behaviour.check import table_problems

OUTCOMES = {
    "csr_percent": {"better": "higher", "minimum": 0, "maximum": 100},
    "rt_ms": {"better": "lower", "minimum": 0},
}
HEAD = "participant_id\tday\tcsr_percent\trt_ms"


def write(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(["\t".join(line.split()) for line in lines]) + "\n")
    return file


def test_a_sound_table_has_no_problems(tmp_path: Path) -> None:
    file = write(tmp_path / "behaviour.tsv", HEAD, "sub-01 0 0 300", "sub-01 7 100 n/a")
    assert table_problems([file], OUTCOMES, days={}) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sub-02 0 40,5 300", "'40,5' in column csr_percent of sub-02 is no number"),
        ("sub-01 0 40 300", "more than once (sub-01 day 0)"),
        ("sub-02 0 140 300", "sub-02: csr_percent 140 lies beyond"),
        ("sub-02 0 40 -3", "sub-02: rt_ms -3 lies beyond"),
        ("sub-02 -7 40 300", "sub-02: a day is negative"),
    ],
)
def test_what_would_stop_the_job_is_told(tmp_path: Path, line: str, words: str) -> None:
    file = write(tmp_path / "behaviour.tsv", HEAD, "sub-01 0 40 300", line)
    (found,) = table_problems([file], OUTCOMES, days={})
    assert words in found
    assert "; " in found  # what to do about it


def test_all_tables_are_looked_at(tmp_path: Path) -> None:
    first = write(tmp_path / "sub-01_ses-09_beh.tsv", "csr_percent", "40")
    second = write(tmp_path / "sub-02_ses-01_beh.tsv", "points", "40")
    third = write(tmp_path / "sub-03_ses-01_beh.tsv", "csr_percent", "400")
    found = table_problems([first, second, third], OUTCOMES, days={"sub-02_ses-01": 0.0, "sub-03_ses-01": 0.0})
    assert [
        word in text for word, text in zip(("sub-01_ses-09", "none of the outcomes", "400"), found, strict=True)
    ] == [True] * 3


def test_one_assessment_in_two_tables(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{name}.tsv", HEAD, "sub-01 0 40 300") for name in "ab"]
    (found,) = table_problems(files, OUTCOMES, days={})
    assert "more than once" in found
