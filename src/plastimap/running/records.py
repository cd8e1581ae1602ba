"""What the logs of a study say of its jobs, and whether the files they wrote are still as they wrote them."""

from __future__ import annotations

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from plastimap.jobs import MARK
from plastimap.process import is_alive, process_from
from plastimap.running.cleaning import is_inside
from plastimap.writing import PIECE, Fingerprint, PathLike, fingerprint

LOGS = "logs"

TIME_TOLERANCE_S = 2.0
"""A file this much younger than its job's end was changed by somebody else."""

State = Literal["done", "failed", "running", "interrupted"]


@dataclass(frozen=True)
class JobRecord:
    """What a job's log says of it.

    Attributes
    ----------
    log : str
        The log, relative to the output folder.
    state : {"done", "failed", "running", "interrupted"}
        A job that was killed or ran out of memory could not say so: it is interrupted.
    started, ended : float or None
        Seconds since 1970.
    reason : str
        Why it failed.
    files : dict
        Path relative to the output folder → size and checksum, of a job that is done.
    peak_mb : float or None
        Most memory that a job that is done had, in MB; None where the system does not say.
    """

    log: str
    state: State
    started: float | None = None
    ended: float | None = None
    reason: str = ""
    files: dict[str, Fingerprint] = field(default_factory=dict, repr=False)
    peak_mb: float | None = None

    @property
    def step(self) -> str:
        """The rule, without the kind of scan."""
        return self.log.split("/")[1].removesuffix(".log")

    @property
    def about(self) -> str:
        """What it is about: a scan, a person, a map and a tissue; the step itself where it is about the study."""
        return Path(self.log).stem

    @property
    def name(self) -> str:
        """Step and what it is about: ``mpm sub-01_ses-02``."""
        return self.step if self.about == self.step else f"{self.step} {self.about}"


@dataclass(frozen=True)
class Broken:
    """A file that is not as its job wrote it.

    Attributes
    ----------
    file : str
        Relative to the output folder.
    what : str
        What is wrong with it.
    by_hand : bool
        Whether somebody changed it after its job.
    """

    file: str
    what: str
    by_hand: bool = False


def read_records(out: PathLike) -> list[JobRecord]:
    """Records of all jobs that left a log in an output folder, in the order of their logs."""
    root = Path(out)
    logs = sorted(Path(folder, name) for folder, _, names in os.walk(root / LOGS) for name in names)
    found = (read_record(log, log.relative_to(root).as_posix()) for log in logs if log.suffix == ".log")
    return [record for record in found if record is not None]


def broken_files(out: PathLike, records: Iterable[JobRecord], *, content: bool) -> list[Broken]:
    """Files that are there and not as their jobs wrote them.

    Parameters
    ----------
    out : path-like
        The output folder.
    records : iterable of JobRecord
    content : bool
        Compare checksums too, which reads every file; else sizes.

    Returns
    -------
    list of Broken
        Missing files are not among them: Snakemake sees those itself.
    """
    found: list[Broken] = []
    for record in records:
        for file, wanted in record.files.items():
            what = _difference(Path(out, file), wanted, content=content)
            if what:
                changed = Path(out, file).stat().st_mtime
                later = record.ended is not None and changed > record.ended + TIME_TOLERANCE_S
                # What cannot be unpacked nobody has made on purpose, whenever it was.
                found.append(Broken(file, what, later and unpacks(Path(out, file))))
    return found


def unpacks(path: Path) -> bool:
    """Whether a file is whole as far as its compression says; what is not compressed is."""
    if path.suffix != ".gz":
        return True
    try:
        with gzip.open(path) as stream:
            while stream.read(PIECE):
                pass
            return stream.tell() > 0
    except (OSError, EOFError, zlib.error):
        return False


def since(records: Sequence[JobRecord], start: float) -> list[JobRecord]:
    """Records of the jobs that ended at `start` or later."""
    return [record for record in records if record.ended is not None and record.ended >= start]


def _difference(path: Path, wanted: Fingerprint, *, content: bool) -> str:
    try:
        size = path.stat().st_size
        if size != wanted[0]:
            return f"{size:,} bytes, where its job wrote {wanted[0]:,}"
        return "other content than its job wrote" if content and fingerprint(path) != wanted else ""
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def read_record(log: Path, name: str) -> JobRecord | None:
    """What a log, which is to be known by a name, says of its job; None where it says nothing."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    marks = dict(mark for line in lines if line.startswith(MARK) and (mark := _mark(line)))
    if "started" not in marks:
        return None
    began = _number(marks["started"].get("time"))
    if "done" in marks:
        end, files = marks["done"], _files(marks["done"].get("files"))
        if files is not None:
            return JobRecord(name, "done", began, _number(end.get("time")), "", files, _number(end.get("peak_mb")))
    elif "failed" in marks:
        end = marks["failed"]
        return JobRecord(name, "failed", began, _number(end.get("time")), str(end.get("reason", "")))
    process = process_from(marks["started"])
    gone = process is None or is_alive(process) is False
    return JobRecord(name, "interrupted" if gone else "running", began)


def _files(content: object) -> dict[str, Fingerprint] | None:
    """Files of a record of completion; None when it is torn, or names files outside the output folder."""
    if not isinstance(content, dict):
        return None
    found: dict[str, Fingerprint] = {}
    for file, known in content.items():
        match known:
            case [int(size), str(check)] if is_inside(str(file)):
                found[str(file)] = (size, check)
            case _:
                return None
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _mark(line: str) -> tuple[str, dict[str, Any]] | None:
    word, _, text = line.removeprefix(MARK).partition(" ")
    try:
        content = json.loads(text)
    except ValueError:
        # The line was being written when the machine stopped.
        return None
    return (word, content) if isinstance(content, dict) else None
