"""Processes by a name that is not given twice, so that a later one is not taken for them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENDED = -1
"""In place of the start of a process that ended and that nobody has asked about yet."""


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
