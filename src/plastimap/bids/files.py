"""Small text files of a dataset, read with a bound: what is named like a table may be a pipe, or have no end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_text(path: str | os.PathLike[str], *, most: int) -> str:
    """Read a file of UTF-8 text.

    Parameters
    ----------
    path : path-like
    most : int
        Bytes; a larger file is something else.

    Raises
    ------
    OSError
        When it cannot be read, is larger, or is a folder, pipe or device, which might never end.
    UnicodeDecodeError
        When it is no UTF-8 text.
    """
    check_plain(path)
    if Path(path).stat().st_size > most:
        raise OSError(errno.EFBIG, f"it is too large: more than {most:,} bytes", os.fspath(path))
    return Path(path).read_text(encoding="utf-8-sig")


def check_plain(path: str | os.PathLike[str]) -> None:
    """Make sure that a path leads to a plain file.

    Raises
    ------
    OSError
        When it leads to nothing, or to a folder, pipe or device.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a file but a folder, pipe or device", os.fspath(path))
