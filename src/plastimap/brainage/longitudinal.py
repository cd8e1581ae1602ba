"""Change of regional brain age: sessions × groups, time since stroke as a smooth curve, and what is only noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.modelled import (
    Modelled,
    discovery_rate,
    groups_of,
    joined_people,
    left_out,
    numbers,
    person_keys,
)
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.random_intercept import fit_intercept
from plastimap.brainage.sessions import Ordered, order_sessions
from plastimap.stats.fdr import benjamini_hochberg

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

FEWEST_PAIRS = 8
"""People with two sessions below whom no noise floor is told."""

NORMAL_95 = 1.96
CURVE_POINTS = 60
CURVE_COLUMNS = ["network", "side", "days", "pad", "lower", "upper", "p", "q", "p_bend", "model", "people"]

FEWEST_PER_KNOT = 3
"""People per knot below whom there is no curve."""


def noise_floor(ages: pd.DataFrame, people: pd.DataFrame | None = None) -> Modelled:
    """What two scans of people who did not change differ by.

    Parameters
    ----------
    ages : DataFrame
        Of healthy people with two sessions or more.
    people : DataFrame, optional
        What tells the order of sessions, see :func:`plastimap.brainage.sessions.order_sessions`.

    Returns
    -------
    Modelled
        ``network``, ``hemisphere``, ``people``, ``icc`` (one-way, of the corrected PAD), ``difference_sd`` and
        ``floor`` (1.96 of it): a single person's change from the first to the last session below the floor is noise.
    """
    import pandas as pd

    ordered = order_sessions(ages, people)
    visits = ages.merge(ordered.visits, on=["participant_id", "session"]).dropna(subset=["pad_corrected"])
    rows, reasons = list[dict[str, Any]](), list[tuple[Any, str]]()
    for region, part in visits.sort_values("visit", kind="stable").groupby(["network", "hemisphere"], sort=False):
        by_person = part.groupby("participant_id")["pad_corrected"]
        twice = by_person.size() > 1
        pairs = np.column_stack([by_person.first()[twice], by_person.last()[twice]])
        if len(pairs) < FEWEST_PAIRS:
            reasons.append((region, f"{len(pairs)} people have two sessions; {FEWEST_PAIRS} are needed"))
            continue
        spread = float(np.diff(pairs, axis=1).std(ddof=1))
        rows.append({"network": region[0], "hemisphere": region[1], "people": len(pairs), "icc": _icc(pairs),
                     "difference_sd": spread, "floor": NORMAL_95 * spread})  # fmt: skip
    if not rows:
        raise BrainageProblem(f"in no region have {FEWEST_PAIRS} people two sessions")
    return Modelled(pd.DataFrame(rows), (*left_out("noise floor", reasons), *_without_session(ages)))


def _without_session(ages: pd.DataFrame) -> list[str]:
    lost = ages.loc[ages["session"].isna(), "participant_id"].nunique()
    return [f"{lost} people have ages without a session: these are not among the changes."] if lost else []


def _icc(pairs: Array) -> float:
    """ICC(1) of Shrout & Fleiss 1979 (doi:10.1037/0033-2909.86.2.420)."""
    between = 2 * pairs.mean(axis=1).var(ddof=1)
    within = float((np.diff(pairs, axis=1)[:, 0] ** 2 / 2).mean())
    return float((between - within) / (between + within))


def change_models(
    ages: pd.DataFrame, people: pd.DataFrame, *, group: str = "group", reference: str | None = None
) -> Modelled:
    """ΔPAD ~ session × group + (1 | person), per region.

    ΔPAD is the corrected gap less that of the person's first session; sessions after the first are compared. Who lacks
    a region at the first session has no change there.

    Parameters
    ----------
    ages : DataFrame
        With ``session``.
    people : DataFrame
        ``participant_id``, the column of groups, and what tells the order of sessions (see
        :func:`plastimap.brainage.sessions.order_sessions`).
    group : str
    reference : str, optional
        Group that others are compared with; None = the first by name.

    Returns
    -------
    Modelled
        ``network``, ``hemisphere``, ``term`` (``change (GROUP, session …)``: mean change of the reference group at the
        first of the later sessions, ``group …``, ``session …``, ``session … × group …``: what is added to it),
        ``estimate`` (years), ``error``, ``p``, ``q``, ``model``, ``n``, ``people``.
    """
    import pandas as pd

    ordered = order_sessions(ages, people)
    changes, notes = _changes(ages, people, group, ordered)
    groups = sorted(changes[group].unique())
    groups.sort(key=lambda name: name != reference)
    rows, reasons = list[dict[str, Any]](), list[tuple[Any, str]]()
    for region, part in changes.groupby(["network", "hemisphere"], sort=False):
        head = {"network": region[0], "hemisphere": region[1]}
        later = part.dropna(subset=["change"])
        try:
            rows += [{**head, **line} for line in _change_lines(later, group, list(ordered.labels), groups)]
        except BrainageProblem as problem:
            reasons.append((region, str(problem)))
    if not rows:
        raise BrainageProblem("nobody has a gap at the first and at a later session; change cannot be modelled")
    return Modelled(discovery_rate(pd.DataFrame(rows)), (*notes, *left_out("model of change", reasons)))


def _changes(ages: pd.DataFrame, people: pd.DataFrame, group: str, ordered: Ordered) -> tuple[pd.DataFrame, list[str]]:
    """Gaps after each person's first session less those of it, with groups; what is left out."""
    groups = groups_of(people, group)
    visits = ages.merge(ordered.visits, on=["participant_id", "session"])
    keys = ["participant_id", "network", "hemisphere"]
    first = visits.loc[visits["visit"] == 0, [*keys, "pad_corrected"]].rename(columns={"pad_corrected": "baseline"})
    later = visits[visits["visit"] > 0].merge(first, on=keys, how="left")
    later["change"] = later["pad_corrected"] - later["baseline"]
    later[group] = later["participant_id"].map(groups)
    notes = [*ordered.notes, *_without_session(ages)]
    if strangers := later.loc[later[group].isna(), "participant_id"].nunique():
        notes.append(f"{strangers} people with several sessions have no {group}: their change is left out.")
    if lost := later.loc[later["baseline"].isna() & later["pad_corrected"].notna(), "participant_id"].nunique():
        notes.append(f"{lost} people lack a region at their first session: they have no change there.")
    return later.dropna(subset=[group]), notes


