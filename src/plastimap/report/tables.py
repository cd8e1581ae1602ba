"""Tables and numbers as readers want them: few digits, words for what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """A table ready for the page.

    Attributes
    ----------
    caption : str
    headings : tuple of str
    rows : tuple of tuple of str
    numeric : tuple of bool
        Columns to align to the right.
    note : str
        Below the table; empty = none.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    note: str = ""


def number(value: Any, digits: int = 3) -> str:
    """Print a value: `digits` significant digits, ``–`` for what is missing.

    >>> number(0.012345), number(1234.5), number(float("nan")), number("SCI"), number(True)
    ('0.0123', '1234', '–', 'SCI', 'yes')
    """
    if value is None or (isinstance(value, str) and value in ("", "n/a")):
        return "–"
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    try:
        plain = float(value)
    except (TypeError, ValueError):
        return str(value)
    if math.isnan(plain):
        return "–"
    if plain.is_integer() and abs(plain) < 1e7:
        return str(int(plain))
    return f"{plain:.0f}" if abs(plain) >= 10**digits else f"{plain:.{digits}g}"


def p_value(value: Any) -> str:
    """Print a p value the way papers do.

    >>> p_value(0.0312), p_value(0.00002), p_value(1.0), p_value(None)
    ('.031', '< .001', '1.000', '–')
    """
    shown = number(value)
    if shown == "–":
        return shown
    plain = float(value)
    return "< .001" if plain < 0.001 else f"{plain:.3f}".removeprefix("0")


def make_table(
    frame: pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    *,
    caption: str,
    p_columns: Sequence[str] = (),
    limit: int = 200,
) -> Table:
    """Turn a frame into a table for the page.

    Parameters
    ----------
    frame : DataFrame
    columns : mapping, optional
        Column → heading, in order; columns that the frame lacks are skipped. None = all, underscores as spaces.
    caption : str
    p_columns : sequence of str
        Columns with p values.
    limit : int
        Rows shown; the note says how many there are in all.
    """
    chosen = {str(name): str(name).replace("_", " ") for name in frame.columns} if columns is None else {
        name: heading for name, heading in columns.items() if name in frame.columns}  # fmt: skip
    shown = frame.head(limit)
    cells = [[p_value(v) if name in p_columns else number(v) for v in shown[name]] for name in chosen]
    numeric = tuple(_is_numeric(frame[name]) for name in chosen)
    note = "None." if frame.empty else ""
    if len(frame) > limit:
        note = f"The first {limit} of {len(frame)} rows; all are in the table on disk."
    return Table(caption, tuple(chosen.values()), tuple(zip(*cells, strict=True)) if cells else (), numeric, note)


def _is_numeric(column: pd.Series) -> bool:
    return column.dtype.kind in "iuf"


def scalars(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every single number or word of a nested mapping, as ``(outer inner, value)``; lists and notes are skipped.

    >>> list(scalars({"snr": 9.5, "notes": ["x"], "range": {"R1": 3}}))
    [('snr', 9.5), ('range R1', 3)]
    """
    for key, value in content.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from scalars(value, name)
        elif isinstance(value, (str, int, float, bool)) and str(key) not in ("notes", "note", "Description"):
            yield name, value
