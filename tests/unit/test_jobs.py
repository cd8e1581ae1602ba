"""What every job does around its one call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from plastimap.running.handover import RUN_VARIABLE


def script(folder: Path, body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    file = folder / "x.py"
    file.write_text(textwrap.dedent(body))
    told = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, str(file)], cwd=folder, capture_output=True, text=True, check=False, env=told
    )


def test_output_goes_to_the_log_and_failures_to_the_terminal_in_one_line(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
        import os
        from plastimap.jobs import job_log
        with job_log("logs/segment/sub-01.log"):
            print("from python")
            os.write(1, b"from a library\\n")
            raise ValueError("x.nii.gz: the mask is empty\\nmore")
        """,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "segment sub-01: x.nii.gz: the mask is empty (log: logs/segment/sub-01.log)\n"
    log = (tmp_path / "logs/segment/sub-01.log").read_text()
    assert "from python" in log
    assert "from a library" in log
    assert "Traceback" in log


def test_success_is_silent(tmp_path: Path) -> None:
    done = script(tmp_path, "from plastimap.jobs import job_log\nwith job_log('logs/x.log'):\n    print(1)\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_job_that_fails_takes_back_what_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "before.json").write_text("{}")
    done = script(
        tmp_path,
        """
        from plastimap.jobs import job_log
        from plastimap.writing import write_json
        with job_log("logs/x.log"):
            write_json("sub-01/R1map.json", {"Units": "1/s"})
            raise ValueError("no more")
        """,
    )
    assert done.returncode == 1
    assert list((tmp_path / "sub-01").iterdir()) == []
    assert (tmp_path / "before.json").exists()


def test_a_job_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(
        "import pathlib, time\nfrom plastimap.jobs import job_log\n"
        "with job_log('x.log'):\n    pathlib.Path('started').touch()\n"
        "    time.sleep(3)\n    pathlib.Path('survived').touch()\n"
    )
    script(
        tmp_path,
        """
        import os, pathlib, subprocess, sys, time
        subprocess.Popen([sys.executable, "child.py"])
        while not pathlib.Path("started").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), 9)
        """,
    )
    subprocess.run(["sleep", "4"], check=True)
    assert (tmp_path / "started").exists()
    assert not (tmp_path / "survived").exists()


TWICE = """
from pathlib import Path
from plastimap.jobs import job_log
from plastimap.registration import RegistrationProblem
with job_log("logs/x/sub-01.log"):
    with open("tries", "a") as stream:
        stream.write("x")
    RAISE
"""


@pytest.mark.parametrize(
    ("how", "tries"),
    [("raise RegistrationProblem('far apart')", 1), ("raise MemoryError", 2), ("raise ValueError('?')", 2),
     ("try:\n        raise OSError(5, 'disk')\n    except OSError as error:\n"
      "        raise RegistrationProblem('far apart') from error", 2)],
    ids=["ours", "memory", "a bug", "ours, of a disk"],
)  # fmt: skip
def test_only_what_may_end_otherwise_is_tried_again_within_a_run(tmp_path: Path, how: str, tries: int) -> None:
    """Snakemake tries every failed job again, with more memory: that helps where memory was the reason."""
    reasons: list[str] = []
    for _ in range(2):
        done = script(tmp_path, TWICE.replace("RAISE", how), **{RUN_VARIABLE: "ab"})
        # The run's own lines on the terminal say it.
        assert (done.returncode, done.stderr) == (1, "")
        last = (tmp_path / "logs/x/sub-01.log").read_text().splitlines()[-1]
        reasons.append(json.loads(last.partition("failed ")[2])["reason"])
    assert len((tmp_path / "tries").read_text()) == tries
    assert reasons[0] == reasons[1]
    # Another run begins anew, and so does a job that belongs to none.
    script(tmp_path, TWICE.replace("RAISE", how), **{RUN_VARIABLE: "cd"})
    script(tmp_path, TWICE.replace("RAISE", how))
    assert len((tmp_path / "tries").read_text()) == tries + 2


def test_a_failed_registration_says_what_to_do(tmp_path: Path) -> None:
    done = script(tmp_path, TWICE.replace("RAISE", "raise RegistrationProblem('only 6 % falls inside')"))
    assert "only 6 % falls inside; look at" in done.stderr
    assert "`exclude`" in done.stderr
    assert "`mask`" in done.stderr


@pytest.mark.parametrize("of_a_run", [True, False])
def test_a_job_of_a_run_ends_without_a_traceback_on_ctrl_c(tmp_path: Path, of_a_run: bool) -> None:
    told = {RUN_VARIABLE: "ab"} if of_a_run else {}
    done = script(tmp_path, "import plastimap\nraise KeyboardInterrupt\n", **told)
    assert done.returncode == -signal.SIGINT
    assert ("Traceback" in done.stderr) != of_a_run
    assert "Traceback" in script(tmp_path, "import plastimap\nraise ValueError\n", **told).stderr
