"""Headers of the tables that a study names, one against the other, before the first job. Reads no numbers."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from plastimap.brainage.lesion_table import BESIDE
from plastimap.brainage.parcels import column_finder, folded, listed

Found = tuple[str, str, str, str]
"""Key of the configuration, what, why, remedy."""


def header_problems(section: Mapping[str, Any]) -> Iterator[Found]:
    """What the section's tables lack of what others of them name.

    Parameters
    ----------
    section : mapping
        ``brainage`` of the configuration; files that do not exist are passed over, which others tell.
    """
    parcels, source = _parcels(section)
    if not parcels:
        return
    for key in ("table", "training", "controls"):
        columns = _columns(section.get(key))
        if columns:
            yield from _lacking(key, columns, parcels, source)
            yield from _people(key, columns, section)
    lesions = _columns(section.get("lesions"))
    known = {folded(name) for name, _ in parcels}
    strange = [name for name in lesions if name not in (*BESIDE, "session_id") and folded(name) not in known]
    if strange:
        what = f"brainage.lesions: {len(strange)} columns are no parcels: {listed(strange)}"
        yield "lesions", what, f"{source} does not have them", "correct their names, or leave them out"
    if lesions and "participant_id" not in lesions:
        yield "lesions", "brainage.lesions: no column participant_id", "lesions are somebody's", "add it"


def _lacking(key: str, columns: Sequence[str], parcels: list[tuple[str, str]], source: str) -> Iterator[Found]:
    """Parcels without a column."""
    find = column_finder(columns)
    missing = [name for name, measure in parcels if not find(name, measure)]
    if missing:
        what = f"brainage.{key}: {len(missing)} of {len(parcels)} parcels have no column: {listed(missing)}"
        yield key, what, f"{source} names them", "complete the table, or name the parcels that it has"
    twice = [" and ".join(found) for name, measure in parcels if len(found := find(name, measure)) > 1]
    if twice:
        what = f"brainage.{key}: columns that read as the same parcel: {listed(twice)}"
        yield key, what, "one of them would be taken at random", "keep one of each"


def _people(key: str, columns: Sequence[str], section: Mapping[str, Any]) -> Iterator[Found]:
    """Columns about people that only the table itself can have."""
    # People of the table to judge may have their age from a table of participants, which may be the dataset's.
    if key == "table":
        columns = [*columns, *(_columns(section["people"]) if section.get("people") else ["age"])]
    needed = ["participant_id", "age"]
    needed += [name for name in section.get("covariates", []) if key == "training" and name != "sex"]
    missing = [name for name in needed if name not in columns]
    if missing:
        what = f"brainage.{key}: no column {listed(missing)}"
        yield key, what, "models need it of everybody", "add it"


def _parcels(section: Mapping[str, Any]) -> tuple[list[tuple[str, str]], str]:
    """Names and measures that a model is made of, and what tells them."""
    if section.get("model"):
        card = _card(Path(section["model"]).with_suffix(".json"))
        return list(zip(card.get("names", ()), card.get("measures", ()), strict=False)), "the model's card"
    if section.get("table") is None and section.get("label_table"):
        names = [row.get("name") or "" for row in _rows(section["label_table"])]
        return [(f"{kind}_{name}", kind) for kind in section.get("maps", ()) for name in names], "the table of labels"
    rows = _rows(section.get("parcels"))
    return [(row.get("name") or "", row.get("measure") or "thickness") for row in rows], "the table of parcels"


def _card(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))["parcels"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _columns(file: str | None) -> list[str]:
    return next(iter(_lines(file, most=1)), [])


def _rows(file: str | None) -> list[dict[str, str]]:
    lines = _lines(file)
    return [dict(zip(lines[0], line, strict=False)) for line in lines[1:]]


def _lines(file: str | None, *, most: int | None = None) -> list[list[str]]:
    """Cells of a table, TSV or CSV by its first line, gzipped or not; nothing where it cannot be read."""
    if file is None or not Path(file).is_file():
        return []
    opened = gzip.open if str(file).endswith(".gz") else open
    try:
        with opened(file, "rt", encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            return list(islice(csv.reader(stream, delimiter="\t" if "\t" in first else ","), most))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error):
        return []
