from __future__ import annotations

import json

import pytest

from plastimap.bids.index import Dataset


def image_of(dataset, part):
    return next(file for file in dataset.files if part in file.path and file.is_image)


def test_metadata_are_inherited_and_the_nearest_wins(make):
    make.image("sub-01/ses-01/anat/sub-01_ses-01_echo-1_flip-1_mt-off_MPM.nii.gz", EchoTime=0.002)
    make.text("MPM.json", json.dumps({"FlipAngle": 1, "EchoTime": 9, "MagneticFieldStrength": 3}))
    make.text("flip-1_MPM.json", json.dumps({"FlipAngle": 6}))
    make.text("flip-2_MPM.json", json.dumps({"FlipAngle": 21}))
    make.text("sub-01/sub-01_mt-off_MPM.json", json.dumps({"MTState": False, "EchoTime": 8}))
    dataset = Dataset(make.root)
    metadata = dataset.metadata(image_of(dataset, "MPM"))
    assert metadata == {"FlipAngle": 6, "EchoTime": 0.002, "MagneticFieldStrength": 3, "MTState": False}


def test_b_values_are_inherited_whole(make):
    make.dwi("sub-01", gradients=False)
    make.text("dwi.bval", "0 1000\n")
    dataset = Dataset(make.root)
    image = image_of(dataset, "dwi")
    assert dataset.nearest(image, ".bval") == (make.root / "dwi.bval").as_posix()
    make.text("sub-01/dwi/sub-01_dwi.bval", "0 1000\n")
    nearest = Dataset(make.root).nearest(image, ".bval")
    assert nearest is not None
    assert nearest.endswith("sub-01/dwi/sub-01_dwi.bval")


def test_only_subject_folders_are_entered(make):
    make.t1w("sub-01")
    for folder in ("derivatives/x/sub-01/anat", "sourcedata/sub-01/anat", "code/sub-01/anat", ".git/sub-01/anat"):
        make.image(f"{folder}/sub-01_T1w.nii.gz")
    make.image("sub-01/.hidden/sub-01_T1w.nii.gz")
    assert [file.path for file in Dataset(make.root).files if file.is_image] == ["sub-01/anat/sub-01_T1w.nii.gz"]


def test_links_are_followed(make, tmp_path):
    make.t1w("sub-01")
    elsewhere = tmp_path / "store"
    (make.root / "sub-01").rename(elsewhere)
    (make.root / "sub-01").symlink_to(elsewhere)
    dataset = Dataset(make.root)
    header = dataset.header(image_of(dataset, "T1w"))
    assert header is not None
    assert header.shape == (4, 5, 3)


def test_a_link_that_runs_in_a_circle_ends(make):
    make.t1w("sub-01")
    (make.root / "sub-01" / "ses-01").symlink_to(make.root / "sub-01")
    Dataset(make.root)


@pytest.mark.parametrize("name", ["sub-02_T1w.nii.gz", "sub-01_ses-09_T1w.nii.gz", "T1w.nii.gz"])
def test_a_name_that_contradicts_its_folder_is_a_problem(make, name):
    make.image(f"sub-01/anat/{name}")
    dataset = Dataset(make.root)
    assert not [file for file in dataset.files if file.is_image]
    assert [problem.file for problem in dataset.problems] == [f"sub-01/anat/{name}"]


def test_names_that_are_nearly_right_are_told(make):
    make.image("sub_03/anat/sub-03_T1w.nii.gz")
    make.image("sub-01/anat/sub-01_my T1.nii.gz")
    told = {problem.file: problem.severity for problem in Dataset(make.root).problems}
    assert told == {"sub_03": "notice", "sub-01/anat/sub-01_my T1.nii.gz": "notice"}


@pytest.mark.parametrize(("content", "what"), [("", "empty"), ("{", "JSON"), ("[1]", "object"), ("\x00\x01", "JSON")])
def test_broken_sidecars_are_problems_not_crashes(make, content, what):
    make.t1w("sub-01")
    make.text("sub-01/anat/sub-01_T1w.json", content)
    dataset = Dataset(make.root)
    assert dataset.metadata(image_of(dataset, "T1w")) == {}
    assert [what in problem.what for problem in dataset.problems] == [True]


def test_no_description_is_a_notice(make):
    (make.root / "dataset_description.json").unlink()
    dataset = Dataset(make.root)
    assert dataset.name is None
    assert [problem.severity for problem in dataset.problems] == ["notice"]
