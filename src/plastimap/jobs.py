"""What every job does around its one call into the library."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""Linux: ask for a signal when the parent process ends."""


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
    Snakemake neither redirects a script's output nor ends its jobs when it is
    killed: an orphan and its successor would write the same file. So each
    script asks the kernel to be ended with its parent (Linux).
    """
    _end_with_parent()
    terminal = os.dup(2)
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8", buffering=1) as stream:
        for channel in (sys.stdout, sys.stderr):
            channel.flush()
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        try:
            with _one_blas_thread():
                yield
        except Exception as error:
            traceback.print_exc()
            sys.stderr.flush()
            os.write(terminal, f"{_job_name(log)}: {_first_line(error)} (log: {log})\n".encode())
            raise JobFailed(1) from error
        finally:
            os.close(terminal)


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
