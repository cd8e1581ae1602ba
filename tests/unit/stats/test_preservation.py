"""Change where tissue is preserved: found when planted, and not made up by noise."""

import numpy as np
import pandas as pd
import pytest

from plastimap.stats.preservation import change_and_deficit
from plastimap.stats.problems import StatsProblem

DAYS = (0.0, 14.0, 28.0, 84.0)
VOXELS = 400
SEARCH = {"L": np.arange(VOXELS) < 200, "R": np.arange(VOXELS) >= 200}
ASK = {"patients": ["SCI"], "controls": ["CON"], "group": "group", "search_volumes": SEARCH}


def study(seed, *, coupling, people=12, noise=1.0, days=DAYS):
    """Patients' levels are lowered by a deficit of their own; change is larger where there is little of it."""
    rng = np.random.default_rng(seed)
    rows, maps, groups = [], [], []
    for person in range(2 * people):
        group = "SCI" if person < people else "CON"
        groups.append((f"{person:02d}", group))
        level = rng.normal(100, 3, VOXELS)
        deficit = 6 * rng.uniform(0, 1, VOXELS) if group == "SCI" else np.zeros(VOXELS)
        slope = 0.05 * rng.normal(size=VOXELS) - coupling * deficit * SEARCH["R"]
        for number, day in enumerate(days):
            rows.append((f"{person:02d}", f"{number}", day))
            maps.append(level - deficit + slope * day + noise * rng.normal(size=VOXELS))
    scans = pd.DataFrame(rows, columns=["participant_id", "session", "day"])
    return np.array(maps), scans, pd.DataFrame(groups, columns=["participant_id", "group"])


def test_a_planted_relation_is_found_where_it_is():
    found = change_and_deficit(*study(1, coupling=0.02), **ASK)
    tests = found.tests.set_index("hemisphere")
    assert tests.loc["R", "mean_r"] > 0.1
    assert tests.loc["R", "p"] < 1e-4
    assert abs(tests.loc["L", "mean_r"]) < 0.05
    assert tests["n"].tolist() == [12, 12]
    assert set(found.people["participant_id"]) == {f"{i:02d}" for i in range(12)}


def test_noise_alone_is_no_return_to_the_mean():
    """60 studies of noise: 5 % false positives; 120 tests leave up to 11 % (99.9 % of the binomial)."""
    p = np.concatenate(
        [change_and_deficit(*study(seed, coupling=0, noise=5.0), **ASK).tests["p"].to_numpy() for seed in range(60)]
    )
    assert np.mean(p < 0.05) <= 0.117


def test_what_cannot_be_told():
    maps, scans, people = study(2, coupling=0, days=(0.0, 28.0))
    assert change_and_deficit(maps, scans, people, **ASK).people.empty
    maps, scans, people = study(2, coupling=0, people=3)
    with pytest.raises(StatsProblem, match="3 controls"):
        change_and_deficit(maps, scans, people, **ASK)
    few = {"L": SEARCH["L"] & (np.arange(VOXELS) < 10)}
    maps, scans, people = study(2, coupling=0)
    found = change_and_deficit(maps, scans, people, **(ASK | {"search_volumes": few}))
    assert found.people["r"].isna().all()
    assert found.tests["n"].tolist() == [0]


def test_order_of_rows_does_not_matter():
    maps, scans, people = study(3, coupling=0.01)
    order = np.random.default_rng(0).permutation(len(scans))
    shuffled = change_and_deficit(maps[order], scans.iloc[order].reset_index(drop=True), people, **ASK)
    pd.testing.assert_frame_equal(shuffled.people, change_and_deficit(maps, scans, people, **ASK).people)
