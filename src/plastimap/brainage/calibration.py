"""From predictions to what may be said with them: bias of age, intervals that hold, shifts of sites with controls.

All of it is learnt from predictions of people who were left out, whole sites at a time where new sites are expected.

* Models pull ages towards the mean, so old people look young. The expected gap at each age is taken off (Beheshti
  2019, doi:10.1016/j.nicl.2019.102063). It uses the real age: errors get smaller for free, so the uncorrected value
  always stands beside.
* Intervals are conformal: quantiles of the standardised errors of those left out (Lei 2018,
  doi:10.1080/01621459.2017.1307116), for either side and for either band of ages of its own
  (:mod:`plastimap.brainage.intervals`).
* Healthy controls of a site show by how much its ages are off together; the mean log ratio of predicted to real age
  is shrunk towards none by how much sites differ and people vary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.intervals import fit_bands, hull

Array = NDArray[np.float64]

ONE_SD = 0.6827


@dataclass(frozen=True)
class Errors:
    """What errors of people left out look like, per region.

    Attributes
    ----------
    intercept, slope : ndarray, shape (regions,)
        Expected prediction = intercept + slope × age.
    lower, upper : ndarray, shape (bands of age, regions)
        Quantiles of (age − predicted) / SD.
    scale : ndarray, shape (regions,)
        What the model's SD has to be multiplied with so that 68 % of errors are within one.
    """

    intercept: Array
    slope: Array
    lower: Array
    upper: Array
    scale: Array


@dataclass(frozen=True)
class Calibration:
    """Errors with and without local controls, and the shifts of sites that have them.

    Attributes
    ----------
    new, local : Errors
        Of sites without controls, and of sites whose shift is known.
    between, within : ndarray, shape (regions,)
        Variance over sites and over people of log(predicted / age).
    trained : int
        Sites that `between` was learnt from.
    sites : mapping of str to ndarray, shape (regions,)
        Shift of log age.
    """

    new: Errors
    local: Errors
    between: Array
    within: Array
    trained: int
    sites: Mapping[str, Array] = field(default_factory=dict)

    def unshifted(self, age: Array, site: ArrayLike) -> Array:
        """Take the sites' shifts off predicted ages, shape (n, regions)."""
        out, names = age.copy(), np.asarray(site).astype(str)
        for name, shift in self.sites.items():
            out[names == name] *= np.exp(-shift)
        return out

    def interval(self, age: Array, sd: Array, site: ArrayLike) -> tuple[Array, Array]:
        """Limits of the real age, given predictions and the model's SD, each of shape (n, regions)."""
        return hull(age, sd, self._chosen("lower", site), self._chosen("upper", site))

    def scaled(self, sd: Array, site: ArrayLike) -> Array:
        """SD that 68 % of errors are within."""
        return sd * self._chosen("scale", site)

    def expected(self, years: ArrayLike, site: ArrayLike) -> Array:
        """Prediction to expect of healthy people of these real ages, shape (n, regions)."""
        ages = np.asarray(years, dtype=np.float64)[:, None]
        return self._chosen("intercept", site) + self._chosen("slope", site) * ages

    def with_site(self, name: str, years: ArrayLike, predicted: Array) -> Calibration:
        """Learn the shift of one more site.

        Parameters
        ----------
        name : str
        years : array-like, shape (k,)
            Real ages of healthy controls.
        predicted : ndarray, shape (k, regions)
            Not shifted.
        """
        ratio = np.log(predicted) - np.log(np.asarray(years, dtype=np.float64))[:, None]
        count = np.isfinite(ratio).sum(axis=0)
        mean = np.where(count > 0, np.nansum(ratio, axis=0) / np.maximum(count, 1), 0.0)
        # The new site is one more that tells how much sites differ: few that were alike do not outvote it.
        own = np.maximum(mean**2 - self.within / np.maximum(count, 1), 0.0)
        between = (self.trained * self.between + own) / (self.trained + 1)
        kept = shrinkage(between, self.within, count)
        return replace(self, sites={**self.sites, name: kept * mean})

    def _chosen(self, name: str, site: ArrayLike) -> Array:
        """Errors' numbers for every person, shape (n, …, regions)."""
        new, local = getattr(self.new, name), getattr(self.local, name)
        known = np.isin(np.asarray(site).astype(str), list(self.sites))
        return np.where(known.reshape(-1, *[1] * new.ndim), local, new)


def shrinkage(between: Array, within: Array, count: ArrayLike) -> Array:
    """Share of a site's mean that is kept."""
    n = np.maximum(np.asarray(count, dtype=np.float64), 1)
    return between / np.maximum(between + within / n, 1e-12)


def calibrate(
    years: ArrayLike, predicted: ArrayLike, sd: ArrayLike, site: ArrayLike, *, coverage: float = 0.9
) -> Calibration:
    """Learn from people left out.

    Parameters
    ----------
    years : array-like, shape (n,)
        Real ages.
    predicted, sd : array-like, shape (n, regions)
        Of the same people, without themselves (and their site).
    site : array-like of str, shape (n,)
    coverage : float
        Share of people whose age is to be inside the interval.
    """
    ages, found = np.asarray(years, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    deviation = np.asarray(sd, dtype=np.float64)
    ratio = np.log(found) - np.log(ages)[:, None]
    number = np.unique(np.asarray(site).astype(str), return_inverse=True)[1]
    count = np.bincount(number).astype(np.float64)
    sums = np.stack([np.bincount(number, column) for column in ratio.T], axis=1).astype(np.float64)
    between, within = _components(ratio, sums, count, number)
    # A person's own error is no part of the shift that is taken off: others of the site tell it.
    others = (sums[number] - ratio) / np.maximum(count[number] - 1, 1)[:, None]
    kept = shrinkage(between[None], within[None], (count[number] - 1)[:, None])
    kept = np.where(count[number][:, None] > 1, kept, 0.0)
    moved = found * np.exp(-kept * others)
    new, local = (_errors(ages, one, deviation, coverage) for one in (found, moved))
    return Calibration(
        new=new,
        local=_wider(new, local),
        between=between,
        within=within,
        trained=len(count),
    )


def _wider(new: Errors, local: Errors) -> Errors:
    """Bias as with local controls, intervals no narrower than without.

    Ten controls tell a shift at their own ages. Where a site has other ages than those trained on, errors about that
    shift are larger than the training sites could show: on real data narrower intervals hold 80 % in the place of 90.
    """
    return replace(
        local,
        lower=np.minimum(new.lower, local.lower),
        upper=np.maximum(new.upper, local.upper),
        scale=np.maximum(new.scale, local.scale),
    )


def _components(ratio: Array, sums: Array, count: Array, number: NDArray[np.intp]) -> tuple[Array, Array]:
    """Variance of log ratios between sites and within (method of moments)."""
    means = sums / count[:, None]
    within = ((ratio - means[number]) ** 2).sum(axis=0) / max(len(ratio) - len(count), 1)
    if len(count) < 2:
        return np.zeros_like(within), within
    chance = within * np.mean(1 / count)
    return np.maximum((means**2).mean(axis=0) - chance, 0.0), within


def _errors(ages: Array, predicted: Array, sd: Array, coverage: float) -> Errors:
    centred = ages - ages.mean()
    slope = centred @ predicted / (centred @ centred)
    scale = np.quantile(np.abs((ages[:, None] - predicted) / sd), ONE_SD, axis=0)
    intercept = predicted.mean(axis=0) - slope * ages.mean()
    return Errors(intercept, slope, *fit_bands(ages, predicted, sd, coverage), scale)
