"""What the plan of a study says about its target, its template, its regions and its lesions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.workflow.conftest import Builder

from plastimap.bids.plan import Study, open_study


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "bids").study(2, ["ses-01", "ses-02"], "t1w")


def opened(builder: Builder, out: Path, **settings: Any) -> Study:
    given = {"bids_dir": str(builder.root), "output_dir": str(out), **settings}
    return open_study(files=[], settings=given, refresh=True)


def test_without_more_a_person_goes_to_the_target_directly(builder, tmp_path):
    study = opened(builder, tmp_path / "out")
    assert study.study_template == {"study_tissues": [], "study_warps": []}
    assert study.target_files == []
    assert study.lesion_files(SimpleNamespace(subject="01")) == []


def test_a_study_template_stands_between(builder, tmp_path):
    study = opened(builder, tmp_path / "out", space={"study_template": True})
    assert [len(files) for files in study.study_template.values()] == [2, 2]
    assert study.every_person(study.paths.template_tissue("GM")) == [
        f"sub-{n}/anat/sub-{n}_space-midpoint_label-GM_probseg.nii.gz" for n in ("01", "02")
    ]


def test_another_target_is_an_input(builder, tmp_path):
    files = {name: str(builder.image(f"template/{name}.nii.gz")) for name in ("GM", "WM")}
    study = opened(builder, tmp_path / "out", space={"target": "MNI152NLin6Asym", "template": files})
    assert study.target_files == list(files.values())
    assert "from-midpoint_to-MNI152NLin6Asym" in study.paths.to_target
    assert "from-MNI152NLin6Asym_to-midpoint" in study.paths.from_target


def test_lesions_beside_the_images_are_found(builder, tmp_path):
    builder.image("sub-01/ses-01/anat/sub-01_ses-01_space-orig_label-lesion_mask.nii.gz")
    builder.image("sub-01/ses-02/anat/sub-01_ses-02_label-lesion_roi.nii.gz")
    study = opened(builder, tmp_path / "out")
    assert [Path(file).name for file in study.lesion_files(SimpleNamespace(subject="01"))] == [
        "sub-01_ses-01_space-orig_label-lesion_mask.nii.gz",
        "sub-01_ses-02_label-lesion_roi.nii.gz",
    ]
    assert study.lesion_files(SimpleNamespace(subject="02")) == []


def test_a_joining_session_brings_its_lesions_and_its_template_has_its_own(builder, tmp_path):
    for number in ("01", "02"):
        builder.image(f"sub-01/ses-{number}/anat/sub-01_ses-{number}_label-lesion_mask.nii.gz")
    study = opened(builder, tmp_path / "out")
    names = [Path(file).name for file in study.joining_lesions(SimpleNamespace(scan="sub-01_ses-02"))]
    assert names == [f"sub-01_ses-{number}_label-lesion_mask.nii.gz" for number in ("01", "02")]
    assert study.joining_lesions(SimpleNamespace(scan="sub-02_ses-02")) == []
