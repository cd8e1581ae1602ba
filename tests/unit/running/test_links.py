"""A copy made of hard links is a study of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.running.conftest import Job
from tests.unit.running.test_running import HOLDER

from plastimap.running.cleaning import SET_ASIDE, set_aside
from plastimap.running.engine import make_again
from plastimap.running.links import own_records
from plastimap.running.lock import Busy, hold, read_run
from plastimap.running.resume import put_in_order


def linked(out: Path) -> Path:
    copy = out.with_name("copy")
    subprocess.run(["cp", "-al", str(out), str(copy)], check=True)
    return copy


def test_what_is_written_in_place_gets_a_file_of_its_own_and_results_stay_shared(tmp_path: Path, job: Job) -> None:
    out = job("sub-01/R1.txt")
    make_again(out, "x" * 200)  # a name as long as names can be
    records = [".snakemake/metadata/abc", "benchmarks/mpm/sub-01.tsv", ".plastimap/run.json"]
    for name in records:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("of the first")
    os.utime(out / records[0], (1e9, 1e9))
    set_aside(out, "sub-01/R1.txt")
    copy = linked(out)
    put_in_order(copy, {}, set())
    for name in (*records, "logs/mpm/sub-01.log"):
        with open(copy / name, "r+") as stream:
            stream.write("XX")
    assert all((out / name).read_text() == "of the first" for name in records)
    assert not (out / "logs/mpm/sub-01.log").read_text().startswith("XX")
    assert (copy / records[0]).read_text() == "XX the first"
    assert all(file.stat().st_nlink == 1 for file in (copy / ".snakemake").rglob("*") if file.is_file())
    assert (copy / "sub-01/R1.txt").samefile(out / "sub-01/R1.txt")
    assert (copy / SET_ASIDE / "sub-01/R1.txt").samefile(out / "sub-01/R1.txt")
    assert own_records(copy) == 0


def test_records_keep_their_times(tmp_path: Path) -> None:
    file = tmp_path / "out/.snakemake/metadata/abc"
    file.parent.mkdir(parents=True)
    file.touch()
    os.utime(file, (1e9, 1e9))
    own_records(linked(tmp_path / "out"))
    assert (tmp_path / "copy/.snakemake/metadata/abc").stat().st_mtime == 1e9


def test_a_copy_is_locked_and_described_by_itself(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    hold(out).release()
    copy = linked(out)
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    lock = hold(copy)
    assert read_run(out)["run"] != read_run(copy)["run"] == lock.name
    for folder in (out, copy):
        with pytest.raises(Busy):
            subprocess_hold(folder)
    lock.release()
    other.kill()
    other.communicate()


def subprocess_hold(folder: Path) -> None:
    """Hold from another process: a process may lock a file twice."""
    code = "import sys\nfrom plastimap.running.lock import Busy, hold\ntry: hold(sys.argv[1])\nexcept Busy: sys.exit(3)"
    if subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == 3:
        raise Busy


def test_a_log_that_a_copy_shares_is_not_written_through(tmp_path: Path, job: Job) -> None:
    out = job("sub-01/R1.txt")
    before = (out / "logs/mpm/sub-01.log").read_text()
    job("sub-01/R2.txt", out=linked(out))
    assert (out / "logs/mpm/sub-01.log").read_text() == before
    assert (tmp_path / "copy/logs/mpm/sub-01.log").read_text() != before
