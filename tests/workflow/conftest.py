"""Studies of a few voxels, enough to plan what would be done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.bids.conftest import StudyMaker

ROOT = Path(__file__).parents[2]


class Builder(StudyMaker):
    """A whole study at once."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.people: list[str] = []

    def scan(self, label: str, *kinds: str) -> None:
        """Add the files of one scan: any of mpm, pd_t1, b1, dwi, t1w."""
        if "mpm" in kinds:
            self.mpm(label)
        if "pd_t1" in kinds:
            self.mpm(label, ("PDw", "T1w"))
        for kind, add in {"b1": self.b1, "dwi": self.dwi, "t1w": self.t1w}.items():
            if kind in kinds:
                add(label)

    def person(self, name: str, sessions: Sequence[str]) -> None:
        """Add a line to participants.tsv, and the days of the sessions."""
        self.people.append(f"{name} {30 + len(self.people)} {'AB'[len(self.people) % 2]}")
        self.table("participants.tsv", "participant_id age group", *self.people)
        if sessions:
            days = [f"{session} {28 * place}" for place, session in enumerate(sessions)]
            self.table(f"{name}/{name}_sessions.tsv", "session_id day", *days)

    def study(self, people: int, sessions: Sequence[str], *kinds: str) -> Builder:
        """Everybody has every kind in every session (or without sessions)."""
        for number in range(1, people + 1):
            name = f"sub-{number:02d}"
            self.person(name, sessions)
            for session in sessions or [""]:
                self.scan("_".join(filter(None, (name, session))), *kinds)
        return self


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "bids")


Plan = Callable[..., tuple[int, str]]


@pytest.fixture
def plan(builder: Builder, tmp_path: Path) -> Plan:
    """Dry-run the study through plain Snakemake; give the exit code and everything it said."""

    def dry_run(*targets: str, **config: Any) -> tuple[int, str]:
        study = {"bids_dir": str(builder.root), "output_dir": str(tmp_path / "out"), **config}
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump(study))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", str(file)]
        command += ["--cores", "1", "--dry-run", *targets]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ), check=False)
        return done.returncode, done.stdout + done.stderr

    return dry_run


def jobs(said: str) -> dict[str, int]:
    """Jobs per rule in what a dry run says."""
    lines = said.partition("Job stats:")[2].partition("total")[0].splitlines()
    pairs = (line.split() for line in lines)
    return {pair[0].removesuffix("_all"): int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
