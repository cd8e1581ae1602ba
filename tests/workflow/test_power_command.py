"""The command that plans a study: what it refuses."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from plastimap.cli import main
from plastimap.power import _question, add_commands

ASK = ["--map", "R1", "--tissue", "WM", "--test", "A > B", "--percent", "5", "--centre", "0", "0", "0"]


def test_a_folder_without_results_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", str(tmp_path), *ASK]) == 2
    assert "no output folder of a study" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [("--percent", "nan"), ("--sizes", "1"), ("--rounds", "0"), ("--seed", "-1"), ("--radius", "0"), ("--centre", "x")],
)
def test_what_is_no_number_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit):
        main(["power", str(tmp_path), *ASK, f"{option}={value}"])
    assert value in capsys.readouterr().err


def test_another_question_has_a_file_of_its_own() -> None:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    named = {
        _question(parser.parse_args(["power", "out", *ASK, *more]))
        for more in ([], ["--test", "A < B"], ["--percent", "4.5"], ["--centre", "0", "0", "1"], ["--term", "level"])
    }
    assert len(named) == 5
    assert "power_R1_WM_A-above-B_linear_5pct_at_0_0_0_r8_seed1" in named
