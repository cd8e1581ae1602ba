"""Learning curves of everybody: each person's own fit, and beside it the one that borrows from the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from plastimap.behaviour.curves import CurveFit, fit_curve
from plastimap.behaviour.pooling import LEAST_PEOPLE, fit_together
from plastimap.behaviour.problems import BehaviourProblem

if TYPE_CHECKING:
    import pandas as pd

PARAMETERS = ("alpha", "delta", "gamma")
POOLED_COLUMNS = (
    *(f"{name}_pooled" for name in PARAMETERS),
    *(f"{name}_pooled_se" for name in PARAMETERS),
    "improvement_pooled", "days_to_95_pooled", "pooled_dof",
)  # fmt: skip
FIT_COLUMNS = (
    "participant_id", "outcome", *PARAMETERS, "alpha_se", "delta_se", "gamma_se",
    "improvement", "days_to_95", "residual_sd", "n", "flag", *POOLED_COLUMNS,
)  # fmt: skip


def fit_all(tidy: pd.DataFrame, outcomes: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Fit every participant and outcome.

    Sides are averaged per day first: the two sides of a day share that day's
    form, so they are no independent values.

    Parameters
    ----------
    tidy : DataFrame
        participant_id, day, side, outcome, value.
    outcomes : mapping
        Outcome → {better, minimum, maximum} (the last two optional).

    Returns
    -------
    DataFrame
        One row per participant × outcome, columns `FIT_COLUMNS`: the
        person's own fit (:func:`~plastimap.behaviour.curves.fit_curve`), and
        with ``_pooled`` the one of the whole population
        (:func:`~plastimap.behaviour.pooling.fit_together`), NaN where there
        are too few people or days for it.
    """
    import pandas as pd

    parts = [_fit_outcome(tidy[tidy["outcome"] == outcome], str(outcome), rule) for outcome, rule in outcomes.items()]
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(FIT_COLUMNS))


def _fit_outcome(values: pd.DataFrame, outcome: str, rule: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    limits = {"minimum": rule.get("minimum"), "maximum": rule.get("maximum")}
    curves: dict[str, tuple[Any, Any]] = {}
    rows: list[dict[str, Any]] = []
    for person, mine in values.groupby("participant_id", sort=True):
        means = mine.groupby("day")["value"].mean()
        curves[str(person)] = (means.index.to_numpy(dtype=float), means.to_numpy(dtype=float))
        try:
            fit = fit_curve(*curves[str(person)], better=rule["better"], **limits)
        except BehaviourProblem as problem:
            raise BehaviourProblem(f"{person}, {outcome}: {problem}") from problem
        rows.append({"participant_id": person, "outcome": outcome} | _row(fit))
    table = pd.DataFrame(rows, columns=list(FIT_COLUMNS))
    return _with_pooled(table, list(curves.values()), 1.0 if rule["better"] == "higher" else -1.0, limits)


def _row(fit: CurveFit) -> dict[str, Any]:
    errors = dict(zip(("alpha_se", "delta_se", "gamma_se"), fit.se, strict=True))
    own = {name: getattr(fit, name) for name in FIT_COLUMNS if name in fit.__dataclass_fields__}
    return own | errors


def _with_pooled(
    table: pd.DataFrame, curves: list[tuple[Any, Any]], sign: float, limits: Mapping[str, float | None]
) -> pd.DataFrame:
    days = {float(day) for times, _ in curves for day in times}
    if len(curves) < LEAST_PEOPLE or len(days) < 3:
        return table.assign(**dict.fromkeys(POOLED_COLUMNS, math.nan))
    fit = fit_together(curves, **limits)
    errors = {f"{name}_pooled_se": fit.se[:, k] for k, name in enumerate(PARAMETERS)}
    return table.assign(
        alpha_pooled=fit.alpha,
        delta_pooled=fit.delta,
        gamma_pooled=fit.gamma,
        improvement_pooled=sign * fit.delta,
        days_to_95_pooled=3 / fit.gamma,
        pooled_dof=fit.dof,
        **errors,
    )
