"""Intervals of the real age that hold for the young and for the old, though most of a sample is young.

Models pull ages towards those that most people have, so errors of rare ages lie to one side. Quantiles of all errors
then hold for the many and not for the few. Here every band of ages has quantiles of its own: an age belongs to the
interval if it is no stranger among people *of that age* (conditional conformal prediction, Vovk 2013,
doi:10.1007/s10994-013-5355-6). The interval is the hull of the bands' accepted ages. An age that one band cuts off may
lie between accepted ages of the other, so the tails of either are as large as coverage in both allows (nested sets,
Gupta et al. 2022, doi:10.1016/j.patcog.2021.108496).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.tables import ADULT

Array = NDArray[np.float64]

YOUNG = 40.0
"""Years; errors on either side are told apart, because most of an adult sample is younger."""

BANDS = ((ADULT[0], YOUNG), (YOUNG, ADULT[1]))
"""Ages of adults are all there are, so no interval goes beyond."""

FEWEST_IN_BAND = 40
"""People below whom a band has no tails of 5 % of its own: it takes the errors of everybody."""

TAILS = np.linspace(0.0, 3.0, 61)
"""Tails that are tried, in units of those of a symmetric interval. Larger ones than 1 are right where bands overlap."""


def hull(age: ArrayLike, sd: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> tuple[Array, Array]:
    """Limits of the real age, each of shape (n, regions); NaN where there is no prediction.

    Parameters
    ----------
    age : array-like, shape (n, regions)
        Predicted.
    sd : array-like, shape (n, regions) or (n, bands, regions)
    lower, upper : array-like, shape (bands, regions) or (n, bands, regions)
        Quantiles of (real age − predicted) / SD of people of each band.
    """
    found, spread = np.asarray(age, dtype=np.float64)[:, None], np.asarray(sd, dtype=np.float64)
    spread = spread[:, None] if spread.ndim == 2 else spread
    first, last = (np.array(limits)[:, None] for limits in zip(*BANDS, strict=True))
    low, high = found + np.asarray(lower) * spread, found + np.asarray(upper) * spread
    inside = (np.maximum(low, first) <= np.minimum(high, last)) & np.isfinite(found)
    # A prediction that no band accepts is stranger than anybody's: it gets all that was said of it.
    nowhere = ~inside.any(axis=1, keepdims=True)
    low, high = np.clip(low, *ADULT), np.clip(high, *ADULT)
    bottom = np.where(inside, np.maximum(low, first), np.where(nowhere, low, np.inf)).min(axis=1)
    top = np.where(inside, np.minimum(high, last), np.where(nowhere, high, -np.inf)).max(axis=1)
    return bottom, top


def fit_bands(ages: Array, predicted: Array, sd: Array, coverage: float) -> tuple[Array, Array]:
    """Quantiles of the standardised errors of each band, each of shape (bands, regions).

    Parameters
    ----------
    ages : ndarray, shape (n,)
        Real ages of people left out.
    predicted, sd : ndarray, shape (n, regions)
    coverage : float
        Share of people that the interval is to hold, in every band.
    """
    z = (ages[:, None] - predicted) / sd
    rows = people_of_bands(ages)
    low = np.stack([_quantiles(z[one], TAILS * (1 - coverage) / 2) for one in rows], axis=1)
    high = np.stack([_quantiles(z[one], 1 - TAILS * (1 - coverage) / 2) for one in rows], axis=1)
    best = np.zeros(low.shape[1:], dtype=np.intp)
    # Both tails together, then either alone as far as that leaves coverage.
    for moved in ([0, 1], [0], [1]):
        start = best.copy()
        for number in range(len(TAILS)):
            tried = start.copy()
            tried[moved] = np.maximum(tried[moved], number)
            bottom, top = hull(predicted, sd, _chosen(low, tried), _chosen(high, tried))
            held = (bottom <= ages[:, None]) & (ages[:, None] <= top)
            enough = np.min([held[one].mean(axis=0) for one in rows], axis=0) >= coverage
            best[:, enough] = tried[:, enough]
    return _chosen(low, best), _chosen(high, best)


def _chosen(quantiles: Array, tail: NDArray[np.intp]) -> Array:
    """Quantiles of shape (tails, bands, regions) at one tail per band and region, shape (bands, regions)."""
    return np.take_along_axis(quantiles, tail[None], axis=0)[0]


def people_of_bands(ages: Array) -> list[NDArray[np.intp]]:
    """Rows of the people of each band."""
    return [_or_everybody(ages < YOUNG), _or_everybody(ages >= YOUNG)]


def _or_everybody(band: NDArray[np.bool_]) -> NDArray[np.intp]:
    """People of a band, or everybody where they are too few."""
    own = np.flatnonzero(band)
    return own if len(own) >= FEWEST_IN_BAND else np.arange(len(band))


def _quantiles(z: Array, tails: Array) -> Array:
    """Quantiles outwards by one person, who is the one to come, shape (tails, regions)."""
    n = len(z)
    outward = np.where(tails < 0.5, tails * (n + 1) / n - 1 / n, tails * (n + 1) / n)
    return np.quantile(z, np.clip(outward, 0.0, 1.0), axis=0)
