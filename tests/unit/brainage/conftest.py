"""Simulated people: parcels that thin with age, sites that shift, a brain of two hemispheres and three networks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from plastimap.brainage.parcels import Parcels, as_parcels
from plastimap.brainage.tables import ParcelTable, as_parcel_table

NETWORKS = ("Vis", "Cont", "Default")
EACH = 4


def nodes() -> pd.DataFrame:
    rows = [
        {"name": f"{side.lower()}h_{network}_{number}", "hemisphere": side, "network": network}
        for side in "LR"
        for network in NETWORKS
        for number in range(EACH)
    ]
    return pd.DataFrame(rows)


def edges() -> pd.DataFrame:
    names = list(nodes()["name"])
    chain = [{"one": a, "other": b} for a, b in pairwise(names) if a[:2] == b[:2]]
    half = len(names) // 2
    return pd.DataFrame([*chain, *({"one": names[i], "other": names[i + half]} for i in range(half))])


def people(count: int, *, seed: int, sites: int = 6, site_sd: float = 0.05) -> pd.DataFrame:
    """A wide table: thickness falls by 0.006 mm a year, with noise of 0.1 mm and shifts of sites."""
    rng = np.random.default_rng(seed)
    names = list(nodes()["name"])
    age, site = rng.uniform(20, 80, count), rng.integers(0, sites, count)
    shifts = rng.normal(0, site_sd, (sites, len(names)))
    shared = rng.normal(0, 0.05, (count, 1))
    values = 2.8 - 0.006 * age[:, None] + shared + shifts[site] + rng.normal(0, 0.1, (count, len(names)))
    table = pd.DataFrame(values, columns=names)
    table.insert(0, "participant_id", [f"sub-{i:04d}" for i in range(count)])
    table.insert(1, "age", age)
    table.insert(2, "sex", rng.integers(0, 2, count))
    table.insert(3, "site", [f"site{one}" for one in site])
    return table


@pytest.fixture(scope="session")
def parcels() -> Parcels:
    return as_parcels(nodes(), edges())


@pytest.fixture(scope="session")
def healthy(parcels: Parcels) -> ParcelTable:
    return as_parcel_table(people(200, seed=1), parcels)


@pytest.fixture(scope="session")
def others(parcels: Parcels) -> ParcelTable:
    """Other people of the same sites."""
    return as_parcel_table(people(320, seed=1), parcels).rows(np.arange(200, 320))
