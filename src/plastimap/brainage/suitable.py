"""Whether a table is one to train on, and whether one to judge has what a model's training people had.

Measures without a unit of their own (R1, volumes of grey matter in any space) pass every check of a table. A table in
another unit shows beside the training people: the middle of nearly every parcel lies where none of them was.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.parcels import Parcels, listed
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.tables import ParcelTable

Array = NDArray[np.float64]

LEAST_MEASURED = 20
"""Training people with a number in a parcel; fewer might all be in one fold."""

STRANGE_SD = 6.0
"""Training standard deviations that no group of people is away from healthy adults by, whatever they have."""

STRANGE_RATIO = 5.0
"""Nor are they so many times as much, or as little: where people differ by a half, SDs do not show a unit."""

ENOUGH_PEOPLE = 10
"""People from whom on single parcels are judged: the middle of fewer may be that of a few bad scans."""


def refuse_rare_parcels(table: ParcelTable) -> None:
    """Raise if a parcel was measured at one of several sites alone, or hardly ever: without those nothing is known."""
    measured, sites = np.isfinite(table.values), np.unique(table.site)
    at = np.array([measured[table.site == name].any(axis=0) for name in sites])
    problems = list[str]()
    for name, here, people in zip(table.parcels.names, at.T, measured.sum(axis=0), strict=True):
        if len(sites) > 1 and here.sum() == 1:
            problems.append(f"parcel {name} was measured at the site {sites[here][0]} alone")
        elif people < min(LEAST_MEASURED, len(measured)):
            problems.append(f"parcel {name} has a number in {people} of {len(measured)} rows")
    if problems:
        remedy = "complete the training table, or leave such parcels out of the table of parcels"
        raise BrainageProblem(f"{listed(problems)}; {remedy}")


def refuse_other_units(table: ParcelTable, mean: Array, sd: Array) -> None:
    """Raise if a table's parcels are not what the training people's were.

    Parameters
    ----------
    table : ParcelTable
    mean, sd : ndarray, shape (p,)
        Of the training people.
    """
    measured = np.isfinite(table.values).any(axis=0)
    middle = np.full_like(mean, np.nan)
    middle[measured] = np.nanmedian(table.values[:, measured], axis=0)
    strange = _strange(middle, mean, sd)
    found = list(_whole_measures(table.parcels, middle, mean, strange))
    if not found and table.count >= ENOUGH_PEOPLE and strange.any():
        names = [name for name, one in zip(table.parcels.names, strange, strict=True) if one]
        found = [
            f"the middle of {len(names)} of {len(strange)} parcels is nothing that people trained on had: "
            f"{listed(names)}; are unit, map and parcels those of the training table?"
        ]
    if found:
        raise BrainageProblem(found)


def _strange(middle: Array, mean: Array, sd: Array) -> NDArray[np.bool_]:
    """Parcels whose middle lies where none of the training people is."""
    with np.errstate(invalid="ignore", divide="ignore"):
        far = np.abs(middle - mean) > STRANGE_SD * np.maximum(sd, 1e-12 + 1e-6 * np.abs(mean))
        # A ratio says something only where everybody has the same sign.
        ratio = np.where(np.abs(mean) > sd, middle / mean, 1.0)
        return far | (ratio > STRANGE_RATIO) | (ratio < 1 / STRANGE_RATIO)


def _whole_measures(parcels: Parcels, middle: Array, mean: Array, strange: NDArray[np.bool_]) -> Iterator[str]:
    """Measures most of whose parcels are strange."""
    for measure in dict.fromkeys(parcels.measures):
        mine = np.array([one == measure for one in parcels.measures]) & np.isfinite(middle)
        if mine.any() and strange[mine].mean() > 0.5:
            yield (
                f"{measure}: {strange[mine].sum()} of {mine.sum()} parcels are nothing that people trained on had "
                f"(middle {np.median(middle[mine]):.3g}, theirs {np.median(mean[mine]):.3g}); give it in the unit of "
                "the training table"
            )
