"""Only a run changes what jobs and reports read: a check, a dry run and a refused run leave it alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.running.conftest import Job, Make
from tests.unit.running.test_running import HOLDER

from plastimap.bids.plan import PLAN_FILES, keep_study, open_study
from plastimap.paths import Paths
from plastimap.running.handover import CHECKED_VARIABLE, PLAN_VARIABLE
from plastimap.running.launch import Execution, launch
from plastimap.running.lock import hold
from plastimap.running.planned import PLANNED, keep_aside

FILES = [str(getattr(Paths, name)) for name in PLAN_FILES]


def kept(out: Path) -> dict[str, bytes]:
    return {file: (out / file).read_bytes() for file in FILES if (out / file).exists()}


def run_once(out: Path) -> None:
    hold(out).release()


def test_where_nothing_has_run_the_plan_is_there_to_read_and_every_check_renews_it(study: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert keep_aside(study(), []) == ""
    first = kept(out)
    assert set(first) == set(FILES)
    assert keep_aside(study(participants=["01", "02"]), []) == ""
    assert kept(out)["manifest.tsv"] != first["manifest.tsv"]
    assert not (out / PLANNED).exists()
    # It was no run: the first one is not told of one that was cut off.
    lock = hold(out)
    assert lock.left == {}
    lock.release()


@pytest.mark.parametrize("how", ["a run", "jobs of a plain Snakemake"])
def test_where_something_has_run_a_check_lies_aside(study: Make, tmp_path: Path, job: Job, how: str) -> None:
    out = tmp_path / "out"
    keep_study(study(), [])
    if how == "a run":
        run_once(out)
    else:
        job("sub-01/R1.txt")
    before = kept(out)
    assert keep_aside(study(participants=["01"]), []) == PLANNED
    assert kept(out) == before
    assert b"sub-02" not in kept(out / PLANNED)["plan.json"]


def test_while_a_run_is_at_work_neither_a_check_nor_a_refused_run_changes_its_plan(
    study: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    keep_study(study(), [])
    before = kept(out)
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    assert keep_aside(study(participants=["01"]), []) == PLANNED
    assert launch(study(participants=["01"]), [], Execution("all", "1", None, False, None, 500)) == 2
    assert "another run is at work" in capsys.readouterr().err
    other.kill()
    other.communicate()
    assert kept(out) == before


def test_a_dry_run_takes_the_new_plan_and_the_old_files_where_they_say_the_same(
    study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    keep_study(study(), [])
    run_once(out)
    keep_aside(study(smoothing={"vbm": 12}), [])
    monkeypatch.setenv(CHECKED_VARIABLE, str(os.getpid()))
    monkeypatch.setenv(PLAN_VARIABLE, PLANNED)
    found = open_study(files=[out / PLANNED / Paths.effective_config], settings={}, refresh=True)
    assert found.config["smoothing"]["vbm"] == 12
    assert found.paths.effective_config == f"{PLANNED}/plastimap.yaml"
    # Nothing new in these: a rule that reads them has no reason to run.
    assert (found.paths.manifest, found.paths.plan) == ("manifest.tsv", "plan.json")
    assert found.paths.grid == study().paths.grid
    alone = study(participants=["01"])
    keep_aside(alone, [])
    found = open_study(files=[out / PLANNED / Paths.effective_config], settings={}, refresh=True)
    assert [row.path for row in found.manifest.rows] == [row.path for row in alone.manifest.rows]
    assert found.paths.manifest == f"{PLANNED}/manifest.tsv"
    # A job of a run that has not this plan's variable from its own main process takes what the run kept.
    monkeypatch.setenv(CHECKED_VARIABLE, "1")
    own = open_study(files=[out / Paths.effective_config], settings={}, refresh=False)
    assert own.config["smoothing"]["vbm"] != 12
    assert own.paths.manifest == "manifest.tsv"
    assert "02" in own.subjects
