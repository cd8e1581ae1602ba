"""What a model of the cohort gives: a table, and what was left out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from plastimap.brainage.parcels import listed
from plastimap.brainage.problems import BrainageProblem
from plastimap.stats.fdr import benjamini_hochberg

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Modelled:
    """A table of results.

    Attributes
    ----------
    table : DataFrame
    notes : tuple of str
        Regions and people that were left out, and why.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()


def joined_people(ages: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """Join columns of people to ages, by participant (and session).

    Raises
    ------
    BrainageProblem
        If somebody has several rows that nothing tells apart: they would count as several people.
    """
    keys = person_keys(ages, people)
    twice = people.loc[people.duplicated(keys), "participant_id"].unique()
    if len(twice):
        raise BrainageProblem(f"more than one row of people for {listed(map(str, twice))}, and no session for each")
    return ages.merge(people, on=keys, how="inner", suffixes=("", "_of_people"))


def groups_of(people: pd.DataFrame, column: str = "group") -> dict[str, str]:
    """Participant → group, of those who have one.

    Raises
    ------
    BrainageProblem
        If somebody is in several.
    """
    if column not in people:
        return {}
    named = people[["participant_id", column]].dropna().astype(str).drop_duplicates()
    twice = named.loc[named.duplicated("participant_id"), "participant_id"].unique()
    if len(twice):
        raise BrainageProblem(f"people of more than one {column}: {listed(map(str, twice))}")
    return dict(zip(named["participant_id"], named[column], strict=True))


def numbers(people: pd.DataFrame, column: str) -> pd.Series:
    """A column of people as numbers.

    Raises
    ------
    BrainageProblem
        If it has words.
    """
    import pandas as pd

    found = pd.to_numeric(people[column], errors="coerce")
    words = people.loc[found.isna() & people[column].notna(), column].astype(str).unique()
    if len(words):
        raise BrainageProblem(f"column {column} of the people has what is no number: {listed(words)}")
    return found.astype(np.float64)


def person_keys(ages: pd.DataFrame, people: pd.DataFrame) -> list[str]:
    """Columns that tell scans apart in both tables."""
    return [key for key in ("participant_id", "session") if key in ages and key in people]


def discovery_rate(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``q``: the false discovery rate over all regions, per term."""
    q = table.groupby("term")["p"].transform(lambda p: benjamini_hochberg(p.to_numpy()))
    return table.assign(q=np.asarray(q, dtype=np.float64))


def left_out(what: str, reasons: Sequence[tuple[Any, str]]) -> tuple[str, ...]:
    """One note per reason for which regions have no model.

    Parameters
    ----------
    what : str
        The kind of model.
    reasons : sequence of (region, reason)
    """
    regions: dict[str, list[str]] = {}
    for region, reason in reasons:
        regions.setdefault(reason, []).append(" ".join(map(str, region)))
    return tuple(f"No {what} of {listed(names)}: {reason}." for reason, names in regions.items())
