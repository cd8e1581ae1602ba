"""Tab-separated tables as text: no guesses about types, no lost leading zeros."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plastimap.bids.files import read_text
from plastimap.bids.problems import Problem

MISSING = frozenset({"", "n/a", "N/A", "na", "NA", "nan", "NaN"})
"""Cells that mean "no value"; BIDS writes ``n/a``, the others come from spreadsheets."""

MAX_BYTES = 64_000_000
"""A participants or image table larger than this is something else."""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes
    ----------
    columns : tuple of str
    rows : tuple of dict
        One dictionary per line; missing values are None.
    """

    columns: tuple[str, ...]
    rows: tuple[dict[str, str | None], ...]


EMPTY = Table((), ())


def read_table(path: Path, name: str, *, required: Sequence[str] = ()) -> tuple[Table, list[Problem]]:
    """Read a TSV file as text.

    Parameters
    ----------
    path : Path
        The file; it must exist.
    name : str
        How problems name it.
    required : sequence of str
        Columns that must be there.

    Returns
    -------
    Table, list of Problem
        What could be read, and what is wrong with the rest.
    """
    try:
        text = read_text(path, most=MAX_BYTES)
    except OSError as error:
        return EMPTY, [_problem(name, "the table cannot be read", error.strerror or str(error))]
    except UnicodeDecodeError as error:
        return EMPTY, [_problem(name, "the table cannot be read", str(error), "save it as UTF-8 text")]
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        return EMPTY, [_problem(name, "the table is empty", "it has no header line", "write it again or remove it")]
    columns = tuple(cell.strip() for cell in lines[0][1].split("\t"))
    missing = [column for column in required if column not in columns]
    if missing:
        remedy = f"name the column {missing[0]}"
        if len(columns) == 1 and any(mark in columns[0] for mark in ",;"):
            remedy = "separate the columns by tabs, not by commas or semicolons"
        return EMPTY, [_problem(name, f"no column {', '.join(missing)}", f"it has: {', '.join(columns)}", remedy)]
    if len(set(columns)) < len(columns):
        return EMPTY, [_problem(name, "a column name is there twice", f"columns: {', '.join(columns)}", "rename one")]
    return _rows(name, columns, lines[1:])


def number(text: str | None) -> float | None:
    """Read a finite number from a cell, or None where it holds none."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _rows(name: str, columns: tuple[str, ...], lines: list[tuple[int, str]]) -> tuple[Table, list[Problem]]:
    rows: list[dict[str, str | None]] = []
    problems: list[Problem] = []
    for line_number, line in lines:
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != len(columns):
            why = f"it has {len(cells)} cells, the header has {len(columns)}"
            problems.append(_problem(name, f"line {line_number} does not fit the header", why, "fill cells with n/a"))
            continue
        rows.append({key: None if cell in MISSING else cell for key, cell in zip(columns, cells, strict=True)})
    return Table(columns, tuple(rows)), problems


def _problem(name: str, what: str, why: str, remedy: str = "write it again as a tab-separated table") -> Problem:
    return Problem(name, what, why, remedy)
