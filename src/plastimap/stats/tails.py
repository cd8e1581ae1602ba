"""Tails of the t and F distributions that neither saturate nor cancel."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_TINY = 1e-280
"""Below it a tail probability is carried as its logarithm."""


def t_tail(t: ArrayLike, dof: float) -> NDArray[np.float64]:
    """Upper tail probability P(T >= t), exact for large `t` where 1 - F(t) would be 0."""
    from scipy.special import stdtr

    return np.asarray(stdtr(dof, -np.asarray(t, dtype=np.float64)))


def t_threshold(p: float, dof: float) -> float:
    """Find the t value with upper tail probability `p`."""
    from scipy.special import stdtrit

    return float(-stdtrit(dof, p))


def t_log_tail(t: ArrayLike, dof: float) -> NDArray[np.float64]:
    """Logarithm of the upper tail, also where the tail itself underflows."""
    from scipy.special import betaln, hyp2f1

    t = np.atleast_1d(np.asarray(t, dtype=np.float64))
    tail = t_tail(t, dof)
    tiny = tail < _TINY
    out = np.log(np.where(tiny, 1.0, tail))
    if tiny.any():
        # P = I_x(ν/2, 1/2) / 2 with x = ν/(ν + t²), by its hypergeometric series.
        x = dof / (dof + t[tiny] ** 2)
        series = hyp2f1(dof / 2 + 0.5, 1.0, dof / 2 + 1, x)
        out[tiny] = (
            (dof / 2) * np.log(x) + 0.5 * np.log1p(-x) - np.log(dof) - float(betaln(dof / 2, 0.5)) + np.log(series)
        )
    return out


def z_from_t(t: ArrayLike, dof: float) -> NDArray[np.float64]:
    """Convert to the normal deviate with the same tail probability; odd in `t`."""
    from scipy.special import ndtri_exp

    t = np.atleast_1d(np.asarray(t, dtype=np.float64))
    return np.sign(t) * -ndtri_exp(t_log_tail(np.abs(t), dof))


def t_at_dof(t: ArrayLike, dof_from: ArrayLike, dof_to: float) -> NDArray[np.float64]:
    """Convert to the t value that is as unlikely at `dof_to` as `t` is at `dof_from`."""
    from scipy.special import stdtr, stdtrit

    t = np.asarray(t, dtype=np.float64)
    tail = np.maximum(stdtr(np.asarray(dof_from, dtype=np.float64), -np.abs(t)), _TINY)
    return np.sign(t) * -stdtrit(dof_to, tail)


def f_tail(f: ArrayLike, dof: tuple[float, float]) -> NDArray[np.float64]:
    """Upper tail probability P(F >= f), exact for large `f`."""
    from scipy.special import fdtrc

    return np.asarray(fdtrc(*dof, np.asarray(f, dtype=np.float64)))


def f_threshold(p: float, dof: tuple[float, float]) -> float:
    """Find the F value with upper tail probability `p`."""
    from scipy.stats import f

    return float(f.isf(p, *dof))


def z_from_f(f: ArrayLike, dof: tuple[float, float]) -> NDArray[np.float64]:
    """Convert to the normal deviate with the same tail probability."""
    from scipy.special import ndtri_exp

    return -ndtri_exp(np.log(np.maximum(f_tail(np.atleast_1d(f), dof), _TINY)))


def f_at_dof(f: ArrayLike, numerator: float, dof_from: ArrayLike, dof_to: float) -> NDArray[np.float64]:
    """Convert to the F value that is as unlikely at `dof_to` as `f` is at `dof_from`."""
    from scipy.special import fdtrc
    from scipy.stats import f as distribution

    tail = fdtrc(numerator, np.asarray(dof_from, dtype=np.float64), np.asarray(f, dtype=np.float64))
    return np.asarray(distribution.isf(np.maximum(tail, _TINY), numerator, dof_to))


def t_at_dof_fast(t: ArrayLike, dof_from: ArrayLike, dof_to: float) -> NDArray[np.float64]:
    """As :func:`t_at_dof`, by Wallace's normal approximation (1959, doi:10.1214/aoms/1177706082).

    Within 1 % from 5 degrees of freedom on, and a hundred times as fast: for resamples, of which there are millions.
    """
    t = np.asarray(t, dtype=np.float64)
    first = np.asarray(dof_from, dtype=np.float64)
    share = (8 * first + 1) / (8 * first + 3) * (8 * dof_to + 3) / (8 * dof_to + 1)
    grown = share**2 * first * np.log1p(t**2 / first) / dof_to
    return np.sign(t) * np.sqrt(dof_to * np.expm1(grown))
