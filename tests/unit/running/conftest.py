"""Jobs and studies small enough for a look at what goes on around a run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.bids.conftest import StudyMaker

from plastimap.bids.plan import Study
from plastimap.check import check_study
from plastimap.config import load_config, usable_config

JOB = """
import gzip
from plastimap.jobs import job_log
from plastimap.writing import replacing, write_text
with job_log("LOG"):
    for file in FILES:
        with replacing(file) as beside:
            beside.write_bytes(gzip.compress(b"123" * 1000) if file.endswith(".gz") else b"1234567890")
    FAIL
"""

Job = Callable[..., Path]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Run a job in an output folder that writes files, or fails; gives the folder."""

    def run(*files: str, log: str = "logs/mpm/sub-01.log", fail: str = "", out: Path | None = None) -> Path:
        place = out or tmp_path / "out"
        place.mkdir(parents=True, exist_ok=True)
        text = JOB.replace("LOG", log).replace("FILES", repr(files)).replace("FAIL", fail)
        subprocess.run([sys.executable, "-c", text], cwd=place, check=not fail, capture_output=True)
        return place

    return run


Make = Callable[..., Study]


@pytest.fixture
def study(tmp_path: Path) -> Make:
    """A study of T1w images, checked, with settings of its own over the defaults."""
    maker = StudyMaker(tmp_path / "bids")
    for number in range(1, 5):
        maker.t1w(f"sub-{number:02d}", shape=(40, 40, 40))

    def make(**settings: Any) -> Study:
        given = {"bids_dir": str(maker.root), "output_dir": str(tmp_path / "out"),
                 "model": {"group": None, "covariates": []}, **settings}  # fmt: skip
        config, _ = load_config(given)
        return Study(config, check_study(usable_config(config))[0])

    return make
