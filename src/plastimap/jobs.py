"""What every job does around its one call into the library."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from plastimap.process import end_with_parent, peak_memory_mb, this_process
from plastimap.running.handover import RUN_VARIABLE
from plastimap.writing import Fingerprint, noting_files

MARK = "# plastimap "
"""Begin of the lines of a log that are for :mod:`plastimap.running.records`: started, done or failed, then JSON."""

SKEW_S = 2.0
"""Clocks of a machine and of its files further apart than this are worth a note: file times decide what reruns."""

FAILED = ".plastimap/failed"
"""Where jobs of a run say, in the output folder, how they failed: Snakemake removes logs of what it tries again."""

REMEDIES = {
    "RegistrationProblem": "look at orientation and field of view of both images; give a brain mask (table of images: "
    "map `mask`, stage `native`), or leave the scan out (`exclude`)",
}
"""What to do about a problem that nobody can tell before the jobs, by the name of its class."""


class JobFailed(SystemExit):
    """A job's end after a problem that its log and a line on the terminal have told."""


@contextmanager
def job_log(log: str | os.PathLike[str]) -> Generator[None]:
    """Send all output of a script to its log, and turn a failure into one line a person can read.

    Parameters
    ----------
    log : path-like
        The job's log file. Output of compiled libraries goes there too.

    Notes
    -----
    The log's first line says who works on the job; its last one is the record
    of completion: peak memory, and size and checksum of every file that was
    written.

    Snakemake neither redirects a script's output nor ends its jobs when it is
    killed: an orphan and its successor would write the same file. So each
    script asks the kernel to be ended with its parent (Linux).

    A job that a problem of ours has ended would end in the same way with more
    memory: it leaves a note, and when Snakemake tries it again in the same
    run, it ends at once.

    A job that fails takes back what it wrote. Snakemake removes a failed job's
    outputs, too, but does not know the sidecars of images: to follow these
    would double the files of every plan.
    """
    end_with_parent()
    terminal = os.dup(2)
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    # The old one may have another name in a copy of the output folder.
    Path(log).unlink(missing_ok=True)
    with open(log, "w", encoding="utf-8", buffering=1) as stream:
        _flush_output()
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        began, files = time.time(), dict[str, Fingerprint]()
        _mark(stream, "started", {"time": began, **asdict(this_process())})
        _tell_skew(stream, began)
        try:
            _stop_where_known(log)
            with _one_blas_thread(), noting_files() as files:
                yield
            _flush_output()
            _mark(stream, "done", {"time": time.time(), "peak_mb": peak_memory_mb(), "files": files})
        except Exception as error:
            traceback.print_exc()
            _flush_output()
            for file in files:
                Path(file).unlink(missing_ok=True)
            reason = _reason(error)
            _mark(stream, "failed", {"time": time.time(), "reason": reason})
            _remember(log, error)
            if RUN_VARIABLE not in os.environ:
                # Else the run's own lines on the terminal say it.
                os.write(terminal, f"{_job_name(log)}: {reason} (log: {log})\n".encode())
            raise JobFailed(1) from error
        finally:
            os.close(terminal)


def _mark(stream: IO[str], word: str, content: dict[str, Any]) -> None:
    stream.write(f"{MARK}{word} {json.dumps(content)}\n")
    stream.flush()


def _flush_output() -> None:
    for channel in (sys.stdout, sys.stderr):
        channel.flush()


def _tell_skew(stream: IO[str], now: float) -> None:
    """Say where this machine's clock is not that of the output folder."""
    skew = now - os.fstat(stream.fileno()).st_mtime
    if abs(skew) > SKEW_S:
        where = os.uname().nodename
        stream.write(
            f"the clock of {where} and that of the output folder are {skew:.0f} s apart; set the clock (NTP)\n"
        )


@contextmanager
def _one_blas_thread() -> Generator[None]:
    # More than one thread changes the order of sums, and spins inside parallel scans.
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def _job_name(log: str | os.PathLike[str]) -> str:
    place = Path(log)
    return f"{place.parent.name} {place.stem}" if place.parent.name != "logs" else place.stem


@dataclass(frozen=True)
class Failure:
    """How a job of this run ended when it was last tried.

    Attributes
    ----------
    reason : str
    for_good : bool
        Whether it would end in the same way again.
    """

    reason: str
    for_good: bool


class AgainProblem(RuntimeError):
    """A job is tried again that has failed in this run, and would do so again; the message is that of the first."""


def read_failure(out: str | os.PathLike[str], log: str) -> Failure | None:
    """How a job of this run failed, by its log; None where it has not said so, or where this is no run of ours."""
    note = _note(log)
    try:
        told = json.loads(Path(out, note).read_text(encoding="utf-8")) if note else {}
        return Failure(str(told["reason"]), bool(told["for_good"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stop_where_known(log: str | os.PathLike[str]) -> None:
    known, note = read_failure("", os.fspath(log)), _note(log)
    if known and known.for_good:
        raise AgainProblem(known.reason)
    if note:
        note.unlink(missing_ok=True)


def _remember(log: str | os.PathLike[str], error: Exception) -> None:
    note = _note(log)
    if note:
        # What came of somebody else's error may have come of a lack of memory, or of a disk.
        for_good = _is_ours(error) and (error.__context__ is None or _is_ours(error.__context__))
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(asdict(Failure(_reason(error), for_good))), encoding="utf-8")


def _is_ours(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] == "plastimap"


def _note(log: str | os.PathLike[str]) -> Path | None:
    run = os.environ.get(RUN_VARIABLE)
    return Path(FAILED, run, log) if run and not Path(log).is_absolute() else None


def _reason(error: Exception) -> str:
    """First line of a problem, and what to do about it where that is known."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return "; ".join([text, *(REMEDIES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in REMEDIES)])
