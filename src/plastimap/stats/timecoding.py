"""Days as time terms, polynomial or piecewise linear, coded in a way that is always named.

Which of two correlated terms is orthogonalised decides what its *partner's*
coefficient means, up to its sign. So the coding is explicit, and it is fixed
once for the study, on the study's own days: a person with a missing visit is
described by the very same polynomials, and so by comparable coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.problems import StatsProblem, listed, suggestion

Coding = Literal["raw", "quadratic_after_linear", "linear_after_quadratic", "piecewise"]

POLYNOMIALS: tuple[Coding, ...] = ("raw", "quadratic_after_linear", "linear_after_quadratic")

CODINGS: tuple[Coding, ...] = (*POLYNOMIALS, "piecewise")

COLUMNS = ("constant", "linear", "quadratic")
"""Names of the polynomial terms, by degree."""

PIECES = ("piece1", "piece2", "piece3", "piece4")
"""Names of the slopes between knots, in the order of time."""

TERMS = ("baseline", "level", "linear", "quadratic", *PIECES, "change")
"""What may be asked of a time course: two values, its coefficients, and all of its change at once (an F test)."""


@dataclass(frozen=True)
class TimeBasis:
    """Time terms of a study.

    Attributes
    ----------
    coding : str
        How the terms were orthogonalised, or that they are pieces.
    centre : bool
        Whether the constant took part in that.
    reference_days : tuple of float
        The study's distinct days, ascending, on which the coding was settled.
    mix : ndarray, shape (n_features, n_columns)
        Column k holds term k as a sum of features: powers of the day, or the days spent in each piece.
    knots : tuple of float
        Days at which pieces meet; empty for polynomials.
    """

    coding: Coding
    centre: bool
    reference_days: tuple[float, ...]
    mix: NDArray[np.float64]
    knots: tuple[float, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns: constant, linear, quadratic as far as the days allow; or constant and pieces."""
        known = (COLUMNS[0], *PIECES) if self.knots else COLUMNS
        return known[: self.mix.shape[1]]

    def at(self, days: ArrayLike) -> NDArray[np.float64]:
        """Time terms on these days, shape (n_days, n_columns)."""
        features = _pieces_of(days, self.knots) if self.knots else _powers_of(days, self.mix.shape[0])
        return features @ self.mix

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

    def vectors(self, term: str) -> NDArray[np.float64]:
        """As :meth:`vector`, in rows; for ``change`` one row per coefficient of growth. No rows = not allowed."""
        if term == "change":
            return np.eye(len(self.names))[1:]
        vector = self.vector(term)
        return np.zeros((0, len(self.names))) if vector is None else vector[None, :]

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
        if self.knots:
            bounds = [self.reference_days[0], *self.knots, self.reference_days[-1]]
            told = ", ".join(
                f"{name} from day {start:g} to {end:g}"
                for name, (start, end) in zip(self.names[1:], pairwise(bounds), strict=True)
            )
            return f"Piecewise linear time over days {days} ({told}); coefficients per day."
        if len(self.names) == 2:
            return f"Linear time over days {days}; coefficients per day."
        how = {
            "raw": "raw powers of the day (t, t²)",
            "quadratic_after_linear": "quadratic term orthogonalised after the linear term",
            "linear_after_quadratic": "linear term orthogonalised after the quadratic term",
        }[self.coding]
        constant = "" if self.coding == "raw" else f", the constant {'taking' if self.centre else 'not taking'} part"
        return f"Linear and quadratic time over days {days}: {how}{constant}; coefficients per day and per day²."


def time_basis(
    reference_days: ArrayLike, *, coding: Coding, centre: bool, degree: int = 2, knots: Sequence[float] = ()
) -> TimeBasis:
    """Settle the time terms of a study on its own days.

    Parameters
    ----------
    reference_days : array-like, shape (n,)
        Days since baseline; repeated ones count once.
    coding : {"raw", "quadratic_after_linear", "linear_after_quadratic", "piecewise"}
        Raw powers, or the term that was made orthogonal to the other; or straight pieces between `knots`.
    centre : bool
        Whether the constant takes part in the projection. With True, the
        orthogonalised terms have mean 0 over the reference days; literal
        Gram-Schmidt on (t, t²) alone is False. Raw powers are not touched.
    degree : int
        Highest power wanted; fewer distinct days lower it.
    knots : sequence of float
        Days at which pieces meet, such as the last day of training; needed for pieces, and only for them.

    Returns
    -------
    TimeBasis

    Raises
    ------
    StatsProblem
        If the coding is unknown, a day is missing, or knots and days do not go together.
    """
    if coding not in CODINGS:
        raise StatsProblem(f"unknown time coding {coding!r}: {suggestion(coding, CODINGS)}")
    days = np.asarray(reference_days, dtype=np.float64).ravel()
    if days.size == 0 or not np.isfinite(days).all():
        raise StatsProblem("every session needs its days since baseline: one is missing or not a number")
    days = np.unique(days)
    if coding == "piecewise" and days.size > 1:
        return _piecewise(days, knots)
    degree = min(degree, days.size - 1, 2)
    powers = np.eye(degree + 1)
    if coding in ("quadratic_after_linear", "linear_after_quadratic") and degree >= 1:
        first, later = (2, 1) if coding == "linear_after_quadratic" and degree == 2 else (1, 2)
        if centre:
            powers[:, first] = _after(powers[:, first], powers[:, :1], days)
        if degree == 2:
            against = powers[:, [0, first]] if centre else powers[:, [first]]
            powers[:, later] = _after(powers[:, later], against, days)
    return TimeBasis(coding=coding, centre=centre, reference_days=tuple(days.tolist()), mix=powers)


def _piecewise(days: NDArray[np.float64], knots: Sequence[float]) -> TimeBasis:
    """Pieces between knots, each of which needs a day of its own after its first knot."""
    found = tuple(float(knot) for knot in knots)
    bounds = [days[0], *found, days[-1]]
    if not found or len(found) >= len(PIECES) or any(one >= other for one, other in pairwise(bounds)):
        raise StatsProblem(
            f"pieces need 1 to {len(PIECES) - 1} ascending knots between day {days[0]:g} and day {days[-1]:g}"
        )
    empty = [(a, b) for a, b in pairwise(bounds) if not ((days > a) & (days <= b)).any()]
    if empty:
        told = listed(f"{a:g} to {b:g}" for a, b in empty)
        raise StatsProblem(f"no session lies in the piece from day {told}: leave out that knot")
    return TimeBasis("piecewise", False, tuple(days.tolist()), np.eye(len(found) + 2), found)


def _pieces_of(days: ArrayLike, knots: Sequence[float]) -> NDArray[np.float64]:
    """Constant, and days spent in each piece (before the first knot: the day itself)."""
    t = np.asarray(days, dtype=np.float64).ravel()
    bounds = [-np.inf, *knots, np.inf]
    pieces = [np.minimum(t, bounds[1])]
    pieces += [np.clip(t, start, end) - start for start, end in pairwise(bounds[1:])]
    return np.column_stack([np.ones(t.size), *pieces])


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
