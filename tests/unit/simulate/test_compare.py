from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from plastimap.simulate import control_table, planted_vs_found
from plastimap.simulate.compare import control_contrasts, found_text

EFFECT = {
    "place": "corona", "map": "R1", "tissue": "WM", "term": "linear", "direction": ">", "contrast": "trainees",
    "size": 0.05, "realised": 0.046, "x": -26.0, "y": -18.0, "z": 28.0, "radius_mm": 13.0,
}  # fmt: skip
CLUSTER = {
    "contrast": "trainees", "map": "R1", "tissue": "WM", "hemisphere": "L", "term": "linear", "direction": ">",
    "cluster_p_fwe": 0.001, "cluster_p_corrected": 0.03, "k": 80, "peak_t": 9.0, "peak_p_fwe": 0.01,
    "x": -26.0, "y": -18.0, "z": 33.0, "effect": 0.0006,
}  # fmt: skip


def compared(*clusters: dict[str, Any], **effect: Any) -> dict[str, Any]:
    table = pd.DataFrame(list(clusters), columns=list(CLUSTER))
    found = planted_vs_found(pd.DataFrame([{**EFFECT, **effect}]), table, alpha=0.05, max_distance_mm=6.0)
    assert len(found) == 1
    return found.iloc[0].to_dict()


def test_a_cluster_at_the_place_counts() -> None:
    row = compared(CLUSTER)
    assert (row["found"], row["cluster_p_fwe"], row["effect_found"]) == ("yes", 0.001, 0.0006)
    assert row["peak_distance_mm"] == pytest.approx(5)


@pytest.mark.parametrize(
    "other",
    [{"map": "MTsat"}, {"tissue": "GM"}, {"term": "quadratic"}, {"direction": "<"}, {"contrast": "arms"}, {"x": 26.0},
     {"z": 28.0 + 19.5}],
)  # fmt: skip
def test_a_cluster_of_something_else_does_not(other: dict[str, Any]) -> None:
    row = compared({**CLUSTER, **other})
    assert row["found"] == "no"
    assert pd.isna(row["cluster_p_fwe"])


def test_a_weak_cluster_is_shown_and_not_found() -> None:
    row = compared({**CLUSTER, "cluster_p_fwe": 0.2})
    assert (row["found"], row["cluster_p_fwe"]) == ("no", 0.2)


def test_the_best_of_several_counts_and_no_cluster_is_no_error() -> None:
    assert compared({**CLUSTER, "cluster_p_fwe": 0.04}, CLUSTER)["cluster_p_fwe"] == 0.001
    assert compared()["found"] == "no"
    assert compared(CLUSTER, contrast=float("nan"))["found"] == "yes"


def test_control_lists_false_findings_only() -> None:
    table = pd.DataFrame(
        [CLUSTER, {**CLUSTER, "contrast": "arms"}, {**CLUSTER, "contrast": "arms", "cluster_p_corrected": 0.4}]
    )
    assert len(control_table(table, contrast="arms")) == 1
    assert control_table(table, contrast="legs").empty
    assert control_table(table.iloc[:0], contrast="arms").empty


def test_the_text_names_what_was_found_and_the_control() -> None:
    effects = pd.DataFrame([EFFECT, {**EFFECT, "place": "hand"}])
    effects.loc[1, "x"] = 60.0
    families = pd.DataFrame({"contrast": ["trainees", "arms", "arms"]})
    contrasts = control_contrasts(effects, families)
    assert contrasts == ["arms"]
    found = planted_vs_found(effects, pd.DataFrame([{**CLUSTER, "effect_percent": 4.2}]))
    control = control_table(pd.DataFrame([CLUSTER]), contrast="arms")
    text = found_text(found, control, families, contrasts)
    assert "+4.2%" in text
    assert "1 of 2 planted effects found" in text
    assert "empty, as it should be (2 of 3 families" in text
