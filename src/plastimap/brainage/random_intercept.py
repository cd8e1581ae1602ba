"""Linear model with a random intercept: sites in a cohort, people over sessions.

y = Xβ + b_group + e; τ² and σ² by restricted maximum likelihood over their ratio (Patterson & Thompson 1971,
doi:10.1093/biomet/58.3.545). Where groups do not differ (τ² = 0, as in most cohorts of brain age), the model has no
random part to speak of: then ordinary least squares with errors clustered by group (Liang & Zeger 1986,
doi:10.1093/biomet/73.1.13), and the result says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.problems import BrainageProblem

Array = NDArray[np.float64]
Way = Literal["mixed", "clustered", "plain"]

NO_VARIANCE = 1e-4
"""τ²/σ² below which groups count as alike."""


@dataclass(frozen=True)
class InterceptFit:
    """A fitted model.

    Attributes
    ----------
    beta : ndarray, shape (p,)
    covariance : ndarray, shape (p, p)
    dof : float
        Rows less columns less groups + 1 (mixed), groups − 1 (clustered), rows less columns (plain: one group, or
        nobody in the same one).
    between, within : float
        τ² and σ².
    way : {"mixed", "clustered", "plain"}
    groups : int
    """

    beta: Array
    covariance: Array
    dof: float
    between: float
    within: float
    way: Way
    groups: int

    def p_values(self) -> Array:
        """Two-sided p of every coefficient, shape (p,)."""
        from scipy import stats

        t = self.beta / np.sqrt(np.diag(self.covariance))
        return np.asarray(2 * stats.t.sf(np.abs(t), self.dof), dtype=np.float64)

    def wald(self, columns: list[int]) -> tuple[float, float]:
        """F and p of several coefficients together."""
        from scipy import stats

        chosen = self.beta[columns]
        f = float(chosen @ np.linalg.solve(self.covariance[np.ix_(columns, columns)], chosen)) / len(columns)
        return f, float(stats.f.sf(f, len(columns), self.dof))


def fit_intercept(y: ArrayLike, matrix: ArrayLike, groups: ArrayLike) -> InterceptFit:
    """Fit a model.

    Parameters
    ----------
    y : array-like, shape (n,)
    matrix : array-like, shape (n, p)
        Of full rank, with the constant.
    groups : array-like, shape (n,)

    Raises
    ------
    BrainageProblem
        If columns depend on one another, or no degrees of freedom are left.
    """
    values, design = np.asarray(y, dtype=np.float64), np.asarray(matrix, dtype=np.float64)
    n, p = design.shape
    number = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    count = int(number.max()) + 1
    if np.linalg.matrix_rank(design) < p:
        raise BrainageProblem("the columns of the model depend on one another; leave one of them out")
    alone = count in (1, n)
    if n - p - (0 if alone else count - 1) < 1:
        raise BrainageProblem(f"{n} rows are too few for {p} coefficients and {count} groups")
    if alone:
        beta, covariance, within = _least_squares(values, design)
        return InterceptFit(beta, covariance, n - p, 0.0, within, "plain", count)
    ratio = _best_ratio(values, design, number)
    if ratio < NO_VARIANCE:
        return _clustered(values, design, number)
    _, beta, inverse, within = _profile(ratio, values, design, number)
    return InterceptFit(beta, inverse * within, n - p - count + 1, ratio * within, within, "mixed", count)


def _best_ratio(y: Array, design: Array, number: NDArray[np.intp]) -> float:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: _profile(float(np.exp(log)), y, design, number)[0], bounds=(np.log(1e-6), np.log(1e4)),
        method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    best = float(np.exp(found.x))
    return best if found.fun < _profile(0.0, y, design, number)[0] - 1e-9 else 0.0


def _profile(ratio: float, y: Array, design: Array, number: NDArray[np.intp]) -> tuple[float, Array, Array, float]:
    """−2 restricted log likelihood (up to a constant), β, (X'V⁻¹X)⁻¹ and σ² at a ratio τ²/σ²."""
    size = np.bincount(number)
    taken = ratio / (1 + size * ratio)
    sums = np.stack([np.bincount(number, column) for column in np.column_stack([design, y]).T], axis=1)
    both = np.column_stack([design, y])
    # V⁻¹ takes a share of every group's sum off.
    inner = both.T @ both - (sums * taken[:, None]).T @ sums
    p = design.shape[1]
    inverse = np.asarray(np.linalg.inv(inner[:p, :p]), dtype=np.float64)
    beta = inverse @ inner[:p, p]
    square = float(inner[p, p] - inner[:p, p] @ beta)
    dof = len(y) - p
    value = dof * np.log(square / dof) + np.log1p(size * ratio).sum() + np.linalg.slogdet(inner[:p, :p])[1]
    return float(value), beta, inverse, square / dof


def _least_squares(y: Array, design: Array) -> tuple[Array, Array, float]:
    inverse = np.asarray(np.linalg.inv(design.T @ design), dtype=np.float64)
    beta = inverse @ design.T @ y
    within = float(((y - design @ beta) ** 2).sum() / (len(y) - design.shape[1]))
    return beta, inverse * within, within


def _clustered(y: Array, design: Array, number: NDArray[np.intp]) -> InterceptFit:
    n, p = design.shape
    beta, covariance, within = _least_squares(y, design)
    bread, residual = covariance / within, y - design @ beta
    scores = np.stack([np.bincount(number, column) for column in (design * residual[:, None]).T], axis=1)
    count = len(scores)
    small = count / (count - 1) * (n - 1) / (n - p)
    sandwich = small * bread @ (scores.T @ scores) @ bread
    return InterceptFit(beta, sandwich, count - 1, 0.0, within, "clustered", count)
