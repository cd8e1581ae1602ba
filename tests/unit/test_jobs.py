"""What every job does around its one call."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path


def script(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    file = folder / "x.py"
    file.write_text(textwrap.dedent(body))
    return subprocess.run([sys.executable, str(file)], cwd=folder, capture_output=True, text=True, check=False)


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
