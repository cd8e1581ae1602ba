"""A coarse study for quick tests."""

from __future__ import annotations

from typing import Any

from plastimap.simulate import SimulationSpec

TRAINEES = ["A", "B"]
CORONA = {"map": "R1", "tissue": "WM", "term": "linear", "size": 0.05, "groups": TRAINEES, "centre": [-26, -18, 28]}


def make_spec(**changes: Any) -> SimulationSpec:
    """A small, coarse study (8 mm), so that a test takes a fraction of a second."""
    content: dict[str, Any] = {
        "voxel_mm": 8,
        "groups": {"A": 3, "B": 3, "C": 2},
        "trainees": TRAINEES,
        "echoes": {"PDw": 3, "T1w": 3, "MTw": 3},
        "n_b0": 2,
        "shells": {1000: 12},
    }
    return SimulationSpec.from_dict(content | changes)
