"""Bayes factors for t tests with a Cauchy prior on the effect size (JZS; Rouder 2009, doi:10.3758/PBR.16.2.225)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

DEFAULT_SCALE = float(np.sqrt(0.5))
"""Width r of the Cauchy prior."""

SENSITIVITY_SCALES = (0.5, DEFAULT_SCALE, 1.0, float(np.sqrt(2.0)))
"""Widths between which a conclusion should not change."""

# The integral over g runs over u = log g: the integrand is smooth and dies out exponentially at both ends, so the
# trapezoid rule converges to machine precision.
_U = np.linspace(-8.0, 45.0, 1200)

_GRID = 1000
"""Points between which maps are interpolated."""


def bf10_one_sample(t: ArrayLike, n: int, *, scale: float = DEFAULT_SCALE) -> NDArray[np.float64]:
    """Bayes factor of a one-sample or paired t test.

    Parameters
    ----------
    t : array-like
    n : int
        People (or pairs).
    scale : float
        Width r of the Cauchy prior on the standardised effect.

    Returns
    -------
    ndarray
        Evidence for an effect over none; its inverse is BF01.

    Raises
    ------
    ValueError
        With fewer than two people, or a scale that is not positive.
    """
    return _bf10(t, float(n), n - 1, scale)


def bf10_two_sample(t: ArrayLike, n1: int, n2: int, *, scale: float = DEFAULT_SCALE) -> NDArray[np.float64]:
    """Bayes factor of a two-sample (Student) t test; parameters as in :func:`bf10_one_sample`."""
    return _bf10(t, n1 * n2 / (n1 + n2) if n1 > 0 and n2 > 0 else 0.0, n1 + n2 - 2, scale)


def bf10_contrast(t: ArrayLike, effective_n: float, dof: float, *, scale: float = DEFAULT_SCALE) -> NDArray[np.float64]:
    """Bayes factor of any contrast of a linear model.

    Parameters
    ----------
    t : array-like
    effective_n : float
        1 / c (X'X)⁻ c': n for a mean, n1 n2 / (n1 + n2) for a difference of two.
    dof : float
        Error degrees of freedom.
    scale : float
        Width r of the Cauchy prior on the contrast in units of the error's standard deviation.
    """
    return _bf10(t, effective_n, dof, scale)


def log_bf10_map(
    t: NDArray[np.floating], effective_n: float, dof: float, *, scale: float = DEFAULT_SCALE
) -> NDArray[np.float64]:
    """Natural logarithm of :func:`bf10_contrast` for many voxels, interpolated in t (to about 1e-4); NaN stays."""
    size = np.abs(np.asarray(t, dtype=np.float64))
    # Steps that grow with t, as the curve straightens.
    grid = np.sinh(np.linspace(0, np.arcsinh(max(float(np.nanmax(size, initial=1.0)), 1.0)), _GRID))
    known = np.log(bf10_contrast(grid, effective_n, dof, scale=scale))
    return np.where(np.isnan(size), np.nan, np.interp(size, grid, known))


def largest_bf01(n1: int, n2: int | None = None, *, scale: float = DEFAULT_SCALE) -> float:
    """Most evidence for no effect that a sample of this size can ever give (t = 0)."""
    bf10 = bf10_one_sample(0.0, n1, scale=scale) if n2 is None else bf10_two_sample(0.0, n1, n2, scale=scale)
    return float(1 / bf10)


def _bf10(t: ArrayLike, size: float, dof: float, scale: float) -> NDArray[np.float64]:
    if dof < 1 or size <= 0 or scale <= 0:
        raise ValueError("a Bayes factor needs at least two people (one per group) and a positive prior scale")
    t2 = np.asarray(t, dtype=np.float64)[..., None] ** 2
    g = np.exp(_U)
    spread = 1 + size * g * scale**2
    log_prior = -0.5 * np.log(2 * np.pi) - 0.5 * _U - 1 / (2 * g)
    log_ratio = -(dof + 1) / 2 * (np.log1p(t2 / (spread * dof)) - np.log1p(t2 / dof))
    return np.trapezoid(np.exp(log_prior - 0.5 * np.log(spread) + log_ratio), _U, axis=-1)
