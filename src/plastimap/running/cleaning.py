"""What an output folder holds that nobody needs: strays of killed jobs, and what can be made again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from plastimap.writing import STRAY, PathLike

REMAKEABLE = ("work",)
"""Folders of intermediates: whatever in them is needed again is made again."""

SET_ASIDE = ".plastimap/set-aside"
"""Where files go that were not as their jobs wrote them."""


def strays(out: PathLike) -> list[Path]:
    """Files that were being written when their process ended, in an output folder."""
    return sorted(Path(folder, name) for folder, names in _walk(Path(out)) for name in names if STRAY.fullmatch(name))


def remove_strays(out: PathLike) -> int:
    """Remove the strays; how many there were. Nobody else may be at work in the folder."""
    found = strays(out)
    for file in found:
        file.unlink(missing_ok=True)
    return len(found)


def clean(out: PathLike) -> int:
    """Remove strays, intermediates, and files that were set aside.

    Returns
    -------
    int
        Bytes that were freed.
    """
    root, freed = Path(out), 0
    for file in strays(root):
        freed += file.stat().st_size
        file.unlink()
    for name in (*REMAKEABLE, SET_ASIDE):
        folder = root / name
        # A link is somebody's own arrangement: what it points to may be shared.
        if folder.is_dir() and not folder.is_symlink():
            freed += sum(Path(place, file).lstat().st_size for place, names in _walk(folder) for file in names)
            shutil.rmtree(folder)
    return freed


def is_inside(file: str) -> bool:
    """Whether a path counts from the output folder and stays in it."""
    path = PurePosixPath(file)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in file


def set_aside(out: PathLike, file: str) -> None:
    """Keep a second name for a file that is going to be made again.

    Raises
    ------
    ValueError
        When the file is not one of the output folder: its namesake elsewhere would be replaced.
    """
    if not is_inside(file):
        raise ValueError(f"{file} lies outside the output folder")
    kept = Path(out, SET_ASIDE, file)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.unlink(missing_ok=True)
    try:
        os.link(Path(out, file), kept)
    except OSError:
        shutil.copy2(Path(out, file), kept)


def _walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Folders and their files; links to folders are not followed, Snakemake's own folder is left alone."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != ".snakemake"]
        yield folder, names
