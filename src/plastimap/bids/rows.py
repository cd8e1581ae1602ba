"""One row of the manifest: a file, what it is, and whether it counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

MPM_SUFFIXES = ("MPM", "MTS")
STRUCTURAL = (*MPM_SUFFIXES, "T1w", "MTsat", "R1")
"""Suffixes and maps from which tissues, and with them TIV, can be computed."""

B1_SUFFIXES = ("TB1map", "TB1AFI", "TB1EPI", "TB1TFL", "TB1RFM", "TB1DAM")
"""B1+ acquisitions, the readiest first."""

RECEIVE_SUFFIX = "RB1COR"
"""Images by the head and the body coil, for the receive field."""

FIELD_SUFFIXES = ("epi", "fieldmap", "phasediff", "magnitude", "magnitude1")
"""Images that show how susceptibility distorts a diffusion series."""

ROLES = {
    "TB1AFI": re.compile(r"(tr[12])"),
    "TB1TFL": re.compile(r"(anat|famp)"),
    "TB1RFM": re.compile(r"(anat|famp)"),
    RECEIVE_SUFFIX: re.compile(r"(head|body)(PDw|T1w|MTw)?"),
}
"""How ``acq`` of an image begins where it names the image's part in its set; what follows names the set."""

MAPS = ("R1", "R2s", "MTsat", "PD", "FA", "MD", "AD", "RD", "vbm")
TISSUES = ("GM", "WM", "CSF")
MAP_KEYS = (*MAPS, *TISSUES, "T1w", "mask")
STAGES = ("raw", "native", "warped", "smoothed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A file of the study.

    Attributes
    ----------
    participant_id : str
        ``sub-01``.
    session : str or None
        Label without ``ses-``; None where the person has no session folders.
    path : str
        Absolute path.
    datatype, suffix : str
        ``anat``, ``dwi``, ``fmap``, ``beh``; ``MPM``, ``dwi`` …
    task, acq, ce, rec, dir, part : str or None
        Entities of the name.
    run, echo, flip : int or None
        Entities of the name.
    mt : {"on", "off"} or None
        Magnetisation transfer pulse: ``MTState``, or the ``mt`` entity where that is missing.
    weighting : {"PDw", "T1w", "MTw"} or None
        Of multi-parameter mapping, decided by `mt` and flip angle.
    echo_time_s, tr_s, readout_s, mixing_time_s : float or None
        Seconds; `tr_s` is the repetition time of the excitation, `mixing_time_s` that of stimulated echoes.
    flip_angle_deg : float or None
    units, phase_encoding : str or None
        ``Units`` and ``PhaseEncodingDirection`` of the sidecar.
    partial_fourier : float or None
        ``PartialFourier`` of the sidecar: the share of k-space that was measured.
    echo_difference_s : float or None
        ``EchoTime2`` less ``EchoTime1`` of a phase difference.
    intended_for, b0_field : str or None
        Of fields: names of the files in ``IntendedFor``, and labels in ``B0FieldIdentifier`` (of series:
        ``B0FieldSource``), with spaces between them.
    skull_stripped : bool or None
        ``SkullStripped`` of the sidecar.
    bval, bvec : str or None
        Absolute paths of b-values and b-vectors.
    shape : tuple of int or None
        None when the header cannot be read.
    affine : tuple of 12 float or None
        Rows of the voxel-to-world matrix (RAS, mm), one after the other.
    map : str or None
        For maps made elsewhere: one of `MAP_KEYS`.
    stage : {"raw", "native", "warped", "smoothed"}
        Raw BIDS data, or where a map made elsewhere enters.
    tissue : {"GM", "WM", "CSF"} or None
        Of smoothed maps.
    day : float or None
        Days since baseline; `day_source` says who said so.
    day_source : str or None
    used : bool
        Whether the study uses the file; if not, `unused_because` says why.
    unused_because : str or None
    """

    participant_id: str
    session: str | None
    path: str
    datatype: str
    suffix: str
    stage: str = "raw"
    map: str | None = None
    tissue: str | None = None
    task: str | None = None
    acq: str | None = None
    ce: str | None = None
    rec: str | None = None
    dir: str | None = None
    run: int | None = None
    echo: int | None = None
    flip: int | None = None
    mt: str | None = None
    part: str | None = None
    weighting: str | None = None
    echo_time_s: float | None = None
    flip_angle_deg: float | None = None
    tr_s: float | None = None
    readout_s: float | None = None
    mixing_time_s: float | None = None
    phase_encoding: str | None = None
    partial_fourier: float | None = None
    echo_difference_s: float | None = None
    intended_for: str | None = None
    b0_field: str | None = None
    units: str | None = None
    skull_stripped: bool | None = None
    bval: str | None = None
    bvec: str | None = None
    shape: tuple[int, ...] | None = None
    affine: tuple[float, ...] | None = None
    day: float | None = None
    day_source: str | None = None
    used: bool = True
    unused_because: str | None = None

    @property
    def subject(self) -> str:
        """Label without ``sub-``."""
        return self.participant_id.removeprefix("sub-")

    @property
    def scan(self) -> str:
        """One person in one session: ``sub-01_ses-02``, or ``sub-01``."""
        return self.participant_id + (f"_ses-{self.session}" if self.session else "")

    @property
    def role(self) -> str | None:
        """Part of a field-mapping image in its set, as ``acq`` begins: ``tr1``, ``famp``, ``headPDw``."""
        match = self._role_match
        return match[0] if match else None

    @property
    def set_name(self) -> str:
        """What images of one field-mapping set share in ``acq``: what follows the role, or all where none is wanted."""
        if self.suffix not in ROLES:
            return self.acq or ""
        match = self._role_match
        return (self.acq or "")[match.end() :] if match else ""

    @property
    def _role_match(self) -> re.Match[str] | None:
        pattern = ROLES.get(self.suffix)
        return pattern.match(self.acq or "") if pattern else None

    @property
    def n_volumes(self) -> int | None:
        """Volumes of the image: 1 for a 3D image, None where the header cannot be read."""
        if self.shape is None:
            return None
        return self.shape[3] if len(self.shape) > 3 else 1


COLUMNS = tuple(field.name for field in fields(Row))


def _flag(text: str) -> bool:
    return text == "true"


@lru_cache(maxsize=1024)
def _whole_numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x"))


@lru_cache(maxsize=1024)
def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


_READ: dict[str, Callable[[str], Any]] = {
    "run": int,
    "echo": int,
    "flip": int,
    "echo_time_s": float,
    "flip_angle_deg": float,
    "tr_s": float,
    "readout_s": float,
    "mixing_time_s": float,
    "partial_fourier": float,
    "echo_difference_s": float,
    "skull_stripped": _flag,
    "shape": _whole_numbers,
    "affine": _numbers,
    "day": float,
    "used": _flag,
}


def format_rows(rows: Iterable[Row]) -> str:
    """Rows as a tab-separated table; missing values are ``n/a``."""
    lines = ["\t".join(COLUMNS)]
    lines += ["\t".join(_cell(name, getattr(row, name)) for name in COLUMNS) for row in rows]
    return "\n".join(lines) + "\n"


def parse_rows(text: str) -> tuple[Row, ...]:
    """Read back what :func:`format_rows` wrote.

    Raises
    ------
    ValueError
        When the table is not one of this version.
    """
    lines = text.split("\n")
    if tuple(lines[0].split("\t")) != COLUMNS:
        raise ValueError("the manifest was written by another version of PlastiMap; `plastimap run` renews it")
    return tuple(_row(line.split("\t")) for line in lines[1:] if line)


def _row(cells: list[str]) -> Row:
    values: dict[str, Any] = {name: None if cell == "n/a" else cell for name, cell in zip(COLUMNS, cells, strict=True)}
    for name, read in _READ.items():
        if values[name] is not None:
            values[name] = read(values[name])
    return Row(**values)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "true" if value else "false"
    if name == "shape":
        return "x".join(str(n) for n in value)
    if name == "affine":
        return ",".join(repr(float(n)) for n in value)
    # A tab or line break inside a name would break the table.
    return str(value).replace("\t", " ").replace("\n", " ").replace("\r", " ")
