"""One run at a time, what the last one left, and room on the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
from tests.unit.bids.conftest import StudyMaker

from plastimap.bids.plan import Study
from plastimap.check import check_study
from plastimap.config import load_config, usable_config
from plastimap.running.chunks import GROUP_RULES, chunks_of
from plastimap.running.engine import environment, make_again, snakemake_command, uses_slurm
from plastimap.running.handover import CHECKED_VARIABLE, CHUNK_VARIABLE, chunk_people, is_checked
from plastimap.running.launch import Execution, launch
from plastimap.running.lock import RUN_VARIABLE, Busy, hold, is_working, note, read_run
from plastimap.running.resume import place_problems, put_in_order
from plastimap.running.room import needed_bytes, room_problems
from plastimap.shipped import workflow_file

HOLDER = """
import sys, time
from plastimap.running.lock import hold
hold(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def make(tmp_path: Path) -> StudyMaker:
    return StudyMaker(tmp_path / "bids")


def study_of(make: StudyMaker, out: Path, people: int = 4):
    for number in range(1, people + 1):
        make.t1w(f"sub-{number:02d}", shape=(40, 40, 40))
    given = {"bids_dir": str(make.root), "output_dir": str(out), "model": {"group": None, "covariates": []}}
    config, problems = load_config(given)
    manifest, problems = check_study(usable_config(config), config_problems=problems)
    return Study(config, manifest)


def test_the_second_of_two_runs_is_refused_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(Busy, match=f"process {other.pid}"):
        hold(tmp_path)
    assert is_working(read_run(tmp_path))
    other.kill()
    other.communicate()
    lock = hold(tmp_path)
    assert lock.left["pid"] == other.pid
    lock.release()


def test_a_run_that_ended_in_order_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = hold(tmp_path)
    note(tmp_path, ended=1.0)
    assert read_run(tmp_path)["ended"] is None  # this process does not belong to the run
    monkeypatch.setenv(RUN_VARIABLE, lock.name)
    note(tmp_path, ended=time.time(), jobs={"mpm_all": 100})
    lock.release()
    again = hold(tmp_path)
    assert again.left == {}
    again.restore()
    assert read_run(tmp_path)["jobs"] == {"mpm_all": 100}


def test_a_torn_run_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".plastimap").mkdir()
    (tmp_path / ".plastimap/run.json").write_text('{"run": "ab", "pi')
    assert read_run(tmp_path) == {}
    hold(tmp_path).release()


def test_after_a_cut_strays_and_locks_go_and_damaged_files_are_made_again(tmp_path: Path) -> None:
    job = "from plastimap.jobs import job_log\nfrom plastimap.writing import write_text\n"
    job += "with job_log('logs/mpm/sub-01.log'):\n    write_text('a.txt', '123')\n    write_text('b.txt', '456')\n"
    subprocess.run([sys.executable, "-c", job], cwd=tmp_path, check=True)
    (tmp_path / ".x.1-00000000.tmp").touch()
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    (tmp_path / "a.txt").write_text("12")
    said = put_in_order(tmp_path, {"run": "ab", "started": time.time() - 60}, set())
    assert any("1 half-written" in line for line in said)
    assert not locks.exists()
    assert (tmp_path / ".plastimap/set-aside/a.txt").read_text() == "12"
    assert marked(tmp_path) == {"a.txt", "b.txt"}
    # Without a cut, a file changed later is somebody's own work.
    os.utime(tmp_path / "a.txt", (time.time() + 99, time.time() + 99))
    assert put_in_order(tmp_path, {}, set()) == ["a.txt: changed after it was made; it is kept"]


def test_a_lost_file_has_its_job_run_again(tmp_path: Path) -> None:
    job = "from plastimap.jobs import job_log\nfrom plastimap.writing import write_text\n"
    job += "with job_log('logs/mpm/sub-01.log'):\n    write_text('a.txt', '123')\n    write_text('b.txt', '456')\n"
    subprocess.run([sys.executable, "-c", job], cwd=tmp_path, check=True)
    (tmp_path / "a.txt").unlink()
    put_in_order(tmp_path, {}, set())
    assert not (tmp_path / ".snakemake").exists()
    put_in_order(tmp_path, {}, {"a.txt"})
    assert marked(tmp_path) == {"b.txt"}


@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_a_sidecar_has_its_job_run_again_by_a_file_that_snakemake_knows(tmp_path: Path, how: str) -> None:
    job = "from plastimap.jobs import job_log\nfrom plastimap.writing import write_text\n"
    job += "with job_log('logs/mpm/sub-01.log'):\n    write_text('a.json', '{}')\n    write_text('a.nii.gz', '456')\n"
    subprocess.run([sys.executable, "-c", job], cwd=tmp_path, check=True)
    before = (tmp_path / "a.json").stat()
    (tmp_path / "a.json").unlink()
    if how == "damaged":
        (tmp_path / "a.json").write_text("{")
        os.utime(tmp_path / "a.json", ns=(before.st_atime_ns, before.st_mtime_ns))
    put_in_order(tmp_path, {}, {"a.json", "a.nii.gz"})
    assert marked(tmp_path) == {"a.nii.gz"}


