from __future__ import annotations

import pytest
from tests.unit.simulate.coarse import CORONA, make_spec

from plastimap.simulate import SimulationSpec


@pytest.fixture(scope="session")
def spec() -> SimulationSpec:
    effects = [
        {"place": "corona left", **CORONA},
        {**CORONA, "place": "corona right", "map": "FA", "size": 0.08, "centre": [26, -18, 28], "term": "quadratic"},
        {**CORONA, "place": "hand", "map": "vbm", "tissue": "GM", "size": 0.1, "centre": [38, -26, 54], "radius": 15},
        {**CORONA, "place": "leg", "map": "MTsat", "link": "csr_percent", "centre": [-20, -30, 50]},
    ]
    return make_spec(effects=effects)
