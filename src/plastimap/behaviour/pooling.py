"""Partial pooling: everybody's learning curves fitted together, so that each person borrows from the others.

A nonlinear mixed model: plateau, start and log rate of person i are
θᵢ ~ N(μ, Ω) on scales without limits (:mod:`plastimap.behaviour.scales`), and
the values scatter by σ around the curve. μ, Ω, σ are found by
expectation-maximisation with adaptive Gauss–Hermite quadrature (Pinheiro &
Bates 1995, doi:10.1080/10618600.1995.10474663); the estimate of a person is
the posterior mean given these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.behaviour._population import Population, Values, converge, posterior_of, start, told_by_values
from plastimap.behaviour.problems import BehaviourProblem
from plastimap.behaviour.scales import Scale

Array = NDArray[np.float64]

LEAST_PEOPLE = 4
"""Fewer people tell too little about how people differ."""

TOLERANCE, JACKKNIFE_TOLERANCE = 1e-4, 2e-3
"""EM stops when no mean moves by more than this many standard deviations, and no variance by this share."""


@dataclass(frozen=True)
class PooledFit:
    """Everybody's curves, each drawn towards the others by how little its own values tell.

    Attributes
    ----------
    alpha, delta, gamma : ndarray, shape (n_people,)
        Posterior mean of plateau and raw change; γ is exp of the posterior mean of log γ (per day).
    se : ndarray, shape (n_people, 3)
        Standard errors of α, δ, γ, the uncertainty of the population included; that of γ is γ times the one of
        log γ, so an interval is best made on the log scale.
    dof : float
        Values less the parameters that they could tell: degrees of freedom of `residual_sd`, for t intervals.
    residual_sd : float
        σ, common to everybody.
    mean, covariance : ndarray, shape (3,) and (3, 3)
        μ and Ω of (plateau, start, log γ) on the free scales.
    converged : bool
    """

    alpha: Array
    delta: Array
    gamma: Array
    se: Array
    dof: float
    residual_sd: float
    mean: Array
    covariance: Array
    converged: bool


def fit_together(
    curves: Sequence[tuple[ArrayLike, ArrayLike]], *, minimum: float | None = None, maximum: float | None = None
) -> PooledFit:
    """Fit the learning curves of several people as one population.

    People count whatever their number of values: one with two days gets the
    population's rate. Groups are not told apart: estimates drawn towards the
    mean of an own group would make groups differ that do not.

    Parameters
    ----------
    curves : sequence of (days, values)
        One pair per person, each array-like of shape (n_i,); NaN = missing.
    minimum, maximum : float or None
        Limits of the outcome.

    Returns
    -------
    PooledFit

    Raises
    ------
    BehaviourProblem
        With fewer than `LEAST_PEOPLE`, a person without a value, or fewer than three days in all.
    """
    data = _padded(curves, Scale(minimum, maximum))
    state, converged = converge(data, start(data), tolerance=TOLERANCE)
    posterior = posterior_of(data, state)
    means, variances = posterior.natural(data.scale)
    gamma = np.exp(means[:, 2])
    errors = np.sqrt(_mean_squared_errors(data, state, means, variances))
    return PooledFit(
        alpha=means[:, 0],
        delta=means[:, 1],
        gamma=gamma,
        se=errors * np.column_stack([np.ones((data.people, 2)), gamma]),
        dof=max(float(data.there.sum()) - told_by_values(data, state, posterior), 1.0),
        residual_sd=float(np.sqrt(state.variance)),
        mean=state.mean,
        covariance=state.covariance,
        converged=converged,
    )


def _mean_squared_errors(data: Values, state: Population, means: Array, variances: Array) -> Array:
    """Posterior variances, and what not knowing μ, Ω and σ adds, by a jackknife over people.

    Jiang, Lahiri & Wan (2002, doi:10.1214/aos/1043351257): the population is
    found without each person in turn, and everybody is judged by it. The
    correction of the posterior variance is not allowed to shrink it.
    """
    share = (data.people - 1) / data.people
    moved, swelled = np.zeros_like(means), np.zeros_like(variances)
    for person in range(data.people):
        rest = data.without(person)
        near = replace(state, modes=np.delete(state.modes, person, axis=0))
        other, _ = converge(rest, near, tolerance=JACKKNIFE_TOLERANCE)
        found, spread = posterior_of(data, replace(other, modes=state.modes)).natural(data.scale)
        moved += (found - means) ** 2
        swelled += spread - variances
    return np.maximum(variances, variances - share * swelled) + share * moved


def _padded(curves: Sequence[tuple[ArrayLike, ArrayLike]], scale: Scale) -> Values:
    if len(curves) < LEAST_PEOPLE:
        raise BehaviourProblem(f"partial pooling needs at least {LEAST_PEOPLE} people, there are {len(curves)}")
    pairs: list[tuple[Array, Array]] = []
    for days, values in curves:
        times, measured = np.asarray(days, dtype=np.float64), np.asarray(values, dtype=np.float64)
        keep = np.isfinite(times) & np.isfinite(measured)
        if not keep.any():
            raise BehaviourProblem("a person without a value cannot be pooled")
        pairs.append((times[keep], measured[keep]))
    if np.unique(np.concatenate([times for times, _ in pairs])).size < 3:
        raise BehaviourProblem("fewer than three days in all: no rate can be told")
    shape = (len(pairs), max(times.size for times, _ in pairs))
    rectangle = [np.zeros(shape) for _ in range(3)]
    for i, (times, measured) in enumerate(pairs):
        for part, content in zip(rectangle, (times, measured, 1.0), strict=True):
            part[i, : times.size] = content
    return Values(rectangle[0], rectangle[1], rectangle[2], scale)
