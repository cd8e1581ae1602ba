"""The group model is checked before the first job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.workflow.conftest import Builder

from plastimap.check import check_study
from plastimap.config import load_config
from plastimap.images import Volume, write_volume


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "bids")


def problems_of(builder: Builder, out: Path, **config: Any) -> list[str]:
    layers = {"bids_dir": str(builder.root), "output_dir": str(out), **config}
    loaded, problems = load_config(layers)
    return [problem.what for problem in check_study(loaded, config_problems=problems)[1] if problem.severity == "error"]


def test_a_sound_model_has_no_problems(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, ["ses-01", "ses-02"], "mpm")
    assert problems_of(builder, tmp_path / "out") == []


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"contrasts": [{"name": "x", "test": "A > C"}]}, "C"),
        ({"contrasts": [{"name": "x", "test": "A >> B"}]}, "A >> B"),
        ({"contrasts": [{"name": "x", "test": "csr_delta in A <> 0"}]}, "csr_delta"),
        ({"covariates": ["weigth"]}, "weigth"),
    ],
)
def test_what_the_model_names_must_exist(builder: Builder, tmp_path: Path, model: dict[str, Any], words: str) -> None:
    builder.study(4, ["ses-01", "ses-02"], "mpm")
    assert any(words in text for text in problems_of(builder, tmp_path / "out", model=model))


def test_tiv_needs_an_image_to_segment(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, [], "dwi")
    lines = ["participant_id session_id map path stage"]
    for number in range(1, 5):
        for session in ("1", "2"):
            file = builder.image(f"smoothed/{number}_{session}.nii.gz")
            lines.append(f"sub-{number:02d} {session} FA {file} smoothed")
    images = builder.table("images.tsv", *lines)
    found = problems_of(
        builder, tmp_path / "out", images=str(images), model={"covariates": ["tiv"]}, input={"days": {"1": 0, "2": 28}}
    )
    assert any("tiv" in text for text in found)


def test_a_study_without_group_level_needs_no_tiv(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, ["ses-01", "ses-02"], "dwi")
    assert problems_of(builder, tmp_path / "out") == []


def test_behaviour_tables_are_read_before_the_first_job(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, ["ses-01", "ses-02"], "mpm")
    builder.table("behaviour.tsv", "participant_id day csr_percent", "sub-01 0 40,5", "sub-02 0 40")
    (found,) = problems_of(builder, tmp_path / "out")
    assert "'40,5' in column csr_percent of sub-01" in found
    builder.table("behaviour.tsv", "participant_id day csr_percent", "sub-01 0 40.5", "sub-02 0 140")
    (found,) = problems_of(builder, tmp_path / "out")
    assert found == "sub-02: csr_percent 140 lies beyond its limits"


def test_regions_are_held_against_their_images(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, ["ses-01", "ses-02"], "mpm")
    labels = tmp_path / "labels.nii.gz"
    write_volume(labels, Volume(np.arange(27, dtype=np.float32).reshape(3, 3, 3), np.eye(4)))
    region = {"name": "hand", "image": str(labels), "space": "MNI152NLin2009aSym"}
    assert problems_of(builder, tmp_path / "out", rois=[{**region, "label": 3}]) == []
    (found,) = problems_of(builder, tmp_path / "out", rois=[{**region, "label": 99}])
    assert "no label 99" in found
