"""Planning costs the same per scan in a large study as in a small one: counted in calls, not in seconds."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.workflow.conftest import Builder

from plastimap.bids.manifest import Manifest
from plastimap.bids.plan import Study
from plastimap.check import check_study
from plastimap.config import load_config
from plastimap.planning.garbage import OBJECTS, collect_rarely

SESSIONS = ["ses-01", "ses-02"]

TOLERATED = 1.05
"""Calls for the second hundred people over those for the first: some are for the study as a whole, and sorting takes a
little more than its share. A loop over all scans for every person gives 2 and more."""


@pytest.fixture
def small(tmp_path: Path) -> tuple[dict[str, Any], Manifest]:
    """Configuration and manifest of four people."""
    builder = Builder(tmp_path / "bids").study(4, SESSIONS, "mpm", "b1", "dwi")
    config, _ = load_config([{"bids_dir": str(builder.root), "output_dir": str(tmp_path / "out")}])
    return config, check_study(config)[0]


def enlarged(manifest: Manifest, people: int) -> Manifest:
    """The files of the first person, for so many people."""
    first = [row for row in manifest.rows if row.participant_id == "sub-01"]
    names = [f"sub-{number:05d}" for number in range(people)]
    rows = [replace(row, participant_id=name, path=row.path.replace("sub-01", name)) for name in names for row in first]
    lines = [{**manifest.participants[0], "participant_id": name} for name in names]
    return replace(manifest, rows=tuple(rows), participants=tuple(lines))


def calls(work: Callable[[], Any]) -> int:
    """Calls of Python functions, and steps of generators, that a piece of work takes."""
    count = 0

    def tick(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(tick)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def everything(config: dict[str, Any], manifest: Manifest) -> None:
    """Plan as Snakemake does: each rule's input functions, for each person and scan."""
    study = Study(config, manifest)
    study.participant_goals(SimpleNamespace())
    study.cohort_quality_files(SimpleNamespace())
    study.study_report_files(SimpleNamespace())
    study.grid_references(SimpleNamespace())
    for subject in study.subjects:
        wildcards = SimpleNamespace(subject=subject)
        study.person_report_files(wildcards)
        study.person_files(study.paths.mask)(wildcards)
        study.lesion_files(wildcards)
        study.members_of(wildcards)
    for scan in study.scans:
        wildcards = SimpleNamespace(scan=scan.label)
        for name in ("echo_files", "b1_files", "receive_files", "dwi_files", "protocol", "dwi_protocol", "mask_files",
                     "structural_file", "map_files", "dwi_transform", "smooth_inputs", "joining_lesions"):  # fmt: skip
            getattr(study, name)(wildcards)
        study.memory(1000)(wildcards, attempt=1)
    for name, tissue in study.analysed:
        wildcards = SimpleNamespace(map=name, tissue=tissue)
        study.glm_files(wildcards)
        study.glm_errors(wildcards)


def test_a_scan_costs_the_same_in_a_larger_study(small: tuple[dict[str, Any], Manifest]) -> None:
    config, manifest = small
    # Whatever is imported or remembered for good is so after a first round.
    everything(config, enlarged(manifest, 10))
    none, some, many = (calls(lambda n=n: everything(config, enlarged(manifest, n))) for n in (10, 110, 210))
    assert some - none > 100 * 2
    assert many - some <= TOLERATED * (some - none)


def test_the_check_gathers_people_equally_often_in_a_larger_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered = 0
    people = Manifest.people.fget
    assert people is not None

    def counted(manifest: Manifest) -> tuple[str, ...]:
        nonlocal gathered
        gathered += 1
        return people(manifest)

    monkeypatch.setattr(Manifest, "people", property(counted))
    found: list[int] = []
    for number in (4, 8):
        builder = Builder(tmp_path / str(number)).study(number, SESSIONS, "t1w")
        config, _ = load_config([{"bids_dir": str(builder.root), "output_dir": str(tmp_path / "out")}])
        gathered = 0
        check_study(config)
        found.append(gathered)
    assert found[0] == found[1] > 0


@pytest.fixture
def python_collects() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("python_collects")
def test_garbage_is_still_found_while_planning() -> None:
    class Node:
        alive = 0

        def __init__(self) -> None:
            Node.alive += 1
            self.itself = self

        def __del__(self) -> None:
            Node.alive -= 1

    collect_rarely()
    for _ in range(2 * OBJECTS):
        Node()
    assert Node.alive < 1.5 * OBJECTS
