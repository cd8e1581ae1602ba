"""Rows that count, in groups, and no longer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace

from plastimap.bids.problems import Problem
from plastimap.bids.rows import Row

Chosen = tuple[list[Row], list[Problem]]


def groups_of(rows: Iterable[Row], key: Callable[[Row], Hashable]) -> list[list[Row]]:
    """Group the rows that count by a key; those whose key is None belong to no group."""
    found: dict[Hashable, list[Row]] = {}
    for row in rows:
        if row.used and (name := key(row)) is not None:
            found.setdefault(name, []).append(row)
    return list(found.values())


def without(rows: Sequence[Row], reasons: dict[str, str]) -> list[Row]:
    """Give the rows again; those with a reason, by path, no longer count."""
    return [
        replace(row, used=False, unused_because=reasons[row.path]) if row.used and row.path in reasons else row
        for row in rows
    ]
