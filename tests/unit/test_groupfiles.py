"""Tables of the group level, in and out."""

import numpy as np
import pandas as pd
import pytest

from plastimap.groupfiles import read_tables
from plastimap.stats.problems import StatsProblem

MODEL = {"group": "group", "weighting": "equal"}


@pytest.fixture
def tables(tmp_path):
    scans = pd.DataFrame(
        {
            "scan": ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"],
            "participant_id": ["01", "01", "02"],
            "session": ["1", "2", "1"],
            "day": [0, 28, 0],
            "motion_index_mean": [0.1, 0.2, np.nan],
        }
    )
    people = pd.DataFrame({"participant_id": ["01", "02"], "group": ["1", "n/a"], "age": ["n/a", "30"]})
    files = tmp_path / "scans.tsv", tmp_path / "participants.tsv"
    for table, file in zip((scans, people), files, strict=True):
        table.to_csv(file, sep="\t", index=False, na_rep="n/a")
    return files


def test_scans_come_in_the_order_of_the_maps(tables):
    scans, people = read_tables(*tables, labels=["sub-02_ses-1", "sub-01_ses-1"], model=MODEL, map_name="R1")
    assert scans["scan"].tolist() == ["sub-02_ses-1", "sub-01_ses-1"]
    # Labels stay text, with their zeros; what is not available is missing.
    assert scans["participant_id"].tolist() == ["02", "01"]
    assert people["group"].tolist()[0] == "1"
    assert people["group"].isna().tolist() == [False, True]
    assert "motion_index" not in scans


def test_weighting_by_motion_needs_an_index_of_every_scan(tables):
    model = {**MODEL, "weighting": "motion"}
    labels = ["sub-01_ses-1", "sub-01_ses-2"]
    scans, _ = read_tables(*tables, labels=labels, model=model, map_name="MTsat")
    assert scans["motion_index"].tolist() == [0.1, 0.2]
    with pytest.raises(StatsProblem, match="02 1"):
        read_tables(*tables, labels=[*labels, "sub-02_ses-1"], model=model, map_name="R1")
    with pytest.raises(StatsProblem, match="every scan"):
        read_tables(*tables, labels=labels, model=model, map_name="FA")
