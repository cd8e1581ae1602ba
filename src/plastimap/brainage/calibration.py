"""From predictions to what may be said with them: bias of age, intervals that hold, shifts of sites with controls.

All of it is learnt from predictions of people who were left out, whole sites at a time where new sites are expected.

* Models pull ages towards the mean, so old people look young. The expected gap at each age is taken off (Beheshti
  2019, doi:10.1016/j.nicl.2019.102063). It uses the real age: errors get smaller for free, so the uncorrected value
  always stands beside.
* Intervals are conformal: quantiles of the standardised errors of those left out (Lei 2018,
  doi:10.1080/01621459.2017.1307116), for either side and for either band of ages of its own
  (:mod:`plastimap.brainage.intervals`). The mean of an ensemble errs less than
  the member that left a person out (:mod:`plastimap.brainage.predicted`).
* Healthy controls of a site show by how much its ages are off together, and how far people scatter about that: shift
  and intervals are then the site's own (:mod:`plastimap.brainage.controls`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.controls import ONE_SD, Scatter, SiteErrors, fit_scatter, learn_site, shrinkage
from plastimap.brainage.intervals import fit_bands, hull, people_of_bands
from plastimap.brainage.predicted import Predicted, variance_of_mean

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bias:
    """Prediction to expect of a healthy person = intercept + slope × age; each of shape (regions,)."""

    intercept: Array
    slope: Array


@dataclass(frozen=True)
class Errors:
    """What errors of people of sites left out look like, per region.

    Attributes
    ----------
    lower, upper : ndarray, shape (bands of age, regions)
        Quantiles of (age − predicted) / SD.
    scale : ndarray, shape (regions,)
        What the model's SD has to be multiplied with so that 68 % of errors are within one.
    root : ndarray, shape (bands of age, regions)
        Root mean square of log(predicted / age), in units of SD / predicted.
    """

    lower: Array
    upper: Array
    scale: Array
    root: Array


@dataclass(frozen=True)
class Calibration:
    """Errors with and without local controls.

    Attributes
    ----------
    bias, bias_with_controls : Bias
        At sites without controls, and where the shift is known.
    errors : Errors
        At sites without controls.
    scatter : Scatter
        Of log(predicted / real age), between sites and within.
    coverage : float
        Share of people whose age is to be inside the interval.
    sites : mapping of str to SiteErrors
        Sites with controls.
    """

    bias: Bias
    bias_with_controls: Bias
    errors: Errors
    scatter: Scatter
    coverage: float = 0.9
    sites: Mapping[str, SiteErrors] = field(default_factory=dict)

    def unshifted(self, found: Predicted, site: ArrayLike) -> Predicted:
        """Take the sites' shifts off predicted ages."""
        out = found.age.copy()
        for rows, one in self._with_controls(site):
            out[rows] *= np.exp(-one.shift)
        return found._replace(age=out)

    def interval(self, found: Predicted, site: ArrayLike) -> tuple[Array, Array]:
        """Limits of the real age, each of shape (n, regions).

        Parameters
        ----------
        found : Predicted
            With the sites' shifts off.
        site : array-like of str, shape (n,)
        """
        age, errors = found.age, self.errors
        lower, upper = hull(age, _of_mean(found, errors.root), errors.lower, errors.upper)
        for rows, one in self._with_controls(site):
            lower[rows], upper[rows] = one.interval(age[rows], self.coverage)
        return lower, upper

    def scaled(self, found: Predicted, site: ArrayLike) -> Array:
        """SD that 68 % of errors are within, shape (n, regions); as :meth:`interval`."""
        age, out = found.age, _of_mean(found, self.errors.scale[None])[:, 0] * self.errors.scale
        for rows, one in self._with_controls(site):
            out[rows] = one.sd(age[rows])
        return out

    def expected(self, years: ArrayLike, site: ArrayLike) -> Array:
        """Prediction to expect of healthy people of these real ages, shape (n, regions)."""
        ages = np.asarray(years, dtype=np.float64)[:, None]
        out, known = self.bias.intercept + self.bias.slope * ages, self.bias_with_controls
        for rows, _ in self._with_controls(site):
            out[rows] = known.intercept + known.slope * ages[rows]
        return out

    def with_site(self, name: str, years: ArrayLike, found: Predicted) -> Calibration:
        """Learn the errors at one more site.

        Parameters
        ----------
        name : str
        years : array-like, shape (k,)
            Real ages of healthy controls.
        found : Predicted
            Of the same people, not shifted.
        """
        ratio = np.log(found.age) - np.log(np.asarray(years, dtype=np.float64))[:, None]
        return replace(self, sites={**self.sites, name: learn_site(ratio, self.scatter, members=found.members)})

    def _with_controls(self, site: ArrayLike) -> list[tuple[NDArray[np.bool_], SiteErrors]]:
        """Rows of every site with controls, and its errors."""
        names = np.asarray(site).astype(str)
        return [(names == name, one) for name, one in self.sites.items()]


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
    scatter = fit_scatter(ratio, number)
    scale = np.quantile(np.abs((ages[:, None] - found) / deviation), ONE_SD, axis=0)
    root = np.stack([np.sqrt(((ratio * found / deviation)[rows] ** 2).mean(axis=0)) for rows in people_of_bands(ages)])
    return Calibration(
        bias=_bias(ages, found),
        bias_with_controls=_bias(ages, _moved(found, ratio, number, scatter)),
        errors=Errors(*fit_bands(ages, found, deviation, coverage), scale, root),
        scatter=scatter,
        coverage=coverage,
    )


def _of_mean(found: Predicted, error: Array) -> Array:
    """SD of the mean where members err by `error` times theirs, shape (n, rows of error, regions)."""
    among = found.apart[:, None] / np.maximum(error, 1e-6)
    return np.sqrt(variance_of_mean(found.sd[:, None] ** 2, among**2))


def _moved(predicted: Array, ratio: Array, number: NDArray[np.intp], scatter: Scatter) -> Array:
    """Predictions with the shifts of their sites off, which the other people of the site tell."""
    count = np.bincount(number).astype(np.float64)[number][:, None]
    sums = np.stack([np.bincount(number, column) for column in ratio.T], axis=1)[number]
    kept = shrinkage(scatter.between[None], scatter.within[None], count - 1)
    return predicted * np.exp(-np.where(count > 1, kept * (sums - ratio) / np.maximum(count - 1, 1), 0.0))


def _bias(ages: Array, predicted: Array) -> Bias:
    centred = ages - ages.mean()
    slope = centred @ predicted / (centred @ centred)
    return Bias(predicted.mean(axis=0) - slope * ages.mean(), slope)
