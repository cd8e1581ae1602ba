"""Days as polynomial time terms, coded in a way that is always named.

Which of two correlated terms is orthogonalised decides what its *partner's*
coefficient means, up to its sign. So the coding is explicit, and it is fixed
once for the study, on the study's own days: a person with a missing visit is
described by the very same polynomials, and so by comparable coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.problems import StatsProblem, suggestion

Coding = Literal["raw", "quadratic_after_linear", "linear_after_quadratic"]

CODINGS: tuple[Coding, ...] = ("raw", "quadratic_after_linear", "linear_after_quadratic")

COLUMNS = ("constant", "linear", "quadratic")
"""Names of the polynomial terms, by degree."""

TERMS = ("baseline", "level", "linear", "quadratic")
"""What may be asked of a person's time course: two values and two coefficients."""


@dataclass(frozen=True)
class TimeBasis:
    """Polynomial time terms of a study.

    Attributes
    ----------
    coding : str
        How the terms were orthogonalised.
    centre : bool
        Whether the constant took part in that.
    reference_days : tuple of float
        The study's distinct days, ascending, on which the coding was settled.
    powers : ndarray, shape (n_powers, n_columns)
        Column k holds term k as a polynomial: entry p multiplies day**p.
    """

    coding: Coding
    centre: bool
    reference_days: tuple[float, ...]
    powers: NDArray[np.float64]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns: constant, linear, quadratic, as far as the days allow."""
        return COLUMNS[: self.powers.shape[1]]

    def at(self, days: ArrayLike) -> NDArray[np.float64]:
        """Time terms on these days, shape (n_days, n_columns)."""
        return _powers_of(days, self.powers.shape[0]) @ self.powers

    def vector(self, term: str) -> NDArray[np.float64] | None:
        """Weights on the columns' coefficients that give `term`; None where the days do not allow it.

        ``baseline`` is the fitted curve at day 0, ``level`` its mean over the
        study's days (for a person with all visits: the plain mean).
        """
        if term == "baseline":
            return self.at([0.0])[0]
        if term == "level":
            return self.at(self.reference_days).mean(axis=0)
        if term not in self.names:
            return None
        return np.eye(len(self.names))[self.names.index(term)]

    def span(self, term: str) -> float:
        """How far a term runs over the study's days (1 for values): coefficient times span = total change."""
        if term not in self.names[1:]:
            return 1.0
        values = self.at(self.reference_days)[:, self.names.index(term)]
        return float(values.max() - values.min())

    def describe(self) -> str:
        """One sentence for reports."""
        days = ", ".join(f"{day:g}" for day in self.reference_days)
        if len(self.names) == 1:
            return f"One time point (day {days}): values are compared as they are, no change over time."
        if len(self.names) == 2:
            return f"Linear time over days {days}; coefficients per day."
        how = {
            "raw": "raw powers of the day (t, t²)",
            "quadratic_after_linear": "quadratic term orthogonalised after the linear term",
            "linear_after_quadratic": "linear term orthogonalised after the quadratic term",
        }[self.coding]
        constant = "" if self.coding == "raw" else f", the constant {'taking' if self.centre else 'not taking'} part"
        return f"Linear and quadratic time over days {days}: {how}{constant}; coefficients per day and per day²."


def time_basis(reference_days: ArrayLike, *, coding: Coding, centre: bool, degree: int = 2) -> TimeBasis:
    """Settle the time terms of a study on its own days.

    Parameters
    ----------
    reference_days : array-like, shape (n,)
        Days since baseline; repeated ones count once.
    coding : {"raw", "quadratic_after_linear", "linear_after_quadratic"}
        Raw powers, or the term that was made orthogonal to the other.
    centre : bool
        Whether the constant takes part in the projection. With True, the
        orthogonalised terms have mean 0 over the reference days; literal
        Gram-Schmidt on (t, t²) alone is False. Raw powers are not touched.
    degree : int
        Highest power wanted; fewer distinct days lower it.

    Returns
    -------
    TimeBasis

    Raises
    ------
    StatsProblem
        If the coding is unknown, or a day is missing.
    """
    if coding not in CODINGS:
        raise StatsProblem(f"unknown time coding {coding!r}: {suggestion(coding, CODINGS)}")
    days = np.asarray(reference_days, dtype=np.float64).ravel()
    if days.size == 0 or not np.isfinite(days).all():
        raise StatsProblem("every session needs its days since baseline: one is missing or not a number")
    days = np.unique(days)
    degree = min(degree, days.size - 1, 2)
    powers = np.eye(degree + 1)
    if coding != "raw" and degree >= 1:
        first, later = (2, 1) if coding == "linear_after_quadratic" and degree == 2 else (1, 2)
        if centre:
            powers[:, first] = _after(powers[:, first], powers[:, :1], days)
        if degree == 2:
            against = powers[:, [0, first]] if centre else powers[:, [first]]
            powers[:, later] = _after(powers[:, later], against, days)
    return TimeBasis(coding=coding, centre=centre, reference_days=tuple(days.tolist()), powers=powers)


def time_terms(
    days: ArrayLike, *, coding: Coding, centre: bool, reference_days: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Constant, linear and quadratic term on the given days.

    Parameters
    ----------
    days : array-like, shape (n,)
        Days since baseline.
    coding, centre
        As in :func:`time_basis`.
    reference_days : array-like, optional
        The days on which the coding is settled; default: `days` themselves.

    Returns
    -------
    ndarray, shape (n, 3)
        In units of 1, days and days²: coefficients are per day and per day².
        With fewer than three distinct days, terms beyond reach are 0.
    """
    basis = time_basis(days if reference_days is None else reference_days, coding=coding, centre=centre)
    terms = basis.at(days)
    return np.pad(terms, ((0, 0), (0, 3 - terms.shape[1])))


def _powers_of(days: ArrayLike, count: int) -> NDArray[np.float64]:
    return np.vander(np.asarray(days, dtype=np.float64).ravel(), count, increasing=True)


def _after(
    polynomial: NDArray[np.float64], others: NDArray[np.float64], days: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`polynomial` less its projection, over `days`, on the polynomials `others` (columns)."""
    values = _powers_of(days, polynomial.size)
    weights = np.linalg.lstsq(values @ others, values @ polynomial, rcond=None)[0]
    return polynomial - others @ weights


def known_terms(terms: Sequence[str]) -> list[str]:
    """Problems with the names of `terms`; empty if all are known."""
    return [f"unknown model term {term!r}: {suggestion(term, TERMS)}" for term in terms if term not in TERMS]
