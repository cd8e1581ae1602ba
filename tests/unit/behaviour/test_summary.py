from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plastimap.behaviour import analyse, curve

DAYS = (0.0, 7.0, 14.0, 28.0, 84.0)
OUTCOMES = {
    "csr_percent": {"better": "higher", "minimum": 0, "maximum": 100},
    "rt_ms": {"better": "lower", "minimum": 0},
}


def values(rng: np.random.Generator, *, side_gap: float = 0.0) -> pd.DataFrame:
    rows = []
    for person in range(10):
        gain = 30.0 + person + (20 if person >= 5 else 0)
        for day in DAYS:
            for side in ("left", "right"):
                csr = float(curve(day, alpha=75 + rng.normal(), delta=gain, gamma=0.1)) + (
                    side_gap if side == "left" else 0
                )
                rt = float(curve(day, alpha=40 + rng.normal(), delta=-15 - person / 2, gamma=0.08))
                common = {"participant_id": f"sub-{person:02d}", "day": day, "side": side}
                rows += [common | {"outcome": "csr_percent", "value": csr}, common | {"outcome": "rt_ms", "value": rt}]
    return pd.DataFrame(rows)


GROUPS = {f"sub-{person:02d}": "late" if person >= 5 else "early" for person in range(10)}


def test_the_whole_stage(rng: np.random.Generator) -> None:
    result = analyse(values(rng), OUTCOMES, groups=GROUPS)
    assert len(result.curves) == 20
    tests = result.tests.set_index(["test", "outcome", "group"])
    # Everybody improved: the largest z there is for ten.
    largest = (55 - 27.5) / np.sqrt(10 * 11 * 21 / 24)
    assert tests.loc[("one-sample", "csr_percent", "all"), "z"] == pytest.approx(largest)
    assert tests.loc[("one-sample", "rt_ms", "all"), "z"] == pytest.approx(-largest)
    # Five against five without overlap.
    assert tests.loc[("groups", "csr_percent", "early vs late"), "p_exact"] == pytest.approx(2 / 252)
    assert tests.loc[("one-sample", "csr_percent", "late"), "n"] == "5"
    assert tests.loc[("retention", "csr_percent", "all"), "quantity"] == "day 84 - day 28"
    assert list(result.sides["decision"]) == ["averaged", "averaged"]


def test_sides_that_differ_are_noted(rng: np.random.Generator) -> None:
    result = analyse(values(rng, side_gap=20.0), OUTCOMES)
    sides = result.sides.set_index("outcome")
    assert bool(sides.loc["csr_percent", "differ"])
    assert not bool(sides.loc["rt_ms", "differ"])
    assert any("left and right differ" in note for note in result.notes)


def test_without_sides_or_retention_days(rng: np.random.Generator) -> None:
    table = values(rng)
    table = table[(table["side"] == "left") & (table["day"] != 84)]
    result = analyse(table, OUTCOMES)
    assert set(result.sides["decision"]) == {"one side only"}
    assert "retention" not in set(result.tests["test"])
    assert set(result.tests["group"]) == {"all"}
