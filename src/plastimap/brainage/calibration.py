"""From predictions to what may be said with them: bias of age, intervals that hold, shifts of sites with controls.

All of it is learnt from predictions of people who were left out, and learnt twice: one person at a time for people of
sites that were trained on, whole sites at a time for everybody else. A model that has seen a site knows how its people
look, so it pulls less and errs less there than at a new one; either calibration is wrong for the others.

* Models pull ages towards the mean, so old people look young. The expected gap at each age is taken off (Beheshti
  2019, doi:10.1016/j.nicl.2019.102063). It uses the real age: errors get smaller for free, so the uncorrected value
  always stands beside.
* Intervals are conformal: quantiles of the errors of those left out (Lei 2018, doi:10.1080/01621459.2017.1307116), for
  either side and for either band of ages of its own (:mod:`plastimap.brainage.intervals`). The mean of an ensemble
  errs less than the member that left a person out (:mod:`plastimap.brainage.predicted`).
* Errors are measured in units of the model's SD. Where one member of an ensemble left a person out, it is the member's,
  which says little at sites that it has not seen: it fattens the tails of what is divided by it, and the mean, which
  is applied, has no such tails. So errors of members are measured in units of the predicted age, per region, if that
  makes the intervals of people left out narrower (the narrowest of a few conformal intervals holds about as well: Yang
  & Kuchibhotla 2025, doi:10.1080/01621459.2024.2344700).
* Healthy controls of a site show by how much its ages are off together, and how far people scatter about that: shift
  and intervals are then the site's own (:mod:`plastimap.brainage.controls`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

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
    relative : ndarray of bool, shape (regions,)
        Whether their unit is the predicted age; else it is the model's SD.
    lower, upper : ndarray, shape (bands of age, regions)
        Quantiles of (age − predicted) / unit.
    scale : ndarray, shape (regions,)
        What the unit has to be multiplied with so that 68 % of errors are within one.
    root : ndarray, shape (bands of age, regions)
        Root mean square of log(predicted / age), in units of unit / predicted.
    """

    relative: NDArray[np.bool_]
    lower: Array
    upper: Array
    scale: Array
    root: Array

    def unit(self, found: Predicted, error: Array) -> Array:
        """Unit of the mean's errors where members err by `error` units, shape (n, rows of error, regions)."""
        of_member = np.where(self.relative, found.age, found.sd)[:, None]
        among = found.apart[:, None] / np.maximum(error, 1e-6)
        return np.sqrt(variance_of_mean(of_member**2, among**2))


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
        lower, upper = hull(age, errors.unit(found, errors.root), errors.lower, errors.upper)
        for rows, one in self._with_controls(site):
            lower[rows], upper[rows] = one.interval(age[rows], self.coverage)
        return lower, upper

    def scaled(self, found: Predicted, site: ArrayLike) -> Array:
        """SD that 68 % of errors are within, shape (n, regions); as :meth:`interval`."""
        age, scale = found.age, self.errors.scale
        out = self.errors.unit(found, scale[None])[:, 0] * scale
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


class Calibrated(NamedTuple):
    """What is said of n people, each of shape (n, regions); years.

    Attributes
    ----------
    age : ndarray
        Predicted, shifts of sites off.
    expected : ndarray
        Of a healthy person of that real age.
    sd, lower, upper : ndarray
    """

    age: Array
    expected: Array
    sd: Array
    lower: Array
    upper: Array


