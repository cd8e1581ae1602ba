"""What `pip install` gives is enough to run: the built wheel plans a study from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.workflow.conftest import ROOT, Builder, jobs


def test_the_wheel_plans_a_study(builder: Builder, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("plastimap-*.whl")
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    assert (site / "plastimap" / "_workflow" / "Snakefile").is_file()

    builder.study(1, ["ses-01"], "mpm", "dwi")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # The installed copy comes before the repository's editable one.
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    run = [sys.executable, "-m", "plastimap.cli", "run", str(builder.root), str(tmp_path / "out"), "group", "--dry-run"]
    done = subprocess.run(run, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert jobs(done.stdout + done.stderr)["mpm"] == 1
    assert str(site) in done.stdout + done.stderr
