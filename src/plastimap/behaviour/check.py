"""What is wrong with behaviour tables, all at once and before any job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plastimap.behaviour.problems import BehaviourProblem
from plastimap.behaviour.tables import read, tidy
from plastimap.writing import PathLike

if TYPE_CHECKING:
    import pandas as pd


def table_problems(
    files: Sequence[PathLike], outcomes: Mapping[str, Mapping[str, Any]], *, days: Mapping[str, float]
) -> list[str]:
    """List what would stop the job that reads these tables.

    Parameters
    ----------
    files : sequence of path-like
        For :func:`plastimap.behaviour.tables.read`.
    outcomes : mapping
        Name → what the configuration says of it: ``minimum``, ``maximum``.
    days : mapping
        Scan label → days since baseline.

    Returns
    -------
    list of str
        With the file's name in front, and the remedy at the end.
    """
    found: list[str] = []
    frames: list[pd.DataFrame] = []
    values: list[pd.DataFrame] = []
    for file in files:
        try:
            frames.append(read(file))
            values.append(tidy(frames[-1:], outcomes=list(outcomes), days=days))
        except BehaviourProblem as problem:
            found.append(str(problem))
    # Twice in one file was told above; here it is about files that overlap.
    if not found and len(frames) > 1:
        try:
            tidy(frames, outcomes=list(outcomes), days=days)
        except BehaviourProblem as problem:
            found.append(str(problem))
    for table in values:
        found += _impossible(table, outcomes)
    return list(dict.fromkeys(found))


def _impossible(table: pd.DataFrame, outcomes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Negative days, and values beyond the limits of their outcome."""
    early = table[table["day"] < 0]
    if len(early):
        yield f"{_people(early)}: a day is negative; days count from the first training (or scan), which is day 0"
    for name, rule in outcomes.items():
        mine = table[table["outcome"] == name]
        low, high = rule.get("minimum"), rule.get("maximum")
        outside = mine["value"] < mine["value"]
        outside |= False if low is None else mine["value"] < low
        outside |= False if high is None else mine["value"] > high
        if outside.any():
            what = f"{name} {mine.loc[outside, 'value'].iloc[0]:g} lies beyond its limits"
            yield f"{_people(mine[outside])}: {what}; correct the table or behaviour.outcomes"


def _people(table: pd.DataFrame) -> str:
    return ", ".join(dict.fromkeys(table["participant_id"]))
