"""Masks that a user gives reach the segmentation: among the derivatives first, then beside the raw images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.workflow.conftest import Builder

from plastimap.bids.plan import Study, StudyProblem, open_study

ONE = SimpleNamespace(folder="sub-01/ses-01", scan="sub-01_ses-01")


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "bids").study(2, ["ses-01", "ses-02"], "t1w")


def opened(builder: Builder, out: Path, **settings: Any) -> Study:
    given = {"bids_dir": str(builder.root), "output_dir": str(out), **settings}
    return open_study(files=[], settings=given, refresh=True)


def test_without_masks_there_are_none(builder: Builder, tmp_path: Path) -> None:
    study = opened(builder, tmp_path / "out")
    assert study.mask_files(ONE) == []
    assert study.scan_lesion_files(ONE) == []


def test_a_mask_beside_the_raw_image_is_taken(builder: Builder, tmp_path: Path) -> None:
    builder.image("sub-01/ses-01/anat/sub-01_ses-01_desc-brain_mask.nii.gz")
    builder.image("sub-01/ses-01/anat/sub-01_ses-01_label-lesion_mask.nii.gz")
    study = opened(builder, tmp_path / "out")
    assert [Path(file).name for file in study.mask_files(ONE)] == ["sub-01_ses-01_desc-brain_mask.nii.gz"]
    assert [Path(file).name for file in study.scan_lesion_files(ONE)] == ["sub-01_ses-01_label-lesion_mask.nii.gz"]
    other = SimpleNamespace(folder="sub-02/ses-01", scan="sub-02_ses-01")
    assert study.mask_files(other) == []
    assert study.scan_lesion_files(other) == []


def test_derivatives_go_first(builder: Builder, tmp_path: Path) -> None:
    builder.image("sub-01/ses-01/anat/sub-01_ses-01_desc-brain_mask.nii.gz")
    elsewhere = Builder(tmp_path / "elsewhere")
    file = elsewhere.image("sub-01/ses-01/anat/sub-01_ses-01_desc-brain_mask.nii.gz")
    study = opened(builder, tmp_path / "out", derivatives=[str(elsewhere.root)])
    assert study.mask_files(ONE) == [str(file)]


def test_a_mask_of_a_person_serves_every_session_on_whose_grid_it_lies(builder: Builder, tmp_path: Path) -> None:
    brain = builder.image("sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    lesion = builder.image("sub-01/anat/sub-01_label-lesion_mask.nii.gz")
    study = opened(builder, tmp_path / "out")
    for session in ("01", "02"):
        scan = SimpleNamespace(scan=f"sub-01_ses-{session}")
        assert study.mask_files(scan) == [str(brain)]
        assert study.scan_lesion_files(scan) == [str(lesion)]
    # Several sessions, one file.
    assert study.lesion_files(SimpleNamespace(subject="01")) == [str(lesion)]
    assert study.joining_lesions(SimpleNamespace(scan="sub-01_ses-02")) == [str(lesion)]


def test_a_mask_that_may_be_of_any_session_stops_the_study(builder: Builder, tmp_path: Path) -> None:
    builder.image("sub-02/ses-02/anat/sub-02_ses-02_T1w.nii.gz", shape=(4, 5, 4))
    builder.image("sub-02/anat/sub-02_label-lesion_mask.nii.gz")
    with pytest.raises(StudyProblem, match="several sessions"):
        opened(builder, tmp_path / "out")


def test_masks_in_another_space_are_not_taken(builder: Builder, tmp_path: Path) -> None:
    stem = "sub-01/ses-01/anat/sub-01_ses-01"
    builder.image(f"{stem}_label-lesion_mask.nii.gz")
    builder.image(f"{stem}_space-MNI152NLin2009cAsym_label-lesion_mask.nii.gz")
    builder.image(f"{stem}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz")
    study = opened(builder, tmp_path / "out")
    assert [Path(file).name for file in study.scan_lesion_files(ONE)] == ["sub-01_ses-01_label-lesion_mask.nii.gz"]
    assert study.mask_files(ONE) == []
