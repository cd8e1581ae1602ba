"""Every person's own change over time, at every voxel.

One least-squares fit per person turns a stack of sessions into coefficients
(summary statistics) that a group model then compares. Visits may be missing:
the time terms are the study's, so the coefficients stay comparable and
unbiased, and their known variance factor says how much less certain they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.problems import listed
from plastimap.stats.timecoding import Coding, TimeBasis, time_basis

if TYPE_CHECKING:
    import pandas as pd

ESTIMABLE = 1e-8
"""Largest part of a term's weights that may lie outside what the sessions can tell."""


class SubjectTerms(NamedTuple):
    """One person's time course.

    Attributes
    ----------
    coefficients : ndarray, shape (n_terms, n_voxels)
        NaN for terms that the person's sessions cannot tell.
    variance : ndarray, shape (n_terms,)
        Sampling variance of each coefficient in units of the sessions' error variance; infinite likewise.
    """

    coefficients: NDArray[np.float64]
    variance: NDArray[np.float64]


@dataclass(frozen=True)
class TimeCoding:
    """How a study's time is coded; see :func:`plastimap.stats.timecoding.time_basis`.

    Attributes
    ----------
    coding : {"raw", "quadratic_after_linear", "linear_after_quadratic", "piecewise"}
    centre : bool
    knots : tuple of float
        Days at which pieces meet.
    last_day : float or None
        Sessions after it are not in the model (such as those after training).
    """

    coding: Coding = "quadratic_after_linear"
    centre: bool = True
    knots: tuple[float, ...] = ()
    last_day: float | None = None


@dataclass(frozen=True)
class TimeModel:
    """The time course that is fitted to every person, and what is taken from it.

    Attributes
    ----------
    basis : TimeBasis
    terms : tuple of str
        Terms tested at the group level.
    notes : tuple of str
        What was changed from what had been asked, and why.
    """

    basis: TimeBasis
    terms: tuple[str, ...]
    notes: tuple[str, ...]


def time_model(
    reference_days: ArrayLike, *, terms: Sequence[str], coding: Coding, centre: bool, knots: Sequence[float] = ()
) -> TimeModel:
    """Choose the time terms that the asked ones need and the study's days allow.

    A quadratic term brings a linear one with it; ``baseline`` alone is read
    off a straight line. With one time point there is no change to test, and
    ``level`` takes the place of the growth terms.
    """
    degree = 2 if {"quadratic", "change"} & set(terms) else int(bool({"linear", "baseline"} & set(terms)))
    basis = time_basis(reference_days, coding=coding, centre=centre, degree=degree, knots=knots)
    kept = tuple(term for term in terms if len(basis.vectors(term)))
    lost = [term for term in terms if term not in kept]
    notes: list[str] = []
    if lost:
        count = len(basis.reference_days)
        why = f"the study has {count} time point{'s' if count > 1 else ''}"
        if count > 1 and basis.knots:
            why = f"the time terms are {', '.join(basis.names[1:])}"
        notes.append(f"{' and '.join(lost)} left out: {why}.")
    if not kept:
        kept = ("level",)
        notes.append("Values are compared as they are (term: level).")
    return TimeModel(basis=basis, terms=kept, notes=tuple(notes))


def term_operator(
    days: ArrayLike, basis: TimeBasis, terms: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights on one person's sessions that give the terms' least-squares coefficients.

    Returns
    -------
    operator : ndarray, shape (n_terms, n_sessions)
        NaN rows for terms that these days cannot tell.
    variance : ndarray, shape (n_terms,)
        c (X'X)⁻ c' for each term; infinite likewise.
    """
    matrix = basis.at(days)
    # Days squared dwarf the constant: equal column lengths keep rank decisions honest.
    scale = np.sqrt((matrix**2).sum(axis=0))
    scale[scale == 0] = 1.0
    inverse = np.linalg.pinv(matrix / scale, rcond=1e-10)
    seen = inverse @ (matrix / scale)
    operator = np.full((len(terms), matrix.shape[0]), np.nan)
    variance = np.full(len(terms), np.inf)
    for row, term in enumerate(terms):
        vector = basis.vector(term)
        if vector is None:
            continue
        weights = vector / scale
        if np.abs(weights @ seen - weights).max() > ESTIMABLE * np.abs(weights).max():
            continue
        operator[row] = weights @ inverse
        variance[row] = (operator[row] ** 2).sum()
    return operator, variance


def subject_terms(
    images: NDArray[np.floating],
    days: ArrayLike,
    *,
    coding: Coding,
    centre: bool,
    terms: Sequence[str],
    reference_days: ArrayLike | None = None,
) -> SubjectTerms:
    """Fit one person's sessions.

    Parameters
    ----------
    images : ndarray, shape (n_sessions, n_voxels)
        NaN in any session makes that voxel's coefficients NaN.
    days : array-like, shape (n_sessions,)
        Days since baseline.
    coding, centre
        As in :func:`plastimap.stats.timecoding.time_basis`.
    terms : sequence of str
        Of ``baseline``, ``level``, ``linear``, ``quadratic``.
    reference_days : array-like, optional
        The study's days; default: the person's own, and then coefficients of
        people with different visits are not comparable.

    Returns
    -------
    SubjectTerms
        Units of the image for values, per day and per day² for coefficients.
    """
    model = time_model(days if reference_days is None else reference_days, terms=terms, coding=coding, centre=centre)
    operator, variance = term_operator(days, model.basis, terms)
    return SubjectTerms(coefficients=operator @ np.asarray(images, dtype=np.float64), variance=variance)


def reference_days(scans: pd.DataFrame) -> NDArray[np.float64]:
    """Find the study's days: the median day of every session label, distinct and ascending.

    Parameters
    ----------
    scans : DataFrame
        Columns ``session`` and ``day``, one row per scan. With a single session the day does not matter.
    """
    labels = scans["session"].astype("string").fillna("")
    if labels.nunique() <= 1:
        return np.zeros(1)
    medians = scans["day"].astype(float).groupby(labels.to_numpy()).median()
    return np.asarray(np.unique(medians.to_numpy()), dtype=np.float64)


def until(scans: pd.DataFrame, last_day: float | None) -> NDArray[np.bool_]:
    """Mark scans of sessions whose median day is at most `last_day`; all scans without it, or without days."""
    if last_day is None:
        return np.ones(len(scans), dtype=bool)
    labels = scans["session"].astype("string").fillna("").to_numpy()
    medians = scans["day"].astype(float).groupby(labels).transform("median")
    return np.asarray(~(medians > last_day), dtype=bool)


def incomplete_people(operators: Mapping[str, NDArray[np.float64]], terms: Sequence[str]) -> tuple[str, ...]:
    """Name the people whose sessions cannot tell a term.

    Parameters
    ----------
    operators : mapping of str to ndarray, shape (n_terms, n_sessions)
        From :func:`term_operator`, by participant.
    terms : sequence of str
    """
    notes: list[str] = []
    for row, term in enumerate(terms):
        out = [f"{who} ({op.shape[1]})" for who, op in operators.items() if np.isnan(op[row]).any()]
        if out:
            notes.append(
                f"{term}: {len(operators) - len(out)} of {len(operators)} people; not in this model for want of "
                f"sessions (number of sessions): {listed(out, most=20)}."
            )
    return tuple(notes)
