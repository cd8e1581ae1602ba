"""One person in one session: which files belong to it, and which maps it will have. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from plastimap.bids.rows import B1_SUFFIXES, RECEIVE_SUFFIX, Row
from plastimap.paths import DWI_MAPS, ERROR_MAPS, WILDCARDS, scan_session, scan_subject

CONTRAST_ORDER = ("MTsat", "R1", "T1w")
"""Structural images, the best first."""


class Wildcards(Protocol):
    """The wildcards of a Snakemake job."""

    def __getattr__(self, name: str) -> str: ...


@dataclass(frozen=True)
class Scan:
    """One person in one session, and the files that belong to it."""

    label: str
    day: float | None = None
    rows: tuple[Row, ...] = field(default=(), repr=False)

    @property
    def subject(self) -> str:
        """Label of the person, without ``sub-``."""
        return scan_subject(self.label)

    @property
    def session(self) -> str | None:
        """Label of the session, without ``ses-``."""
        return scan_session(self.label)

    def files(self, *suffixes: str, stage: str = "raw") -> list[Row]:
        """Rows of this scan with one of the suffixes at a stage."""
        return [row for row in self.rows if row.suffix in suffixes and row.stage == stage]

    @property
    def echoes(self) -> list[Row]:
        """Multi-echo images of multi-parameter mapping."""
        return self.files("MPM", "MTS")

    @property
    def b1(self) -> list[Row]:
        """The images of one B1+ acquisition (a ready map, or those that one is made from), or nothing."""
        return self.files(*B1_SUFFIXES)

    @property
    def receive(self) -> list[Row]:
        """Images by the head and the body coil, for the receive field, or nothing."""
        return self.files(RECEIVE_SUFFIX)

    @property
    def dwi(self) -> Row | None:
        """The diffusion series."""
        return next(iter(self.files("dwi")), None)

    @property
    def t1w(self) -> Row | None:
        """The T1-weighted image."""
        return next(iter(self.files("T1w")), None)

    def external(self, map_name: str, stage: str, tissue: str | None = None) -> str | None:
        """Path of a map made elsewhere, or None."""
        for row in self._given.get((stage, map_name), ()):
            if tissue is None or row.tissue in (None, "", tissue):
                return row.path
        return None

    @cached_property
    def _given(self) -> dict[tuple[str, str], list[Row]]:
        found: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            # A mask of a diffusion series is no mask of the brain.
            if row.map and row.datatype != ("dwi" if row.map == "mask" else ""):
                found.setdefault((row.stage, row.map), []).append(row)
        return found

    @cached_property
    def mpm_maps(self) -> tuple[str, ...]:
        """Maps that the weightings of this scan allow, as they are fitted: A, not PD."""
        protocols = {row.weighting: (row.flip_angle_deg, row.tr_s) for row in self.echoes}
        needs = {"R2s": (), "R1": ("PDw", "T1w"), "A": ("PDw", "T1w"), "MTsat": ("PDw", "T1w", "MTw")}
        found = [name for name, contrasts in needs.items() if protocols and protocols.keys() >= set(contrasts)]
        alike = "PDw" in protocols and protocols["PDw"] == protocols.get("MTw")
        return (*found, "MTR") if alike else tuple(found)

    @cached_property
    def native_maps(self) -> frozenset[str]:
        """Maps that exist, or will, on the native grid."""
        made = {*self.mpm_maps, *(DWI_MAPS if self.dwi else ()), *(("T1w",) if self.t1w else ())}
        made |= {"PD"} if "A" in made else set()
        made |= {error for error, name in ERROR_MAPS.items() if name in self.mpm_maps}
        given = {row.map for row in self.rows if row.stage == "native" and row.map}
        return frozenset(made | given)


@dataclass(frozen=True)
class Kind:
    """Scans that give the same set of outputs: each set is a rule of its own, since a rule's outputs are fixed.

    Attributes
    ----------
    name : str
        For the rule's name.
    members : tuple
        What these scans give: maps, or (map, tissue) pairs.
    scans : str
        Regular expression of the scans' labels.
    """

    name: str
    members: tuple[Any, ...]
    scans: str


def kinds_of(members: Mapping[str, tuple[Any, ...]], *, empty: bool = False) -> list[Kind]:
    """Group scans by their members.

    Parameters
    ----------
    members : mapping
        Scan's label → what it gives.
    empty : bool
        Whether scans that give nothing are a kind, too.
    """
    grouped: dict[tuple[Any, ...], list[str]] = {}
    for label, found in members.items():
        if found or empty:
            grouped.setdefault(found, []).append(label)
    if len(grouped) == 1 and len(members) == len(next(iter(grouped.values()))):
        # The common case: one protocol. A list of ten thousand names would slow every match.
        return [Kind("all", found, WILDCARDS["scan"]) for found in grouped]
    return [
        Kind(f"set{number}", found, "|".join(labels))
        for number, (found, labels) in enumerate(sorted(grouped.items()), 1)
    ]


def structural_contrast(asked: str, scans: Sequence[Scan]) -> tuple[str, list[str]]:
    """One contrast for the whole study: the first in order that most scans have."""
    count = {name: sum(name in scan.native_maps for scan in scans) for name in CONTRAST_ORDER}
    contrast = asked if asked != "auto" else max(CONTRAST_ORDER, key=lambda name: count[name])
    without = [scan.label for scan in scans if contrast not in scan.native_maps]
    if not without or not count[contrast]:
        return contrast, []
    return contrast, [f"no {contrast} in {', '.join(without)}: left out of segmentation and of the target space"]
