from __future__ import annotations

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
    assert math.isnan(found.p_exact)
    differences = rng.integers(-3, 6, 20).astype(float)
    paired = stats.wilcoxon(differences, method="asymptotic", correction=False, zero_method="wilcox")
    assert signed_rank(differences).p_asymptotic == pytest.approx(paired.pvalue)


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
