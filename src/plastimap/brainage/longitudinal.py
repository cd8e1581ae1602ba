"""Change of regional brain age: sessions × groups, time since stroke as a smooth curve, and what is only noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.random_intercept import fit_intercept
from plastimap.stats.fdr import benjamini_hochberg

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

FEWEST_PAIRS = 8
"""People with two sessions below whom no noise floor is told."""

NORMAL_95 = 1.96
CURVE_POINTS = 60


def noise_floor(ages: pd.DataFrame) -> pd.DataFrame:
    """What two scans of people who did not change differ by.

    Parameters
    ----------
    ages : DataFrame
        Of healthy people with two sessions or more, ``session`` in order.

    Returns
    -------
    DataFrame
        ``network``, ``hemisphere``, ``people``, ``icc`` (one-way, of the corrected PAD), ``difference_sd`` and
        ``floor`` (1.96 of it): a single person's change below the floor is noise.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for (network, side), part in ages.groupby(["network", "hemisphere"], sort=False):
        wide = part.pivot(index="participant_id", columns="session", values="pad_corrected")
        first, last = (wide.bfill(axis=1).iloc[:, 0], wide.ffill(axis=1).iloc[:, -1])
        twice = wide.notna().sum(axis=1) > 1
        pairs = np.column_stack([first[twice], last[twice]])
        if len(pairs) < FEWEST_PAIRS:
            raise BrainageProblem(f"{len(pairs)} people have two sessions; the noise floor needs {FEWEST_PAIRS}")
        spread = float(np.diff(pairs, axis=1).std(ddof=1))
        rows.append({"network": network, "hemisphere": side, "people": len(pairs), "icc": _icc(pairs),
                     "difference_sd": spread, "floor": NORMAL_95 * spread})  # fmt: skip
    return pd.DataFrame(rows)


def _icc(pairs: Array) -> float:
    """ICC(1) of Shrout & Fleiss 1979 (doi:10.1037/0033-2909.86.2.420)."""
    between = 2 * pairs.mean(axis=1).var(ddof=1)
    within = float((np.diff(pairs, axis=1)[:, 0] ** 2 / 2).mean())
    return float((between - within) / (between + within))


def change_models(ages: pd.DataFrame, people: pd.DataFrame, *, group: str = "group") -> pd.DataFrame:
    """ΔPAD ~ session × group + (1 | person), per region.

    ΔPAD is the corrected gap less that of the person's first session; sessions after the first are compared.

    Parameters
    ----------
    ages : DataFrame
        With ``session``.
    people : DataFrame
        ``participant_id`` and the column of groups.
    group : str

    Returns
    -------
    DataFrame
        ``network``, ``hemisphere``, ``term`` (``change``: mean change of the reference group, ``group …``, ``session
        …``, ``session … × group …``), ``estimate`` (years), ``error``, ``p``, ``q``, ``model``, ``n``.
    """
    import pandas as pd

    groups = people.drop_duplicates("participant_id").set_index("participant_id")[group].astype(str)
    rows: list[dict[str, Any]] = []
    for (network, side), part in ages.groupby(["network", "hemisphere"], sort=False):
        known = part.dropna(subset=["pad_corrected"]).sort_values(["participant_id", "session"])
        first = known.groupby("participant_id")["pad_corrected"].transform("first")
        later = known[known.duplicated("participant_id")].assign(change=known["pad_corrected"] - first)
        if later.empty:
            raise BrainageProblem("nobody has a second session; change cannot be modelled")
        design, names = _sessions_by_groups(later["session"], later["participant_id"].map(groups))
        fit = fit_intercept(later["change"], design, later["participant_id"])
        error, p = np.sqrt(np.diag(fit.covariance)), fit.p_values()
        rows += [{"network": network, "hemisphere": side, "term": name, "estimate": fit.beta[i], "error": error[i],
                  "p": p[i], "model": fit.way, "n": len(later)} for i, name in enumerate(names)]  # fmt: skip
    table = pd.DataFrame(rows)
    table["q"] = table.groupby("term")["p"].transform(lambda p: benjamini_hochberg(p.to_numpy()))
    return table