def marked(out: Path) -> set[str]:
    """Files that Snakemake is told to make again."""
    return {urlsafe_b64decode(file.name).decode() for file in (out / ".snakemake/incomplete").iterdir()}


@pytest.mark.parametrize("name", ["a.txt", "sub-01/ses-01/anat/" + "x" * 180 + ".nii.gz", "ü/µ.txt"])
def test_the_mark_is_snakemakes_own(tmp_path: Path, name: str) -> None:
    from snakemake.persistence.file import FilePersistence

    make_again(tmp_path, name)
    (tmp_path / ".snakemake/incomplete/probe").touch()
    like = FilePersistence.__new__(FilePersistence)
    like._max_len = None
    place = str(tmp_path / ".snakemake/incomplete")
    assert Path(like._record_path(place, name)).is_file()


def test_a_place_is_tried_before_a_run(tmp_path: Path) -> None:
    assert place_problems(tmp_path / "new") == []
    assert list((tmp_path / "new/.plastimap").iterdir()) == []
    (tmp_path / "file").touch()
    (problem,) = place_problems(tmp_path / "file")
    assert problem.severity == "error"
    (problem,) = place_problems(tmp_path, clock=lambda: time.time() - 10)
    assert "10 s apart" in problem.what


def test_room_is_guessed_from_the_images_and_shrinks_as_files_appear(make: StudyMaker, tmp_path: Path) -> None:
    study = study_of(make, tmp_path / "out")
    whole = needed_bytes(study)
    assert room_problems(study, free=2 * whole) == []
    assert room_problems(study, free=whole)[0].severity == "notice"
    assert room_problems(study, free=whole // 10)[0].severity == "error"
    for file in study.scan_targets(study.scans[0]):
        (tmp_path / "out" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / file).touch()
    assert needed_bytes(study) == pytest.approx(whole * 3 / 4, rel=1e-6)


def test_too_little_room_stops_before_the_first_job(
    make: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    study = study_of(make, tmp_path / "out")
    monkeypatch.setattr("plastimap.running.room.free_bytes", lambda _: 1000)
    assert launch(study, [], Execution("all", "1", None, False, None, 500)) == 2
    assert "are free" in capsys.readouterr().err
    assert not (tmp_path / "out/.snakemake").exists()


def test_chunks_hold_everybody_once(make: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(make, tmp_path / "out", people=7)
    assert chunks_of(study, 500) == ["1/1"]
    chunks = chunks_of(study, 2)
    assert chunks == ["1/4", "2/4", "3/4", "4/4", "0/4"]
    pages: list[str] = []
    for chunk in chunks:
        monkeypatch.setenv(CHUNK_VARIABLE, chunk)
        pages += chunk_people(study.subjects)
    assert pages == study.subjects
    assert chunk_people(study.subjects) == []  # the group level


def test_group_rules_are_those_without_a_person() -> None:
    text = "\n".join(file.read_text() for file in sorted(workflow_file("rules").glob("*.smk")))
    blocks = [block.partition("script:")[0] for block in text.split("rule ")[1:]]
    alone = {
        block.partition(":")[0].strip()
        for block in blocks
        if "log_of(" in block and "SCAN" not in block and "{subject}" not in block
    }
    # With a template of all people a study is planned whole.
    assert "glm" in alone
    assert alone - {""} <= {*GROUP_RULES, "study_template"}


def test_the_call_hands_over_what_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = environment(tmp_path, run="ab", scratch=tmp_path)
    assert told["TMPDIR"] == str(tmp_path)
    assert told[CHECKED_VARIABLE] == str(os.getpid())
    monkeypatch.setenv(CHECKED_VARIABLE, told[CHECKED_VARIABLE])
    assert is_checked()
    monkeypatch.setenv(CHECKED_VARIABLE, "1234567")
    assert not is_checked()
    assert uses_slurm(workflow_file("profiles/slurm"))
    assert not uses_slurm(workflow_file("profiles/default"))
    config = {"output_dir": str(tmp_path)}
    call = snakemake_command(config, target="all", cores="1", profile="slurm", dry_run=False, run="ab12", chunk="0/3")
    assert call[call.index("--slurm-jobname-prefix") + 1] == "plastimap-ab12"
    assert call[call.index("--allowed-rules") + 1 :] == list(GROUP_RULES)
    people = snakemake_command(config, target="all", cores="1", profile=None, dry_run=False, chunk="2/3")
    assert "participant" in people
    assert "all" not in people


@pytest.mark.parametrize("home", ["a file", "a folder"])
def test_who_has_no_home_keeps_caches_in_the_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    """In a container the home of a user whom it does not know is ``/``."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "a file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / home))
    told = environment(tmp_path / "out")
    assert told.get("XDG_CACHE_HOME") == (str(tmp_path / "out/.plastimap/cache") if home == "a file" else None)
