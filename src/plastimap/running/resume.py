"""Before a run: what the last one left behind is put in order, and what may be trusted is told from what may not."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from plastimap.bids.problems import Problem
from plastimap.jobs import SKEW_S
from plastimap.paths import sidecar_of
from plastimap.running.cleaning import REMAKEABLE, SET_ASIDE, remove_strays, set_aside
from plastimap.running.engine import JOB_PREFIX, make_again, remove_engine_locks
from plastimap.running.records import Broken, JobRecord, broken_files, read_records, since
from plastimap.writing import PathLike

MARGIN_S = 60.0
"""Jobs that ended this long before a run that was cut off are checked whole, too: clocks differ."""


def put_in_order(out: PathLike, left: Mapping[str, Any], wanted: Collection[str]) -> list[str]:
    """Remove what a run that was cut off left, and have broken and missing files made again.

    Parameters
    ----------
    out : path-like
        The output folder, which nobody else works in.
    left : mapping
        Run file of a run that did not end in order; empty otherwise.
    wanted : collection of str
        Files that the run is to have made; of those that are missing the jobs run again.

    Returns
    -------
    list of str
        What was found and done, for people.
    """
    said: list[str] = []
    if left:
        said.append("the last run was cut off; what it finished is kept")
        said += _cancel_jobs(str(left.get("run", "")))
        remove_engine_locks(out)
        strays = remove_strays(out)
        said += [f"{strays} half-written files removed"] if strays else []
    records = [record for record in read_records(out) if record.state == "done"]
    broken = _untrusted(out, records, left)
    wrote = {file: record for record in records for file in record.files}
    for one in broken:
        set_aside(out, one.file)
        _again(out, wrote[one.file])
        said.append(f"{one.file}: {one.what}; it is made again (the old one: {SET_ASIDE}/{one.file})")
    _renew_missing(out, records, wanted)
    kept = broken_files(out, records, content=False)
    known = {one.file for one in broken}
    said += [f"{one.file}: changed after it was made; it is kept" for one in kept if one.file not in known]
    return said


def _untrusted(out: PathLike, records: Sequence[JobRecord], left: Mapping[str, Any]) -> list[Broken]:
    """Files to make again: after a cut every difference counts, else those that nobody can have made by hand."""
    recent = since(records, float(left.get("started", 0)) - MARGIN_S) if left else []
    logs = {record.log for record in recent}
    found = broken_files(out, recent, content=True)
    others = broken_files(out, [record for record in records if record.log not in logs], content=False)
    return found + [one for one in others if not one.by_hand]


def _renew_missing(out: PathLike, records: Sequence[JobRecord], wanted: Collection[str]) -> None:
    """Have jobs run again that lost one of the files that are wanted, and not all of them."""
    for record in records:
        if any(file in wanted and not Path(out, file).exists() for file in record.files):
            _again(out, record)


def _again(out: PathLike, record: JobRecord) -> None:
    """Have a job run again, by those of its files that Snakemake knows: not by the sidecars of images."""
    sidecars = {sidecar_of(file) for file in record.files if file.endswith(".nii.gz")}
    for file in record.files.keys() - sidecars:
        if file.partition("/")[0] not in REMAKEABLE and Path(out, file).exists():
            make_again(out, file)


def _cancel_jobs(run: str) -> list[str]:
    """Cancel what a killed run still has in a cluster's queue: it would write the same files."""
    if not run or not shutil.which("squeue") or not shutil.which("scancel"):
        return []
    prefix = f"{JOB_PREFIX}-{run}"
    asked = subprocess.run(
        ["squeue", "--me", "--noheader", "--format", "%i %j"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    pairs = [line.split(maxsplit=1) for line in asked.stdout.splitlines()]
    jobs = [pair[0] for pair in pairs if len(pair) == 2 and pair[1].startswith(prefix)]
    if not jobs:
        return []
    subprocess.run(["scancel", "--signal=KILL", *jobs], check=False)  # noqa: S607
    subprocess.run(["scancel", *jobs], check=False)  # noqa: S607
    return [f"{len(jobs)} jobs of it were still in the cluster's queue and are cancelled"]


def place_problems(out: PathLike, *, clock: Callable[[], float] = time.time) -> list[Problem]:
    """What is wrong with an output folder as a place to write to: permissions, room, its clock.

    Parameters
    ----------
    out : path-like
        The folder; it is made when missing.
    clock : callable
        Gives the time of this machine.
    """
    probe = Path(out) / f".plastimap/probe.{socket.gethostname()}.{os.getpid()}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x" * 4096)
        skew = clock() - probe.stat().st_mtime
        probe.unlink()
    except OSError as error:
        why, remedy = error.strerror or str(error), "give another output folder, or make this one writable"
        return [Problem(os.fspath(out), "nothing can be written to the output folder", why, remedy)]
    if abs(skew) <= SKEW_S:
        return []
    what = f"the clock of {socket.gethostname()} and that of the output folder are {abs(skew):.0f} s apart"
    why = "what has to be made again is decided by the times of files"
    return [Problem(os.fspath(out), what, why, "set the clocks of the machines (NTP), then start again", "notice")]
