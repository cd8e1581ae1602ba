from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from plastimap.config_rules import semantic_problems
from plastimap.stats.analysis import DEFAULT_FIT, DEFAULT_INFERENCE, DEFAULT_TIME
from plastimap.stats.settings import analysis_settings


@pytest.fixture
def shipped() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parents[3] / "config" / "config.yaml").read_text())


def test_the_shipped_settings_are_the_defaults_of_the_library(shipped: dict[str, Any]) -> None:
    found = analysis_settings(shipped["model"], shipped["inference"], minimum_subjects=1.0)
    assert (found["time"], found["options"], found["inference"]) == (DEFAULT_TIME, DEFAULT_FIT, DEFAULT_INFERENCE)
    assert (found["method"], found["terms"]) == ("summary", ["linear", "quadratic"])


@pytest.mark.parametrize(
    ("model", "inference", "said"),
    [
        ({"coding": "piecewise", "terms": ["piece1"]}, {}, "piecewise without knots"),
        ({"knots": [28]}, {}, "knots without pieces"),
        ({"coding": "piecewise", "knots": [28, 14], "terms": ["piece1"]}, {}, "not ascending"),
        ({"coding": "piecewise", "knots": [28]}, {}, "linear, quadratic with coding piecewise"),
        ({"coding": "piecewise", "knots": [28], "terms": ["piece3"]}, {}, "piece3 with coding piecewise"),
        ({"terms": ["piece1"]}, {}, "piece1 with coding quadratic_after_linear"),
        ({"terms": ["change"]}, {}, "the term change with method summary"),
        ({"method": "mixed", "weighting": "groups"}, {}, "weighting groups with method mixed"),
        ({"method": "robust"}, {"method": "permutation"}, "permutation with model.method robust"),
        ({}, {"method": "wild_bootstrap"}, "wild_bootstrap with model.method summary"),
        ({}, {"family_correction": "min_p"}, "min_p with inference.method random_field"),
        ({"method": "mixed"}, {"bayes_scale": 0.707}, "Bayes factor maps with method mixed"),
    ],
)
def test_settings_that_do_not_go_together(
    shipped: dict[str, Any], model: dict[str, Any], inference: dict[str, Any], said: str
) -> None:
    config = {"model": shipped["model"] | model, "inference": shipped["inference"] | inference}
    assert [finding[1] for finding in semantic_problems(config) if said in finding[1]]


@pytest.mark.parametrize(
    ("model", "inference"),
    [
        ({}, {}),
        ({"coding": "piecewise", "knots": [14, 28], "terms": ["piece1", "piece3", "baseline"]}, {}),
        ({"method": "mixed", "weighting": "motion", "terms": ["change"]}, {"method": "local_random_field"}),
        ({"weighting": "groups"}, {"method": "permutation", "family_correction": "min_p", "bayes_scale": 1}),
        ({"method": "sandwich"}, {"method": "wild_bootstrap", "family_correction": "min_p"}),
    ],
)
def test_settings_that_do_go_together(
    shipped: dict[str, Any], model: dict[str, Any], inference: dict[str, Any]
) -> None:
    config = {"model": shipped["model"] | model, "inference": shipped["inference"] | inference}
    assert list(semantic_problems(config)) == []
