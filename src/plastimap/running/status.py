"""How far a study is: done, failed, running, left; from the logs and the run file, without planning anything."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plastimap.paths import Paths
from plastimap.running.lock import is_working, read_run
from plastimap.running.records import Broken, JobRecord, State, broken_files, read_records
from plastimap.running.wanted import read_wanted
from plastimap.writing import PathLike, read_json

STATES: tuple[State, ...] = ("done", "failed", "interrupted", "running")
FILES_TOLD = 20
"""Files and people that are named one by one."""

_KIND = re.compile(r"_(all|set\d+)$")
_NO_JOBS = frozenset({"all", "participant", "total"})


@dataclass(frozen=True)
class Status:
    """How far a study is.

    Attributes
    ----------
    records : tuple of JobRecord
    left : dict
        Step → jobs that the last run planned and that have not been started.
    run : dict
        What the run file says of the last run; empty where there was none.
    working : bool
        Whether a run is at work.
    broken : tuple of Broken
        Files that are not as their jobs wrote them.
    lost : tuple of str
        Files that were made, are wanted, and are not there any more.
    unmade : int
        Files that the last run asked for and that no job has made yet.
    others : dict
        Person → logs of jobs about people and scans that the last run left out: what they made stays.
    """

    records: tuple[JobRecord, ...]
    left: Mapping[str, int]
    run: Mapping[str, Any]
    working: bool
    broken: tuple[Broken, ...]
    lost: tuple[str, ...] = ()
    unmade: int = 0
    others: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def is_whole(self) -> bool:
        """Whether every file that was asked for is there and as its job wrote it, or as somebody changed it."""
        good = all(record.state == "done" for record in self.records) and all(one.by_hand for one in self.broken)
        return good and not (self.left or self.lost or self.unmade)

    @property
    def is_bad(self) -> bool:
        """Whether there is something that somebody has to look at, or to run again."""
        ended = {"failed", "interrupted"}
        told = any(record.state in ended for record in self.records) or any(not one.by_hand for one in self.broken)
        return told or (not self.working and not self.is_whole)


def read_status(out: PathLike, *, verify: bool = False) -> Status:
    """Read how far the study in an output folder is.

    Parameters
    ----------
    out : path-like
    verify : bool
        Compare checksums of all files, which reads them; else sizes.
    """
    run, records = read_run(out), read_records(out)
    working = is_working(run)
    if not working:
        # A job of another machine counts as running as long as its run may do so.
        records = [_ended(record) for record in records]
    records, others = _of_this_run(out, records)
    goals, final = read_wanted(out)
    wrote = {file for record in records for file in record.files}
    missing = {file for file in {*goals, *(final & wrote)} if not Path(out, file).exists()}
    return Status(
        tuple(records), _left(run, records), run, working, tuple(broken_files(out, records, content=verify)),
        tuple(sorted(missing & wrote)), len(missing - wrote), others,
    )  # fmt: skip


def _of_this_run(out: PathLike, records: Sequence[JobRecord]) -> tuple[list[JobRecord], dict[str, int]]:
    """Records that the last run's plan is about, and by person the number of those that it is not about."""
    try:
        known = set(read_json(Path(out, Paths.plan))["scans"])
    except (OSError, ValueError, KeyError, TypeError):
        return list(records), {}
    known |= {label.partition("_")[0] for label in known}
    others = [record for record in records if record.about.startswith("sub-") and record.about not in known]
    return [one for one in records if one not in others], Counter(one.about.replace("_", " ") for one in others)


def _ended(record: JobRecord) -> JobRecord:
    return JobRecord(record.log, "interrupted", record.started) if record.state == "running" else record


def _left(run: Mapping[str, Any], records: Sequence[JobRecord]) -> dict[str, int]:
    """Planned jobs less those that this run has started."""
    planned: Counter[str] = Counter()
    for rule, count in run.get("jobs", {}).items():
        if rule not in _NO_JOBS:
            planned[step_of(rule)] += count
    begun = Counter(record.step for record in records if (record.started or 0) >= run.get("planned", 0))
    return {step: count - begun[step] for step, count in planned.items() if count > begun[step]}


def step_of(rule: str) -> str:
    """``to_target_set2`` → ``to_target``: kinds of scans have rules of their own."""
    return _KIND.sub("", rule)


def format_status(status: Status, out: PathLike) -> str:
    """The status as a table, the failures with their logs, and what to do next."""
    if not status.records and not status.run:
        return f"nothing has run in {out}"
    lines = [*_table(status), *_failures(status), *_broken(status), *_lost(status), *_others(status)]
    lines += ["", _next(status, out)]
    return "\n".join(lines)


def _table(status: Status) -> list[str]:
    counts = Counter((record.step, record.state) for record in status.records)
    steps = list(dict.fromkeys([*(record.step for record in status.records), *status.left]))
    columns = ("done", "failed", "interrupted", "running", "left")
    rows = [[step, *(counts[step, state] for state in STATES), status.left.get(step, 0)] for step in steps]
    rows.append(["all", *(sum(int(row[place]) for row in rows) for place in range(1, 6))])
    width = max(len(str(row[0])) for row in rows)
    head = " " * width + "".join(f"{name:>13}" for name in columns)
    return [head, *(f"{row[0]:<{width}}" + "".join(f"{count or '·':>13}" for count in row[1:]) for row in rows)]


def _failures(status: Status) -> list[str]:
    told = {"failed": "", "interrupted": "it was ended from outside (killed, out of memory, or out of time)"}
    found = [record for record in status.records if record.state in told]
    return [
        line
        for record in found
        for line in ("", f"{record.state.upper()} {record.name}: {told[record.state] or record.reason}",
                     f"  log: {record.log}")
    ]  # fmt: skip


def _broken(status: Status) -> list[str]:
    return [
        line
        for one in status.broken
        for line in ("", f"{'CHANGED' if one.by_hand else 'BROKEN'} {one.file}: {one.what}")
    ]


def _lost(status: Status) -> list[str]:
    # While a run is at work it may be making them.
    lost = [] if status.working else status.lost
    more = [f"… and {len(lost) - FILES_TOLD} more"] if len(lost) > FILES_TOLD else []
    lines = [f"MISSING {file}: its job wrote it, and it is not there" for file in lost[:FILES_TOLD]]
    return ["", *lines, *more] if lost else []


def _others(status: Status) -> list[str]:
    if not status.others:
        return []
    names = ", ".join(list(status.others)[:FILES_TOLD]) + (", …" if len(status.others) > FILES_TOLD else "")
    return ["", f"not in the last run, their files stay: {names}"]


def _next(status: Status, out: PathLike) -> str:
    if status.working:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.run.get("started", 0)))
        return f"a run is at work since {began} (process {status.run.get('pid')} on {status.run.get('host')})"
    if status.is_whole:
        kept = f" ({len(status.broken)} files were changed by hand, and are kept)" if status.broken else ""
        return f"everything that was asked for is done{kept}; what can be made again:  plastimap clean {out}"
    if status.unmade and not status.left:
        return (
            f"no run is at work, and {status.unmade} files are still to be made; "
            "the same command as before goes on where it stopped, and keeps what is done"
        )
    if status.left or any(record.state != "done" for record in status.records):
        return "no run is at work; the same command as before goes on where it stopped, and keeps what is done"
    return "no run is at work; the same command as before makes again what is broken or missing"
