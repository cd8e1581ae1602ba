"""Masks that people draw: which scan each is for, and that none is passed over in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plastimap.bids.checks import check_study
from plastimap.bids.entities import parse_name
from plastimap.bids.masks import masks_among, purpose_of
from plastimap.bids.problems import Problem, errors

from .conftest import AFFINE, StudyMaker

MOVED = AFFINE + np.array([[0, 0, 0, 1.0], [0] * 4, [0] * 4, [0] * 4])
PERSON = "sub-01/anat/sub-01_label-lesion_mask.nii.gz"


def checked(make: StudyMaker, **changes: object) -> list[Problem]:
    problems = check_study(make.config(bids_dir=str(make.root), **changes))[1]
    return [one for one in problems if "mask" in one.what]


def named(problems: list[Problem]) -> list[str]:
    return [Path(one.file).name for one in problems]


@pytest.fixture
def two(make: StudyMaker) -> StudyMaker:
    for session in ("1", "2"):
        make.t1w(f"sub-01_ses-{session}")
    return make


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        ("sub-01_label-lesion_mask.nii.gz", "lesion"),
        ("sub-01_acq-flair_label-lesion_roi.nii", "lesion"),
        ("sub-01_desc-brain_mask.nii.gz", "brain"),
        ("sub-01_desc-ribbon_mask.nii.gz", None),
        ("sub-01_desc-brain_mask.json", None),
        ("sub-01_hemi-L_desc-brain_mask.nii.gz", None),
    ],
)
def test_a_name_says_what_a_mask_is_for(name, purpose):
    found = parse_name(name)
    assert found is not None
    assert purpose_of(found) == purpose


def test_masks_in_another_space_or_of_others_are_not_taken():
    names = [
        "sub-01_ses-1_label-lesion_mask.nii.gz",
        "sub-01_ses-1_space-orig_label-lesion_roi.nii.gz",
        "sub-01_ses-1_space-MNI152NLin2009cAsym_label-lesion_mask.nii.gz",
        "sub-01_ses-10_label-lesion_mask.nii.gz",
        "sub-01_ses-1_desc-brain_mask.nii.gz",
    ]
    assert masks_among(names, "sub-01_ses-1", "lesion") == names[:2]
    assert masks_among(names, "sub-01_ses-1", "brain") == names[4:]
    assert masks_among(names, "sub-01", "lesion") == []


def test_masks_that_are_used_are_no_problem(two):
    for session in ("1", "2"):
        two.image(f"sub-01/ses-{session}/anat/sub-01_ses-{session}_label-lesion_mask.nii.gz")
        two.image(f"sub-01/ses-{session}/anat/sub-01_ses-{session}_desc-brain_mask.nii.gz")
    assert checked(two) == []


def test_a_mask_of_a_person_on_every_sessions_grid_serves_all_and_is_told(two):
    two.image(PERSON)
    (found,) = checked(two)
    assert (found.what, found.severity) == ("a mask counts for several sessions", "notice")


@pytest.mark.parametrize("kind", ["label-lesion_mask", "desc-brain_mask"])
def test_a_mask_of_a_person_that_may_be_of_any_session_is_refused(make, kind):
    make.t1w("sub-01_ses-1")
    make.t1w("sub-01_ses-2", affine=MOVED)
    person = f"sub-01/anat/sub-01_{kind}.nii.gz"
    make.image(person)
    (found,) = errors(checked(make))
    assert named([found]) == [Path(person).name]
    assert "ses-" in found.remedy
    # Once it stands where it belongs nothing is wrong.
    (make.root / person).unlink()
    make.image(f"sub-01/ses-2/anat/sub-01_ses-2_{kind}.nii.gz")
    assert checked(make) == []


def test_a_mask_of_a_person_with_one_session_serves_it(make):
    make.t1w("sub-01_ses-1")
    make.image(PERSON, affine=MOVED)
    assert checked(make) == []


def test_a_lesion_in_the_template_alone_is_refused_and_a_copy_is_told(two):
    foreign = "sub-01_ses-1_space-MNI152NLin2009cAsym_label-lesion_mask.nii.gz"
    two.image(f"sub-01/ses-1/anat/{foreign}")
    (found,) = checked(two)
    assert (named([found]), found.severity) == ([foreign], "error")
    assert "space-MNI152NLin2009cAsym" in found.what
    two.image("sub-01/ses-1/anat/sub-01_ses-1_label-lesion_mask.nii.gz")
    (found,) = checked(two)
    assert (named([found]), found.severity) == ([foreign], "notice")


def test_every_other_mask_is_named(two):
    two.image("sub-01/ses-1/anat/sub-01_ses-1_desc-brain_mask.nii.gz")
    idle = [
        "ses-1/anat/sub-01_ses-1_acq-b_space-MNI_desc-brain_mask.nii.gz",
        "ses-1/anat/sub-01_ses-1_run-2_desc-brain_mask.nii.gz",
        "ses-1/anat/sub-01_ses-1_desc-ribbon_mask.nii.gz",
        "ses-2/anat/sub-01_ses-2_desc-lesion_mask.nii.gz",
        "ses-3/anat/sub-01_ses-3_label-lesion_mask.nii.gz",
    ]
    for name in idle:
        two.image(f"sub-01/{name}")
    found = checked(two)
    assert sorted(named(found)) == sorted(Path(name).name for name in idle)
    # A lesion that a wrong name hides would be taken for tissue.
    assert named(errors(found)) == ["sub-01_ses-2_desc-lesion_mask.nii.gz"]


def test_a_folder_of_lesion_masks_alone_is_taken(two, tmp_path):
    drawn = StudyMaker(tmp_path / "drawn")
    drawn.image("sub-01/ses-1/anat/sub-01_ses-1_label-lesion_mask.nii.gz")
    problems = check_study(two.config(bids_dir=str(two.root), derivatives=[str(drawn.root)]))[1]
    assert not errors(problems)
    assert not [one for one in problems if "mask" in one.what]


def test_a_brain_mask_of_a_person_is_no_scan(two, tmp_path):
    drawn = StudyMaker(tmp_path / "drawn")
    drawn.image("sub-01/anat/sub-01_desc-brain_mask.nii.gz", affine=MOVED)
    manifest, problems = check_study(two.config(bids_dir=str(two.root), derivatives=[str(drawn.root)]))
    assert manifest.scans == ("sub-01_ses-1", "sub-01_ses-2")
    assert [one.severity for one in problems if "mask" in one.what] == ["notice"]
