"""What a study plans, from manifest and configuration alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plastimap.bids.plan import Study, StudyProblem, open_study
from plastimap.bids.rows import Row
from plastimap.planning.memory import growing, image_size
from plastimap.planning.scans import Scan
from plastimap.writing import write_json
from tests.workflow.conftest import Builder

SESSIONS = ["ses-01", "ses-02"]


def opened(builder: Builder, out: Path, **settings: Any) -> Study:
    given = {"bids_dir": str(builder.root), "output_dir": str(out), **settings}
    return open_study(files=[], settings=given, refresh=True)


def scan(label: str) -> Any:
    return SimpleNamespace(scan=label, subject=label.partition("_")[0].removeprefix("sub-"))


def test_a_frozen_template_keeps_the_sessions_it_was_made_from(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, SESSIONS, "mpm")
    out = tmp_path / "out"
    study = opened(builder, out, space={"freeze_template": True})
    assert study.template_members("01") == ["sub-01_ses-01", "sub-01_ses-02"]
    image = out / study.paths.template.format(subject="01")
    image.parent.mkdir(parents=True)
    image.touch()
    write_json(image.with_name(image.name.replace(".nii.gz", ".json")), {"Members": ["sub-01_ses-01"]})
    study = opened(builder, out, space={"freeze_template": True})
    assert study.template_members("01") == ["sub-01_ses-01"]
    assert study.template_members("02") == ["sub-02_ses-01", "sub-02_ses-02"]
    # The session that joined is brought to the target all the same.
    assert "sub-01_ses-02" in {one.label for one in study.in_space}
    assert opened(builder, out).template_members("01") == ["sub-01_ses-01", "sub-01_ses-02"]


def test_maps_made_elsewhere_take_the_place_of_our_own(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, SESSIONS, "dwi")
    lines = ["participant_id session_id map path stage"]
    for number in range(1, 5):
        for session in ("01", "02"):
            file = builder.image(f"maps/{number}_{session}.nii.gz")
            lines.append(f"sub-{number:02d} {session} MTsat {file} native")
    study = opened(builder, tmp_path / "out", images=str(builder.table("images.tsv", *lines)))
    assert study.contrast == "MTsat"
    assert study.structural_file(scan("sub-01_ses-01")) == str(builder.root / "maps/1_01.nii.gz")
    assert study.native_file(study.by_label["sub-01_ses-01"], "FA").startswith("sub-01/ses-01/dwi/")
    assert {name for name, _ in study.analysed} == {"MTsat", "FA", "MD", "AD", "RD", "vbm"}


def test_smoothed_maps_go_straight_to_the_group_level(builder: Builder, tmp_path: Path) -> None:
    for number in range(1, 5):
        builder.person(f"sub-{number:02d}", [])
    lines = ["participant_id session_id map path stage day"]
    for number in range(1, 5):
        for session, day in (("01", 0), ("02", 28)):
            file = builder.image(f"maps/{number}_{session}.nii.gz")
            lines.append(f"sub-{number:02d} {session} FA {file} smoothed {day}")
    images = str(builder.table("images.tsv", *lines))
    study = opened(builder, tmp_path / "out", images=images, model={"covariates": ["age"]})
    assert set(study.analysed) == {("FA", "GM"), ("FA", "WM")}
    assert "glm" in study.stages
    assert "no structural image" in study.left_out["space"]
    assert study.glm_files(SimpleNamespace(map="FA", tissue="GM"))[0] == str(builder.root / "maps/1_01.nii.gz")


def test_stages_left_out_have_their_reason(builder: Builder, tmp_path: Path) -> None:
    builder.study(2, SESSIONS, "t1w")
    study = opened(builder, tmp_path / "out")
    assert study.left_out["mpm"] == "no multi-echo MPM images"
    assert "at least 4 people" in study.left_out["glm"]


def test_the_group_level_keeps_what_it_needs_whatever_stages_are_asked_for(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, SESSIONS, "mpm")
    study = opened(builder, tmp_path / "out", stages=["glm"])
    # Of each of eight scans: fit, tissues, segmentation, space.
    assert len(study.cohort_quality_files(SimpleNamespace())) == 32
    assert study.quality_files == []


def test_problems_are_raised_together(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, SESSIONS, "mpm")
    with pytest.raises(StudyProblem) as caught:
        opened(builder, tmp_path / "out", smoothing={"fwmh": 1}, model={"covariates": ["hat"]})
    assert "fwmh" in str(caught.value)
    assert "hat" in str(caught.value)


def test_memory_grows_with_every_attempt() -> None:
    assert [growing(500)(scan("sub-01"), attempt) for attempt in (1, 2)] == [500, 1000]


def test_memory_follows_the_size_and_the_number_of_images() -> None:
    usual, few = (256, 256, 176), (128, 128, 88)
    echo = Row(participant_id="sub-01", session=None, path="echo", datatype="anat", suffix="MPM", shape=usual)
    echoes, coil = [echo] * 18, replace(echo, datatype="fmap", suffix="RB1COR")
    assert image_size(Scan("sub-01", rows=tuple(echoes[:3]))) == 1
    assert image_size(Scan("sub-01", rows=tuple(echoes))) == 1
    assert image_size(Scan("sub-01", rows=(*echoes, *[coil] * 6))) == pytest.approx(24 / 18)
    assert image_size(Scan("sub-01", rows=(replace(echoes[0], shape=few),))) == pytest.approx(1 / 8)
    assert image_size(Scan("sub-01", rows=(replace(echoes[0], shape=None),))) == 1
    # An eighth of the voxels: 500 MB for the program, an eighth of the rest, and no less than a gigabyte.
    assert growing(8500, lambda _: 1 / 8)(scan("sub-01"), 1) == 1500
    assert growing(3000, lambda _: 1 / 8)(scan("sub-01"), 1) == 1000


def test_error_maps_go_where_they_weigh(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, SESSIONS, "mpm")
    plain = opened(builder, tmp_path / "out")
    assert not any("stderr" in name for name in plain.wanted_maps)
    pair, vbm = SimpleNamespace(map="R1", tissue="GM"), SimpleNamespace(map="vbm", tissue="GM")
    assert plain.glm_errors(pair) == []
    study = opened(builder, tmp_path / "out", model={"weighting": "errors"})
    assert study.analysed.keys() == plain.analysed.keys()
    first = "sub-01/ses-01/anat/sub-01_ses-01_space-MNI152NLin2009aSym_res-1p5_desc-smoothedGMstderr_R1map.nii.gz"
    assert study.glm_errors(pair)[0] == first
    assert len(study.glm_errors(pair)) == len(study.glm_files(pair)) == 8
    assert study.glm_errors(vbm) == []
    file = study.native_file(study.by_label["sub-01_ses-01"], "R1_stderr")
    assert file == study.paths.at(study.paths.error("R1"), "sub-01_ses-01")


def test_the_error_of_a_map_made_elsewhere_is_not_known(builder: Builder, tmp_path: Path) -> None:
    builder.study(4, SESSIONS, "mpm")
    file = builder.image("maps/r1.nii.gz")
    images = str(builder.table("images.tsv", "participant_id session_id map path stage", f"sub-01 01 R1 {file} native"))
    study = opened(builder, tmp_path / "out", images=images, model={"weighting": "errors"})
    assert "R1_stderr" not in study.target_maps(study.by_label["sub-01_ses-01"])
    assert "MTsat_stderr" in study.target_maps(study.by_label["sub-01_ses-01"])
    assert study.glm_errors(SimpleNamespace(map="R1", tissue="GM")) == []
    assert len(study.glm_errors(SimpleNamespace(map="MTsat", tissue="GM"))) == 8
