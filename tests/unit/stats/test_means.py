"""Tests from summaries against scipy and statsmodels on the data themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind

from plastimap.stats.bayes import bf10_two_sample
from plastimap.stats.means import Summary, bf01_of_means, compare_means, mean_test, t_of_p
from plastimap.stats.problems import StatsProblem


def samples(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 1, 17), rng.normal(0, 2, 18)


def summary(values):
    return Summary(values.mean(), values.std(ddof=1), len(values))


@pytest.mark.parametrize("equal", [True, False])
def test_summaries_tell_what_the_data_tell(equal):
    first, second = samples(1)
    found = compare_means(summary(first), summary(second), equal_variance=equal)
    theirs = stats.ttest_ind(first, second, equal_var=equal)
    assert (found.t, found.p, found.dof) == pytest.approx((theirs.statistic, theirs.pvalue, theirs.df))
    assert found.interval() == pytest.approx(tuple(theirs.confidence_interval()))


@pytest.mark.parametrize(("margin", "variances"), [(0.5, "pooled"), (2.0, "unequal")])
def test_equivalence_as_statsmodels(margin, variances):
    first, second = samples(2)
    found = compare_means(summary(first), summary(second), equal_variance=variances == "pooled")
    assert found.equivalence(margin) == pytest.approx(ttost_ind(first, second, -margin, margin, usevar=variances)[0])


@given(st.floats(-2, 2), st.floats(0.01, 2), st.floats(2, 200), st.floats(0.01, 5))
def test_equivalence_agrees_with_its_interval(difference, error, dof, margin):
    found = mean_test(difference, error, dof)
    low, high = found.interval(level=0.9)
    # At the very border rounding decides.
    if min(abs(low + margin), abs(high - margin)) > 1e-9:
        assert (found.equivalence(margin) < 0.05) == (-margin < low and high < margin)


def test_bayes_factor_and_back_from_p():
    first, second = summary(samples(3)[0]), summary(samples(3)[1])
    student = compare_means(first, second, equal_variance=True)
    assert bf01_of_means(first, second) == pytest.approx(float(1 / bf10_two_sample(student.t, 17, 18)))
    assert t_of_p(student.p, student.dof) == pytest.approx(abs(student.t))


def test_problems():
    with pytest.raises(StatsProblem, match="two values"):
        compare_means(Summary(1, 1, 1), Summary(0, 1, 5))
    with pytest.raises(StatsProblem, match="must be positive"):
        mean_test(0.1, 0.2, 10).equivalence(0)
