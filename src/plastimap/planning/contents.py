"""What tells one content of a file from another, without reading all of it.

Snakemake does a job again when an input is newer than what was made from it. A file that is replaced by an older one
(``cp -p``, ``rsync -a``, an unpacked archive) is not newer, so rules carry the content of their inputs as a param.
"""

from __future__ import annotations

import os
from zlib import crc32

SMALL_BYTES = 1_000_000
"""Up to this size a file that is not compressed is read whole."""

TRAILER_BYTES = 8
"""At the end of a gzip file: checksum and size of what was compressed."""


def content_of(path: str) -> str:
    """Size and checksum of a file; size and time of change of a large one that is not compressed.

    Parameters
    ----------
    path : str

    Returns
    -------
    str
        ``missing`` where it cannot be read: other checks speak of that.
    """
    try:
        with open(path, "rb") as file:
            about = os.fstat(file.fileno())
            if path.endswith(".gz") and about.st_size > TRAILER_BYTES:
                file.seek(-TRAILER_BYTES, os.SEEK_END)
                return f"{about.st_size}:{file.read().hex()}"
            if about.st_size <= SMALL_BYTES:
                return f"{about.st_size}:{crc32(file.read()):08x}"
            return f"{about.st_size}:{about.st_mtime_ns}"
    except OSError:
        return "missing"
