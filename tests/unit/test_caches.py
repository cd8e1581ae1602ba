"""Caches are this user's alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plastimap import caches


def test_the_folder_is_private_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = os.umask(0)
    try:
        folder = caches.cache_folder()
    finally:
        os.umask(before)
    assert folder == tmp_path / "plastimap"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert caches.is_private(folder)


def test_a_folder_that_others_can_write_to_is_closed_or_not_taken(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "plastimap").mkdir()
    (tmp_path / "plastimap").chmod(0o777)
    assert not caches.is_private(tmp_path / "plastimap")
    assert caches.cache_folder() == tmp_path / "plastimap"
    assert caches.is_private(tmp_path / "plastimap")


def test_a_link_is_no_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home/plastimap").symlink_to(theirs, target_is_directory=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert caches.cache_folder() == tmp_path / f"plastimap-{os.geteuid()}"
    assert not list(theirs.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_folder_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (tmp_path / "home/plastimap", tmp_path / f"plastimap-{os.geteuid()}"):
        place.mkdir(parents=True, mode=0o700)
        os.chown(place, 12345, 12345)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert caches.cache_folder() is None


@pytest.mark.parametrize(("mode", "beside"), [(0o755, True), (0o775, False), (0o777, False)])
def test_kernels_lie_beside_the_code_only_where_it_is_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, beside: bool
) -> None:
    (tmp_path / "package/mpm/__pycache__").mkdir(parents=True)
    (tmp_path / "package/mpm/__pycache__").chmod(mode)
    monkeypatch.setattr(caches, "PACKAGE", tmp_path / "package")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(caches.KERNELS_VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    caches.keep_kernels_private()
    place = os.environ.pop(caches.KERNELS_VARIABLE, None)
    assert place == (None if beside else str(tmp_path / "home/plastimap/kernels"))


def test_a_given_folder_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    bad = tmp_path / "shared"
    bad.mkdir()
    bad.chmod(0o777)
    code = "import os, plastimap; print(os.environ['NUMBA_CACHE_DIR'])"
    told = {**os.environ, "NUMBA_CACHE_DIR": str(bad), "XDG_CACHE_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "home/plastimap/kernels")


@pytest.mark.parametrize("writable", [True, False])
def test_trusted_kernels_that_cannot_be_written_to_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    """As in a container of another user: numba does not use a folder that it cannot write to."""
    given = tmp_path / "image"
    (given / "mpm_ab").mkdir(parents=True)
    (given / "mpm_ab/kernel.nbc").write_bytes(b"code")
    given.chmod(0o755)
    monkeypatch.setenv(caches.KERNELS_VARIABLE, str(given))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda place, how: allowed(place, how) and (writable or str(place) != str(given)))
    for _ in range(2):
        monkeypatch.setenv(caches.KERNELS_VARIABLE, str(given))
        caches.keep_kernels_private()
        place = Path(os.environ[caches.KERNELS_VARIABLE])
        assert place == (given if writable else tmp_path / "home/plastimap/kernels")
        assert (place / "mpm_ab/kernel.nbc").read_bytes() == b"code"
        assert caches.is_private(place)
        (place / "mpm_ab/kernel.nbc").write_bytes(b"code")
    assert writable or [file.name for file in (tmp_path / "home/plastimap").iterdir()] == ["kernels"]
