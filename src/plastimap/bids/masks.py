"""Masks that people draw: of the brain, and of lesions or metal. Where they lie, and which scans they are for.

A mask counts where it lies on the grid of a scan's own images, so one in a template's space does not. It belongs to the
scan that its name says. One without ``ses-`` is for all sessions of its person, if that can be true.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Literal

from plastimap.bids.entities import BidsName, parse_name
from plastimap.bids.header import HeaderError, corner_distance, read_header
from plastimap.bids.rows import Row

Purpose = Literal["brain", "lesion"]

NATIVE_SPACES = frozenset({None, "T1w", "orig", "native", "individual", "scanner", "dwi"})
"""``space-`` of images on the grid of a scan's own."""

IGNORED_SPACES = frozenset({"midpoint"})
"""Our own in-between space: its images are steps, not results."""

SUFFIXES = ("mask", "roi")
IMAGES = (".nii.gz", ".nii")

_MASK = re.compile(rf"_({'|'.join(SUFFIXES)})\.nii(\.gz)?$")

SAME_GRID_MM = 1e-3
"""As :data:`plastimap.images.GEOMETRY_TOLERANCE_MM`."""


def purpose_of(name: BidsName) -> Purpose | None:
    """What a mask is for by its name: ``label-lesion_mask`` or ``_roi``, or ``desc-brain_mask``."""
    if name.extension not in IMAGES or name.suffix not in SUFFIXES or name.get("hemi"):
        return None
    if name.get("label") == "lesion":
        return "lesion"
    return "brain" if name.suffix == "mask" and name.get("desc") == "brain" and not name.get("label") else None


def is_mask(name: BidsName) -> bool:
    """Whether an image is a mask, of whatever; those of a hemisphere, and of our own in-between space, are steps."""
    if name.get("hemi") or name.get("space") in IGNORED_SPACES:
        return False
    return name.extension in IMAGES and name.suffix in SUFFIXES


def masks_among(names: Iterable[str], label: str, purpose: Purpose) -> list[str]:
    """Pick the masks of a scan (``sub-01_ses-02``) or of a person (``sub-01``) among file names, in their order."""
    found: list[str] = []
    for text in names:
        # Most files of a folder are no masks: their names are not taken apart.
        name = parse_name(text) if text.startswith(f"{label}_") and _MASK.search(text) else None
        if name and scan_of(name) == label and purpose_of(name) == purpose and name.get("space") in NATIVE_SPACES:
            found.append(text)
    return found


class Masks:
    """Finds the masks of a study's scans; each folder is read once, when it is asked for.

    Parameters
    ----------
    raw : str or None
        Folder of the raw dataset.
    derivatives : sequence of str
        Folders of maps made elsewhere.
    scans : mapping
        Label of each scan that is segmented → its rows that count.
    """

    def __init__(self, raw: str | None, derivatives: Sequence[str], scans: Mapping[str, Sequence[Row]]) -> None:
        self.raw = [raw] if raw else []
        self.derivatives = list(derivatives)
        self.scans = scans
        self._listings: dict[str, list[str]] = {}

    def brain(self, label: str) -> list[str]:
        """A brain mask of a scan, or nothing: its derivatives' first, its person's last."""
        given = [row.path for row in self.scans.get(label, ()) if is_brain_mask(row)]
        return [*given, *self._of(label, "brain", self.raw), *self._shared(label, "brain")][:1]

    def lesions(self, label: str) -> list[str]:
        """Lesion masks of a scan and of its person."""
        return [*self._of(label, "lesion", [*self.raw, *self.derivatives]), *self._shared(label, "lesion")]

    def _shared(self, label: str, purpose: Purpose) -> list[str]:
        person, _, session = label.partition("_")
        found = self._of(person, purpose, [*self.derivatives, *self.raw]) if session else []
        return [path for path in found if fits_all(path, self._sessions.get(person, []))]

    @cached_property
    def _sessions(self) -> dict[str, list[Sequence[Row]]]:
        found: dict[str, list[Sequence[Row]]] = {}
        for label, rows in self.scans.items():
            found.setdefault(label.partition("_")[0], []).append(rows)
        return found

    def _of(self, label: str, purpose: Purpose, roots: Iterable[str]) -> list[str]:
        folders = [os.path.join(root, *label.split("_"), "anat") for root in roots]  # noqa: PTH118, Path is slow
        return sorted(
            f"{folder}/{name}" for folder in folders for name in masks_among(self._listed(folder), label, purpose)
        )

    def _listed(self, folder: str) -> list[str]:
        if folder not in self._listings:
            self._listings[folder] = os.listdir(folder) if os.path.isdir(folder) else []  # noqa: PTH112, PTH208
        return self._listings[folder]


def is_brain_mask(row: Row) -> bool:
    """Whether a row of a map made elsewhere is the brain mask of a structural image."""
    # That of a diffusion series is another one.
    return row.map == "mask" and row.stage == "native" and row.datatype != "dwi"


def scan_of(name: BidsName) -> str:
    """Label of the scan that a file belongs to, or of the person where it names no session."""
    subject, session = name.get("sub"), name.get("ses")
    return f"sub-{subject}" + (f"_ses-{session}" if session else "")


def fits_all(mask: str, sessions: Sequence[Iterable[Row]]) -> bool:
    """Whether a person's mask can be for each of their sessions.

    It can where there is one session, or where every session has an image (of the same kind) on the mask's grid.

    Parameters
    ----------
    mask : str
        Path.
    sessions : sequence of iterable of Row
        The images of each session that is analysed.
    """
    if len(sessions) <= 1:
        return len(sessions) == 1
    try:
        header = read_header(mask)
    except HeaderError:
        return False
    kinds = [{_kind(row) for row in rows if _on_grid(row, header.shape, header.affine)} for rows in sessions]
    return bool(set[object].intersection(*kinds))


def _kind(row: Row) -> object:
    return row.map or row.suffix


def _on_grid(row: Row, shape: Sequence[int], affine: tuple[tuple[float, ...], ...]) -> bool:
    if row.datatype != "anat" or row.stage not in ("raw", "native") or row.shape is None or row.affine is None:
        return False
    numbers = row.affine
    theirs = (numbers[0:4], numbers[4:8], numbers[8:12])
    return tuple(row.shape[:3]) == tuple(shape[:3]) and corner_distance(affine, theirs, shape) <= SAME_GRID_MM