def _sessions_by_groups(session: pd.Series, group: pd.Series) -> tuple[Array, list[str]]:
    columns, names = [np.ones(len(session))], ["change"]
    sessions, groups = sorted(session.unique())[1:], sorted(group.unique())[1:]
    for one in groups:
        columns.append((group == one).to_numpy(np.float64))
        names.append(f"group {one}")
    for visit in sessions:
        columns.append((session == visit).to_numpy(np.float64))
        names.append(f"session {visit}")
        for one in groups:
            columns.append(((session == visit) & (group == one)).to_numpy(np.float64))
            names.append(f"session {visit} × group {one}")
    kept = [i for i, column in enumerate(columns) if column.any()]
    return np.column_stack([columns[i] for i in kept]), [names[i] for i in kept]


def natural_spline(x: ArrayLike, knots: ArrayLike) -> Array:
    """Natural cubic splines: straight beyond the outer knots; shape (n, knots − 1), without the constant.

    Hastie, Tibshirani & Friedman 2009, eq. 5.4–5.5 (doi:10.1007/978-0-387-84858-7).
    """
    values, places = np.asarray(x, dtype=np.float64), np.asarray(knots, dtype=np.float64)
    cubes = np.maximum(values[:, None] - places, 0) ** 3
    parts = (cubes[:, :-1] - cubes[:, [-1]]) / (places[-1] - places[:-1])
    return np.column_stack([values, parts[:, :-1] - parts[:, [-1]]])


def time_curves(ages: pd.DataFrame, people: pd.DataFrame, *, knots: int = 4) -> pd.DataFrame:
    """Corrected PAD over time since stroke, acute to chronic, as a smooth curve per network and side.

    PAD ~ natural spline of log days + (1 | person), knots at even quantiles. Where the curve bends or is steep, change
    is under way: a window to look into.

    Parameters
    ----------
    ages : DataFrame
        With sides.
    people : DataFrame
        ``participant_id``, ``days_since_stroke`` and, with several sessions, ``session``.
    knots : int
        3 or more.

    Returns
    -------
    DataFrame
        ``network``, ``side``, ``days``, ``pad``, ``lower``, ``upper`` (95 %), ``p`` (of any change over time), ``q``,
        ``p_bend`` (of any bend), ``model``.
    """
    import pandas as pd

    keys = [key for key in ("participant_id", "session") if key in ages and key in people]
    joined = ages[ages["side"].notna()].merge(people[[*keys, "days_since_stroke"]], on=keys)
    parts, tests = list[pd.DataFrame](), list[float]()
    for (network, side), part in joined.groupby(["network", "side"], sort=False):
        known = part.dropna(subset=["pad_corrected", "days_since_stroke"])
        logs = np.log(known["days_since_stroke"].to_numpy(np.float64).clip(1))
        places = np.unique(np.quantile(logs, np.linspace(0.05, 0.95, knots)))
        if len(places) < 3 or len(known) < 3 * knots:
            continue
        fit = fit_intercept(
            known["pad_corrected"], _with_constant(natural_spline(logs, places)), known["participant_id"]
        )
        grid = np.linspace(logs.min(), logs.max(), CURVE_POINTS)
        rows = _with_constant(natural_spline(grid, places))
        curve, error = rows @ fit.beta, np.sqrt(np.einsum("ij,jk,ik->i", rows, fit.covariance, rows))
        p, bend = fit.wald(list(range(1, rows.shape[1])))[1], fit.wald(list(range(2, rows.shape[1])))[1]
        tests.append(p)
        parts.append(pd.DataFrame({"network": network, "side": side, "days": np.exp(grid), "pad": curve,
                                   "lower": curve - NORMAL_95 * error, "upper": curve + NORMAL_95 * error,
                                   "p": p, "p_bend": bend, "model": fit.way}))  # fmt: skip
    if not parts:
        raise BrainageProblem("too few people with a time since stroke for a curve")
    corrected = benjamini_hochberg(tests)
    return pd.concat([one.assign(q=q) for one, q in zip(parts, corrected, strict=True)], ignore_index=True)


def _with_constant(columns: Array) -> Array:
    return np.column_stack([np.ones(len(columns)), columns])
