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
    tests = result.tests.set_index(["test", "outcome", "group", "quantity"]).sort_index()
    # Everybody improved: the largest z there is for ten.
    largest = (55 - 27.5) / np.sqrt(10 * 11 * 21 / 24)
    assert tests.loc[("one-sample", "csr_percent", "all", "delta"), "z"] == pytest.approx(largest)
    assert tests.loc[("one-sample", "rt_ms", "all", "delta"), "z"] == pytest.approx(-largest)
    # Five against five without overlap.
    assert tests.loc[("groups", "csr_percent", "early vs late", "improvement"), "p_exact"] == pytest.approx(2 / 252)
    # Baseline is the plateau less the gain, so it differs too; the rate was the same for everybody.
    assert tests.loc[("groups", "csr_percent", "early vs late", "baseline"), "p_exact"] == pytest.approx(2 / 252)
    assert tests.loc[("groups", "csr_percent", "early vs late", "gamma"), "p_exact"] > 0.05
    assert tests.loc[("one-sample", "csr_percent", "late", "delta"), "n"] == "5"
    assert ("retention", "csr_percent", "late", "day 84 - day 28") in tests.index
    assert list(result.sides["decision"]) == ["averaged", "averaged"]


def test_groups_are_put_together_as_asked(rng: np.random.Generator) -> None:
    groups = {f"sub-{person:02d}": "abc"[person % 3] for person in range(10)}
    comparison = {"first": ["a", "b"], "second": ["c"]}
    tests = analyse(values(rng), OUTCOMES, groups=groups, comparisons=[comparison]).tests
    compared = tests[tests["test"] == "groups"]
    assert set(compared["group"]) == {"a + b vs c"}
    assert set(compared["n"]) == {"7 + 3"}
    assert {"all", "a", "b", "c", "a + b"} == set(tests.loc[tests["test"] == "one-sample", "group"])


def test_sides_that_differ_are_noted(rng: np.random.Generator) -> None:
    result = analyse(values(rng, side_gap=20.0), OUTCOMES)
    sides = result.sides.set_index("outcome")
    assert bool(sides.loc["csr_percent", "differ"])
    assert not bool(sides.loc["rt_ms", "differ"])
    assert any("left and right differ" in note for note in result.notes)


def test_the_paired_test_sees_small_differences_of_sides(rng: np.random.Generator) -> None:
    # People differ by far more than the sides do: only differences within them can tell.
    sides = analyse(values(rng, side_gap=2.0), OUTCOMES).sides.set_index("outcome")
    assert sides.loc["csr_percent", "p_exact"] > 0.05
    assert sides.loc["csr_percent", "paired_p"] < 0.05
    assert bool(sides.loc["csr_percent", "differ"])


def test_without_sides_or_retention_days(rng: np.random.Generator) -> None:
    table = values(rng)
    table = table[(table["side"] == "left") & (table["day"] != 84)]
    result = analyse(table, OUTCOMES)
    assert set(result.sides["decision"]) == {"one side only"}
    assert "retention" not in set(result.tests["test"])
    assert set(result.tests["group"]) == {"all"}
