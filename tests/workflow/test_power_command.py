"""The command that plans a study: what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from plastimap.cli import main

ASK = ["--map", "R1", "--tissue", "WM", "--test", "A > B", "--percent", "5", "--centre", "0", "0", "0"]


def test_a_folder_without_results_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", str(tmp_path), *ASK]) == 2
    assert "no output folder of a study" in capsys.readouterr().err
