"""A stroke cohort with known truth, made of healthy people's real parcels.

Healthy scans are given a lesion in one hemisphere (parcels that touch, grown from a seed), damage where it lies, an
older look of the lesioned hemisphere and a younger one of a network on the other side. The regions' effects are years
along the parcels' own course with age, so a perfect method finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.parcels import FRONTOPARIETAL, Parcels
from plastimap.brainage.tables import ParcelTable

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StrokePlan:
    """What is planted.

    Attributes
    ----------
    ipsilesional_years : float
        Older look of intact parcels in the lesioned hemisphere, for a lesion of mean size.
    contralesional_years : float
        Change of the network on the other side; negative = younger.
    network : str
        Which network that is.
    parcels_lesioned : tuple of int
        Fewest and most parcels of a lesion.
    damage : float
        Share of a fully lesioned parcel's thickness that is gone.
    """

    ipsilesional_years: float = 8.0
    contralesional_years: float = -6.0
    network: str = FRONTOPARIETAL
    parcels_lesioned: tuple[int, int] = (2, 8)
    damage: float = 0.4


@dataclass(frozen=True)
class StrokeCohort:
    """A simulated cohort.

    Attributes
    ----------
    table : ParcelTable
        People have ``lesion_side``, ``lesion_volume_ml``, ``lesion_load``, ``days_since_stroke`` and ``motor_score``
        (0 = no movement, 100 = full; worse with larger lesions).
    lesioned : ndarray, shape (n, p)
        Lesioned share of every parcel.
    years : ndarray, shape (n, regions)
        What was planted in each region.
    """

    table: ParcelTable
    lesioned: Array
    years: Array


def age_course(table: ParcelTable) -> Array:
    """Change of every parcel per year, within sites, shape (p,)."""
    years, values = table.age.copy(), table.values.copy()
    for name in np.unique(table.site):
        rows = table.site == name
        years[rows] -= years[rows].mean()
        values[rows] -= np.nanmean(values[rows], axis=0)
    return np.nansum(years[:, None] * values, axis=0) / (years @ years)


def simulate_stroke(
    healthy: ParcelTable, course: Array, *, plan: StrokePlan = StrokePlan(), seed: int = 1
) -> StrokeCohort:
    """Give healthy people a stroke.

    Parameters
    ----------
    healthy : ParcelTable
        People that no model was trained on.
    course : ndarray, shape (p,)
        As :func:`age_course` gives it, of training data.
    plan : StrokePlan
    seed : int
    """
    rng = np.random.default_rng(seed)
    parcels, n = healthy.parcels, len(healthy.people)
    sides = np.where(rng.random(n) < 0.5, "L", "R")
    lesioned = np.stack([_lesion(parcels, str(side), plan, rng) for side in sides])
    size = lesioned.sum(axis=1) / lesioned.sum(axis=1).mean()
    years = _planted(parcels.regions, sides, size, plan)
    shifted = healthy.values + years[:, parcels.region_of] * course
    values = shifted * (1 - plan.damage * lesioned)
    people = healthy.people.copy()
    people["lesion_side"] = sides
    people["lesion_volume_ml"] = np.round(8.0 * lesioned.sum(axis=1), 3)
    people["lesion_load"] = np.round(lesioned.mean(axis=1), 5)
    people["days_since_stroke"] = np.round(np.exp(rng.uniform(np.log(180), np.log(3000), n)))
    people["motor_score"] = np.clip(np.round(75 - 18 * size + rng.normal(0, 10, n), 1), 0, 100)
    return StrokeCohort(ParcelTable(people, values, parcels, healthy.notes), lesioned, years)


def _planted(regions: Sequence[tuple[str, str]], sides: NDArray[np.str_], size: Array, plan: StrokePlan) -> Array:
    """Years per person and region: ipsilesional with the lesion's size, contralesional the same for all."""
    same = np.array([side for _, side in regions])[None] == sides[:, None]
    chosen = np.array([network == plan.network for network, _ in regions])[None]
    return np.where(same, plan.ipsilesional_years * size[:, None], np.where(chosen, plan.contralesional_years, 0.0))


def _lesion(parcels: Parcels, side: str, plan: StrokePlan, rng: np.random.Generator) -> Array:
    """Grow a lesion over parcels that touch, whole in the middle and partial at the rim."""
    inside = np.flatnonzero([one == side for one in parcels.hemispheres])
    wanted = int(rng.integers(plan.parcels_lesioned[0], plan.parcels_lesioned[1] + 1))
    neighbours: dict[int, list[int]] = {int(one): [] for one in inside}
    for one, other in parcels.edges.tolist():
        if one in neighbours and other in neighbours:
            neighbours[one].append(other)
            neighbours[other].append(one)
    taken = [int(rng.choice(inside))]
    while len(taken) < wanted:
        rim = sorted({other for one in taken for other in neighbours[one]} - set(taken))
        taken.append(int(rng.choice(rim or np.setdiff1d(inside, taken))))
    shares = np.zeros(len(parcels.names))
    shares[taken] = np.round(np.clip(np.linspace(1.0, 0.3, len(taken)) + rng.normal(0, 0.05, len(taken)), 0.1, 1), 3)
    return shares