def _change_lines(later: pd.DataFrame, group: str, sessions: list[str], groups: list[str]) -> list[dict[str, Any]]:
    if later.empty:
        raise BrainageProblem("nobody has it at the first and at a later session")
    design, names = _sessions_by_groups(later["session"], later[group], sessions, groups)
    fit = fit_intercept(later["change"], design, later["participant_id"])
    error, p = np.sqrt(np.diag(fit.covariance)), fit.p_values()
    tail = {"model": fit.way, "n": len(later), "people": later["participant_id"].nunique()}
    return [{"term": name, "estimate": fit.beta[i], "error": error[i], "p": p[i], **tail}
            for i, name in enumerate(names)]  # fmt: skip


def _sessions_by_groups(
    session: pd.Series, group: pd.Series, sessions: list[str], groups: list[str]
) -> tuple[Array, list[str]]:
    """Design and its terms; the first of the sessions and of the groups that are there are the reference."""
    visits = [one for one in sessions if (session == one).any()]
    kinds = [one for one in groups if (group == one).any()]
    columns, names = list[Array]([np.ones(len(session))]), [f"change ({kinds[0]}, session {visits[0]})"]
    for one in kinds[1:]:
        columns.append(np.asarray(group == one, dtype=np.float64))
        names.append(f"group {one}")
    for visit in visits[1:]:
        columns.append(np.asarray(session == visit, dtype=np.float64))
        names.append(f"session {visit}")
        for one in kinds[1:]:
            columns.append(np.asarray((session == visit) & (group == one), dtype=np.float64))
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


def time_curves(ages: pd.DataFrame, people: pd.DataFrame, *, knots: int = 4) -> Modelled:
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
    Modelled
        ``network``, ``side``, ``days``, ``pad``, ``lower``, ``upper`` (95 %), ``p`` (of any change over time), ``q``,
        ``p_bend`` (of any bend), ``model``, ``people``.
    """
    import pandas as pd

    days = people[person_keys(ages, people)].assign(days_since_stroke=numbers(people, "days_since_stroke"))
    joined = joined_people(ages[ages["side"].notna()], days)
    parts, reasons = list[pd.DataFrame](), list[tuple[Any, str]]()
    for (network, side), part in joined.groupby(["network", "side"], sort=False):
        known = part.dropna(subset=["pad_corrected", "days_since_stroke"])
        try:
            parts.append(_curve(known, knots).assign(network=str(network), side=str(side)))
        except BrainageProblem as problem:
            reasons.append(((network, side), str(problem)))
    if not parts:
        raise BrainageProblem("too few people with a time since stroke for a curve")
    corrected = benjamini_hochberg([one["p"].iloc[0] for one in parts])
    table = pd.concat([one.assign(q=q) for one, q in zip(parts, corrected, strict=True)], ignore_index=True)
    return Modelled(table[CURVE_COLUMNS], left_out("curve over time", reasons))


def _curve(known: pd.DataFrame, knots: int) -> pd.DataFrame:
    """One region's curve over time."""
    import pandas as pd
    from scipy import stats

    logs = np.log(known["days_since_stroke"].to_numpy(np.float64).clip(1))
    people, needed = known["participant_id"].nunique(), FEWEST_PER_KNOT * knots
    if people < needed:
        raise BrainageProblem(f"{people} people have an age there and a time since stroke; {needed} are needed")
    places = np.unique(np.quantile(logs, np.linspace(0.05, 0.95, knots)))
    if len(places) < 3:
        raise BrainageProblem("almost everybody was scanned at the same time since stroke")
    fit = fit_intercept(known["pad_corrected"], _with_constant(natural_spline(logs, places)), known["participant_id"])
    grid = np.linspace(logs.min(), logs.max(), CURVE_POINTS)
    rows = _with_constant(natural_spline(grid, places))
    curve, error = rows @ fit.beta, np.sqrt(np.einsum("ij,jk,ik->i", rows, fit.covariance, rows))
    reach = stats.t.ppf(0.975, [fit.dof(row) for row in rows]) * error
    p, bend = fit.wald(list(range(1, rows.shape[1])))[1], fit.wald(list(range(2, rows.shape[1])))[1]
    return pd.DataFrame({"days": np.exp(grid), "pad": curve, "lower": curve - reach, "upper": curve + reach, "p": p,
                         "p_bend": bend, "model": fit.way, "people": people})  # fmt: skip


def _with_constant(columns: Array) -> Array:
    return np.column_stack([np.ones(len(columns)), columns])
