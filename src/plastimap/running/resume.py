"""Before a run: what the last one left behind is put in order, and what may be trusted is told from what may not."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plastimap.bids.problems import Problem
from plastimap.jobs import FAILED, SKEW_S
from plastimap.paths import sidecar_of
from plastimap.running.cleaning import REMAKEABLE, SET_ASIDE, remove_strays, set_aside
from plastimap.running.engine import JOB_PREFIX, make_again, remove_engine_locks
from plastimap.running.links import own_records
from plastimap.running.records import Broken, JobRecord, broken_files, read_records, since
from plastimap.writing import PathLike

LINES = 20
"""Files that are told one by one."""

MARGIN_S = 60.0
"""Jobs that ended this long before a run that was cut off are checked whole, too: clocks differ."""


@dataclass(frozen=True)
class Findings:
    """What an output folder says of its files.

    Attributes
    ----------
    broken : tuple of Broken
        Files that are not as their jobs wrote them, and cannot have been changed by hand.
    kept : tuple of Broken
        Files that were changed after they were made.
    lost : tuple of str
        Files that are wanted and missing, of jobs whose other files are there.
    again : tuple of str
        Files that Snakemake knows and that stand for the jobs which have to run again.
    """

    broken: tuple[Broken, ...]
    kept: tuple[Broken, ...]
    lost: tuple[str, ...]
    again: tuple[str, ...]

    def told(self) -> list[str]:
        """The findings, for people."""
        said = [f"{one.file}: {one.what}; it is made again" for one in self.broken]
        said += [f"{file}: it is missing; it is made again" for file in self.lost]
        said += [f"{one.file}: changed after it was made; it is kept" for one in self.kept]
        more = [f"… and {len(said) - LINES} more files"] if len(said) > LINES else []
        return [*said[:LINES], *more]


def look(out: PathLike, left: Mapping[str, Any], wanted: Collection[str]) -> Findings:
    """Tell what may be trusted in an output folder from what may not. Nothing is changed.

    Parameters
    ----------
    out : path-like
        The output folder.
    left : mapping
        Run file of a run that did not end in order; empty otherwise.
    wanted : collection of str
        Files that the run is to have made; of those that are missing the jobs run again.
    """
    records = [record for record in read_records(out) if record.state == "done"]
    broken, kept = _untrusted(out, records, left)
    wrote = {file: record for record in records for file in record.files}
    lost = {
        file: record
        for record in records
        for file in record.files
        if file in wanted and not Path(out, file).exists() and _known_files(out, record)
    }
    hit = {record.log: record for record in (*(wrote[one.file] for one in broken), *lost.values())}
    again = {file for record in hit.values() for file in _known_files(out, record)}
    return Findings(tuple(broken), tuple(kept), tuple(lost), tuple(sorted(again)))


def put_in_order(out: PathLike, left: Mapping[str, Any], wanted: Collection[str]) -> list[str]:
    """Remove what a run that was cut off left, and have broken and missing files made again.

    Parameters
    ----------
    out : path-like
        The output folder, which nobody else works in.
    left, wanted
        As in :func:`look`.

    Returns
    -------
    list of str
        What was found and done, for people.
    """
    own_records(out)
    shutil.rmtree(Path(out, FAILED), ignore_errors=True)
    said: list[str] = []
    if left:
        said.append("the last run was cut off; what it finished is kept")
        said += _cancel_jobs(str(left.get("run", "")))
        remove_engine_locks(out)
        strays = remove_strays(out)
        said += [f"{strays} half-written files removed"] if strays else []
    found = look(out, left, wanted)
    for one in found.broken:
        set_aside(out, one.file)
    for file in found.again:
        make_again(out, file)
    said += found.told()
    return [*said, f"the files as they were found: {SET_ASIDE}"] if found.broken else said


def _untrusted(
    out: PathLike, records: Sequence[JobRecord], left: Mapping[str, Any]
) -> tuple[list[Broken], list[Broken]]:
    """Files to make again, and those to keep: after a cut every difference counts, else what nobody did by hand."""
    recent = since(records, float(left.get("started", 0)) - MARGIN_S) if left else []
    fresh = {file for record in recent for file in record.files}
    sizes = [one for one in broken_files(out, records, content=False) if one.file not in fresh]
    broken = broken_files(out, recent, content=True) + [one for one in sizes if not one.by_hand]
    return broken, [one for one in sizes if one.by_hand]


def _known_files(out: PathLike, record: JobRecord) -> list[str]:
    """Files of a job by which Snakemake takes notice that it is to run again: not the sidecars of images."""
    sidecars = {sidecar_of(file) for file in record.files if file.endswith(".nii.gz")}
    known = record.files.keys() - sidecars
    return [file for file in known if file.partition("/")[0] not in REMAKEABLE and Path(out, file).exists()]


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
