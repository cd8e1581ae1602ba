"""Files that a copy of the output folder shares with it (``cp -al``), and that are written in place."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from plastimap.running.cleaning import SET_ASIDE
from plastimap.writing import PathLike

IN_PLACE = (".snakemake", ".plastimap", "logs", "benchmarks")
"""Folders with what Snakemake and jobs write under names that are there. Results are renamed into their place."""


def own_records(out: PathLike) -> int:
    """Give an output folder records of its own, where other folders have links to them; how many there were.

    Nobody else may be at work in the folder.
    """
    root = Path(out)
    # What was set aside has a second name in this very folder, and is never written to.
    shared = [Path(file) for name in IN_PLACE for file in _shared(root / name, but=str(root / SET_ASIDE))]
    for file in shared:
        _own(file)
    return len(shared)


def _shared(folder: PathLike, *, but: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.path != but:
                yield from _shared(entry.path, but=but)
        else:
            known = entry.stat(follow_symlinks=False)
            if known.st_nlink > 1 and stat.S_ISREG(known.st_mode):
                yield entry.path


def _own(file: Path) -> None:
    # A short name: those of Snakemake's records may be as long as a name can be.
    beside = file.with_name(f".own.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        shutil.copy2(file, beside)
        os.replace(beside, file)
    finally:
        beside.unlink(missing_ok=True)
