"""Linear model with random intercepts: of sites in a cohort, of people over sessions, or of both.

y = Xβ + b_site + b_person + e; variances by restricted maximum likelihood over their ratios to σ² (Patterson & Thompson
1971, doi:10.1093/biomet/58.3.545), tests with Satterthwaite's degrees of freedom (several coefficients together: Fai &
Cornelius 1996, doi:10.1080/00949659608811740), so that a few repeated people among many do not cost the others theirs.
Groups that do not differ (τ² = 0, as sites in most cohorts of brain age) have no random part. Where no kind has one:
ordinary least squares with errors clustered by group (Liang & Zeger 1986, doi:10.1093/biomet/73.1.13), and the result
says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.restricted import Sums, best_ratios, parts_at, sums_of, variance_slopes

Array = NDArray[np.float64]
Numbers = NDArray[np.intp]
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
    slopes : ndarray, shape (k, p, p)
        Slope of the covariance on the logarithm of each variance.
    uncertainty : ndarray, shape (k, k)
        Covariance of these logarithms.
    between, of_people, within : float
        τ² of the groups and of people, and σ².
    way : {"mixed", "clustered", "plain"}
        ``plain``: no group has two rows, or all are in one.
    groups : int
    rows : int
    """

    beta: Array
    covariance: Array
    slopes: Array
    uncertainty: Array
    between: float
    of_people: float
    within: float
    way: Way
    groups: int
    rows: int

    def dof(self, contrast: ArrayLike) -> float:
        """Satterthwaite's degrees of freedom of a contrast, between 1 and rows less columns."""
        weights = np.asarray(contrast, dtype=np.float64)
        variance = float(weights @ self.covariance @ weights)
        slope = np.einsum("i,kij,j->k", weights, self.slopes, weights)
        own = 2 * variance**2 / max(float(slope @ self.uncertainty @ slope), np.finfo(np.float64).tiny)
        return float(np.clip(own, 1, self.rows - len(self.beta)))

    def dofs(self) -> Array:
        """Degrees of freedom of every coefficient, shape (p,)."""
        return np.array([self.dof(one) for one in np.eye(len(self.beta))])

    def p_values(self) -> Array:
        """Two-sided p of every coefficient, shape (p,)."""
        from scipy import stats

        t = self.beta / np.sqrt(np.diag(self.covariance))
        return np.asarray(2 * stats.t.sf(np.abs(t), self.dofs()), dtype=np.float64)

    def wald(self, columns: list[int]) -> tuple[float, float]:
        """F and p of several coefficients together."""
        from scipy import stats

        variances, directions = np.linalg.eigh(self.covariance[np.ix_(columns, columns)])
        f = float(((directions.T @ self.beta[columns]) ** 2 / variances).sum()) / len(columns)
        whole = np.zeros((len(columns), len(self.beta)))
        whole[:, columns] = directions.T
        return f, float(stats.f.sf(f, len(columns), _together(np.array([self.dof(one) for one in whole]))))


def _together(dofs: Array) -> float:
    """Denominator's degrees of freedom of an F of independent t's (Fai & Cornelius, their second method)."""
    if np.ptp(dofs) < 1e-8:
        return float(dofs[0])
    mean = float((dofs / (dofs - 2))[dofs > 2].sum())
    return 2 * mean / (mean - len(dofs)) if mean > len(dofs) else 2.0


def fit_intercept(
    y: ArrayLike, matrix: ArrayLike, groups: ArrayLike, *, people: ArrayLike | None = None
) -> InterceptFit:
    """Fit a model.

    Parameters
    ----------
    y : array-like, shape (n,)
    matrix : array-like, shape (n, p)
        Of full rank, with the constant.
    groups : array-like, shape (n,)
    people : array-like, shape (n,), optional
        Who each row is of; people with several rows get an intercept of their own beside that of their group.

    Raises
    ------
    BrainageProblem
        If columns depend on one another, or no degrees of freedom are left.
    """
    values, design = np.asarray(y, dtype=np.float64), np.asarray(matrix, dtype=np.float64)
    n, p = design.shape
    if np.linalg.matrix_rank(design) < p:
        raise BrainageProblem("the columns of the model depend on one another; leave one of them out")
    if n - p < 1:
        raise BrainageProblem(f"{n} rows are too few for {p} coefficients")
    given = {"people": people, "groups": groups}
    numbers = {name: _numbered(one) for name, one in given.items() if one is not None}
    kinds = {name: one for name, one in numbers.items() if 1 < one.max() + 1 < n}
    # One person per site: their intercepts are the same.
    if len(kinds) > 1 and kinds["people"].max() == kinds["groups"].max():
        del kinds["people"]
    return _fit(values, design, kinds, int(numbers["groups"].max()) + 1)


def _numbered(labels: ArrayLike) -> Numbers:
    return np.unique(np.asarray(labels).astype(str), return_inverse=True)[1]


def _fit(y: Array, design: Array, kinds: dict[str, Numbers], count: int) -> InterceptFit:
    """Leave out the kinds whose groups do not differ, one after the other."""
    left = dict(kinds)
    while left:
        sums = sums_of(y, design, list(left.values()))
        ratios = best_ratios(sums, len(left))
        if ratios.min() >= NO_VARIANCE:
            return _mixed(ratios, sums, list(left), count)
        del left[list(left)[int(ratios.argmin())]]
    if "groups" in kinds:
        return _clustered(y, design, kinds["groups"], count)
    return _clustered(y, design, kinds["people"], count) if kinds else _plain(y, design, count)


def _mixed(ratios: Array, sums: Sums, names: list[str], count: int) -> InterceptFit:
    found = parts_at(ratios.tolist(), sums)
    within = found.square / (sums.rows - sums.columns)
    own = {name: float(ratio) * within for name, ratio in zip(names, ratios, strict=True)}
    return InterceptFit(
        found.beta, found.inverse * within, *variance_slopes(ratios, sums), own.get("groups", 0.0),
        own.get("people", 0.0), within, "mixed", count, sums.rows,
    )  # fmt: skip


def _plain(y: Array, design: Array, count: int) -> InterceptFit:
    beta, covariance, within = _least_squares(y, design)
    n, p = design.shape
    return InterceptFit(beta, covariance, *_one_dof(covariance, n - p), 0.0, 0.0, within, "plain", count, n)


def _one_dof(covariance: Array, dof: int) -> tuple[Array, Array]:
    """Slopes and uncertainty of a covariance with the same degrees of freedom in all directions."""
    return covariance[None], np.array([[2.0 / dof]])


def _least_squares(y: Array, design: Array) -> tuple[Array, Array, float]:
    inverse = np.asarray(np.linalg.inv(design.T @ design), dtype=np.float64)
    beta = inverse @ design.T @ y
    within = float(((y - design @ beta) ** 2).sum() / (len(y) - design.shape[1]))
    return beta, inverse * within, within


def _clustered(y: Array, design: Array, number: Numbers, count: int) -> InterceptFit:
    n, p = design.shape
    beta, covariance, within = _least_squares(y, design)
    bread, residual = covariance / within, y - design @ beta
    scores = np.stack([np.bincount(number, column) for column in (design * residual[:, None]).T], axis=1)
    clusters = len(scores)
    small = clusters / (clusters - 1) * (n - 1) / (n - p)
    sandwich = small * bread @ (scores.T @ scores) @ bread
    return InterceptFit(beta, sandwich, *_one_dof(sandwich, clusters - 1), 0.0, 0.0, within, "clustered", count, n)
