from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from plastimap.behaviour import BehaviourProblem
from plastimap.behaviour.rank_tests import rank_sum, signed_rank


def test_the_largest_z_of_seventeen_people() -> None:
    test = signed_rank(np.arange(1.0, 18.0))
    assert test.z == pytest.approx(3.621, abs=5e-4)
    assert test.p_asymptotic == pytest.approx(0.00029, abs=5e-6)
    assert test.p_exact == pytest.approx(2 / 2**17)


def test_the_printed_reaction_time_z() -> None:
    # W⁻ = 17 of n = 17: ranks 1, 2, 14 negative.
    values = np.arange(1.0, 18.0)
    values[[0, 1, 13]] *= -1
    test = signed_rank(values)
    assert test.statistic == 153 - 17
    assert test.z == pytest.approx(2.817, abs=5e-4)
    assert test.p_asymptotic == pytest.approx(0.00485, abs=5e-6)


def test_against_scipy_with_ties(rng: np.random.Generator) -> None:
    one, two = rng.integers(0, 8, 14).astype(float), rng.integers(2, 10, 17).astype(float)
    expected = stats.mannwhitneyu(one, two, method="asymptotic", use_continuity=False)
    found = rank_sum(one, two)
    assert (found.statistic, found.p_asymptotic) == pytest.approx((expected.statistic, expected.pvalue))
    differences = rng.integers(-3, 6, 20).astype(float)
    paired = stats.wilcoxon(differences, method="asymptotic", correction=False, zero_method="wilcox")
    assert signed_rank(differences).p_asymptotic == pytest.approx(paired.pvalue)


def test_exact_p_without_ties_is_that_of_scipy(rng: np.random.Generator) -> None:
    one, two = rng.normal(0, 1, 9), rng.normal(0.7, 1, 14)
    assert rank_sum(one, two).p_exact == pytest.approx(stats.mannwhitneyu(one, two, method="exact").pvalue)
    assert signed_rank(two).p_exact == pytest.approx(stats.wilcoxon(two, method="exact").pvalue)


def test_exact_p_with_ties_by_hand() -> None:
    # Ranks 1.5, 1.5, 3 with signs +, +, +: only the opposite is as far out, 2 of 8.
    assert signed_rank([1.0, 1.0, 2.0]).p_exact == pytest.approx(2 / 8)
    # Sums of two of the ranks 1.5, 1.5, 3.5, 3.5: 3 once, 5 four times, 7 once.
    assert rank_sum([1.0, 1.0], [2.0, 2.0]).p_exact == pytest.approx(2 / 6)
    assert math.isnan(rank_sum(np.arange(26.0), np.arange(26.0)).p_exact)


def test_exact_p_with_ties_counts_all_arrangements(rng: np.random.Generator) -> None:
    both = rng.integers(0, 5, 11).astype(float)
    ranks = stats.rankdata(both)
    sums = np.array([ranks[list(chosen)].sum() for chosen in itertools.combinations(range(11), 5)])
    tails = (sums <= ranks[:5].sum()).mean(), (sums >= ranks[:5].sum()).mean()
    assert rank_sum(both[:5], both[5:]).p_exact == pytest.approx(min(1, 2 * min(tails)))
    values = both + 1
    values[::3] *= -1
    ranks = stats.rankdata(np.abs(values))
    sums = np.array([ranks[np.array(signs)].sum() for signs in itertools.product([False, True], repeat=11)])
    tails = (sums <= ranks[values > 0].sum()).mean(), (sums >= ranks[values > 0].sum()).mean()
    assert signed_rank(values).p_exact == pytest.approx(min(1, 2 * min(tails)))


def test_signs_and_pairs(rng: np.random.Generator) -> None:
    one = rng.normal(1, 1, 12)
    two = rng.normal(0, 1, 12)
    assert signed_rank(one, two).z == pytest.approx(-signed_rank(two, one).z)
    assert rank_sum(one, two).z == pytest.approx(-rank_sum(two, one).z)
    with_gap = np.append(one, np.nan)
    assert signed_rank(with_gap) == signed_rank(one)


def test_small_and_empty_samples() -> None:
    assert math.isnan(signed_rank([0.0, 0.0]).z)
    assert math.isnan(rank_sum([], [1.0]).p)
    assert rank_sum([1.0, 1.0], [1.0]).p == 1.0
    with pytest.raises(BehaviourProblem, match="differ in shape"):
        signed_rank([1.0, 2.0], [1.0])
