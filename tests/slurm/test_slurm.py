"""A real SLURM runs the study: jobs are accounted for, a cancelled one is tried again, a killed run resumes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest
import yaml

from plastimap.shipped import workflow_file
from plastimap.simulate.spec import SimulationSpec
from plastimap.simulate.study import simulate_study
from tests.faults.test_faults import SPEC, images
from tests.slurm.cluster import queue, slurm, why_not

pytestmark = pytest.mark.slow

WAIT_S = 1200
JOBS = 7
"""Two scans × (mpm, segment, mpm_quality), and the description, which runs where the main process is."""


class Study:
    """The tiny study, run through the shipped profile; only its waiting times are shorter."""

    def __init__(self, root: Path, raw: Path) -> None:
        self.raw, self.out = raw, root / "out"
        self.profile = root / "profile"
        self.profile.mkdir()
        shipped = yaml.safe_load((workflow_file("profiles/slurm") / "config.yaml").read_text())
        quick = {"slurm-init-seconds-before-status-checks": 2, "latency-wait": 10, "slurm-no-account": True}
        # The test for SLURM in a profile reads lines, as people write them.
        text = yaml.safe_dump({**shipped, **quick, "jobs": 10, "default-resources": {"slurm_partition": "test"}})
        (self.profile / "config.yaml").write_text(text)

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "plastimap.cli", "run", str(self.raw), str(self.out), "participant"]
        command += ["--stages", "mpm", "anat", "--profile", str(self.profile)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self) -> str:
        process = self.start()
        said = process.communicate(timeout=WAIT_S)[0]
        assert process.returncode == 0, said[-3000:]
        return said


@pytest.fixture(scope="module")
def accounting(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with slurm(tmp_path_factory.mktemp("slurm")) as log:
        yield log


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "bids"
    simulate_study(folder, SimulationSpec.from_dict(SPEC), workers=1, progress=None)
    return folder


@pytest.fixture(scope="module")
def undisturbed(raw: Path, accounting: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = Study(tmp_path_factory.mktemp("undisturbed"), raw)
    study.run()
    return study


def wait_for_job(known: set[str] = frozenset()) -> str:  # type: ignore[assignment]
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        new = set(queue()) - known
        if new:
            return min(new, key=int)
        time.sleep(0.2)
    raise TimeoutError("no job comes into the queue")


def test_every_job_is_accounted_for(undisturbed: Study, accounting: Path) -> None:
    lines = [line for line in accounting.read_text().splitlines() if "plastimap-" in line]
    states = re.findall(r"JobState=(\w+)", "\n".join(lines))
    assert states == ["COMPLETED"] * (JOBS - 1)
    assert len(images(undisturbed.out)) > 20


def test_a_cancelled_job_is_tried_again(undisturbed: Study, raw: Path, tmp_path: Path) -> None:
    study = Study(tmp_path, raw)
    process = study.start()
    subprocess.run(["scancel", wait_for_job()], check=True)
    said = process.communicate(timeout=WAIT_S)[0]
    assert process.returncode == 0, said[-3000:]
    assert "Trying to restart" in said
    assert images(study.out) == images(undisturbed.out)


def test_a_killed_run_cancels_its_strays_and_resumes(undisturbed: Study, raw: Path, tmp_path: Path) -> None:
    study = Study(tmp_path, raw)
    process = study.start()
    wait_for_job()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    left = queue()
    assert left
    said = study.run()
    assert f"{len(left)} jobs of it were still in the cluster's queue" in said or not set(left) & set(queue())
    assert images(study.out) == images(undisturbed.out)
    assert queue() == {}
