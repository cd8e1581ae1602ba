"""The behaviour stage as one call: sides, curves, tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plastimap.behaviour.fits import fit_all
from plastimap.behaviour.rank_table import compare_sides, learning_tests, sets_of

if TYPE_CHECKING:
    import pandas as pd

RETENTION_DAYS = (28.0, 84.0)
"""End of training and follow-up of the study this task comes from."""


@dataclass(frozen=True)
class BehaviourResult:
    """Everything the behaviour stage finds.

    Attributes
    ----------
    curves : DataFrame
        One row per participant × outcome (:func:`~plastimap.behaviour.fits.fit_all`).
    tests : DataFrame
        One-sample tests of δ, groups against each other, retention
        (:func:`~plastimap.behaviour.rank_table.learning_tests`).
    sides : DataFrame
        Left against right, and what was decided.
    notes : tuple of str
        What a reader of the report should know.
    """

    curves: pd.DataFrame
    tests: pd.DataFrame
    sides: pd.DataFrame
    notes: tuple[str, ...]


def analyse(
    tidy: pd.DataFrame,
    outcomes: Mapping[str, Mapping[str, Any]],
    *,
    groups: Mapping[str, str] | None = None,
    comparisons: Sequence[Mapping[str, Any]] | None = None,
    retention_days: tuple[float, float] = RETENTION_DAYS,
) -> BehaviourResult:
    """Fit the learning curves and test them.

    Parameters
    ----------
    tidy : DataFrame
        participant_id, day, side, outcome, value.
    outcomes : mapping
        Outcome → {better, minimum, maximum}.
    groups : mapping, optional
        participant_id → group; None = one group.
    comparisons : sequence of {"first": [groups], "second": [groups]}, optional
        None = every pair of groups.
    retention_days : tuple of float
        The two days that the retention test compares.
    """
    curves = fit_all(tidy, outcomes)
    sides = compare_sides(tidy, list(outcomes))
    sets = sets_of(groups or {}, comparisons)
    tests = learning_tests(curves, tidy, sets, retention_days=(retention_days[0], retention_days[1]))
    return BehaviourResult(curves, tests, sides, tuple(_notes(curves, sides)))


def _notes(curves: pd.DataFrame, sides: pd.DataFrame) -> list[str]:
    found = [
        f"{row['participant_id']}, {row['outcome']}: {row['flag']}" for row in curves.to_dict("records") if row["flag"]
    ]
    found += [
        f"{row['outcome']}: left and right differ (rank-sum p = {row['p_asymptotic']:.3g}, "
        f"paired p = {row['paired_p']:.3g}); they were averaged"
        for row in sides.to_dict("records")
        if row["differ"]
    ]
    return found
