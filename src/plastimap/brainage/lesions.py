"""Lesions: how much of each parcel is gone, what a parcel would have been, and which side is which.

A lesioned parcel's thickness is not that of a brain of some age, and left in it makes the region look old. It is
replaced by its expectation given the intact parcels of the same hemisphere (conditional Gaussian); a copy of the other
hemisphere's would carry contralesional change over. A region of which too much is gone has no age.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.parcels import Parcels, listed
from plastimap.brainage.problems import BrainageProblem

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Side = Literal["ipsilesional", "contralesional", ""]

LESIONED = 0.05
"""Share of a parcel from which on it counts as lesioned."""

LOST = 0.5
"""Share of a region's parcels lesioned (or missing) from which on the region has no age."""

VOLUME_ML = "lesion_volume_ml"

SIDE_WORDS = {"l": "L", "left": "L", "lh": "L", "r": "R", "right": "R", "rh": "R", "b": "", "both": "",
              "bilateral": "", "none": ""}  # fmt: skip
"""What ``lesion_side`` may say → side; lesions of both hemispheres and none have no side."""

CLEARLY_ONE_SIDED = 0.8
"""Share of the lesion that has to lie in one hemisphere for sides to be named."""


@dataclass(frozen=True)
class Normal:
    """How parcels of healthy people go together.

    Attributes
    ----------
    mean : ndarray, shape (p,)
    covariance : ndarray, shape (p, p)
    """

    mean: Array
    covariance: Array


@dataclass(frozen=True)
class Imputed:
    """Completed data.

    Attributes
    ----------
    values : ndarray, shape (n, p)
        NaN where nothing could stand in.
    replaced : ndarray of bool, shape (n, p)
    lost : ndarray of bool, shape (n, regions)
        Regions without an age.
    """

    values: Array
    replaced: NDArray[np.bool_]
    lost: NDArray[np.bool_]


def fit_normal(values: ArrayLike) -> Normal:
    """Mean and covariance of healthy people's parcels, shrunk (Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4).

    Parameters
    ----------
    values : array-like, shape (n, p)
        A missing value counts as the parcel's mean here.
    """
    from sklearn.covariance import ledoit_wolf

    given = np.asarray(values, dtype=np.float64)
    mean = np.nanmean(given, axis=0)
    filled = np.where(np.isfinite(given), given, mean)
    spread = filled.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    covariance, _ = ledoit_wolf((filled - mean) / spread, assume_centered=True)
    return Normal(mean, np.asarray(covariance, dtype=np.float64) * np.outer(spread, spread))


def impute(values: ArrayLike, parcels: Parcels, normal: Normal, *, lesioned: ArrayLike | None = None) -> Imputed:
    """Replace lesioned and missing parcels by what the intact ones of the same hemisphere lead to expect.

    Parameters
    ----------
    values : array-like, shape (n, p)
    parcels : Parcels
    normal : Normal
    lesioned : array-like, shape (n, p), optional
        Lesioned share of each parcel, 0 to 1.
    """
    out = np.array(values, dtype=np.float64)
    gone = ~np.isfinite(out)
    if lesioned is not None:
        gone |= np.asarray(lesioned, dtype=np.float64) >= LESIONED
    sides = np.array(parcels.hemispheres)
    for person in np.flatnonzero(gone.any(axis=1)):
        for side in np.unique(sides[gone[person]]):
            absent = np.flatnonzero(gone[person] & (sides == side))
            intact = np.flatnonzero(~gone[person] & (sides == side))
            out[person, absent] = expected(out[person, intact], intact, absent, normal)
    share = np.column_stack([gone[:, parcels.members(region)].mean(axis=1) for region in parcels.regions])
    return Imputed(out, gone, share >= LOST)


def expected(known: Array, intact: NDArray[np.intp], absent: NDArray[np.intp], normal: Normal) -> Array:
    """E(x_absent | x_intact) of a Gaussian; the plain mean where nothing is intact."""
    if not intact.size:
        return normal.mean[absent]
    inner = normal.covariance[np.ix_(intact, intact)]
    across = normal.covariance[np.ix_(absent, intact)]
    return normal.mean[absent] + across @ np.linalg.solve(inner, known - normal.mean[intact])


def lesion_shares(lesion: ArrayLike, labels: ArrayLike, numbers: Sequence[int]) -> Array:
    """Lesioned share of every parcel.

    Parameters
    ----------
    lesion : array-like
        In the space of the labels: a mask, or the share of each voxel, 0 to 1.
    labels : array-like of int, same shape
    numbers : sequence of int
        Label of each parcel.

    Returns
    -------
    ndarray, shape (p,)
        NaN for a parcel without voxels.
    """
    marks, where = np.asarray(labels), np.asarray(lesion, dtype=np.float64)
    if marks.shape != where.shape:
        raise BrainageProblem(f"lesion mask {where.shape} and labels {marks.shape} are not on one grid")
    top = max(int(marks.max()), *numbers) + 1
    whole = np.bincount(marks.ravel(), minlength=top)[list(numbers)]
    part = np.bincount(marks.ravel(), where.ravel(), minlength=top)[list(numbers)]
    with np.errstate(invalid="ignore"):
        return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def lesion_volume_ml(lesion: ArrayLike, voxel_mm3: float) -> float:
    """Volume of a lesion in millilitres."""
    return float(np.count_nonzero(np.asarray(lesion)) * voxel_mm3 / 1000)


def lesion_side(shares: ArrayLike, parcels: Parcels) -> list[str]:
    """``L`` or ``R`` where most of a person's lesion lies; empty where there is none, or it is on both sides."""
    given = np.nan_to_num(np.asarray(shares, dtype=np.float64))
    left, right = (given[:, [side == one for side in parcels.hemispheres]].sum(axis=1) for one in ("L", "R"))
    # Four fifths are four fifths though binary fractions are not exact; both sides are asked alike.
    needed = CLEARLY_ONE_SIDED * given.sum(axis=1) * (1 - 1e-9)
    places = [(side, (mine >= needed) & (needed > 0)) for side, mine in (("L", left), ("R", right))]
    return ["".join(side for side, there in places if there[person]) for person in range(len(needed))]


def named_sides(given: pd.Series, measured: Sequence[str]) -> list[str]:
    """Sides of lesions as a column of the people names them; as measured where it says nothing.

    Parameters
    ----------
    given : Series of str
        See :data:`SIDE_WORDS`, in either case; empty = as measured.
    measured : sequence of str
        As :func:`lesion_side` gives them.

    Raises
    ------
    BrainageProblem
        If a word is not known.
    """
    words = given.astype("string").str.strip().str.casefold().fillna("")
    strange = sorted(set(words) - set(SIDE_WORDS) - {""})
    if strange:
        raise BrainageProblem(f"lesion_side: what {listed(strange)} means is not known; give L, R or both")
    return [SIDE_WORDS.get(str(word), side) for word, side in zip(words, measured, strict=True)]


def side_of(hemisphere: str, lesioned: str) -> Side:
    """Where a region lies, seen from the lesion."""
    if lesioned not in ("L", "R") or hemisphere not in ("L", "R"):
        return ""
    return "ipsilesional" if hemisphere == lesioned else "contralesional"
