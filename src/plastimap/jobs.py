"""What every job does around its one call into the library."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from plastimap.process import peak_memory_mb, this_process
from plastimap.writing import Fingerprint, noting_files

PR_SET_PDEATHSIG = 1
"""Linux: ask for a signal when the parent process ends."""

MARK = "# plastimap "
"""Begin of the lines of a log that are for :mod:`plastimap.running.records`: started, done or failed, then JSON."""

SKEW_S = 2.0
"""Clocks of a machine and of its files further apart than this are worth a note: file times decide what reruns."""


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

    A job that fails takes back what it wrote. Snakemake removes a failed job's
    outputs, too, but does not know the sidecars of images: to follow these
    would double the files of every plan.
    """
    _end_with_parent()
    terminal = os.dup(2)
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8", buffering=1) as stream:
        _flush_output()
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        began, files = time.time(), dict[str, Fingerprint]()
        _mark(stream, "started", {"time": began, **asdict(this_process())})
        _tell_skew(stream, began)
        try:
            with _one_blas_thread(), noting_files() as files:
                yield
            _flush_output()
            _mark(stream, "done", {"time": time.time(), "peak_mb": peak_memory_mb(), "files": files})
        except Exception as error:
            traceback.print_exc()
            _flush_output()
            for file in files:
                Path(file).unlink(missing_ok=True)
            _mark(stream, "failed", {"time": time.time(), "reason": _first_line(error)})
            os.write(terminal, f"{_job_name(log)}: {_first_line(error)} (log: {log})\n".encode())
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


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _job_name(log: str | os.PathLike[str]) -> str:
    place = Path(log)
    return f"{place.parent.name} {place.stem}" if place.parent.name != "logs" else place.stem


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
