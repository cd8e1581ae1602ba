"""Which shape of change the scans of a cluster speak for: none, a line, a parabola, pieces; by information criteria."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.problems import StatsProblem
from plastimap.stats.timecoding import TimeBasis, time_basis

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("cluster", "course", "parameters", "log_likelihood", "aic", "bic", "delta_aic", "weight")

_LARGEST_LOG_RATIO = 12.0
"""Between-person over within-person variance is looked for between e^-12 and e^12."""


@dataclass(frozen=True)
class Likelihood:
    """Maximum likelihood of a model with a level of each person's own.

    Attributes
    ----------
    log_likelihood : float
    parameters : int
        Fixed effects (rank of the design) and two variances.
    ratio : float
        Variance between people over that within them.
    """

    log_likelihood: float
    parameters: int
    ratio: float


def random_level_likelihood(values: ArrayLike, matrix: NDArray[np.floating], people: Sequence[object]) -> Likelihood:
    """Fit fixed effects and a random intercept per person by maximum likelihood (not ReML: designs are compared).

    Parameters
    ----------
    values : array-like, shape (n,)
    matrix : ndarray, shape (n, p)
        Design; may be rank deficient.
    people : sequence, length n

    Returns
    -------
    Likelihood
        Laird and Ware 1982, doi:10.2307/2529876, with the residual variance profiled out.
    """
    from scipy import optimize

    y, design = np.asarray(values, dtype=np.float64), np.asarray(matrix, dtype=np.float64)
    _, who = np.unique(np.asarray(people, dtype=str), return_inverse=True)
    counts = np.bincount(who)

    def twice_loss(log_ratio: float) -> float:
        # V = I + r 11' of each person: its inverse root takes a share of the person's mean away.
        inflated = 1 + counts * np.exp(log_ratio)
        share = (1 - 1 / np.sqrt(inflated))[who]
        white = _less_mean(np.column_stack([y, design]), who, counts, share)
        left = white[:, 0] - white[:, 1:] @ np.linalg.lstsq(white[:, 1:], white[:, 0], rcond=None)[0]
        return float(y.size * np.log(left @ left / y.size) + np.log(inflated).sum())

    bounds = (-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO)
    best: Any = optimize.minimize_scalar(twice_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    constant = y.size * (1 + np.log(2 * np.pi))
    rank = int(np.linalg.matrix_rank(design))
    return Likelihood(-0.5 * (float(best.fun) + constant), rank + 2, float(np.exp(best.x)))


def _less_mean(
    columns: NDArray[np.float64], who: NDArray[np.intp], counts: NDArray[np.intp], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    means = np.stack([np.bincount(who, weights=column) for column in columns.T], axis=1) / counts[:, None]
    return columns - share[:, None] * means[who]


def compare_courses(cluster_scans: pd.DataFrame, *, knots: Sequence[float] = ()) -> pd.DataFrame:
    """Compare shapes of change in every cluster.

    Every group has its own level and its own change, every person a level of their own. The clusters were found with
    one of these shapes, which favours it a little: the comparison tells which shape describes the change, not whether
    there is any.

    Parameters
    ----------
    cluster_scans : DataFrame
        ``cluster``, ``participant_id``, ``group``, ``day``, ``value``, one row per scan, as
        :class:`plastimap.stats.analysis.AnalysisResult` has them.
    knots : sequence of float
        Days at which the pieces of a further course meet; none = no such course.

    Returns
    -------
    DataFrame
        :data:`COLUMNS`; per cluster, in order of ``aic``. ``weight`` is Akaike's (Burnham and Anderson 2004,
        doi:10.1177/0049124104268644); ``bic`` counts scans.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for cluster, scans in cluster_scans.groupby("cluster", sort=True):
        usable = scans[np.isfinite(scans["value"]) & np.isfinite(scans["day"])]
        found = [_row(cluster, name, basis, usable) for name, basis in courses(usable["day"], knots=knots).items()]
        best = min((row["aic"] for row in found), default=0.0)
        total = sum(np.exp(-0.5 * (row["aic"] - best)) for row in found)
        for row in sorted(found, key=lambda row: row["aic"]):
            delta = row["aic"] - best
            rows.append({**row, "delta_aic": delta, "weight": float(np.exp(-0.5 * delta) / total)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def courses(days: ArrayLike, *, knots: Sequence[float] = ()) -> dict[str, TimeBasis]:
    """Shapes that the study's days can tell apart, by name; a shape with as many coefficients as days is left out."""
    distinct = np.unique(np.asarray(days, dtype=np.float64))
    found: dict[str, TimeBasis] = {}
    for name, degree in (("none", 0), ("linear", 1), ("quadratic", 2)):
        if distinct.size > degree + 1 or (degree == 0 and distinct.size):
            found[name] = time_basis(distinct, coding="raw", centre=True, degree=degree)
    if knots and distinct.size > len(knots) + 2:
        try:
            told = ", ".join(f"{knot:g}" for knot in knots)
            found[f"piecewise at {told}"] = time_basis(distinct, coding="piecewise", centre=False, knots=knots)
        except StatsProblem:
            # Sessions of this cluster's people may not reach over all knots.
            pass
    return found


def _row(cluster: Any, name: str, basis: TimeBasis, scans: pd.DataFrame) -> dict[str, Any]:
    groups = scans["group"].astype(str).to_numpy()
    own = [groups == group for group in dict.fromkeys(groups)]
    # Columns of one size: powers of days differ by orders of magnitude.
    terms = basis.at(scans["day"].to_numpy(dtype=np.float64))
    terms /= np.maximum(np.abs(terms).max(axis=0), np.finfo(np.float64).tiny)
    matrix = np.column_stack([terms * inside[:, None] for inside in own])
    people = scans["participant_id"].astype(str).tolist()
    fit = random_level_likelihood(scans["value"], matrix, people)
    return {
        "cluster": cluster,
        "course": name,
        "parameters": fit.parameters,
        "log_likelihood": fit.log_likelihood,
        "aic": 2 * fit.parameters - 2 * fit.log_likelihood,
        "bic": fit.parameters * float(np.log(len(scans))) - 2 * fit.log_likelihood,
    }
