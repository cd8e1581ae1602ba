"""What can happen to a run, done to a very small study: nothing is lost, nothing half written is taken for a result.

Every fault ends with the same check: the images are those of the run that nothing happened to, byte for byte. Prints
a table (``make test-faults``). What needs root (small and read-only disks) is skipped, with the reason, without it.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from plastimap.process import Process, is_alive
from plastimap.running.records import read_records
from plastimap.running.resume import place_problems
from plastimap.simulate.spec import SimulationSpec
from plastimap.simulate.study import simulate_study
from plastimap.writing import STRAY
from tests.unit.running.test_signals import hear_everything

pytestmark = pytest.mark.slow

SPEC = {
    "name": "faults", "seed": 3, "include": ["mpm"], "voxel_mm": 8, "groups": {"A": 1}, "trainees": ["A"],
    "days": [0, 28], "snr": 30, "echoes": {"PDw": 3, "T1w": 3, "MTw": 3}, "behaviour_days": [0, 28], "effects": [],
}  # fmt: skip
LAST = "sub-01/ses-02/anat"
"""Where the steps write that every fault strikes: the segmentation of the second session, and what follows it."""

WAIT_S = 900
"""For a job to begin; a machine that is busy takes its time."""

ROWS: list[tuple[str, str, str]] = []


@dataclass
class Study:
    """The raw data, and an output folder."""

    raw: Path
    out: Path
    said: list[str] = field(default_factory=list)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start a run, as the first of a group of processes."""
        command = [sys.executable, "-m", "plastimap.cli", "run", str(self.raw), str(self.out), "participant"]
        command += ["--stages", "mpm", "anat", "--cores", "1", *options]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            preexec_fn=hear_everything,
        )  # fmt: skip

    def run(self, *options: str) -> int:
        process = self.start(*options)
        self.said.append(process.communicate(timeout=WAIT_S)[0])
        return process.returncode

    def status(self) -> str:
        command = [sys.executable, "-m", "plastimap.cli", "status", str(self.out)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def job(self, step: str) -> int:
        """Number of a process that works on a step of the second session; waits until it is in the middle of it."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            begun = any("started" in log.read_text() for log in (self.out / "logs" / step).rglob("*ses-02.log"))
            for place in Path("/proc").glob("[0-9]*") if begun else ():
                try:
                    words = (place / "cmdline").read_bytes().split(b"\0")
                    here = (place / "cwd").readlink() == self.out
                except OSError:
                    continue
                if here and any(word.endswith(f"{step}.py".encode()) for word in words[:3]):
                    return int(place.name)
            time.sleep(0.05)
        raise TimeoutError(f"no {step} job")


def images(out: Path) -> dict[str, bytes]:
    """Content of all images, without their compression; what was set aside is no result."""
    files = sorted(file for file in out.rglob("sub-*.nii.gz") if ".plastimap" not in file.parts)
    return {str(file.relative_to(out)): gzip.decompress(file.read_bytes()) for file in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study, run from end to end without any fault."""
    root = tmp_path_factory.mktemp("faults")
    simulate_study(root / "bids", SimulationSpec.from_dict(SPEC), workers=1, progress=None)
    study = Study(root / "bids", root / "out")
    assert study.run() == 0, study.said[-1][-3000:]
    return study


@pytest.fixture(scope="module", autouse=True)
def table() -> Generator[None]:
    yield
    width = max((len(row[0]) for row in ROWS), default=0)
    told = max((len(row[1]) for row in ROWS), default=0)
    print(f"\n\n{'fault':<{width}}  {'what happened':<{told}}  data intact")
    print("\n".join(f"{fault:<{width}}  {what:<{told}}  {intact}" for fault, what, intact in ROWS))


@pytest.fixture
def study(undisturbed: Study, tmp_path: Path) -> Study:
    """The finished study, but for the segmentation of the second session."""
    return prepared(undisturbed, tmp_path / "out")


def prepared(undisturbed: Study, out: Path) -> Study:
    shutil.copytree(undisturbed.out, out, dirs_exist_ok=True)
    for record in read_records(out):
        if record.name in ("segment sub-01_ses-02", "mpm_quality sub-01_ses-02"):
            for file in (record.log, *record.files):
                (out / file).unlink()
    return Study(undisturbed.raw, out)


def intact(study: Study, undisturbed: Study, fault: str, what: str) -> None:
    """Compare with the undisturbed run, and note the line of the table."""
    same = images(study.out) == images(undisturbed.out)
    strays = [file for file in study.out.rglob("*") if STRAY.fullmatch(file.name)]
    ROWS.append((fault, what, "yes" if same and not strays else "NO"))
    assert same
    assert not strays


def whole_so_far(study: Study, undisturbed: Study) -> bool:
    """Whether every image under a final name is one of the undisturbed run."""
    wanted = images(undisturbed.out)
    return all(wanted[name] == content for name, content in images(study.out).items())


def test_a_job_is_killed(study: Study, undisturbed: Study) -> None:
    process = study.start()
    os.kill(study.job("segment"), signal.SIGKILL)
    said = process.communicate(timeout=WAIT_S)[0]
    assert process.returncode == 0, said[-2000:]
    assert "ended from outside" in said
    intact(study, undisturbed, "kill -9 of a job", "told, and tried again within the run")


def test_the_main_process_is_killed(study: Study, undisturbed: Study) -> None:
    process = study.start()
    job = study.job("segment")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(2)
    assert not is_alive(Process(os.uname().nodename, job))
    assert whole_so_far(study, undisturbed)
    assert "INTERRUPTED segment sub-01_ses-02" in study.status()
    assert study.run() == 0, study.said[-1][-2000:]
    assert "cut off" in study.said[-1]
    assert len(re.findall(r"\[\d+/\d+\] (mpm sub|segment sub-01 ses-01)", study.said[-1])) == 0
    intact(study, undisturbed, "kill -9 of the main process", "its jobs ended with it; resumed with what was missing")


@pytest.mark.parametrize("how", ["shorter", "zeros"])
def test_an_output_is_damaged_as_by_a_power_cut(study: Study, undisturbed: Study, how: str) -> None:
    process = study.start()
    study.job("mpm_quality")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    file = study.out / LAST / "sub-01_ses-02_label-GM_probseg.nii.gz"
    before = file.stat()
    with open(file, "r+b") as stream:
        if how == "shorter":
            stream.truncate(before.st_size // 2)
        else:
            stream.seek(before.st_size // 2)
            stream.write(bytes(before.st_size - before.st_size // 2))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "BROKEN" in study.status() or how == "zeros"
    assert study.run() == 0, study.said[-1][-2000:]
    assert "it is made again" in study.said[-1]
    intact(study, undisturbed, f"power cut, an output {how}", "found by its record of completion, made again")


def test_one_file_of_several_is_lost(study: Study, undisturbed: Study) -> None:
    assert study.run() == 0
    (study.out / LAST / "sub-01_ses-02_label-WM_probseg.nii.gz").unlink()
    assert study.run() == 0, study.said[-1][-2000:]
    intact(study, undisturbed, "an output is deleted", "found by its record of completion, made again")


@pytest.mark.parametrize("how", ["deleted", "cut short"])
def test_a_sidecar_is_lost(study: Study, undisturbed: Study, how: str) -> None:
    """Snakemake does not know the sidecars; the record of completion does."""
    assert study.run() == 0
    file = study.out / LAST / "sub-01_ses-02_label-WM_probseg.json"
    content, before = file.read_text(), file.stat()
    file.unlink()
    if how == "cut short":
        file.write_text(content[:40])
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert study.run() == 0, study.said[-1][-2000:]
    assert file.read_text() == content
    intact(study, undisturbed, f"a sidecar is {how}", "found by its record of completion, made again")


def test_an_image_is_cut_short_long_after_its_job(study: Study, undisturbed: Study) -> None:
    """As by a copy that was broken off: its time says that somebody changed it, its content that nobody meant to."""
    assert study.run() == 0
    file = study.out / LAST / "sub-01_ses-02_label-WM_probseg.nii.gz"
    file.write_bytes(file.read_bytes()[:-100])
    os.utime(file, (time.time() + 99, time.time() + 99))
    assert "BROKEN" in study.status()
    assert study.run() == 0, study.said[-1][-2000:]
    intact(study, undisturbed, "an image is cut short by a copy", "it does not unpack, so it is made again")


def test_a_dry_run_says_what_a_run_does(study: Study) -> None:
    assert study.run() == 0
    (study.out / LAST / "sub-01_ses-02_label-WM_probseg.json").unlink()
    assert "MISSING" in study.status()
    assert study.run("--dry-run") == 0
    assert "label-WM_probseg.json: it is missing; it is made again" in study.said[-1]
    planned = re.search(r"^segment +1$", study.said[-1], re.MULTILINE)
    assert planned, study.said[-1][-2000:]
    assert study.run() == 0
    assert "segment sub-01 ses-02" in study.said[-1]


def test_a_finished_study_is_not_said_to_be_cut_off(study: Study, undisturbed: Study) -> None:
    assert study.run() == 0
    for _ in range(2):
        assert study.run() == 0
        assert "Nothing to be done" in study.said[-1]
        assert "cut off" not in study.said[-1]
    assert "everything that was asked for is done" in study.status()
    intact(study, undisturbed, "run again when all is done", "nothing is done, nobody is alarmed")


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_somebody_stops_the_run(study: Study, undisturbed: Study, how: str) -> None:
    process = study.start()
    study.job("segment")
    # The terminal tells all processes; a queue tells the first, which finishes the job.
    os.killpg(process.pid, signal.SIGINT) if how == "Ctrl-C" else os.kill(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=WAIT_S)[0]
    assert process.returncode == (130 if how == "Ctrl-C" else 143), said[-2000:]
    assert said.count("the same command goes on where it stopped") == 1
    assert not re.search("FAILED|CalledProcess|Traceback|At least one job|failure", said)
    assert whole_so_far(study, undisturbed)
    assert "goes on where it stopped" in study.status()
    assert study.run() == 0, study.said[-1][-2000:]
    intact(study, undisturbed, f"{how} in the middle", "told as such, without failures; resumed")


def test_a_copy_of_hard_links_is_a_study_of_its_own(study: Study, undisturbed: Study) -> None:
    assert study.run() == 0
    records = [study.out / name for name in (".snakemake/metadata", ".plastimap", "logs", "benchmarks")]
    before = {file: file.read_bytes() for place in records for file in place.rglob("*") if file.is_file()}
    copy = Study(study.raw, study.out.with_name("copy"))
    subprocess.run(["cp", "-al", str(study.out), str(copy.out)], check=True)
    (copy.out / LAST / "sub-01_ses-02_mpm_tissues_qa.json").unlink()
    assert copy.run() == 0, copy.said[-1][-2000:]
    assert "mpm_quality sub-01 ses-02" in copy.said[-1]
    assert {file: file.read_bytes() for file in before} == before
    assert study.run() == 0
    assert "Nothing to be done" in study.said[-1]
    intact(study, undisturbed, "a copy of hard links is run", "it gets records of its own")


def test_out_of_memory(study: Study, undisturbed: Study) -> None:
    process = study.start()
    job = study.job("segment")
    subprocess.run(["prlimit", f"--pid={job}", "--as=1"], check=True)
    said = process.communicate(timeout=WAIT_S)[0]
    assert process.returncode == 0, said[-2000:]
    assert "FAILED segment" in said
    intact(study, undisturbed, "out of memory in a job", "told, and tried again within the run")


def test_two_runs_at_once(study: Study, undisturbed: Study) -> None:
    process = study.start()
    study.job("segment")
    assert study.run() == 2
    assert f"process {process.pid}" in study.said[-1]
    said = process.communicate(timeout=WAIT_S)[0]
    assert process.returncode == 0, said[-2000:]
    intact(study, undisturbed, "two runs at once", "the second is refused and names the first")


def test_clocks_differ(study: Study, undisturbed: Study) -> None:
    (told,) = place_problems(study.out, clock=lambda: time.time() + 3600)
    assert os.uname().nodename in told.what
    assert "3600 s" in told.what
    assert place_problems(study.out) == []
    assert study.run() == 0
    intact(study, undisturbed, "clocks of machine and disk differ", "a probe file finds it, the machine is named")


@contextmanager
def mounted(place: Path, options: str) -> Generator[Callable[[str], None]]:
    """A disk of its own at `place`; gives a function that mounts it again with other options."""
    if os.geteuid() != 0:
        pytest.skip("a disk of its own needs root")
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk of its own here: {done.stderr.strip()}")
    try:
        yield lambda new: subprocess.run(["mount", "-o", f"remount,{new}", str(place)], check=True) and None
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def test_the_disk_fills_up(undisturbed: Study, tmp_path: Path) -> None:
    with mounted(tmp_path / "out", "size=64m") as remount:
        study = prepared(undisturbed, tmp_path / "out")
        filler = tmp_path / "out" / "filler"
        free = shutil.disk_usage(study.out).free
        filler.write_bytes(bytes(free - 24 * 4096))
        assert study.run() != 0
        assert "Traceback" not in study.said[-1]
        assert re.search("No space left|needs about", study.said[-1])
        assert whole_so_far(study, undisturbed)
        filler.unlink()
        assert study.run() == 0, study.said[-1][-2000:]
        intact(study, undisturbed, "disk full before the run", "refused or told; resumed when there was room")
        remount("size=65m")


def test_the_disk_fills_up_in_the_middle(undisturbed: Study, tmp_path: Path) -> None:
    with mounted(tmp_path / "out", "size=64m"):
        study = prepared(undisturbed, tmp_path / "out")
        process = study.start()
        study.job("segment")
        filler = tmp_path / "out" / "filler"
        with open(filler, "wb", buffering=0) as stream:
            try:
                while stream.write(bytes(4096)):
                    continue
            except OSError:
                pass
        said = process.communicate(timeout=WAIT_S)[0]
        assert process.returncode != 0
        assert whole_so_far(study, undisturbed)
        filler.unlink()
        assert study.run() == 0, (said + study.said[-1])[-3000:]
        intact(study, undisturbed, "disk full in the middle, .snakemake too", "told; resumed when there was room")


def test_the_output_is_read_only(undisturbed: Study, tmp_path: Path) -> None:
    with mounted(tmp_path / "out", "size=64m") as remount:
        study = prepared(undisturbed, tmp_path / "out")
        remount("ro")
        assert study.run() == 2
        assert "cannot be written" in study.said[-1]
        assert "Traceback" not in study.said[-1]
        remount("rw")
        assert study.run() == 0, study.said[-1][-2000:]
        intact(study, undisturbed, "read-only output", "told before the first job")
