from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from plastimap.planning.contents import SMALL_BYTES, content_of


def write(file: Path, content: bytes) -> str:
    file.write_bytes(gzip.compress(content, mtime=0) if file.suffix == ".gz" else content)
    os.utime(file, ns=(10**18, 10**18))
    return content_of(str(file))


@pytest.mark.parametrize("name", ["map.nii.gz", "participants.tsv"])
def test_another_content_of_the_same_size_and_time_is_noticed(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    first = write(file, b"21 years")
    assert write(file, b"61 years") != first
    assert write(file, b"21 years") == first


def test_a_copy_of_another_age_is_the_same(tmp_path: Path) -> None:
    first = write(tmp_path / "a.nii.gz", b"map")
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    assert content_of(str(tmp_path / "b.nii.gz")) == first


def test_a_large_file_counts_by_size_and_time(tmp_path: Path) -> None:
    file = tmp_path / "dwi.nii"
    first = write(file, bytes(SMALL_BYTES + 1))
    os.utime(file, ns=(10**17, 10**17))
    assert content_of(str(file)) != first


def test_what_cannot_be_read_is_no_error_here(tmp_path: Path) -> None:
    assert content_of(str(tmp_path / "gone.nii.gz")) == content_of(str(tmp_path)) == "missing"
    assert write(tmp_path / "empty.nii.gz", b"") != write(tmp_path / "short.tsv", b"")
