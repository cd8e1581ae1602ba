"""What logs say of jobs, and whether the files are as they were written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from plastimap.jobs import MARK
from plastimap.process import Process, is_alive, process_from, this_process
from plastimap.running.cleaning import SET_ASIDE, clean, remove_strays, set_aside, strays
from plastimap.running.lock import hold
from plastimap.running.records import broken_files, read_records
from plastimap.running.resume import put_in_order
from plastimap.running.status import format_status, read_status, step_of

JOB = """
from plastimap.jobs import job_log
from plastimap.writing import write_text
with job_log("logs/mpm/sub-01/ses-01/sub-01_ses-01.log"):
    write_text("sub-01/R1.json", "{}")
    write_text("sub-01/R1.txt", "1234567890")
    print("working")
    FAIL
"""


def job(out: Path, fail: str = "") -> None:
    subprocess.run([sys.executable, "-c", JOB.replace("FAIL", fail)], cwd=out, check=not fail, capture_output=True)


def log(out: Path, name: str, *marks: tuple[str, dict]) -> Path:
    file = out / "logs" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{MARK}{word} {json.dumps(content)}\n" for word, content in marks))
    return file


def started(process: Process, when: float | None = None) -> tuple[str, dict]:
    return "started", {"time": time.time() if when is None else when, **asdict(process)}


def test_a_job_that_is_done_tells_its_files(tmp_path: Path) -> None:
    job(tmp_path)
    (record,) = read_records(tmp_path)
    assert (record.state, record.step, record.name) == ("done", "mpm", "mpm sub-01_ses-01")
    assert record.files["sub-01/R1.txt"][0] == 10
    # An interpreter with our packages: more than 10 MB, less than 1 GB.
    assert record.peak_mb is None or 10 < record.peak_mb < 1000
    assert broken_files(tmp_path, [record], content=True) == []


@pytest.mark.parametrize(
    ("content", "found_by_size"), [("12345", True), ("", True), ("1234567899", False), ("12345678901", True)]
)
def test_a_file_that_changed_is_found(tmp_path: Path, content: str, found_by_size: bool) -> None:
    job(tmp_path)
    file = tmp_path / "sub-01/R1.txt"
    before = file.stat().st_mtime_ns
    file.write_text(content)
    os.utime(file, ns=(before, before))
    records = read_records(tmp_path)
    assert bool(broken_files(tmp_path, records, content=False)) == found_by_size
    (broken,) = broken_files(tmp_path, records, content=True)
    assert (broken.file, broken.by_hand) == ("sub-01/R1.txt", False)


@pytest.mark.parametrize(
    "content",
    ["{}", '{"time": 1}', '{"files": 3}', '{"files": {"a": null}}', '{"files": {"a": ["x", 1]}}', "[]", "3",
     '{"files": {"": [1, "x"]}}', '{"files": {"../kept": [1, "x"]}}', '{"files": {"OUTSIDE": [1, "x"]}}',
     '{"files": {"a\\u0000": [1, "x"]}}'],
)  # fmt: skip
def test_a_record_that_is_torn_or_names_files_elsewhere_counts_for_nothing(tmp_path: Path, content: str) -> None:
    out, kept = tmp_path / "out", tmp_path / "kept"
    kept.write_text("somebody's own")
    file = log(out, "mpm/sub-01.log", started(Process("elsewhere", 1)))
    with open(file, "a") as stream:
        stream.write(f"{MARK}done {content.replace('OUTSIDE', str(kept))}\n")
    (record,) = read_status(out).records
    assert (record.state, record.files) == ("interrupted", {})
    put_in_order(out, {"started": 0}, set())
    assert kept.read_text() == "somebody's own"


@pytest.mark.parametrize("place", ["/x/kept", "../kept", "a/../../kept", "", "."])
def test_nothing_outside_is_set_aside(tmp_path: Path, place: str) -> None:
    with pytest.raises(ValueError, match="outside the output folder"):
        set_aside(tmp_path / "out", place)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["null", "[]", "3", '{"jobs": [1]}', '{"jobs": {"a": "x"}}', '{"started": "x", "pid": 1, "host": 3}',
                '{"started": 1e999, "planned": -1e999, "ended": 1e999}', "\0", "{" * 100000],
)  # fmt: skip
def test_a_run_file_of_other_content_is_no_obstacle(tmp_path: Path, content: str) -> None:
    (tmp_path / ".plastimap").mkdir()
    (tmp_path / ".plastimap/run.json").write_text(content)
    format_status(read_status(tmp_path), tmp_path)
    lock = hold(tmp_path)
    put_in_order(tmp_path, lock.left, set())
    lock.release()


def test_a_file_edited_later_is_somebodys_own(tmp_path: Path) -> None:
    job(tmp_path)
    file = tmp_path / "sub-01/R1.txt"
    file.write_text("corrected by hand")
    os.utime(file, (time.time() + 100, time.time() + 100))
    (broken,) = broken_files(tmp_path, read_records(tmp_path), content=False)
    assert broken.by_hand


def test_failed_running_and_interrupted_jobs_are_told_apart(tmp_path: Path) -> None:
    job(tmp_path, "raise ValueError('the mask is empty')")
    log(tmp_path, "segment/sub-01.log", started(this_process()))
    log(tmp_path, "dwi/sub-01.log", started(Process("elsewhere", 1)))
    log(tmp_path, "smooth/sub-01.log", started(replace(this_process(), ticks=1)))
    torn = log(tmp_path, "glm/R1_GM.log", started(this_process()))
    torn.write_text(torn.read_text() + f'{MARK}done {{"time": 1, "fil')
    log(tmp_path, "old/x.log").write_text("a log of another version\n")
    states = {record.step: (record.state, record.reason) for record in read_records(tmp_path)}
    assert states == {
        "mpm": ("failed", "the mask is empty"),
        "segment": ("running", ""),
        "dwi": ("running", ""),
        "smooth": ("interrupted", ""),
        "glm": ("running", ""),
    }


def test_status_counts_and_names_what_failed(tmp_path: Path) -> None:
    job(tmp_path, "raise ValueError('the mask is empty')")
    log(tmp_path, "segment/sub-01.log", started(Process("elsewhere", 1)))
    run = {"run": "ab", "started": 1.0, "planned": 1.0, "ended": 2.0, "pid": 1, "host": "x"}
    (tmp_path / ".plastimap").mkdir()
    (tmp_path / ".plastimap/run.json").write_text(json.dumps({**run, "jobs": {"mpm_set2": 3, "segment": 1, "all": 1}}))
    status = read_status(tmp_path)
    assert status.left == {"mpm": 2}
    text = format_status(status, tmp_path)
    assert "FAILED mpm sub-01_ses-01: the mask is empty" in text
    assert "log: logs/mpm/sub-01/ses-01/sub-01_ses-01.log" in text
    # No run is at work, so a job of another machine is not either.
    assert "INTERRUPTED segment sub-01" in text
    assert "goes on where it stopped" in text
    assert "nothing has run" in format_status(read_status(tmp_path / "none"), "none")


@pytest.mark.parametrize(
    ("rule", "step"), [("mpm_all", "mpm"), ("to_target_set12", "to_target"), ("segment", "segment")]
)
def test_kinds_are_one_step(rule: str, step: str) -> None:
    assert step_of(rule) == step


def test_processes_are_known_by_more_than_their_number() -> None:
    mine = this_process()
    assert is_alive(mine)
    assert is_alive(replace(mine, ticks=mine.ticks - 1)) is False
    assert is_alive(Process(mine.host, 2**22 + 1)) is False
    assert is_alive(replace(mine, host="elsewhere")) is None
    assert process_from(asdict(mine)) == mine
    assert process_from({"host": "x", "pid": "many"}) is None


def test_strays_alone_are_swept(tmp_path: Path) -> None:
    kept = ["x.nii.gz", ".hidden.tmp", "a.12.tmp", ".x.nii.gz", ".x.12.tmp.nii.gz"]
    gone = [".x.12-0a1b2c3d.tmp.nii.gz", ".x.12-0a1b2c3d.tmp"]
    (tmp_path / "sub-01").mkdir()
    for name in (*kept, *gone):
        (tmp_path / "sub-01" / name).touch()
    assert [file.name for file in strays(tmp_path)] == sorted(gone)
    assert remove_strays(tmp_path) == 2
    assert sorted(file.name for file in (tmp_path / "sub-01").iterdir()) == sorted(kept)


def test_clean_removes_what_can_be_made_again_and_follows_no_link(tmp_path: Path) -> None:
    out, shared = tmp_path / "out", tmp_path / "shared"
    for folder in (out / "work/sub-01", out / SET_ASIDE, out / "sub-01", shared):
        folder.mkdir(parents=True)
        (folder / "file").write_text("1234")
    (out / "work/link").symlink_to(shared, target_is_directory=True)
    assert clean(out) >= 8
    assert not (out / "work").exists()
    assert (shared / "file").exists()
    assert (out / "sub-01/file").exists()
