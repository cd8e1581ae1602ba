"""Differences between sites: a shift per parcel, learnt from controls.

x = E(x | age, sex) + s (γ_site + δ_site e). Both methods take s γ off, shrunk: ``location`` by how much sites differ in
that parcel, ``combat`` by how much a site's shift differs between parcels, jointly with δ, as the location part of
ComBat does (Johnson 2007, doi:10.1093/biostatistics/kxj037; Fortin 2018, doi:10.1016/j.neuroimage.2017.11.024).
ComBat's scale is not applied: it is for what is left of x when age is taken out, and the age of people to judge is what
is not known. Dividing x itself by δ would stretch the course with age at every site by another factor. Age and sex are
taken out within sites, so a site of old people is not taken for a site of thin cortices. Nobody's age is used when
their own data are shifted: it is what is to be predicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Method = Literal["none", "location", "combat"]

LEAST_CONTROLS = 10
"""Fewer controls of a new site say too little about its shift: their data are taken as they are, with a warning."""

COMBAT_ROUNDS = 30


@dataclass(frozen=True)
class Shift:
    """What a site does to every parcel.

    Attributes
    ----------
    location : ndarray, shape (p,)
        γ, in standard deviations.
    """

    location: Array


@dataclass(frozen=True)
class Harmoniser:
    """Sites' shifts, and what it takes to find that of a new site.

    Attributes
    ----------
    method : {"none", "location", "combat"}
    age : ndarray, shape (2,)
        Mean and standard deviation of the training ages.
    slopes : ndarray, shape (4, p)
        Of constant, age, age² and sex.
    sd : ndarray, shape (p,)
        Of people of one age, sex and site.
    between : ndarray, shape (p,)
        Variance of γ over sites.
    sites : mapping of str to Shift
    """

    method: Method
    age: Array
    slopes: Array
    sd: Array
    between: Array
    sites: Mapping[str, Shift]

    def apply(self, values: ArrayLike, site: ArrayLike) -> Array:
        """Take the sites' shifts off; people of a site that is not known stay as they are.

        Parameters
        ----------
        values : array-like, shape (n, p)
        site : array-like of str, shape (n,)
        """
        out, names = np.array(values, dtype=np.float64), np.asarray(site).astype(str)
        for name, shift in self.sites.items():
            out[names == name] -= self.sd * shift.location
        return out

    def with_site(self, name: str, values: ArrayLike, age: ArrayLike, sex: ArrayLike) -> Harmoniser:
        """Learn the shift of one more site from its controls.

        Parameters
        ----------
        name : str
        values : array-like, shape (k, p)
            Of controls; at least :data:`LEAST_CONTROLS` is wise.
        age, sex : array-like, shape (k,)
        """
        if self.method == "none":
            return self
        z = (np.asarray(values, dtype=np.float64) - _design(age, sex, self.age) @ self.slopes) / self.sd
        shift = _combat_shift(z) if self.method == "combat" else _location_shift(z, self.between)
        return replace(self, sites={**self.sites, name: shift})


def fit_harmoniser(
    values: ArrayLike, age: ArrayLike, sex: ArrayLike, site: ArrayLike, *, method: Method = "location"
) -> Harmoniser:
    """Learn every site's shift from controls.

    Parameters
    ----------
    values : array-like, shape (n, p)
        Complete.
    age, sex : array-like, shape (n,)
    site : array-like of str, shape (n,)
    method : {"none", "location", "combat"}
    """
    given, years = np.asarray(values, dtype=np.float64), np.asarray(age, dtype=np.float64)
    names, number = np.unique(np.asarray(site).astype(str), return_inverse=True)
    scale = np.array([years.mean(), years.std() or 1.0])
    fixed = _design(years, sex, scale)
    dummies = np.eye(len(names))[number]
    both = np.linalg.lstsq(np.column_stack([dummies, fixed[:, 1:]]), given, rcond=None)[0]
    levels, slopes = both[: len(names)], both[len(names) :]
    share = dummies.mean(axis=0)
    slopes = np.vstack([share @ levels, slopes])
    residual = given - dummies @ levels - fixed[:, 1:] @ slopes[1:]
    sd = np.sqrt((residual**2).sum(axis=0) / max(len(given) - len(names) - 3, 1))
    sd = np.where(sd > 0, sd, 1.0)
    z = (given - fixed @ slopes) / sd
    rows = [z[number == place] for place in range(len(names))]
    between = _variance_between(rows)
    shifts: dict[str, Shift] = {}
    if method != "none":
        found = [_combat_shift(one) if method == "combat" else _location_shift(one, between) for one in rows]
        shifts = dict(zip(names.tolist(), found, strict=True))
    return Harmoniser(method, scale, np.asarray(slopes, dtype=np.float64), sd, between, shifts)


def _design(age: ArrayLike, sex: ArrayLike, scale: Array) -> Array:
    years = (np.asarray(age, dtype=np.float64) - scale[0]) / scale[1]
    known = np.nan_to_num(np.asarray(sex, dtype=np.float64), nan=0.5)
    return np.column_stack([np.ones_like(years), years, years**2, known])


def _variance_between(rows: list[Array]) -> Array:
    """Variance of γ over sites, less what chance makes of it (1/n of each site, for people of variance 1)."""
    means = np.array([one.mean(axis=0) for one in rows])
    if len(means) < 2:
        return np.zeros(means.shape[1])
    chance = np.mean([1 / len(one) for one in rows])
    return np.maximum(means.var(axis=0, ddof=1) - chance, 0.0)


def _location_shift(z: Array, between: Array) -> Shift:
    kept = between / (between + 1 / len(z))
    return Shift(kept * z.mean(axis=0))


def _combat_shift(z: Array) -> Shift:
    """γ of ComBat: empirical Bayes over parcels, γ normal, δ² inverse gamma (Johnson 2007, eq. 3.1)."""
    n, raw = len(z), z.mean(axis=0)
    if n < 3:
        return Shift(np.full(z.shape[1], raw.mean()))
    square = z.var(axis=0, ddof=1)
    mean, tau = raw.mean(), raw.var(ddof=1)
    m, s = square.mean(), square.var(ddof=1) or 1.0
    shape, rate = 2 + m**2 / s, m + m**3 / s
    location, variance = raw, square
    for _ in range(COMBAT_ROUNDS):
        location = (n * tau * raw + variance * mean) / (n * tau + variance)
        variance = (rate + 0.5 * ((z - location) ** 2).sum(axis=0)) / (n / 2 + shape - 1)
    return Shift(location)
