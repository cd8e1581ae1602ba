"""The tables of scans and participants."""

from __future__ import annotations

import pandas as pd
import pytest

from plastimap.cohort import merge_quality, participant_table, scan_of_quality_file, scan_table

DAYS = {"sub-01_ses-1": 0.0, "sub-01_ses-2": 28.0, "sub-02": None}


def test_quality_files_find_their_scan() -> None:
    assert scan_of_quality_file("sub-01_ses-02_mpm_qa.json") == "sub-01_ses-02"
    merged = merge_quality([("sub-01_ses-1_mpm_qa.json", {"a": 1}), ("sub-01_ses-1_anat_qa.json", {"b": 2})])
    assert merged == {"sub-01_ses-1": {"a": 1, "b": 2}}


def test_people_get_mean_tiv_covariates_and_curves() -> None:
    quality = {
        "sub-01_ses-1": {"tiv_ml": 1400, "notes": ["x"]},
        "sub-01_ses-2": {"tiv_ml": 1500},
        "sub-02": {"tiv_ml": 1300},
    }
    scans = scan_table(DAYS, quality)
    assert list(scans["scan"]) == sorted(DAYS)
    assert "notes" not in scans
    people = pd.DataFrame({"participant_id": ["sub-01", "sub-02", "sub-03"], "age": [30, 40, 50]})
    fits = pd.DataFrame({"participant_id": ["sub-01"], "outcome": ["rt_ms"], "delta": [-20.0], "flag": [""]})
    table = participant_table(scans, people, fits).set_index("participant_id")
    assert list(table.index) == ["sub-01", "sub-02"]
    assert table.loc["sub-01", ["tiv", "n_sessions", "age", "rt_ms_delta"]].tolist() == pytest.approx(
        [1450, 2, 30, -20]
    )
    assert pd.isna(table.loc["sub-02", "rt_ms_delta"])


def test_no_participants_table_is_fine() -> None:
    assert list(participant_table(scan_table(DAYS, {}), None, None)["n_sessions"]) == [2, 1]
