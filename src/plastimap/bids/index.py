"""What lies in a BIDS dataset: an own fast walk, and metadata by the inheritance principle.

A sidecar applies to a file when it has the file's suffix, names no entity that
the file contradicts, and lies in the file's folder or above it; what is nearer
to the file wins. Only ``sub-…`` folders are entered, so ``derivatives``,
``sourcedata``, ``code`` and hidden folders are not.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from plastimap.bids.entities import BidsName, parse_name
from plastimap.bids.files import read_text
from plastimap.bids.header import Header, HeaderError, check_place, read_header
from plastimap.bids.problems import Problem

SIDECARS = (".json", ".bval", ".bvec")
IMAGES = (".nii.gz", ".nii")

MAX_SIDECAR_BYTES = 16_000_000
"""A sidecar larger than this is something else."""

_SUBJECT = re.compile(r"sub-[a-zA-Z0-9+]+")
_SESSION = re.compile(r"ses-[a-zA-Z0-9+]+")
_NEARLY_SUBJECT = re.compile(r"(?is)sub(ject)?[-_ ]?\d.*|sub-.*")
_NEARLY_SESSION = re.compile(r"(?is)ses(sion)?[-_ ]?\d.*|ses-.*")


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file with a BIDS name.

    Attributes
    ----------
    path : str
        Relative to the dataset, with forward slashes.
    name : BidsName
    datatype : str or None
        The folder it lies in (``anat``, ``dwi`` …), None beside the folders.
    size : int
        Bytes; -1 for a link that leads nowhere.
    """

    path: str
    name: BidsName
    datatype: str | None
    size: int

    @property
    def folder(self) -> str:
        """Folder of the file, relative to the dataset; empty for the root."""
        return self.path.rpartition("/")[0]

    @property
    def is_image(self) -> bool:
        """Whether it is a NIfTI image by its name."""
        return self.name.extension in IMAGES


