"""Rank tests as behaviour papers print them: z without continuity correction, exact and asymptotic p."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.behaviour.problems import BehaviourProblem

Array = NDArray[np.float64]

EXACT_UP_TO = 50
"""Largest sample for which an exact p is computed; exact needs untied ranks."""


@dataclass(frozen=True)
class RankTest:
    """Result of a two-sided rank test.

    Attributes
    ----------
    n : tuple of int
        Sample sizes used (one sample: differences that are not 0).
    statistic : float
        Sum of the positive ranks (one sample), U of the first sample (two).
    z : float
        Normal approximation, variance corrected for ties, no continuity
        correction; positive = values (or the first sample) are larger.
    p_asymptotic, p_exact : float
        Two-sided; p_exact is NaN with ties or more than `EXACT_UP_TO` values.
    """

    n: tuple[int, ...]
    statistic: float
    z: float
    p_asymptotic: float
    p_exact: float

    @property
    def p(self) -> float:
        """Exact where there is one, else asymptotic."""
        return self.p_exact if math.isfinite(self.p_exact) else self.p_asymptotic


def signed_rank(first: ArrayLike, second: ArrayLike | None = None) -> RankTest:
    """Wilcoxon's signed-rank test of values against 0, or of paired differences `first` − `second`.

    Zeros are left out (Wilcoxon's rule), pairs with a missing value too.
    """
    from scipy.stats import norm, rankdata, wilcoxon

    values = np.asarray(first, dtype=np.float64)
    if second is not None:
        other = np.asarray(second, dtype=np.float64)
        if other.shape != values.shape:
            raise BehaviourProblem(f"paired samples differ in shape: {values.shape} and {other.shape}")
        values = values - other
    values = values[np.isfinite(values) & (values != 0)]
    n = values.size
    if n == 0:
        return RankTest((0,), math.nan, math.nan, math.nan, math.nan)
    ranks = rankdata(np.abs(values))
    positive = float(ranks[values > 0].sum())
    variance = n * (n + 1) * (2 * n + 1) / 24 - _tie_sum(ranks) / 48
    z = (positive - n * (n + 1) / 4) / math.sqrt(variance)
    tied = np.unique(ranks).size < n
    result: Any = None if tied or n > EXACT_UP_TO else wilcoxon(values, method="exact")
    exact = math.nan if result is None else float(result.pvalue)
    return RankTest((n,), positive, z, float(2 * norm.sf(abs(z))), exact)


def rank_sum(first: ArrayLike, second: ArrayLike) -> RankTest:
    """Wilcoxon's rank-sum (Mann–Whitney) test of two independent samples; missing values are left out."""
    from scipy.stats import mannwhitneyu, norm, rankdata

    one, two = (values[np.isfinite(values)] for values in (_flat(first), _flat(second)))
    n, m = one.size, two.size
    if n == 0 or m == 0:
        return RankTest((n, m), math.nan, math.nan, math.nan, math.nan)
    ranks = rankdata(np.concatenate([one, two]))
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    total = n + m
    variance = n * m / 12 * (total + 1 - _tie_sum(ranks) / (total * (total - 1))) if total > 1 else 0.0
    if variance <= 0:
        return RankTest((n, m), u, 0.0, 1.0, 1.0)
    z = (u - n * m / 2) / math.sqrt(variance)
    tied = np.unique(ranks).size < total
    exact = math.nan if tied or total > EXACT_UP_TO else float(mannwhitneyu(one, two, method="exact").pvalue)
    return RankTest((n, m), u, z, float(2 * norm.sf(abs(z))), exact)


def _flat(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64).ravel()


def _tie_sum(ranks: Array) -> float:
    """Σ (t³ − t) over groups of t tied ranks."""
    counts = np.unique(ranks, return_counts=True)[1].astype(float)
    return float((counts**3 - counts).sum())
