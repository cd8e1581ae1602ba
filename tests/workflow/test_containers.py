"""What goes into the containers is enough for the program, and nothing that only lies about goes in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT

DEFINITION = ROOT / "workflow/envs/plastimap.def"


def files_of_apptainer() -> list[str]:
    section = DEFINITION.read_text().partition("%files\n")[2].partition("%")[0]
    return [line.split()[0] for line in section.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that apptainer copies, as it copies them."""
    place = tmp_path_factory.mktemp("image")
    for name in files_of_apptainer():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, place / name)
    return place


def names_in_wheel(source: Path, place: Path) -> set[str]:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        return set(content.namelist())


def test_the_copied_files_make_the_same_wheel(copied: Path, tmp_path: Path) -> None:
    assert (copied / "requirements.lock").is_file()
    of_image, of_repository = names_in_wheel(copied, tmp_path / "image"), names_in_wheel(ROOT, tmp_path / "repository")
    # An image that was built is none of the program; the repository's wheel leaves it out by .gitignore.
    assert {name for name in of_repository if not name.endswith(".sif")} == of_image


def test_nothing_else_is_copied(copied: Path) -> None:
    assert not [file for file in copied.rglob("*") if file.suffix == ".sif" or file.name in (".git", ".venv", "demo")]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", ".venv", "demo", "**/*.sif"} <= set(ignored)


def test_both_say_where_kernels_are_and_the_image_of_docker_has_a_home_for_everybody() -> None:
    docker, apptainer = (ROOT / "Dockerfile").read_text(), DEFINITION.read_text()
    (place,) = set(re.findall(r"NUMBA_CACHE_DIR=(\S+)", docker + apptainer))
    assert place.startswith("/opt/")
    # Set before they are compiled, and in what is run.
    assert docker.index("ENV NUMBA_CACHE_DIR") < docker.index("plastimap.warm")
    assert apptainer.partition("%post")[2].index("NUMBA_CACHE_DIR") < apptainer.partition("%post")[2].index("warm")
    assert "NUMBA_CACHE_DIR" in apptainer.partition("%environment")[2].partition("%post")[0]
    assert re.search(r"^ENV HOME=/tmp$", docker, re.MULTILINE)