class Dataset:
    """A BIDS dataset on disk, raw or derivative.

    Parameters
    ----------
    root : path-like
        The folder that holds ``sub-…``.

    Attributes
    ----------
    root : Path
        Absolute; links in it are kept as the user wrote them.
    files : tuple of DataFile
        Data and sidecars, in the order of their paths.
    problems : list of Problem
        What was wrong with names and sidecars; it grows as metadata are asked for.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()
        self.problems: list[Problem] = []
        self.files: tuple[DataFile, ...] = tuple(sorted(self._walk(), key=lambda file: file.path))
        self._content: dict[str, Mapping[str, Any]] = {}
        self._headers: dict[str, Header | None] = {}

    @cached_property
    def _sidecars(self) -> dict[tuple[str, str, str], list[DataFile]]:
        """Sidecars by folder, suffix and extension; the least specific first."""
        found: dict[tuple[str, str, str], list[DataFile]] = {}
        for file in self.files:
            if file.name.extension in SIDECARS:
                found.setdefault((file.folder, file.name.suffix, file.name.extension), []).append(file)
        for candidates in found.values():
            candidates.sort(key=lambda file: len(file.name.entities))
        return found

    def applicable(self, file: DataFile, extension: str) -> list[DataFile]:
        """Sidecars of `file` with `extension`, from the most general to the nearest."""
        found: list[DataFile] = []
        for folder in _upward(file.folder):
            candidates = self._sidecars.get((folder, file.name.suffix, extension), ())
            found += [one for one in candidates if one.name.entities.items() <= file.name.entities.items()]
        return found

    def metadata(self, file: DataFile) -> dict[str, Any]:
        """Metadata of `file` from all its JSON sidecars, the nearest winning."""
        merged: dict[str, Any] = {}
        for sidecar in self.applicable(file, ".json"):
            merged |= self._json(sidecar)
        return merged

    def nearest(self, file: DataFile, extension: str) -> str | None:
        """Absolute path of the sidecar with `extension` that counts for `file`, or None."""
        found = self.applicable(file, extension)
        return self.absolute(found[-1]) if found else None

    def header(self, file: DataFile) -> Header | None:
        """Header of an image; None, with a problem noted, when it cannot be read."""
        if file.path not in self._headers:
            self._headers[file.path] = self._read_header(file)
        return self._headers[file.path]

    def absolute(self, file: DataFile) -> str:
        """Absolute path of a file of this dataset."""
        return (self.root / file.path).as_posix()

    @cached_property
    def name(self) -> str | None:
        """Name from ``dataset_description.json``; a problem is noted when the file is missing."""
        file = self.root / "dataset_description.json"
        if not file.exists():
            what, why = "no dataset_description.json", "BIDS asks for it, and the report takes the study's name from it"
            remedy = 'write one: {"Name": "…", "BIDSVersion": "1.10.0"}'
            self.problems.append(Problem(file.name, what, why, remedy, "notice"))
            return None
        name = self._read_json(file, file.name).get("Name")
        return str(name) if name else None

    def _read_header(self, file: DataFile) -> Header | None:
        try:
            header = read_header(self.root / file.path)
            check_place(header)
        except HeaderError as error:
            self.problems.append(Problem(file.path, error.what, error.why, error.remedy))
            return None
        return header

    def _json(self, sidecar: DataFile) -> Mapping[str, Any]:
        if sidecar.path not in self._content:
            self._content[sidecar.path] = self._read_json(self.root / sidecar.path, sidecar.path)
        return self._content[sidecar.path]

    def _read_json(self, file: Path, name: str) -> Mapping[str, Any]:
        twice: list[str] = []
        try:
            content = json.loads(
                read_text(file, most=MAX_SIDECAR_BYTES), object_pairs_hook=lambda pairs: _object(pairs, twice)
            )
        except (OSError, ValueError, RecursionError) as error:
            empty = file.is_file() and file.stat().st_size == 0
            what = "the file is empty" if empty else "the sidecar is no readable JSON"
            told = error.strerror if isinstance(error, OSError) else None
            why = "a sidecar holds a JSON object" if empty else told or str(error)
            self.problems.append(Problem(name, what, why, "write it again from the conversion, or remove it"))
            return {}
        if not isinstance(content, dict):
            why = f"it holds a {type(content).__name__}, where an object {{…}} is wanted"
            self.problems.append(Problem(name, "the sidecar is no JSON object", why, "write it again"))
            return {}
        if twice:
            why = f"{', '.join(twice)}: programs choose differently between the values"
            self.problems.append(Problem(name, "a key is written twice", why, "keep the right one"))
        return content

    def _walk(self) -> Iterator[DataFile]:
        for entry in self._entries(self.root):
            if not _is_folder(entry):
                yield from self._file(entry, "", None)
            elif _SUBJECT.fullmatch(entry.name):
                yield from self._subject(entry)
            elif _NEARLY_SUBJECT.fullmatch(entry.name):
                self._leave_out(entry.name, "a participant's", "sub")

    def _subject(self, subject: os.DirEntry[str]) -> Iterator[DataFile]:
        for entry in self._entries(subject.path):
            place = f"{subject.name}/{entry.name}"
            if not _is_folder(entry):
                yield from self._file(entry, subject.name, None)
            elif _SESSION.fullmatch(entry.name):
                for inner in self._entries(entry.path):
                    if _is_folder(inner):
                        yield from self._datatype(inner, f"{place}/{inner.name}")
                    else:
                        yield from self._file(inner, place, None)
            else:
                if _NEARLY_SESSION.fullmatch(entry.name):
                    self._leave_out(place, "a session's", "ses")
                yield from self._datatype(entry, place)

    def _leave_out(self, place: str, whose: str, key: str) -> None:
        why = f"its name looks like {whose} but is not {key}-<letters, digits>"
        self.problems.append(Problem(place, "this folder is left out", why, "rename it, or ignore this", "notice"))

    def _datatype(self, folder: os.DirEntry[str], place: str) -> Iterator[DataFile]:
        for entry in self._entries(folder.path):
            if not _is_folder(entry):
                yield from self._file(entry, place, folder.name)
            elif entry.name.endswith(IMAGES):
                why = "it is not a file but a folder, so it is left out"
                self.problems.append(Problem(f"{place}/{entry.name}", "no image", why, "copy the image again"))

    def _file(self, entry: os.DirEntry[str], folder: str, datatype: str | None) -> Iterator[DataFile]:
        name = parse_name(entry.name)
        path = f"{folder}/{entry.name}" if folder else entry.name
        if name is None:
            if datatype is not None and entry.name.endswith(IMAGES):
                what, why = (
                    "this image is left out",
                    "its name is not made of key-value pairs and a suffix, as BIDS wants",
                )
                self.problems.append(Problem(path, what, why, "rename it, or ignore this", "notice"))
            return
        if self._fits(path, name):
            yield DataFile(path, name, datatype, _size(entry))

    def _fits(self, path: str, name: BidsName) -> bool:
        """Whether subject and session of the name are those of the folders."""
        folders = path.split("/")[:-1]
        if not folders:
            return True
        session = next((folder for folder in folders[1:2] if _SESSION.fullmatch(folder)), None)
        for key, folder in (("sub", folders[0]), ("ses", session)):
            label = name.get(key)
            says = None if label is None else f"{key}-{label}"
            if says == folder or (says is None and name.extension not in IMAGES):
                continue
            what = f"the name says {says or f'no {key}-'}, the folder is {'/'.join(folders)}"
            why = "nobody can say whose data these are, so the file is left out"
            self.problems.append(Problem(path, what, why, "rename the file, or move it"))
            return False
        return True

    def _entries(self, folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            why = error.strerror or str(error)
            self.problems.append(Problem(os.fspath(folder), "the folder cannot be read", why, "check its permissions"))
            return []


def _upward(folder: str) -> Iterator[str]:
    """Give the root, then each folder on the way down to `folder`."""
    yield ""
    parts = folder.split("/") if folder else []
    for depth in range(1, len(parts) + 1):
        yield "/".join(parts[:depth])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads to itself; reading it as a file tells what is wrong.
        return False


def _object(pairs: list[tuple[str, Any]], twice: list[str]) -> dict[str, Any]:
    """A JSON object; keys that are there twice are added to `twice`."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice += sorted({key for key in keys if keys.count(key) > 1})
    return content


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return -1
