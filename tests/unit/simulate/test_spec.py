from __future__ import annotations

import json

import pytest
from tests.unit.simulate.coarse import CORONA, make_spec

from plastimap.simulate import SimulationSpec, SpecProblem


def test_everything_wrong_is_listed_at_once() -> None:
    content = {
        "voxle_mm": 3,
        "seed": "one",
        "effects": [{**CORONA, "place": "x", "raduis": 3}, {"place": "y", "map": "R1"}],
    }
    with pytest.raises(SpecProblem) as caught:
        SimulationSpec.from_dict(content)
    text = str(caught.value)
    assert "unknown key 'voxle_mm'; did you mean 'voxel_mm'?" in text
    assert "seed" in text
    assert "did you mean 'radius'?" in text
    assert text.count("is missing") == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"snr": 60}, "snr: 60.0 is outside"),
        ({"days": [0, 28, 28]}, "days rise"),
        ({"days": [0, 28], "effects": [{**CORONA, "place": "x", "term": "quadratic"}]}, "needs more days"),
        ({"effects": [{**CORONA, "place": "x", "size": 0.06}]}, "outside ±0.05"),
        ({"effects": [{**CORONA, "place": "x", "groups": ["Z"]}]}, "no group 'Z'"),
        ({"effects": [{**CORONA, "place": "x", "groups": ["C"], "link": "rt_ms"}]}, "groups that train"),
        ({"effects": [{**CORONA, "place": "x"}, {**CORONA, "place": "x"}]}, "planted twice"),
        ({"echoes": {"PDw": 20}}, "do not fit"),
        ({"include": ["mri"]}, "no 'mri'"),
        ({"trainees": ["nobody"]}, "no group 'nobody'"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SpecProblem, match=words.replace("(", r"\(")):
        make_spec(**changes)


def test_specification_survives_json(spec: SimulationSpec) -> None:
    assert SimulationSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
