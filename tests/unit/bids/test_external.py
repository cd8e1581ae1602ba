from __future__ import annotations

import pytest

from plastimap.bids.external import derivative_rows, image_rows
from plastimap.bids.index import Dataset
from plastimap.bids.problems import errors

GRID = "space-MNI152NLin2009aSym_res-1p5"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("anat/sub-01_R1map", ("R1", "native", None)),
        ("anat/sub-01_R2starmap", ("R2s", "native", None)),
        ("dwi/sub-01_model-tensor_param-fa_dwimap", ("FA", "native", None)),
        ("dwi/sub-01_space-T1w_FA", ("FA", "native", None)),
        (f"dwi/sub-01_{GRID}_model-tensor_param-md_dwimap", ("MD", "warped", None)),
        ("anat/sub-01_label-GM_probseg", ("GM", "native", None)),
        (f"anat/sub-01_{GRID}_label-WM_desc-modulated_probseg", ("vbm", "warped", "WM")),
        (f"anat/sub-01_{GRID}_label-GM_desc-smoothed_probseg", ("vbm", "smoothed", "GM")),
        (f"anat/sub-01_{GRID}_desc-smoothedWM_MTsat", ("MTsat", "smoothed", "WM")),
        ("anat/sub-01_desc-brain_mask", ("mask", "native", None)),
    ],
)
def test_names_of_derivatives_say_map_stage_and_tissue(make, name, kind):
    make.image(f"sub-01/{name}.nii.gz")
    rows, problems = derivative_rows(Dataset(make.root))
    assert [(row.map, row.stage, row.tissue) for row in rows] == [kind]
    assert not problems


@pytest.mark.parametrize(
    "name",
    ["anat/sub-01_desc-preproc_R1map", "anat/sub-01_space-midpoint_R1map", "anat/sub-01_dseg", "dwi/sub-01_S0map"],
)
def test_steps_and_unknown_maps_are_passed_over(make, name):
    make.image(f"sub-01/{name}.nii.gz")
    rows, problems = derivative_rows(Dataset(make.root))
    assert not rows
    assert [problem.what for problem in problems] == ["no maps found in this folder"]


def test_of_two_files_for_a_map_the_shorter_name_counts(make):
    make.image("sub-01/anat/sub-01_R1map.nii.gz")
    make.image("sub-01/anat/sub-01_desc-unicort_R1map.nii.gz")
    rows, problems = derivative_rows(Dataset(make.root))
    assert {row.path.rpartition("_desc")[2]: row.used for row in rows if row.used}
    assert [row.unused_because for row in rows if not row.used] == ["sub-01_R1map.nii.gz counts"]
    assert [problem.severity for problem in problems] == ["notice"]


def table(make, *lines, columns="participant_id session_id map path stage tissue"):
    return make.table("images.tsv", columns, *lines)


def test_a_table_of_images_gives_rows(make):
    make.image("maps/a.nii.gz")
    absolute = make.image("elsewhere/b.nii.gz")
    file = table(make, "sub-01 ses-02 R1 maps/a.nii.gz native n/a", f"02 n/a vbm {absolute} smoothed GM")
    rows, problems = image_rows(file)
    assert not problems
    assert [(row.scan, row.map, row.stage, row.tissue) for row in rows] == [
        ("sub-01_ses-02", "R1", "native", None),
        ("sub-02", "vbm", "smoothed", "GM"),
    ]
    assert rows[1].path == absolute.as_posix()
    assert rows[0].shape == (4, 5, 3)


def test_days_may_stand_in_the_table(make):
    make.image("a.nii.gz")
    file = table(make, "sub-01 ses-02 R1 a.nii.gz native 28", columns="participant_id session_id map path stage day")
    assert [(row.day, row.day_source) for row in image_rows(file)[0]] == [(28, "table of images (day)")]


@pytest.mark.parametrize(
    ("line", "what", "remedy"),
    [
        ("sub-01 n/a MTsta a.nii.gz native n/a", "unknown map", "MTsat"),
        ("sub-01 n/a R1 a.nii.gz smothed n/a", "unknown stage", "smoothed"),
        ("sub-01 n/a R1 a.nii.gz smoothed gm", "unknown tissue", "GM"),
        ("sub-01 n/a R1 no.nii.gz native n/a", "no such file", "path"),
        ("sub-01 n/a R1 ../x.nii.gz native n/a", "leaves the table's folder", "absolute"),
        ("sub-01 n/a R1 sub/../../x.nii.gz native n/a", "leaves the table's folder", "absolute"),
        ("sub-01 n/a R1 a.mgz native n/a", "no NIfTI", "nii.gz"),
        ("sub-01 n/a R1 n/a native n/a", "no path", "fill"),
        ("n/a n/a R1 a.nii.gz native n/a", "no participant_id", "fill"),
        ("sub-01 n/a vbm a.nii.gz smoothed n/a", "no tissue", "GM"),
        ("sub-01 n/a R1 empty.nii.gz native n/a", "empty", "copy"),
    ],
)
def test_what_is_wrong_with_a_line_is_told_with_a_remedy(make, line, what, remedy):
    make.image("a.nii.gz")
    make.image("../x.nii.gz")
    make.text("empty.nii.gz", "")
    rows, problems = image_rows(table(make, line))
    assert not rows
    assert [(what in problem.what, remedy in problem.remedy) for problem in problems] == [(True, True)]


def test_a_map_listed_twice_is_an_error(make):
    make.image("a.nii.gz")
    rows, problems = image_rows(table(make, *["sub-01 n/a R1 a.nii.gz native n/a"] * 2))
    assert len(rows) == 1
    assert len(errors(problems)) == 1
