"""Two means from their summaries, as papers print them: difference, test, interval, Bayes factor, equivalence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plastimap.stats.bayes import DEFAULT_SCALE, bf10_two_sample
from plastimap.stats.problems import StatsProblem


@dataclass(frozen=True)
class Summary:
    """A sample in three numbers.

    Attributes
    ----------
    mean, sd : float
        `sd` with n − 1.
    n : int
    """

    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class MeanTest:
    """A difference (or change) and its t test.

    Attributes
    ----------
    difference, standard_error, t, dof, p : float
        `p` two-sided.
    """

    difference: float
    standard_error: float
    t: float
    dof: float
    p: float

    def interval(self, *, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the difference."""
        from scipy.stats import t

        half = float(t.ppf(0.5 + level / 2, self.dof)) * self.standard_error
        return self.difference - half, self.difference + half

    def equivalence(self, margin: float) -> float:
        """Two one-sided tests (TOST; Schuirmann 1987, doi:10.1007/BF01068419): p of a difference beyond ± `margin`.

        A small p says that the true difference is smaller than the margin, which p > .05 of the plain test does not.
        At 5 % it agrees with the 90 % interval lying within the margin.

        Raises
        ------
        StatsProblem
            If the margin is not positive.
        """
        from scipy.stats import t

        if not margin > 0:
            raise StatsProblem(f"an equivalence margin of {margin:g}: it must be positive")
        closest = (margin - abs(self.difference)) / self.standard_error
        return float(t.sf(closest, self.dof))


def compare_means(first: Summary, second: Summary, *, equal_variance: bool = False) -> MeanTest:
    """Welch's test (or Student's) of first − second.

    Raises
    ------
    StatsProblem
        With fewer than two values in a sample, or no variance at all.
    """
    squares = [sample.sd**2 / sample.n for sample in _checked(first, second)]
    if equal_variance:
        dof = float(first.n + second.n - 2)
        pooled = ((first.n - 1) * first.sd**2 + (second.n - 1) * second.sd**2) / dof
        error = float(np.sqrt(pooled * (1 / first.n + 1 / second.n)))
    else:
        error = float(np.sqrt(sum(squares)))
        parts = [square**2 / (sample.n - 1) for square, sample in zip(squares, (first, second), strict=True)]
        dof = error**4 / sum(parts)
    return mean_test(first.mean - second.mean, error, dof)


def mean_test(difference: float, standard_error: float, dof: float) -> MeanTest:
    """Test of a difference whose standard error and degrees of freedom are known."""
    from scipy.stats import t

    value = difference / standard_error
    return MeanTest(difference, standard_error, value, dof, float(2 * t.sf(abs(value), dof)))


def t_of_p(p: float, dof: float) -> float:
    """Size of t that has a two-sided p."""
    from scipy.stats import t

    return float(t.isf(p / 2, dof))


def bf01_of_means(first: Summary, second: Summary, *, scale: float = DEFAULT_SCALE) -> float:
    """Evidence for equal means over unequal ones (JZS, Student's t); see :mod:`plastimap.stats.bayes`."""
    found = compare_means(first, second, equal_variance=True)
    return float(1 / bf10_two_sample(found.t, first.n, second.n, scale=scale))


def _checked(*samples: Summary) -> tuple[Summary, ...]:
    if any(sample.n < 2 for sample in samples) or not any(sample.sd > 0 for sample in samples):
        raise StatsProblem("a comparison of means needs two values and some variance in each sample")
    return samples
