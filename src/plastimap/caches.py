"""Caches that nobody else can write to. Numba keeps compiled kernels as pickles: who writes them runs code here."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parent
KERNELS_VARIABLE = "NUMBA_CACHE_DIR"


def cache_folder() -> Path | None:
    """Folder of this user's caches, which only they can enter; None where no such folder can be had."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    # The second place is open to everybody, so what stands there is looked at all the more.
    for folder in (Path(home, "plastimap"), Path(tempfile.gettempdir(), f"plastimap-{os.geteuid()}")):
        if folder.is_absolute() and _made_private(folder):
            return folder
    return None


def is_private(folder: Path) -> bool:
    """Whether nobody but this user and root can write to a folder, by owner and mode; links do not count."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022


def keep_kernels_private() -> None:
    """Choose where numba keeps compiled kernels, before it is asked to.

    Beside the code, where that is ours alone: so an installation is compiled once. Otherwise in this user's cache
    folder, and for this process only where there is none.
    """
    given = os.environ.get(KERNELS_VARIABLE)
    if is_private(Path(given)) if given else _beside_the_code():
        return
    folder = cache_folder()
    place = str(folder / "kernels") if folder else tempfile.mkdtemp(prefix="plastimap-kernels-")
    os.environ[KERNELS_VARIABLE] = place
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = place


def _beside_the_code() -> bool:
    folders = [PACKAGE, *(entry for entry in PACKAGE.iterdir() if entry.is_dir() and entry.name != "_workflow")]
    folders += [cache for folder in folders if (cache := folder / "__pycache__").exists()]
    return os.access(PACKAGE, os.W_OK) and all(map(is_private, folders))


def _made_private(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return False
        if status.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError:
        return False
    return True
