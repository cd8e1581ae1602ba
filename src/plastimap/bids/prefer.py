"""Which of several acquisitions the user wants to count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plastimap.bids.picking import Chosen, groups_of, without
from plastimap.bids.problems import Problem
from plastimap.bids.rows import Row
from plastimap.bids.words import enumeration

Preferred = Mapping[str, Mapping[str, str]]
"""Suffix → entity → label, of what counts before others."""


def choose_preferred(rows: Sequence[Row], prefer: Preferred) -> Chosen:
    """Of several images of one kind keep those that were asked for; where a scan has none of them, others count."""

    def fits(row: Row) -> bool:
        return all(getattr(row, entity) == label for entity, label in prefer[row.suffix].items())

    drop: dict[str, str] = {}
    fitting: set[str] = set()
    others: dict[str, list[str]] = {}
    for group in groups_of(rows, lambda row: (row.scan, row.suffix, row.weighting) if row.suffix in prefer else None):
        suffix, words = group[0].suffix, _asked(prefer[group[0].suffix])
        if any(fits(row) for row in group):
            fitting.add(suffix)
            drop |= {row.path: f"input.prefer asks for {words}" for row in group if not fits(row)}
        else:
            others.setdefault(suffix, []).append(group[0].scan)
    return without(rows, drop), _unmet(prefer, fitting, others)


def _asked(entities: Mapping[str, str]) -> str:
    return " and ".join(f"{entity}-{label}" for entity, label in entities.items())


def _unmet(prefer: Preferred, fitting: set[str], others: Mapping[str, Sequence[str]]) -> list[Problem]:
    """Preferences that nothing answers, and scans in which others count."""
    place = "config: input.prefer"
    problems: list[Problem] = []
    for suffix, entities in prefer.items():
        what = f"no {suffix} with {_asked(entities)}"
        if suffix not in fitting:
            why, remedy = "nothing in the data has this name", "correct the label, or take it out"
            problems.append(Problem(place, what, why, remedy))
        elif suffix in others:
            why, remedy = "there, others count", "nothing, or leave these scans out (exclude)"
            scans = enumeration(sorted(set(others[suffix])))
            problems.append(Problem(place, f"{what} in {scans}", why, remedy, "notice"))
    return problems
