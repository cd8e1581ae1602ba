"""What a container is built from: the lock file names every package, by version and checksum, as the constraints do."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.workflow.conftest import ROOT

PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def pinned(file: Path) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PINNED.findall(file.read_text())}


def test_the_lock_names_every_dependency_with_checksums() -> None:
    text = (ROOT / "requirements.lock").read_text()
    locked = pinned(ROOT / "requirements.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in (*project["dependencies"], *project["optional-dependencies"]["build"]):
        wanted = Requirement(line)
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), line
    blocks = re.split(r"^(?=[A-Za-z0-9])", text.partition("\n\n")[2] or text, flags=re.MULTILINE)
    assert all("--hash=sha256:" in block for block in blocks if PINNED.match(block))


def test_lock_and_constraints_say_the_same() -> None:
    constraints, locked = pinned(ROOT / "constraints.txt"), pinned(ROOT / "requirements.lock")
    differing = {name for name, version in locked.items() if constraints.get(name, version) != version}
    assert not differing


def test_both_containers_take_the_same_steps() -> None:
    docker = (ROOT / "Dockerfile").read_text()
    apptainer = (ROOT / "workflow/envs/plastimap.def").read_text()
    steps = re.findall(r"^    (python -m .*)$", apptainer, re.MULTILINE)
    assert len(steps) == 4
    assert all(step in docker for step in steps)
    assert docker.partition("FROM ")[2].split()[0] == apptainer.partition("From: ")[2].split()[0]


def test_the_first_step_is_sound_without_a_network() -> None:
    """With everything installed, the resolver accepts the lock: no package missing, none at another version."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--require-hashes"]
    done = subprocess.run(
        [*command, "--requirement", str(ROOT / "requirements.lock")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Would install" not in done.stdout
