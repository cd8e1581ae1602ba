"""Files that are whole or absent: write beside, flush, rename.

A reader never sees half a file under a final name: everything is written to
``.<name>.<process>-<random>.tmp`` in the same folder and renamed when it is on disk.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isal import isal_zlib

if TYPE_CHECKING:
    import pandas as pd

PathLike = str | os.PathLike[str]

STRAY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp(\..*)?")
"""Names of files that were being written; where their process is gone they are of no use."""

PIECE = 1 << 20
"""Bytes read at once for a checksum."""

Fingerprint = tuple[int, str]
"""Size of a file in bytes, and its CRC-32 in hexadecimal digits."""

_noted: ContextVar[dict[str, Fingerprint] | None] = ContextVar("_noted", default=None)


@contextmanager
def replacing(path: PathLike) -> Generator[Path]:
    """Give a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    Parameters
    ----------
    path : path-like
        The final name. Its folder is made when missing.

    Yields
    ------
    Path
        Where to write. It keeps the final name's extension, since image
        writers choose the format by it.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    stem, dot, extension = final.name.partition(".")
    # Jobs on two machines may have the same process number.
    beside = final.with_name(f".{stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp{dot}{extension}")
    noted = _noted.get()
    try:
        yield beside
        _flush(beside)
        found = fingerprint(beside) if noted is not None else None
        os.replace(beside, final)
    finally:
        beside.unlink(missing_ok=True)
    if noted is not None and found is not None:
        noted[os.fspath(path)] = found


@contextmanager
def noting_files() -> Generator[dict[str, Fingerprint]]:
    """Collect size and checksum of every file that is written inside, by its path as the writer gave it."""
    files: dict[str, Fingerprint] = {}
    token = _noted.set(files)
    try:
        yield files
    finally:
        _noted.reset(token)


def fingerprint(path: PathLike) -> Fingerprint:
    """Size and checksum of a file, as they are on disk."""
    size, checksum = 0, 0
    with open(path, "rb") as stream:
        while piece := stream.read(PIECE):
            size += len(piece)
            checksum = isal_zlib.crc32(piece, checksum)
    return size, f"{checksum:08x}"


def _flush(path: Path) -> None:
    # Without this a power cut can leave a renamed but empty file.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: PathLike, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_if_changed(path: PathLike, text: str) -> bool:
    """Write `text` unless the file says it already; say whether it was written.

    An unchanged file keeps its time, so that nothing reruns for it.
    """
    file = Path(path)
    # As bytes: what lies there may be anything.
    if file.exists() and file.read_bytes() == text.encode():
        return False
    write_text(file, text)
    return True


def write_json(path: PathLike, content: Mapping[str, Any]) -> None:
    """Write `content` as JSON to `path`; NaN and infinities become ``null``, keys keep their order."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_table(path: PathLike, table: pd.DataFrame) -> None:
    """Write `table` as a tab-separated file without index; missing values are ``n/a`` (BIDS)."""
    with replacing(path) as beside:
        table.to_csv(beside, sep="\t", index=False, na_rep="n/a", lineterminator="\n")


def read_json(path: PathLike) -> dict[str, Any]:
    """Read a JSON object from `path`."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _plain(value: Any) -> Any:
    """Turn numpy scalars, arrays and non-finite numbers into what JSON has words for."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value
