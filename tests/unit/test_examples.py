"""The example configurations: every key is known, every contrast can be read, every variant goes with its study."""

from pathlib import Path

import pytest

from plastimap.config import load_config
from plastimap.stats.contrasts import read_contrasts

EXAMPLES = Path(__file__).parents[2] / "config" / "examples"
STUDY = EXAMPLES / "spinal-cord-injury" / "study.yaml"
VARIANTS = sorted(set(STUDY.parent.glob("*.yaml")) - {STUDY})
GROUPS = ["SCI-UL", "SCI-LL", "CON-UL", "CON-LL", "NON"]


@pytest.mark.parametrize("variant", [None, *VARIANTS], ids=lambda file: file.stem if file else "study")
def test_examples_are_understood(variant, tmp_path):
    (tmp_path / "bids").mkdir()
    folders = {"bids_dir": str(tmp_path / "bids"), "output_dir": str(tmp_path / "out")}
    config, problems = load_config([STUDY, *([variant] if variant else []), folders])
    assert problems == []
    contrasts, wrong = read_contrasts(config["model"]["contrasts"], GROUPS)
    assert wrong == []
    assert len(contrasts) == len(config["model"]["contrasts"])


def test_a_variant_differs_from_its_study():
    assert len(VARIANTS) == 6
    for file in VARIANTS:
        assert load_config([STUDY, file])[0] != load_config([STUDY])[0]
