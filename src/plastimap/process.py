"""Processes by a name that is not given twice, so that a later one is not taken for them."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

PR_SET_PDEATHSIG = 1
"""Linux: ask for a signal when the parent process ends."""

ENDED = -1
"""In place of the start of a process that ended and that nobody has asked about yet."""

ENGINES = ("snakemake", "plastimap.running.call")
"""What a Snakemake is called by, as a module or a program; the second is ours."""

ONLY_LOOKING = frozenset({"--mode", "-n", "--dry-run", "--dryrun", "--unlock", "--summary"})
"""Options of a Snakemake that starts no jobs in its folder: with the first it is a job of another one."""


@dataclass(frozen=True)
class Process:
    """A process on some machine.

    Attributes
    ----------
    host : str
        Name of the machine.
    pid : int
        Number of the process there.
    ticks : int
        When it started, in clock ticks since the machine's start; 0 where the system does not say.
    """

    host: str
    pid: int
    ticks: int = 0


def this_process() -> Process:
    """The process that asks."""
    return Process(socket.gethostname(), os.getpid(), _start_ticks(os.getpid()) or 0)


def peak_memory_mb() -> float | None:
    """Most memory that this process has had so far, in MB; None where the system does not say (other than Linux).

    Unlike `resource.getrusage` this is not the memory of the process that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(peaks[0]) * 1.024e-3 if peaks else None


def end_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_quietly_on_interrupt() -> None:
    """Print no traceback when Ctrl-C ends this process: its run tells the one who pressed it."""
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            shown(kind, error, trace)

    sys.excepthook = hook


def is_alive(process: Process) -> bool | None:
    """Whether a process still runs; None when it is another machine's."""
    if process.host != socket.gethostname():
        return None
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # It belongs to somebody else; so it is there.
        return True
    ticks = _start_ticks(process.pid)
    return ticks is None or (ticks != ENDED and process.ticks in (0, ticks))


def engines_in(folder: str | os.PathLike[str]) -> list[int]:
    """Numbers of the Snakemake processes of this machine that may change a folder (Linux; elsewhere none is found).

    Those that do one job for a cluster are not meant: they end when their job is cancelled.
    """
    place, found = os.path.realpath(folder), list[int]()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            here = os.fspath((process / "cwd").readlink()) == place
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0") if here else []
        except OSError:
            # It has ended, or is somebody else's.
            continue
        if any(Path(word).name in ENGINES for word in words[:4]) and not ONLY_LOOKING & set(words):
            found.append(int(process.name))
    return sorted(set(found) - {os.getpid()})


def process_from(content: Mapping[str, Any]) -> Process | None:
    """The process that a record names, or None when it names none."""
    try:
        process = Process(str(content["host"]), int(content["pid"]), int(content.get("ticks", 0)))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    # Zero and negative numbers are groups of processes; larger ones no system gives.
    return process if 0 < process.pid < 1 << 31 else None


def _start_ticks(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # The name in parentheses may itself hold spaces; the fields after it are counted from 3.
        fields = stat.rpartition(")")[2].split()
    except OSError:
        return None
    return ENDED if fields[0] == "Z" else int(fields[19])
