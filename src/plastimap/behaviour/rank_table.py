"""The study's tests of behaviour: did people learn, do groups or sides differ, did it last."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from plastimap.behaviour.rank_tests import RankTest, rank_sum, signed_rank

if TYPE_CHECKING:
    import pandas as pd

SIDES_ALPHA = 0.05
"""Below it, left and right count as different; they are averaged all the same, and the table says so."""

COMPARED = ("baseline", "alpha", "improvement", "gamma")
"""What is compared between groups."""

TEST_COLUMNS = ("test", "outcome", "group", "quantity", "n", "median", "iqr", "z", "p_exact", "p_asymptotic",
                "shapiro_p")  # fmt: skip
SIDE_COLUMNS = ("outcome", "n_left", "n_right", "z", "p_exact", "p_asymptotic", "paired_z", "paired_p", "differ",
                "decision")  # fmt: skip


@dataclass(frozen=True)
class Sets:
    """Which people are tested together.

    Attributes
    ----------
    members : mapping
        Name of a group, or of several together → participants.
    pairs : sequence of (name, name)
        Which of them are compared.
    """

    members: Mapping[str, frozenset[str]]
    pairs: Sequence[tuple[str, str]]


def sets_of(groups: Mapping[str, str], comparisons: Sequence[Mapping[str, Any]] | None) -> Sets:
    """Groups, and the comparisons that a study asks for.

    Parameters
    ----------
    groups : mapping
        participant_id → group.
    comparisons : sequence of {"first": [groups], "second": [groups]}, or None
        None = every pair of groups.
    """
    names = list(dict.fromkeys(sorted(groups.values())))
    members = {name: frozenset(who for who, group in groups.items() if group == name) for name in names}
    if comparisons is None:
        return Sets(members if len(names) > 1 else {}, list(combinations(names, 2)))
    pairs: list[tuple[str, str]] = []
    for comparison in comparisons:
        sides = [" + ".join(comparison[side]) for side in ("first", "second")]
        for label, side in zip(sides, ("first", "second"), strict=True):
            members[label] = frozenset(who for who, group in groups.items() if group in comparison[side])
        pairs.append((sides[0], sides[1]))
    return Sets(members, pairs)


def learning_tests(
    curves: pd.DataFrame, tidy: pd.DataFrame, sets: Sets, *, retention_days: tuple[float, float]
) -> pd.DataFrame:
    """One-sample tests of δ, rank-sum tests between groups, signed-rank tests of retention; all of own fits.

    Parameters
    ----------
    curves : DataFrame
        Fits (:func:`plastimap.behaviour.fits.fit_all`).
    tidy : DataFrame
        participant_id, day, side, outcome, value.
    sets : Sets
    retention_days : tuple of float
        End of training and follow-up.

    Returns
    -------
    DataFrame
        `TEST_COLUMNS`.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for outcome, own in curves.groupby("outcome", sort=False):
        means = tidy[tidy["outcome"] == outcome].pivot_table(index="participant_id", columns="day", values="value")
        first = means.get(min(means.columns)) if len(means.columns) else None
        fits = own.set_index("participant_id").assign(baseline=first)
        everybody = {"all": frozenset(map(str, fits.index)), **sets.members}
        present = {name: part for name, who in everybody.items() if len(part := fits[fits.index.isin(list(who))])}
        for name, part in present.items():
            rows.append(_row("one-sample", outcome, name, "delta", signed_rank(part["delta"]), part["delta"]))
        for one, two in sets.pairs:
            if one in present and two in present:
                rows += _between(str(outcome), (one, present[one]), (two, present[two]))
        for name, part in present.items():
            rows += _retention(means[means.index.isin(part.index)], str(outcome), name, retention_days)
    return pd.DataFrame(rows, columns=list(TEST_COLUMNS))


def _between(outcome: str, one: tuple[str, pd.DataFrame], two: tuple[str, pd.DataFrame]) -> list[dict[str, Any]]:
    label = f"{one[0]} vs {two[0]}"
    return [
        _row("groups", outcome, label, quantity, rank_sum(one[1][quantity], two[1][quantity]), None)
        for quantity in COMPARED
    ]


def _retention(means: pd.DataFrame, outcome: str, group: str, days: tuple[float, float]) -> list[dict[str, Any]]:
    if not set(days) <= set(means.columns):
        return []
    change = means[days[1]] - means[days[0]]
    quantity = f"day {days[1]:g} - day {days[0]:g}"
    return [_row("retention", outcome, group, quantity, signed_rank(means[days[1]], means[days[0]]), change)]


def compare_sides(tidy: pd.DataFrame, outcomes: Sequence[str]) -> pd.DataFrame:
    """Left against right in each person's mean over days, per outcome.

    The rank-sum test is the published one; the signed-rank test of the same
    people's differences sees more, and either can tell that sides differ.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        values = tidy[(tidy["outcome"] == outcome) & tidy["side"].isin(["left", "right"])]
        means = values.pivot_table(index="participant_id", columns="side", values="value")
        if not {"left", "right"} <= set(means.columns):
            rows.append({"outcome": outcome, "n_left": 0, "n_right": 0, "differ": False, "decision": "one side only"})
            continue
        test, paired = rank_sum(means["left"], means["right"]), signed_rank(means["left"], means["right"])
        differ = bool(min(test.p, paired.p) < SIDES_ALPHA)
        rows.append(
            {
                "outcome": outcome, "n_left": test.n[0], "n_right": test.n[1], "z": test.z, "p_exact": test.p_exact,
                "p_asymptotic": test.p_asymptotic, "paired_z": paired.z, "paired_p": paired.p, "differ": differ,
                "decision": "averaged, although the sides differ" if differ else "averaged",
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(SIDE_COLUMNS))


def _row(
    test: str, outcome: Any, group: str, quantity: str, result: RankTest, values: pd.Series | None
) -> dict[str, Any]:
    finite = values.dropna().to_numpy(dtype=float) if values is not None else np.zeros(0)
    low, middle, high = np.quantile(finite, (0.25, 0.5, 0.75)) if finite.size else (math.nan,) * 3
    return {
        "test": test, "outcome": str(outcome), "group": group, "quantity": quantity,
        "n": " + ".join(map(str, result.n)), "median": float(middle), "iqr": float(high - low),
        "z": result.z, "p_exact": result.p_exact, "p_asymptotic": result.p_asymptotic,
        "shapiro_p": _shapiro(finite),
    }  # fmt: skip


def _shapiro(values: Any) -> float:
    from scipy.stats import shapiro

    # Shapiro-Wilk needs three values that are not all alike.
    return float(shapiro(values).pvalue) if len(values) >= 3 and np.ptp(values) > 0 else math.nan
