from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.unit.report.test_report_pages import Reader

from plastimap.exclusion import ExclusionProblem, excluded_scans, read_exclusions
from plastimap.report.inputs import StudyInputs
from plastimap.report.rating import build_rating, rated_scans


def scans() -> pd.DataFrame:
    noise = np.append(np.linspace(1.0, 1.2, 9), 9.0)
    return pd.DataFrame({"participant_id": [f"sub-{n // 2:02d}" for n in range(10)], "session": ["01", "02"] * 5,
                         "scan": [f"s{n}" for n in range(10)], "day": [0.0, 7.0] * 5, "noise_sd": noise})  # fmt: skip


def test_what_lies_far_out_comes_first() -> None:
    rows = rated_scans(scans())
    assert (rows[0].participant_id, rows[0].session) == ("sub-04", "ses-02")
    assert rows[0].notable == ("noise sd = 9 (median 1.11)",)
    assert rows[0].anchor == "sub-04.html#session-2"
    assert [row.notable for row in rows[1:]] == [()] * 9


def test_page_has_a_box_for_every_scan() -> None:
    page = build_rating(StudyInputs(title="<i>", scans=scans()))
    assert page.count('type="checkbox"') == 10
    assert "<i>" not in page
    assert "There are no scans to rate." in Reader(build_rating(StudyInputs())).text


def test_a_study_without_sessions() -> None:
    rows = rated_scans(scans().iloc[::2].assign(session=None))
    assert {row.session for row in rows} == {""}


def test_table_as_the_page_exports_it(tmp_path: Path) -> None:
    file = tmp_path / "exclude.tsv"
    file.write_text("participant_id\tsession_id\treason\nsub-01\tses-02\tmotion\n03\tn/a\tn/a\n")
    found = read_exclusions(file)
    assert found == {"sub-01_ses-02": "motion", "sub-03": ""}
    labels = ["sub-01_ses-01", "sub-01_ses-02", "sub-03_ses-01", "sub-03_ses-02", "sub-04_ses-01"]
    meant, told = excluded_scans(found | {"sub-99": ""}, labels)
    assert set(meant) == {"sub-01_ses-02", "sub-03_ses-01", "sub-03_ses-02"}
    assert told[0] == "sub-01_ses-02 was left out by hand: motion."
    assert "sub-99" in told[-1]


@pytest.mark.parametrize(("text", "words"), [("who\n", "no column participant_id"),
                                             ("participant_id\tsession_id\n\t01\n", "line 2")])  # fmt: skip
def test_unusable_tables(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "exclude.tsv"
    file.write_text(text)
    with pytest.raises(ExclusionProblem, match=words):
        read_exclusions(file)
