"""Whoever ends a run ends all of it, and nobody else comes in before it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.running.test_links import subprocess_hold

from plastimap.process import Process, is_alive
from plastimap.running.lock import Busy, hold

ENGINE = """
import os, signal, sys, time
from pathlib import Path
def finish(number, frame):
    time.sleep(1)  # a job that is at work
    Path("heard").write_text(str(number))
    sys.exit(1)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, finish)
Path("pid").write_text(str(os.getpid()))
time.sleep(60)
"""

RUN = f"""
import os, sys
from plastimap.running.lock import hold
from plastimap.running.signals import run_to_the_end
lock = hold("out")
code = run_to_the_end([sys.executable, "-c", {ENGINE!r}], environment=os.environ, keep=[lock.handle])
sys.exit(code)
"""


def hear_everything() -> None:
    """In a child: what a shell has the tests ignore in its background would be ignored there, too."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def wait_for(file: Path) -> None:
    end = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < end, f"no {file}"
        time.sleep(0.02)


@pytest.fixture
def run(tmp_path: Path):
    """A run whose engine is at work, and the number of the engine's process."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=tmp_path, start_new_session=True, preexec_fn=hear_everything
    )
    wait_for(tmp_path / "pid")
    yield process, int((tmp_path / "pid").read_text())
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("whom", ["the process", "its group"])
def test_a_signal_is_passed_on_once_and_waited_for(run, tmp_path: Path, number: int, whom: str) -> None:
    process, engine = run
    (os.kill if whom == "the process" else os.killpg)(process.pid, number)
    time.sleep(0.3)
    # The engine has the lock itself, should the process be gone before it.
    assert any("/lock-" in os.fspath(file.readlink()) for file in Path(f"/proc/{engine}/fd").iterdir())
    # It is still at work, so nobody else may be.
    with pytest.raises(Busy):
        subprocess_hold(tmp_path / "out")
    assert process.wait(30) == 128 + number
    assert (tmp_path / "heard").read_text() == str(number)
    assert not is_alive(Process(os.uname().nodename, engine))
    hold(tmp_path / "out").release()


def test_what_nohup_has_ignored_stays_ignored(tmp_path: Path) -> None:
    text = RUN.replace("lock = hold", "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); lock = hold")
    text = text.replace("time.sleep(60)", "time.sleep(1)").replace(", signal.SIGHUP)", ")")
    process = subprocess.Popen([sys.executable, "-c", text], cwd=tmp_path, start_new_session=True)
    wait_for(tmp_path / "pid")
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(30) == 0
    assert not (tmp_path / "heard").exists()


def test_a_killed_run_takes_its_engine_along(run, tmp_path: Path) -> None:
    process, engine = run
    process.kill()
    process.wait()
    end = time.monotonic() + 30
    while is_alive(Process(os.uname().nodename, engine)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_alive(Process(os.uname().nodename, engine))
    assert not (tmp_path / "heard").exists()
    hold(tmp_path / "out").release()


@pytest.mark.parametrize(("end", "code"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137), ("pass", 0)])
def test_the_exit_code_is_that_of_a_shell(tmp_path: Path, end: str, code: int) -> None:
    text = "import os, sys\nfrom plastimap.running.signals import run_to_the_end\n"
    text += f"sys.exit(run_to_the_end([sys.executable, '-c', {('import os, sys; ' + end)!r}], environment=os.environ))"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == code


SNAKEFILE = """
rule all:
    input: "x"
    output: "y"
    shell: "touch y"

rule first:
    output: "x"
    shell: "echo at work > begun; sleep SECONDS; touch x"
"""


@pytest.mark.parametrize(
    ("number", "group", "code"), [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143), (None, False, 0)]
)
def test_snakemake_ends_with_the_code_of_what_stopped_it(
    tmp_path: Path, number: int | None, group: bool, code: int
) -> None:
    # On SIGTERM the job that is at work is finished, and the next one is not begun.
    (tmp_path / "Snakefile").write_text(SNAKEFILE.replace("SECONDS", "3" if number else "0"))
    command = [sys.executable, "-m", "plastimap.running.call", "--cores", "1", "--quiet", "all"]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, preexec_fn=hear_everything)
    wait_for(tmp_path / "begun")
    if number:
        (os.killpg if group else os.kill)(process.pid, number)
    assert process.wait(60) == code
    assert (tmp_path / "y").exists() == (code == 0)


@pytest.mark.parametrize(
    ("options", "busy"), [([], True), (["--cores", "4", "all"], True), (["-n"], False), (["--mode", "remote"], False)]
)
def test_a_snakemake_that_somebody_called_is_a_run_too(tmp_path: Path, options: list[str], busy: bool) -> None:
    out = tmp_path / "out"
    out.mkdir()
    program = tmp_path / "snakemake"
    program.write_text("import time\nopen('begun', 'w').write('x')\ntime.sleep(60)\n")
    process = subprocess.Popen([sys.executable, str(program), *options], cwd=out)
    wait_for(out / "begun")
    try:
        if busy:
            with pytest.raises(Busy, match=f"Snakemake is at work.*process {process.pid}"):
                hold(out)
        else:
            hold(out).release()
    finally:
        process.kill()
        process.wait()
