"""Scans that a person excluded are left out of every plan, and the report is told."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plastimap.bids.plan import StudyProblem, open_study
from plastimap.paths import Paths
from tests.workflow.conftest import Builder

SESSIONS = ["ses-01", "ses-02", "ses-03"]


def opened(builder: Builder, out: Path, **settings: Any) -> Any:
    return open_study(
        files=[], settings={"bids_dir": str(builder.root), "output_dir": str(out), **settings}, refresh=True
    )


def test_excluded_scans_are_left_out_everywhere(builder: Builder, tmp_path: Path) -> None:
    builder.study(5, SESSIONS, "mpm")
    table = tmp_path / "exclude.tsv"
    table.write_text("participant_id\tsession_id\treason\nsub-02\tses-02\tmotion\nsub-05\tn/a\tother protocol\n")
    study = opened(builder, tmp_path / "out", exclude=str(table))
    labels = {scan.label for scan in study.scans}
    assert len(labels) == 3 * 4 - 1
    assert "sub-02_ses-02" not in labels
    assert study.subjects == ["01", "02", "03", "04"]
    assert study.template_members("02") == ["sub-02_ses-01", "sub-02_ses-03"]
    assert not any("sub-02_ses-02" in file or "sub-05" in file for file in study.participant_targets)
    pair = SimpleNamespace(map="R1", tissue="GM")
    assert "sub-02_ses-02" not in study.glm_scans(pair)
    notices = json.loads((tmp_path / "out" / Paths.plan).read_text())["notices"]
    assert notices[0] == "sub-02_ses-02 was left out by hand: motion."


def test_without_a_table_nobody_is_left_out(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, SESSIONS, "mpm")
    assert len(opened(builder, tmp_path / "out").scans) == 12


def test_a_missing_table_is_a_problem_before_the_first_job(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, SESSIONS, "mpm")
    with pytest.raises(StudyProblem, match="exclude: no such file"):
        opened(builder, tmp_path / "out", exclude=str(tmp_path / "nothing.tsv"))


def test_a_table_that_is_none_is_a_problem_in_words(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, SESSIONS, "mpm")
    table = tmp_path / "exclude.tsv"
    table.write_text("scan\nsub-01_ses-01\n")
    with pytest.raises(StudyProblem, match=r"no\s+column\s+participant_id"):
        opened(builder, tmp_path / "out", exclude=str(table))
