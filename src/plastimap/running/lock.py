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

from plastimap.process import engines_in, is_alive, process_from, this_process
from plastimap.running.handover import RUN_VARIABLE
from plastimap.writing import PathLike, write_text

RUN_FILE = ".plastimap/run.json"
"""Who works in an output folder, and how much there is to do."""

LOCK_FILE = ".plastimap/lock-{folder}"
"""Locked for as long as a run lasts; named by the number of its folder. In a copy of hard links files are the same."""

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
    out : path-like
        The folder.
    before : dict
        What was in the run file.
    """

    name: str
    left: Mapping[str, Any]
    handle: int
    out: PathLike
    before: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def release(self) -> None:
        """Give the folder back."""
        os.close(self.handle)

    def restore(self) -> None:
        """Give the folder back, with the run file as it was: this was no run."""
        _write(self.out, self.before)
        self.release()


def hold(out: PathLike) -> RunLock:
    """Take the folder for this process.

    The lock survives `exec`, and the kernel releases it when the process ends, however it ends.

    Raises
    ------
    Busy
        When another process has it, or a Snakemake that somebody called works in it.
    """
    place = Path(out, RUN_FILE).parent
    place.mkdir(parents=True, exist_ok=True)
    handle = os.open(Path(out, LOCK_FILE.format(folder=place.stat().st_ino)), os.O_RDWR | os.O_CREAT, 0o666)
    before = read_run(out)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        before, taken = read_run(out), False
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        # A file system without locks leaves only the word of the file itself.
        taken = error.errno == errno.EWOULDBLOCK or _lives(before)
    if taken:
        os.close(handle)
        raise Busy(_busy(Path(out), before))
    engines = engines_in(out)
    if engines:
        os.close(handle)
        numbers = ", ".join(map(str, engines))
        raise Busy(f"Snakemake is at work in {out} (process {numbers}); wait for it, or end it first")
    os.set_inheritable(handle, True)
    name = secrets.token_hex(4)
    _write(out, {"run": name, "started": time.time(), **asdict(this_process()), "ended": None, "jobs": {}})
    return RunLock(name, {} if before.get("ended") else before, handle, out, before)


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
        _write(out, {**content, **changes})


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


def _sound(text: bytes) -> dict[str, Any]:
    """What a run file says, without what has another type than we gave it; empty where it is torn."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    sound = {key: value for key, value in found.items() if isinstance(value, _TYPES.get(key, object))}
    if "jobs" in sound:
        sound["jobs"] = {str(rule): count for rule, count in sound["jobs"].items() if isinstance(count, int)}
    times = [key for key in ("started", "planned", "ended") if sound.get(key) and not 0 < sound[key] < LATEST]
    return {key: value for key, value in sound.items() if key not in times}


def _write(out: PathLike, content: Mapping[str, Any]) -> None:
    write_text(Path(out) / RUN_FILE, json.dumps(content))
