"""One run at a time in an output folder, and what the last one left behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from plastimap.process import is_alive, process_from, this_process
from plastimap.writing import PathLike

RUN_FILE = ".plastimap/run.json"
"""Who works in an output folder, and how much there is to do; locked for as long as a run lasts."""

RUN_VARIABLE = "PLASTIMAP_RUN"
"""Environment variable with the name of the run that a process belongs to."""


LATEST = 1e11
"""Seconds since 1970 that no clock of ours says: beyond them the calendar ends."""

_TYPES: dict[str, Any] = {
    "run": str, "started": (int, float), "planned": (int, float), "ended": (int, float, type(None)), "jobs": dict,
}  # fmt: skip


class Busy(RuntimeError):
    """Another run works in the folder; the message says which."""


@dataclass(frozen=True)
class RunLock:
    """The right to work in an output folder, held until this process and what it became ends.

    Attributes
    ----------
    name : str
        Of this run: 8 hexadecimal digits.
    left : dict
        What the run before left in the file; empty when it ended in order, or when there was none.
    handle : int
        Descriptor of the locked file.
    before : dict
        What was in the file.
    """

    name: str
    left: Mapping[str, Any]
    handle: int
    before: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def release(self) -> None:
        """Give the folder back."""
        os.close(self.handle)

    def restore(self) -> None:
        """Give the folder back, with the run file as it was: this was no run."""
        _write(self.handle, self.before)
        self.release()


def hold(out: PathLike) -> RunLock:
    """Take the folder for this process.

    The lock survives `exec`, and the kernel releases it when the process ends, however it ends.

    Raises
    ------
    Busy
        When another process has it.
    """
    file = Path(out) / RUN_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    before = _content(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = False
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        # A file system without locks leaves only the word of the file itself.
        taken = error.errno == errno.EWOULDBLOCK or _lives(before)
    if taken:
        os.close(handle)
        raise Busy(_busy(Path(out), before))
    os.set_inheritable(handle, True)
    name = secrets.token_hex(4)
    _write(handle, {"run": name, "started": time.time(), **asdict(this_process()), "ended": None, "jobs": {}})
    return RunLock(name, {} if before.get("ended") else before, handle, before)


def read_run(out: PathLike) -> dict[str, Any]:
    """What the run file says; empty where no run has been, or where it is torn."""
    try:
        return _sound((Path(out) / RUN_FILE).read_bytes())
    except OSError:
        return {}


def note(out: PathLike, **changes: Any) -> None:
    """Add to the run file what the run that this process belongs to learned; another run's file is left alone."""
    content = read_run(out)
    if content and content.get("run") == os.environ.get(RUN_VARIABLE):
        handle = os.open(Path(out) / RUN_FILE, os.O_RDWR)
        try:
            _write(handle, {**content, **changes})
        finally:
            os.close(handle)


def is_working(content: Mapping[str, Any]) -> bool:
    """Whether the run of a run file may still be at work."""
    return bool(content) and not content.get("ended") and _lives(content)


def _lives(content: Mapping[str, Any]) -> bool:
    process = process_from(content)
    # Of another machine's process nobody here knows; it is better to wait than to disturb it.
    return process is not None and is_alive(process) is not False


def _busy(out: Path, content: Mapping[str, Any]) -> str:
    who = ""
    if content:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(content.get("started", 0)))
        who = f" (process {content.get('pid')} on {content.get('host')}, since {began})"
    return f"another run is at work in {out}{who}; wait for it, or end it first. How far it is:  plastimap status {out}"


def _content(handle: int) -> dict[str, Any]:
    return _sound(os.pread(handle, 1 << 20, 0))


def _sound(text: bytes) -> dict[str, Any]:
    """What a run file says, without what has another type than we gave it; empty where it is torn."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    sound = {key: value for key, value in found.items() if isinstance(value, _TYPES.get(key, object))}
    jobs: Any = sound.get("jobs", {})
    sound["jobs"] = {str(rule): count for rule, count in jobs.items() if isinstance(count, int)}
    times = [key for key in ("started", "planned", "ended") if sound.get(key) and not 0 < sound[key] < LATEST]
    return {key: value for key, value in sound.items() if key not in times}


def _write(handle: int, content: Mapping[str, Any]) -> None:
    # In place: a new file under the same name would not be the one that is locked.
    data = json.dumps(content).encode()
    os.pwrite(handle, data, 0)
    os.ftruncate(handle, len(data))
