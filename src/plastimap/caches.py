"""Caches that nobody else can write to. Numba keeps compiled kernels as pickles: who writes them runs code here."""

from __future__ import annotations

import os
import shutil
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
    folder, and for this process only where there is none. A given folder that can be trusted but not written to, as in
    a container, is copied there: numba uses none that it cannot write to.
    """
    given = os.environ.get(KERNELS_VARIABLE)
    trusted = is_private(Path(given)) if given else _beside_the_code()
    if trusted and (not given or os.access(given, os.W_OK | os.X_OK)):
        return
    folder = cache_folder()
    place = str(folder / "kernels") if folder else tempfile.mkdtemp(prefix="plastimap-kernels-")
    if given and trusted:
        _copy_kernels(Path(given), Path(place))
    os.environ[KERNELS_VARIABLE] = place
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = place


def _copy_kernels(given: Path, place: Path) -> None:
    """Begin a folder of kernels with those that are there; whatever cannot be copied is compiled again."""
    if any(place.glob("*")):
        return
    beside = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=place.parent))
    try:
        shutil.copytree(given, beside, dirs_exist_ok=True, copy_function=shutil.copy)
        # Another job may be as far, and the folder of the first is as good.
        os.replace(beside, place)
    except (OSError, shutil.Error):
        shutil.rmtree(beside, ignore_errors=True)


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
