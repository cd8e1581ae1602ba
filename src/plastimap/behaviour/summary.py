"""The behaviour stage as one call: sides, curves, tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from plastimap.behaviour.curves import fit_all
from plastimap.behaviour.rank_tests import RankTest, rank_sum, signed_rank

if TYPE_CHECKING:
    import pandas as pd

RETENTION_DAYS = (28.0, 84.0)
"""End of training and follow-up of the study this task comes from."""

SIDES_ALPHA = 0.05
"""Below it, left and right count as different; they are averaged all the same, and the table says so."""

TEST_COLUMNS = ("test", "outcome", "group", "quantity", "n", "median", "z", "p_exact", "p_asymptotic", "shapiro_p")
SIDE_COLUMNS = ("outcome", "n_left", "n_right", "z", "p_exact", "p_asymptotic", "differ", "decision")


@dataclass(frozen=True)
class BehaviourResult:
    """Everything the behaviour stage finds.

    Attributes
    ----------
    curves : DataFrame
        One row per participant × outcome (:func:`~plastimap.behaviour.curves.fit_all`).
    tests : DataFrame
        `TEST_COLUMNS`: one-sample test of δ, groups against each other on
        improvement, retention.
    sides : DataFrame
        `SIDE_COLUMNS`: left against right, and what was decided.
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
    retention_days : tuple of float
        The two days that the retention test compares.
    """
    curves = fit_all(tidy, outcomes)
    sides = compare_sides(tidy, list(outcomes))
    tests = learning_tests(curves, tidy, groups=groups, retention_days=retention_days)
    return BehaviourResult(curves, tests, sides, tuple(_notes(curves, sides)))


def compare_sides(tidy: pd.DataFrame, outcomes: Sequence[str]) -> pd.DataFrame:
    """Left against right: rank-sum of each person's mean over days, per outcome."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        values = tidy[tidy["outcome"] == outcome]
        means = values.groupby(["side", "participant_id"])["value"].mean()
        present = set(values["side"])
        if not {"left", "right"} <= present:
            rows.append({"outcome": outcome, "n_left": 0, "n_right": 0, "differ": False, "decision": "one side only"})
            continue
        test = rank_sum(means["left"], means["right"])
        differ = bool(test.p < SIDES_ALPHA)
        rows.append(
            {
                "outcome": outcome, "n_left": test.n[0], "n_right": test.n[1], "z": test.z, "p_exact": test.p_exact,
                "p_asymptotic": test.p_asymptotic, "differ": differ,
                "decision": "averaged, although the sides differ" if differ else "averaged",
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(SIDE_COLUMNS))


def learning_tests(
    curves: pd.DataFrame,
    tidy: pd.DataFrame,
    *,
    groups: Mapping[str, str] | None = None,
    retention_days: tuple[float, float] = RETENTION_DAYS,
) -> pd.DataFrame:
    """One-sample tests of δ (all, each group), rank-sum between groups, signed-rank of the retention days."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    group_of = dict(groups) if groups else {}
    for outcome, fits in curves.groupby("outcome", sort=False):
        named = fits.assign(group=[group_of.get(who, "all") for who in fits["participant_id"]])
        members = {str(name): part for name, part in named.groupby("group", sort=True)}
        rows.append(_row("one-sample", outcome, "all", "delta", signed_rank(fits["delta"]), fits["delta"]))
        if len(members) > 1:
            rows += [
                _row("one-sample", outcome, name, "delta", signed_rank(part["delta"]), part["delta"])
                for name, part in members.items()
            ]
        for one, two in combinations(members, 2):
            first, second = members[one]["improvement"], members[two]["improvement"]
            rows.append(_row("groups", outcome, f"{one} vs {two}", "improvement", rank_sum(first, second), None))
        rows += _retention(tidy, str(outcome), retention_days)
    return pd.DataFrame(rows, columns=list(TEST_COLUMNS))


def _retention(tidy: pd.DataFrame, outcome: str, days: tuple[float, float]) -> list[dict[str, Any]]:
    wide = tidy[tidy["outcome"] == outcome].pivot_table(index="participant_id", columns="day", values="value")
    if not set(days) <= set(wide.columns):
        return []
    change = wide[days[1]] - wide[days[0]]
    quantity = f"day {days[1]:g} - day {days[0]:g}"
    return [_row("retention", outcome, "all", quantity, signed_rank(wide[days[1]], wide[days[0]]), change)]


def _row(
    test: str, outcome: Any, group: str, quantity: str, result: RankTest, values: pd.Series | None
) -> dict[str, Any]:
    finite = values.dropna().to_numpy(dtype=float) if values is not None else np.zeros(0)
    return {
        "test": test, "outcome": str(outcome), "group": group, "quantity": quantity,
        "n": " + ".join(map(str, result.n)),
        "median": float(np.median(finite)) if finite.size else math.nan,
        "z": result.z, "p_exact": result.p_exact, "p_asymptotic": result.p_asymptotic,
        "shapiro_p": _shapiro(finite),
    }  # fmt: skip


def _shapiro(values: Any) -> float:
    from scipy.stats import shapiro

    # Shapiro-Wilk needs three values that are not all alike.
    return float(shapiro(values).pvalue) if len(values) >= 3 and np.ptp(values) > 0 else math.nan


def _notes(curves: pd.DataFrame, sides: pd.DataFrame) -> list[str]:
    found = [
        f"{row['participant_id']}, {row['outcome']}: {row['flag']}" for row in curves.to_dict("records") if row["flag"]
    ]
    found += [
        f"{row['outcome']}: left and right differ (rank-sum p = {row['p_asymptotic']:.3g}); they were averaged"
        for row in sides.to_dict("records")
        if row["differ"]
    ]
    return found
