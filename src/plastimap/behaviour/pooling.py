"""Partial pooling: an uncertain person's curve is drawn towards everybody's mean (empirical Bayes)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


def pooled(fits: pd.DataFrame) -> pd.DataFrame:
    """Add alpha_pooled, delta_pooled, gamma_pooled to fits of one outcome.

    Each parameter is a normal-normal model, γ on the log scale:
    value_i ~ N(θ_i, se_i²), θ_i ~ N(μ, τ²), τ² by DerSimonian and Laird
    (doi:10.1016/0197-2456(86)90046-2). Without a standard error a person's
    own value says nothing about its weight: the pooled value is NaN.
    """
    table = fits.copy()
    for name in ("alpha", "delta", "gamma"):
        values, errors = table[name].to_numpy(dtype=float), table[f"{name}_se"].to_numpy(dtype=float)
        if name == "gamma":
            with np.errstate(invalid="ignore", divide="ignore"):
                table["gamma_pooled"] = np.exp(shrunken(np.log(values), errors / values))
        else:
            table[f"{name}_pooled"] = shrunken(values, errors)
    return table


def shrunken(values: Array, errors: Array) -> Array:
    """Posterior means of a normal-normal model; NaN where value or standard error is missing.

    Parameters
    ----------
    values, errors : ndarray, shape (n,)
    """
    result = np.full(values.shape, np.nan)
    use = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    if use.sum() < 3:
        result[use] = values[use]
        return result
    own, variance = values[use], errors[use] ** 2
    between = between_variance(own, variance)
    mean = np.average(own, weights=1 / (variance + between))
    trust = between / (between + variance)
    result[use] = mean + trust * (own - mean)
    return result


def between_variance(values: Array, variances: Array) -> float:
    """τ² of DerSimonian and Laird, not below 0."""
    weights = 1 / variances
    mean = np.average(values, weights=weights)
    excess = float(weights @ (values - mean) ** 2) - (values.size - 1)
    scale = float(weights.sum() - (weights**2).sum() / weights.sum())
    return max(excess / scale, 0.0)
