"""Which images tell how susceptibility distorts a diffusion series: another phase encoding, or a field map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from plastimap.bids.header import HeaderError, read_header
from plastimap.bids.problems import Problem
from plastimap.bids.rows import Row

How = Literal["none", "auto", "reversed", "field_map"]
"""``auto`` takes reversed phase encoding before a field map, for it needs no registration between contrasts."""

UNITS = ("Hz", "rad/s")
"""Of ready field maps."""

LONGEST_ECHO_DIFFERENCE_S = 0.1

Label = Callable[[str], str]


@dataclass(frozen=True)
class Field:
    """The images chosen for one series.

    Attributes
    ----------
    kind : {"reversed", "phasediff", "fieldmap"}
    image : Row
        b = 0 images with the opposite phase encoding, a phase difference, or a field.
    magnitude : Row or None
    """

    kind: Literal["reversed", "phasediff", "fieldmap"]
    image: Row
    magnitude: Row | None = None

    @property
    def files(self) -> list[str]:
        """Image, then magnitude where there is one."""
        return [row.path for row in (self.image, self.magnitude) if row]

    def settings(self, series: Row) -> dict[str, Any]:
        """What it takes to read the files, beside the files."""
        image = self.image
        own, other = series.readout_s, image.readout_s
        return {
            "kind": self.kind,
            "readout_ratio": other / own if own and other else 1.0,
            "readout_s": series.readout_s,
            "echo_difference_s": image.echo_difference_s,
            "units": image.units,
        }


def find_field(series: Row, rows: Sequence[Row], how: How) -> Field | None:
    """Choose the images for a series among all of its scan, or None.

    Those whose ``IntendedFor`` or ``B0FieldIdentifier`` name the series come first; those that name only others are
    left out. Among diffusion series, one that is not otherwise used serves by its b = 0 volumes.
    """
    mine = [row for row in rows if row.stage == "raw" and row.path != series.path and _serves(row, series)]
    mine.sort(key=lambda row: (not _names(row, series), row.suffix != "epi", -(row.run or 0), row.path))
    if how in ("auto", "reversed"):
        for row in mine:
            if row.suffix in ("epi", "dwi") and row.part in (None, "mag") and _opposite(row, series):
                return Field("reversed", row)
    if how in ("auto", "field_map"):
        kinds: tuple[tuple[Literal["fieldmap", "phasediff"], str], ...]
        kinds = (("fieldmap", "magnitude"), ("phasediff", "magnitude1"))
        for kind, magnitude in kinds:
            found = next((row for row in mine if row.suffix == kind), None)
            beside = next((row for row in rows if row.suffix == magnitude and _together(row, found)), None)
            if found is not None and (beside or kind == "fieldmap"):
                return Field(kind, found, beside)
    return None


def check_field(series: Row, rows: Sequence[Row], label: Label, *, how: How) -> Iterator[Problem]:
    """Everything wrong with the correction of a series for susceptibility."""
    if how == "none":
        return
    file, found = label(series.path), find_field(series, rows, how)
    if series.phase_encoding is None:
        why = "susceptibility shifts signal along the phase-encoding axis, and no sidecar says which it is"
        yield Problem(file, "no PhaseEncodingDirection", why, "add it to the sidecar, or set dwi.susceptibility: none")
    elif found is None:
        what = "nothing to correct susceptibility by"
        why = f"{series.scan} has no {_WANTED[how]}; its maps stay distorted, and the report says so"
        remedy = "add the images (fmap/, or a series with the opposite direction), or nothing"
        yield Problem(file, what, why, remedy, "notice" if how == "auto" else "error")
    else:
        yield from _usable(series, found, label)


_WANTED = {
    "auto": "images of the opposite phase encoding and no field map",
    "reversed": "images of the opposite phase encoding",
    "field_map": "field map (fieldmap, or phasediff with magnitude1)",
}


def _usable(series: Row, field: Field, label: Label) -> Iterator[Problem]:
    file = label(field.image.path)
    for path in field.files:
        try:
            read_header(path)
        except HeaderError as error:
            yield Problem(label(path), error.what, error.why, error.remedy)
    if field.kind == "reversed":
        if series.readout_s is None or field.image.readout_s is None:
            why = "both directions are taken to be distorted alike, which holds for equal protocols"
            yield Problem(file, "no TotalReadoutTime in one of two directions", why, "add it, if it is known", "notice")
        return
    if series.readout_s is None:
        why = "a field map becomes a displacement by it, and no sidecar has it or EffectiveEchoSpacing"
        remedy = "add TotalReadoutTime (Philips, GE: from the protocol), or set dwi.susceptibility: none"
        yield Problem(label(series.path), "no TotalReadoutTime", why, remedy)
    difference = field.image.echo_difference_s
    if field.kind == "phasediff" and not (difference and 0 < difference < LONGEST_ECHO_DIFFERENCE_S):
        why = f"the time between the echoes is {difference}, seconds are wanted"
        yield Problem(file, "EchoTime1 and EchoTime2 cannot be used", why, "correct both in the sidecar")
    if field.kind == "fieldmap" and field.image.units not in UNITS:
        why = f"Units is {field.image.units!r}; a displacement needs {' or '.join(UNITS)}"
        yield Problem(file, "a field map without usable Units", why, "add Units to the sidecar")


def _opposite(row: Row, series: Row) -> bool:
    """Whether phase is encoded along the same axis the other way round."""
    one, other = row.phase_encoding, series.phase_encoding
    return bool(one and other and one != other and one[0] == other[0])


def _serves(row: Row, series: Row) -> bool:
    """Whether a row is for this series, or does not say for which."""
    return _names(row, series) or not (row.intended_for or (row.b0_field and series.b0_field))


def _names(row: Row, series: Row) -> bool:
    by_name = Path(series.path).name in (row.intended_for or "").split()
    return by_name or bool(set((row.b0_field or "").split()) & set((series.b0_field or "").split()))


def _together(row: Row, field: Row | None) -> bool:
    return field is not None and (row.acq, row.run, row.dir) == (field.acq, field.run, field.dir)
