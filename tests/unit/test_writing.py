"""Files are whole or absent."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plastimap.writing import read_json, replacing, write_if_changed, write_json, write_table, write_text


def test_a_failure_leaves_the_old_file_and_no_stray(tmp_path: Path) -> None:
    file = tmp_path / "result.nii.gz"
    file.write_text("old")
    with pytest.raises(RuntimeError), replacing(file) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["result.nii.gz"]


def test_the_temporary_name_is_hidden_beside_and_keeps_the_extension(tmp_path: Path) -> None:
    with replacing(tmp_path / "new" / "x.nii.gz") as beside:
        assert beside.parent == tmp_path / "new"
        assert beside.name.startswith(".x.")
        assert beside.name.endswith(".tmp.nii.gz")
        beside.write_text("whole")
    assert (tmp_path / "new" / "x.nii.gz").read_text() == "whole"


def test_json_has_no_nan_and_knows_numpy(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": np.float32(1.5), "b": math.nan, "c": np.arange(3), "d": {"e": Path("f")}})
    assert read_json(tmp_path / "x.json") == {"a": 1.5, "b": None, "c": [0, 1, 2], "d": {"e": "f"}}
    assert "NaN" not in (tmp_path / "x.json").read_text()


def test_tables_are_bids_tables(tmp_path: Path) -> None:
    write_table(tmp_path / "x.tsv", pd.DataFrame({"participant_id": ["sub-01"], "age": [None]}))
    assert (tmp_path / "x.tsv").read_text() == "participant_id\tage\nsub-01\tn/a\n"


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "x.txt", "µm²/ms")
    assert (tmp_path / "x.txt").read_bytes() == "µm²/ms".encode()


def test_an_unchanged_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    assert write_if_changed(file, "one")
    before = file.stat().st_mtime_ns
    assert not write_if_changed(file, "one")
    assert file.stat().st_mtime_ns == before
    assert write_if_changed(file, "two")
    assert file.read_text() == "two"
