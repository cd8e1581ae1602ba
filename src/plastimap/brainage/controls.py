"""What healthy controls of a site tell: by how much its ages are off together, and how far people scatter about that.

r = log(predicted / real age). A site's mean of r is shrunk towards none by how much sites differ and people vary. The
variance within a site differs between sites, too: where people of all ages were measured, models that pull towards the
mean scatter more. It is moderated: the few controls' own variance and that of the sites trained on, each weighted by
its degrees of freedom (Smyth 2004, doi:10.2202/1544-6115.1027); that of the sites trained on is first made that of the
mean of the ensemble (:mod:`plastimap.brainage.predicted`). Ages of further people of the site then have a Student-t
prediction interval on the log scale, in which both uncertainties count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from plastimap.brainage.predicted import variance_of_mean
from plastimap.brainage.tables import ADULT

Array = NDArray[np.float64]

ONE_SD = 0.6827
"""Share of people within one standard deviation."""

STEADIEST = 1e6
"""Degrees of freedom of a variance that is the same at all sites."""


@dataclass(frozen=True)
class Scatter:
    """How log(predicted / real age) varies, each of shape (regions,).

    Attributes
    ----------
    between : ndarray
        Variance over sites.
    within : ndarray
        Variance over people of a typical site.
    degrees : ndarray
        Degrees of freedom that `within` is worth at a new site: few where sites scatter differently.
    sites : int
        That it was learnt from.
    """

    between: Array
    within: Array
    degrees: Array
    sites: int


@dataclass(frozen=True)
class SiteErrors:
    """Errors at a site with controls, each of shape (regions,).

    Attributes
    ----------
    shift : ndarray
        Of log age.
    variance : ndarray
        Of log(predicted / real age) of one more person, after the shift.
    degrees : ndarray
        Of freedom of that variance.
    """

    shift: Array
    variance: Array
    degrees: Array

    def interval(self, age: Array, coverage: float) -> tuple[Array, Array]:
        """Limits of the real age, given shifted predictions, each of shape (n, regions)."""
        reach = self._reach(coverage)
        low, high = age * np.exp(-reach), age * np.exp(reach)
        return np.clip(low, *ADULT), np.clip(high, *ADULT)

    def sd(self, age: Array) -> Array:
        """Half the length that 68 % of people are within, in years, shape (n, regions)."""
        return age * self._reach(ONE_SD)

    def _reach(self, coverage: float) -> Array:
        return np.asarray(stats.t.ppf(0.5 + coverage / 2, self.degrees) * np.sqrt(self.variance), dtype=np.float64)


def fit_scatter(ratio: Array, number: NDArray[np.intp]) -> Scatter:
    """Learn from people left out.

    Parameters
    ----------
    ratio : ndarray, shape (n, regions)
        log(predicted / real age).
    number : ndarray of int, shape (n,)
        Site of each person, from 0.
    """
    count = np.bincount(number).astype(np.float64)
    means = np.stack([np.bincount(number, column) for column in ratio.T], axis=1) / count[:, None]
    squares = (ratio - means[number]) ** 2
    sums = np.stack([np.bincount(number, column) for column in squares.T], axis=1)
    pooled = sums.sum(axis=0) / max(len(ratio) - len(count), 1)
    between = np.zeros_like(pooled)
    if len(count) > 1:
        between = np.maximum((means**2).mean(axis=0) - pooled * np.mean(1 / count), 0.0)
    told = count > 2
    if told.sum() < 2:
        # Nothing says how steady the variance is: at a new site it is left to the controls.
        return Scatter(between, pooled, np.zeros_like(pooled), len(count))
    dof = count[told] - 1
    both = [_steadiness(column / dof, dof) for column in sums[told].T]
    within, degrees = (np.array(one) for one in zip(*both, strict=True))
    return Scatter(between, within, degrees, len(count))


def _steadiness(variances: Array, dof: Array) -> tuple[float, float]:
    """Variance of a typical site and the degrees of freedom that it is worth (Smyth 2004, section 6.2)."""
    half = dof / 2
    logs = np.log(np.maximum(variances, 1e-12)) - special.digamma(half) + np.log(half)
    excess = logs.var(ddof=1) - special.polygamma(1, half).mean()
    if excess <= special.polygamma(1, STEADIEST / 2):
        return float(np.exp(logs.mean())), STEADIEST
    bounds = (1e-3, STEADIEST / 2)
    found = float(optimize.root_scalar(lambda x: float(special.polygamma(1, x)) - excess, bracket=bounds).root)
    return float(np.exp(logs.mean() + special.digamma(found) - np.log(found))), 2 * found


def learn_site(ratio: Array, scatter: Scatter, *, members: Array) -> SiteErrors:
    """Errors at one more site.

    Parameters
    ----------
    ratio : ndarray, shape (k, regions)
        log(predicted / real age) of its controls; NaN where a control has no prediction.
    scatter : Scatter
        Of the sites trained on.
    members : ndarray, shape (members, k, regions)
        log(age of a member / age of their mean).
    """
    scatter = replace(scatter, within=variance_of_mean(scatter.within, _among_members(members)))
    count = np.isfinite(ratio).sum(axis=0)
    mean = np.where(count > 0, np.nansum(ratio, axis=0) / np.maximum(count, 1), 0.0)
    own, dof = np.nansum((ratio - mean) ** 2, axis=0), np.maximum(count - 1, 0)
    degrees = scatter.degrees + dof
    # Without a control that says more, the pooled variance is all there is.
    known = degrees > 0
    moderated = (scatter.degrees * scatter.within + own) / np.where(known, degrees, 1)
    within = np.where(known, moderated, scatter.within)
    # The new site is one more that tells how much sites differ: few that were alike do not outvote it. Its mean is
    # shrunk like that of a typical site: where people scatter more, it is by the pull towards the mean, not by chance.
    apart = np.maximum(mean**2 - scatter.within / np.maximum(count, 1), 0.0)
    between = (scatter.sites * scatter.between + apart) / (scatter.sites + 1)
    kept = shrinkage(between, scatter.within, count)
    return SiteErrors(kept * mean, within * (1 + kept / np.maximum(count, 1)), np.maximum(degrees, 1.0))


def _among_members(members: Array) -> Array:
    """Variance over people of what a member says beside the others, mean over members, shape (regions,).

    What it says beside them of everybody at the site is no part of it: that is a shift.
    """
    count = np.isfinite(members[0]).sum(axis=0)
    means = np.nansum(members, axis=1) / np.maximum(count, 1)
    return np.nansum((members - means[:, None]) ** 2, axis=1).mean(axis=0) / np.maximum(count - 1, 1)


def shrinkage(between: Array, within: Array, count: NDArray[np.generic]) -> Array:
    """Share of a site's mean that is kept."""
    n = np.maximum(np.asarray(count, dtype=np.float64), 1)
    return between / np.maximum(between + within / n, 1e-12)
