"""Values inside significant clusters, compared once more: retention, and groups that the cluster does not come from.

The clusters were found in these very data. Comparing the groups that the
contrast compared would be circular; comparing others, or two days of which
neither was favoured, is what the published study did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.bayes import bf10_one_sample, bf10_two_sample
from plastimap.stats.longitudinal import reference_days, term_operator, time_model
from plastimap.stats.means import MeanTest

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ask:
    """What is compared inside clusters.

    Attributes
    ----------
    first, second : tuple of str
        Groups; an empty `second` = none to compare with.
    test_coefficients : bool
        False where the cluster comes from these very groups: means are given, and no p.
    days : tuple of float
        End of training and follow-up; the visits nearest to them count.
    model : mapping
        The configuration's ``model``: coding, centre_days, knots.
    margin_sd : float
        Differences of less than so many standard deviations count as none: of the change for pairs, pooled for two
        samples.
    """

    first: tuple[str, ...]
    second: tuple[str, ...] = ()
    test_coefficients: bool = True
    days: tuple[float, float] = (28.0, 84.0)
    model: Mapping[str, Any] = field(default_factory=dict)
    margin_sd: float = 0.5


@dataclass(frozen=True)
class Comparison:
    """Two samples; NaN where there are too few values.

    Attributes
    ----------
    first_mean, first_sd, second_mean, second_sd : float
    p : float
        Welch's t test (two samples) or paired t test.
    bf01 : float
        Evidence for no difference over one, of Student's t with the default Cauchy prior (scale √½).
    p_equal : float
        Two one-sided tests (TOST; Schuirmann 1987, doi:10.1007/BF01068419) that the difference is within the margin.
    """

    first_mean: float
    first_sd: float
    second_mean: float
    second_sd: float
    p: float
    bf01: float
    p_equal: float


def compare(first: Array, second: Array, *, paired: bool, margin_sd: float = 0.5) -> Comparison:
    """Compare two samples; pairs with a missing value are left out. The margin is that of :class:`Ask`."""
    from scipy import stats

    if paired:
        both = np.isfinite(first) & np.isfinite(second)
        first, second = first[both], second[both]
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    p = bf01 = p_equal = math.nan
    change = first - second if paired else first
    enough = min(first.size, second.size) > 1 and (np.ptp(change) > 0 or (not paired and np.ptp(second) > 0))
    if enough and paired:
        test: Any = stats.ttest_rel(first, second)
        p, bf01 = float(test.pvalue), float(1 / bf10_one_sample(test.statistic, first.size))
        p_equal = _equivalence(test, float(change.mean()), margin_sd * float(change.std(ddof=1)))
    elif enough:
        welch: Any = stats.ttest_ind(first, second, equal_var=False)
        student: Any = stats.ttest_ind(first, second)
        p, bf01 = float(welch.pvalue), float(1 / bf10_two_sample(student.statistic, first.size, second.size))
        freedom = first.size + second.size - 2
        squares = (first.size - 1) * first.var(ddof=1) + (second.size - 1) * second.var(ddof=1)
        p_equal = _equivalence(welch, float(first.mean() - second.mean()), margin_sd * math.sqrt(squares / freedom))
    return Comparison(*_mean_sd(first), *_mean_sd(second), p, bf01, p_equal)


def _equivalence(test: Any, difference: float, margin: float) -> float:
    """TOST beside a t test of scipy, which tells the standard error through its interval."""
    from scipy import stats

    interval = test.confidence_interval(0.5)
    error = float(interval.high - interval.low) / 2 / float(stats.t.ppf(0.75, test.df))
    found = MeanTest(difference, error, float(test.statistic), float(test.df), float(test.pvalue))
    return found.equivalence(margin)


def _mean_sd(values: Array) -> tuple[float, float]:
    mean = float(values.mean()) if values.size else math.nan
    return mean, float(values.std(ddof=1)) if values.size > 1 else math.nan


def coefficients(cluster: pd.DataFrame, term: str, model: Mapping[str, Any]) -> pd.Series:
    """Coefficient of a time term of every person in a cluster's mean values, in the coding of the group model.

    Parameters
    ----------
    cluster : DataFrame
        participant_id, session, day, value of one cluster.
    term : str
        ``linear``, ``quadratic``, …
    model : mapping
        coding, centre_days, knots.

    Returns
    -------
    Series
        participant_id → coefficient; people whose visits cannot tell it are left out.
    """
    import pandas as pd

    last = model.get("last_day")
    scans = cluster if last is None else cluster[cluster["day"] <= last]
    basis = time_model(
        reference_days(scans),
        terms=(term,),
        coding=model.get("coding", "quadratic_after_linear"),
        centre=bool(model.get("centre_days", True)),
        knots=model.get("knots") or (),
    )
    found: dict[str, float] = {}
    for person, mine in scans.groupby("participant_id", sort=True):
        days = mine["day"].to_numpy(dtype=float)
        operator, variance = term_operator(np.zeros(days.size) if days.size == 1 else days, basis.basis, basis.terms)
        if np.isfinite(variance[0]):
            found[str(person)] = float(operator[0] @ mine["value"].to_numpy(dtype=float))
    return pd.Series(found, dtype=float)


def cluster_posthoc(cluster: pd.DataFrame, term: str, ask: Ask) -> dict[str, float]:
    """Everything that is compared inside one cluster, as columns of a table.

    Parameters
    ----------
    cluster : DataFrame
        participant_id, group, session, day, value.
    term : str
    ask : Ask

    Returns
    -------
    dict
        ``beta_*`` (fitted parameter, first against second groups), ``retention_*`` (first groups, end of training
        against follow-up), ``followup_*`` (first against second groups at follow-up); each with ``first_mean``,
        ``first_sd``, ``second_mean``, ``second_sd``, ``p``, ``bf01``, ``p_equal``.
    """
    fitted = coefficients(cluster, term, ask.model)
    of = cluster.drop_duplicates("participant_id").set_index("participant_id")["group"].astype(str)
    sides = [fitted[of.loc[fitted.index].isin(side).to_numpy()].to_numpy() for side in (ask.first, ask.second)]
    beta = compare(sides[0], sides[1], paired=False, margin_sd=ask.margin_sd)
    visits = cluster.pivot_table(index="participant_id", columns="session", values="value")
    nearest = visits_at(cluster, ask.days)
    nothing = np.full(len(visits), math.nan)
    values = [visits[name].to_numpy(dtype=float) if name else nothing for name in nearest]
    first, second = (of.loc[visits.index].isin(side).to_numpy() for side in (ask.first, ask.second))
    retention = compare(values[0][first], values[1][first], paired=True, margin_sd=ask.margin_sd)
    followup = compare(values[1][first], values[1][second], paired=False, margin_sd=ask.margin_sd)
    columns: dict[str, float] = {}
    for name, one in (("beta", beta), ("retention", retention), ("followup", followup)):
        columns |= {f"{name}_{key}": value for key, value in vars(one).items()}
    if not ask.test_coefficients:
        columns |= {f"{name}_{key}": math.nan for name in ("beta", "followup") for key in ("p", "bf01", "p_equal")}
    return columns


def visits_at(scans: pd.DataFrame, days: Sequence[float]) -> list[str]:
    """Sessions whose median day is nearest to each of the days; "" where another day claims it or half the way lies.

    A visit counts for a day when it is nearer than half the gap between the days asked for.
    """
    medians = scans.groupby("session")["day"].median()
    reach = (max(days) - min(days)) / 2 if len(days) > 1 else math.inf
    found: list[str] = []
    for day in days:
        distance = (medians - day).abs().sort_values(kind="stable")
        near = len(distance) and float(distance.iloc[0]) < reach and str(distance.index[0]) not in found
        found.append(str(distance.index[0]) if near else "")
    return found
