"""Snakemake's own linter finds nothing; the rules keep to the house's form."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, Builder

RULES = sorted((ROOT / "rules").glob("*.smk"))


def test_snakemake_lint(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, ["ses-01", "ses-02"], "mpm", "b1", "dwi")
    config = tmp_path / "study.yaml"
    config.write_text(f"bids_dir: {builder.root}\noutput_dir: {tmp_path / 'out'}\n")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", str(config)]
    done = subprocess.run([*command, "--lint"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Congratulations" in done.stdout + done.stderr


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_rules_hold_no_code(file: Path) -> None:
    text = file.read_text()
    assert "lambda" not in text
    assert not re.search(r"^\s*run:", text, flags=re.MULTILINE)
    assert text.count("    script:") == text.count("    log:") == len(re.findall(r"^\s*rule\b.*:", text, re.MULTILINE))


def test_snakefile_only_wires() -> None:
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 85


@pytest.mark.parametrize("file", sorted((ROOT / "scripts").glob("*.py")), ids=lambda file: file.stem)
def test_scripts_are_small(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) <= 45
