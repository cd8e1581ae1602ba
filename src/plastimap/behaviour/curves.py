"""Learning curves y(t) = α − δ exp(−γ t): bounded fits, standard errors, and flags where a fit means little."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.behaviour.problems import BehaviourProblem

Array = NDArray[np.float64]
Better = Literal["higher", "lower"]

SLOWEST = 0.3
"""Smallest γ × time span that is fitted: 95 % of the gain after ten times the observed span."""

FASTEST = 30.0
"""Largest γ × first interval: 95 % of the gain within a tenth of the first interval."""

STARTS = 5
"""Rates from which the fit is started, evenly spaced in log γ."""

AT_BOUND = 1e-3
"""Relative distance to a bound that counts as at the bound."""


@dataclass(frozen=True)
class CurveFit:
    """A fitted learning curve.

    Attributes
    ----------
    alpha, delta, gamma : float
        Plateau, raw change α − y(0), rate per day. Where better is lower,
        improvement makes δ negative.
    se : tuple of float
        Standard errors of α, δ, γ from the Jacobian; NaN without degrees of
        freedom and for parameters at a bound.
    improvement : float
        δ with the sign that makes better positive.
    days_to_95 : float
        3/γ, when 95 % of the gain is reached.
    residual_sd : float
        NaN without degrees of freedom.
    n : int
        Values fitted.
    flag : str
        What is doubtful about the fit, "; " between; empty = nothing.
    """

    alpha: float
    delta: float
    gamma: float
    se: tuple[float, float, float]
    improvement: float
    days_to_95: float
    residual_sd: float
    n: int
    flag: str


def curve(days: ArrayLike, *, alpha: float, delta: float, gamma: float) -> Array:
    """α − δ exp(−γ t) at days t."""
    return alpha - delta * np.exp(-gamma * np.asarray(days, dtype=np.float64))


def fit_curve(
    days: ArrayLike,
    values: ArrayLike,
    *,
    better: Better,
    minimum: float | None = None,
    maximum: float | None = None,
) -> CurveFit:
    """Fit a learning curve by bounded least squares.

    y(0) and the plateau stay within `minimum` and `maximum`; γ is positive
    and within what the days can tell (`SLOWEST`, `FASTEST`). Two days give δ
    and no rate; one day gives α only; the flag says so.

    Parameters
    ----------
    days, values : array-like, shape (n,)
        Missing values (NaN) are left out; days may repeat.
    better : {"higher", "lower"}
        Which way is improvement.
    minimum, maximum : float or None
        Limits of the outcome; None = none.

    Returns
    -------
    CurveFit

    Raises
    ------
    BehaviourProblem
        Without a value, for values outside the limits, or shapes that differ.
    """
    times, measured = _clean(days, values, minimum, maximum)
    if better not in ("higher", "lower"):
        raise BehaviourProblem(f"better is 'higher' or 'lower', not '{better}'")
    sign = 1.0 if better == "higher" else -1.0
    if np.unique(times).size < 3:
        return _few_days(times, measured, sign)
    limits = (-math.inf if minimum is None else minimum, math.inf if maximum is None else maximum)
    lower, upper = _bounds(times, limits)
    solution = _best(times, measured, lower, upper)
    return _described(solution, times, measured, (lower, upper), sign)


def _clean(days: ArrayLike, values: ArrayLike, minimum: float | None, maximum: float | None) -> tuple[Array, Array]:
    times, measured = np.asarray(days, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if times.shape != measured.shape or times.ndim != 1:
        raise BehaviourProblem(f"days and values differ in shape: {times.shape} and {measured.shape}")
    keep = np.isfinite(times) & np.isfinite(measured)
    times, measured = times[keep], measured[keep]
    if times.size == 0:
        raise BehaviourProblem("no value to fit")
    if (times < 0).any():
        raise BehaviourProblem("days are counted from baseline; one is negative")
    for limit, outside in ((minimum, np.less), (maximum, np.greater)):
        if limit is not None and outside(measured, limit).any():
            raise BehaviourProblem(f"a value lies beyond the outcome's limit {limit:g}; correct the table or the limit")
    return times, measured


def _few_days(times: Array, measured: Array, sign: float) -> CurveFit:
    nan = math.nan
    last = float(measured[times == times.max()].mean())
    several = np.unique(times).size > 1
    delta = last - float(measured[times == times.min()].mean()) if several else nan
    flag = "two days: no rate, the last value stands for the plateau" if several else "one day: no change"
    return CurveFit(last, delta, nan, (nan, nan, nan), sign * delta, nan, nan, times.size, flag)


def _bounds(times: Array, limits: tuple[float, float]) -> tuple[Array, Array]:
    """Bounds of plateau, start and log γ."""
    distinct = np.unique(times)
    slowest = SLOWEST / (distinct[-1] - distinct[0])
    fastest = FASTEST / (distinct[1] - distinct[0])
    lower = np.array([limits[0], limits[0], math.log(slowest)])
    return lower, np.array([limits[1], limits[1], math.log(fastest)])


def _model(parameters: Array, times: Array) -> Array:
    plateau, start, log_rate = parameters
    return plateau - (plateau - start) * np.exp(-np.exp(log_rate) * times)


def _jacobian(parameters: Array, times: Array) -> Array:
    plateau, start, log_rate = parameters
    rate = np.exp(log_rate)
    decay = np.exp(-rate * times)
    return np.stack([1 - decay, decay, (plateau - start) * decay * rate * times], axis=1)


def _best(times: Array, measured: Array, lower: Array, upper: Array) -> Array:
    """Best of several fits that start from different rates."""
    from scipy.optimize import least_squares

    spread = max(float(np.ptp(measured)), 1e-6)
    best: Any = None
    jacobian: Any = partial(_jacobian, times=times)
    for log_rate in np.linspace(lower[2], upper[2], STARTS + 2)[1:-1]:
        decay = np.exp(-np.exp(log_rate) * times)
        levels = np.linalg.lstsq(np.stack([1 - decay, decay], axis=1), measured, rcond=None)[0]
        # least_squares wants a start inside the bounds, not on them.
        inside = 1e-6 * spread
        first = np.array([*np.clip(levels, lower[:2] + inside, upper[:2] - inside), log_rate])
        found = least_squares(
            lambda parameters: _model(parameters, times) - measured,
            first,
            jac=jacobian,
            bounds=(lower, upper),
            x_scale=np.array([spread, spread, 1.0]),
            xtol=1e-10, ftol=1e-12, gtol=1e-12,
        )  # fmt: skip
        if best is None or found.cost < best.cost * (1 - 1e-9):
            best = found
    return np.asarray(best.x, dtype=np.float64)


def _described(solution: Array, times: Array, measured: Array, bounds: tuple[Array, Array], sign: float) -> CurveFit:
    plateau, start, log_rate = (float(value) for value in solution)
    gamma, delta = math.exp(log_rate), plateau - start
    scale = np.array([max(float(np.ptp(measured)), 1e-6)] * 2 + [1.0])
    at_bound = np.minimum(solution - bounds[0], bounds[1] - solution) <= AT_BOUND * scale
    freedom = times.size - 3
    residual = measured - _model(solution, times)
    residual_sd = math.sqrt(float(residual @ residual) / freedom) if freedom > 0 else math.nan
    return CurveFit(
        alpha=plateau,
        delta=delta,
        gamma=gamma,
        se=_standard_errors(solution, times, at_bound, residual_sd),
        improvement=sign * delta,
        days_to_95=3 / gamma,
        residual_sd=residual_sd,
        n=times.size,
        flag="; ".join(_flags(gamma, sign * delta, at_bound, times)),
    )


def _standard_errors(
    solution: Array, times: Array, at_bound: NDArray[np.bool_], residual_sd: float
) -> tuple[float, float, float]:
    """Of α, δ = α − y(0), γ; a parameter at its bound is held there and has none."""
    free = ~at_bound
    jacobian = _jacobian(solution, times)[:, free]
    if not math.isfinite(residual_sd) or np.linalg.matrix_rank(jacobian) < free.sum():
        return (math.nan, math.nan, math.nan)
    covariance = np.zeros((3, 3))
    covariance[np.ix_(free, free)] = residual_sd**2 * np.linalg.inv(jacobian.T @ jacobian)
    change = np.array([1.0, -1.0, 0.0])
    delta = math.sqrt(float(change @ covariance @ change)) if free[:2].any() else math.nan
    alpha = math.sqrt(covariance[0, 0]) if free[0] else math.nan
    gamma = math.exp(solution[2]) * math.sqrt(covariance[2, 2]) if free[2] else math.nan
    return (alpha, delta, gamma)


def _flags(gamma: float, improvement: float, at_bound: NDArray[np.bool_], times: Array) -> list[str]:
    found: list[str] = []
    if times.size <= 3:
        found.append("three values: no standard errors")
    if at_bound[:2].any():
        found.append("start or plateau at the limit of the outcome")
    if at_bound[2]:
        found.append("rate at its bound")
    if 3 / gamma > times.max() - times.min():
        found.append("plateau not reached within the data")
    if 3 / gamma < np.unique(times)[1] - times.min():
        found.append("plateau reached before the second day")
    if improvement < 0:
        found.append("got worse")
    return found
