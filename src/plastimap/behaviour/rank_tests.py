"""Rank tests as behaviour papers print them: z without continuity correction, exact and asymptotic p."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.behaviour.problems import BehaviourProblem

Array = NDArray[np.float64]

EXACT_UP_TO = 50
"""Largest sample for which an exact p is computed; beyond it the asymptotic one is as good."""


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
        Two-sided; p_exact is that of the ranks as they are, ties included,
        and NaN for more than `EXACT_UP_TO` values.
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
    from scipy.stats import norm, rankdata

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
    exact = math.nan if n > EXACT_UP_TO else _two_sided(_sign_sums(ranks), positive)
    return RankTest((n,), positive, z, float(2 * norm.sf(abs(z))), exact)


def rank_sum(first: ArrayLike, second: ArrayLike) -> RankTest:
    """Wilcoxon's rank-sum (Mann–Whitney) test of two independent samples; missing values are left out."""
    from scipy.stats import norm, rankdata

    one, two = (values[np.isfinite(values)] for values in (_flat(first), _flat(second)))
    n, m = one.size, two.size
    if n == 0 or m == 0:
        return RankTest((n, m), math.nan, math.nan, math.nan, math.nan)
    ranks = rankdata(np.concatenate([one, two]))
    ranked = float(ranks[:n].sum())
    u = ranked - n * (n + 1) / 2
    total = n + m
    variance = n * m / 12 * (total + 1 - _tie_sum(ranks) / (total * (total - 1))) if total > 1 else 0.0
    if variance <= 0:
        return RankTest((n, m), u, 0.0, 1.0, 1.0)
    z = (u - n * m / 2) / math.sqrt(variance)
    exact = math.nan if total > EXACT_UP_TO else _two_sided(_subset_sums(ranks, n), ranked)
    return RankTest((n, m), u, z, float(2 * norm.sf(abs(z))), exact)


def _sign_sums(ranks: Array) -> Array:
    """Probability of every sum of ranks (in halves) when each counts with probability ½."""
    halves = np.rint(2 * ranks).astype(int)
    chances = np.zeros(halves.sum() + 1)
    chances[0] = 1.0
    for rank in halves:
        chances = 0.5 * chances
        chances[rank:] += chances[: chances.size - rank].copy()
    return chances


def _subset_sums(ranks: Array, count: int) -> Array:
    """Probability of every sum of ranks (in halves) of `count` members drawn without replacement."""
    halves = np.rint(2 * ranks).astype(int)
    ways = np.zeros((count + 1, halves.sum() + 1))
    ways[0, 0] = 1.0
    for rank in halves:
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
    return ways[count] / ways[count].sum()


def _two_sided(chances: Array, observed: float) -> float:
    """Twice the smaller tail, at most 1."""
    place = round(2 * observed)
    tails = float(chances[: place + 1].sum()), float(chances[place:].sum())
    return min(1.0, 2 * min(tails))


def _flat(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64).ravel()


def _tie_sum(ranks: Array) -> float:
    """Σ (t³ − t) over groups of t tied ranks."""
    counts = np.unique(ranks, return_counts=True)[1].astype(float)
    return float((counts**3 - counts).sum())