@dataclass(frozen=True)
class Calibrations:
    """One calibration for people of sites trained on, one for everybody else.

    Attributes
    ----------
    known_sites : Calibration
        Learnt from people left out.
    new_sites : Calibration
        Learnt from whole sites left out; that of known sites where there were too few.
    trained : frozenset of str
        Sites trained on that have a name.
    whole_sites : bool
        Whether whole sites were left out for `new_sites`.
    """

    known_sites: Calibration
    new_sites: Calibration
    trained: frozenset[str]
    whole_sites: bool

    @property
    def with_controls(self) -> frozenset[str]:
        """Sites whose errors were learnt from controls of their own."""
        return frozenset(self.known_sites.sites) | frozenset(self.new_sites.sites)

    def is_known(self, site: ArrayLike) -> NDArray[np.bool_]:
        """Whether each person's site was trained on, shape (n,)."""
        return np.isin(np.asarray(site).astype(str), sorted(self.trained))

    def judge(self, found: Predicted, years: ArrayLike, site: ArrayLike) -> Calibrated:
        """Say everybody's age by the calibration of their own site.

        Parameters
        ----------
        found : Predicted
            With sites' shifts still in.
        years : array-like, shape (n,)
            Real ages.
        site : array-like of str, shape (n,)
        """
        names, ages, known = np.asarray(site).astype(str), np.asarray(years, dtype=np.float64), self.is_known(site)
        out = Calibrated(*(np.full_like(found.age, np.nan) for _ in Calibrated._fields))
        for rows, one in ((known, self.known_sites), (~known, self.new_sites)):
            own = one.unshifted(found.rows(rows), names[rows])
            said = Calibrated(own.age, one.expected(ages[rows], names[rows]), one.scaled(own, names[rows]),
                              *one.interval(own, names[rows]))  # fmt: skip
            for whole, part in zip(out, said, strict=True):
                whole[rows] = part
        return out

    def with_site(self, name: str, years: ArrayLike, found: Predicted) -> Calibrations:
        """Learn the errors at one more site from its controls, on top of what holds for sites of its kind."""
        kind = "known_sites" if name in self.trained else "new_sites"
        one: Calibration = getattr(self, kind)
        return replace(self, **{kind: one.with_site(name, years, found)})


def calibrate(
    years: ArrayLike,
    predicted: ArrayLike,
    sd: ArrayLike,
    site: ArrayLike,
    *,
    harmonised: ArrayLike | None = None,
    by_members: bool = False,
    coverage: float = 0.9,
) -> Calibration:
    """Learn from people left out.

    Parameters
    ----------
    years : array-like, shape (n,)
        Real ages.
    predicted, sd : array-like, shape (n, regions)
        Of the same people, without themselves (and their site).
    site : array-like of str, shape (n,)
    harmonised : array-like, shape (n, regions), optional
        Ages predicted where the parcels' shifts at the site are known, as they are of sites with controls; default:
        those predicted, for a model that does not harmonise.
    by_members : bool
        Whether one member of an ensemble predicted each of them, while the mean of all is applied.
    coverage : float
        Share of people whose age is to be inside the interval.
    """
    ages, found = np.asarray(years, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    number = np.unique(np.asarray(site).astype(str), return_inverse=True)[1]
    known = found if harmonised is None else np.asarray(harmonised, dtype=np.float64)
    ratio = np.log(known) - np.log(ages)[:, None]
    scatter = fit_scatter(ratio, number)
    return Calibration(
        bias=_bias(ages, found),
        bias_with_controls=_bias(ages, _moved(known, ratio, number, scatter)),
        errors=_fit_errors(ages, found, np.asarray(sd, dtype=np.float64), coverage, by_members=by_members),
        scatter=scatter,
        coverage=coverage,
    )


def _fit_errors(ages: Array, found: Array, sd: Array, coverage: float, *, by_members: bool) -> Errors:
    """Learn from people left out; of members, in the unit that makes the intervals of these people the narrower."""
    relative = np.zeros(found.shape[1], dtype=np.bool_)
    if by_members:
        own, of_age = (_widths(ages, found, unit, coverage) for unit in (sd, found))
        relative = of_age < own
    unit = np.where(relative, found, sd)
    ratio = (np.log(found) - np.log(ages)[:, None]) * found / unit
    return Errors(
        relative,
        *fit_bands(ages, found, unit, coverage),
        scale=np.quantile(np.abs(ages[:, None] - found) / unit, ONE_SD, axis=0),
        root=np.stack([np.sqrt((ratio[rows] ** 2).mean(axis=0)) for rows in people_of_bands(ages)]),
    )


def _widths(ages: Array, found: Array, unit: Array, coverage: float) -> Array:
    """Mean width of the intervals of people left out, shape (regions,)."""
    bottom, top = hull(found, unit, *fit_bands(ages, found, unit, coverage))
    return (top - bottom).mean(axis=0)


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
