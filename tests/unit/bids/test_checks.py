from __future__ import annotations

import json
import re

import numpy as np
import pytest

from plastimap.bids import checks
from plastimap.bids.checks import check_study
from plastimap.bids.problems import errors, format_problems
from plastimap.config import load_config

ANAT = "sub-01/ses-01/anat/sub-01_ses-01"
PDW_2 = f"{ANAT}_acq-x_echo-2_flip-1_mt-off_MPM"
DWI = "sub-01/ses-01/dwi/sub-01_ses-01_dwi"


@pytest.fixture(autouse=True)
def two_people_are_a_group(monkeypatch):
    """The studies here have two people; that a group model wants more is a test of its own."""
    monkeypatch.setattr(checks, "MIN_PARTICIPANTS", 2)


def check(make, **changes):
    config, found = load_config({"bids_dir": str(make.root), **changes})
    return check_study(config, config_problems=found)[1]


def told(make, **changes):
    """(what, severity) of every problem."""
    return [(problem.what, problem.severity) for problem in check(make, **changes)]


def edit(make, path, **changes):
    content = json.loads((make.root / f"{path}.json").read_text())
    merged = {key: value for key, value in {**content, **changes}.items() if value is not None}
    make.text(f"{path}.json", json.dumps(merged))


def test_a_good_study_has_no_problems(study):
    assert check(study) == []


def test_six_broken_things_are_listed_at_once_each_with_a_remedy(study):
    (study.root / f"{DWI}.bvec").unlink()
    for file in study.root.glob("sub-02/ses-01/anat/*MPM.json"):
        edit(study, file.relative_to(study.root).as_posix().removesuffix(".json"), RepetitionTimeExcitation=24.5)
    study.image(f"{PDW_2}.nii.gz", (4, 5, 4))
    study.table("participants.tsv", "participant_id group age", "sub-01 A 30", "sub-02 B 41", "sub-01 B 30")
    (study.root / "sub-02/ses-02/anat/sub-02_ses-02_T1w.nii.gz").write_bytes(b"")
    problems = errors(check(study, smoothing={"mpm": {"GM": 5}, "fwmh": 4}, reporting={"title": "x"}))
    expected = [
        ("no b-vectors", f"{DWI}.nii.gz", "dcm2niix"),
        ("RepetitionTimeExcitation is 24.5", "sub-02/ses-01/anat", '"RepetitionTimeExcitation": 0.0245'),
        ("shape mismatch between echoes", f"{PDW_2}.nii.gz", "convert"),
        ("unknown key 'reporting'", "config", "report"),
        ("unknown key 'fwmh' at smoothing", "config", "remove"),
        ("sub-01 is listed 2 times", "participants.tsv", "remove"),
        ("the file is empty", "sub-02/ses-02/anat/sub-02_ses-02_T1w.nii.gz", "again"),
    ]
    for what, file, remedy in expected:
        assert any(p.what.startswith(what) and p.file.startswith(file) and remedy in p.remedy for p in problems), what
    text = format_problems(problems)
    assert all(part in text for one in expected for part in one)
    entries = re.findall(r"^ *(\d+)\. ", text, flags=re.MULTILINE)
    assert entries == [str(n) for n in range(1, len(expected) + 1)], "nothing else is called wrong"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"EchoTime": 4.6}, "EchoTime is 4.6"),
        ({"EchoTime": None}, "no EchoTime"),
        ({"FlipAngle": None}, "no FlipAngle"),
        ({"RepetitionTimeExcitation": None}, "no RepetitionTimeExcitation"),
        ({"RepetitionTimeExcitation": 0}, "RepetitionTimeExcitation is 0"),
        ({"FlipAngle": 0.105}, "FlipAngle is 0.105"),
        ({"FlipAngle": 600}, "FlipAngle is 600"),
        ({"EchoTime": 0.05}, "the echo comes after the next excitation"),
        ({"EchoTime": 0.0023}, "two echoes have the same EchoTime"),
        ({"RepetitionTimeExcitation": 0.03}, "RepetitionTimeExcitation differs between echoes"),
    ],
)
def test_protocols_that_cannot_be(study, changes, what):
    edit(study, PDW_2, **changes)
    assert (what, "error") in told(study)


def test_a_missing_echo_is_a_notice(study):
    (study.root / f"{PDW_2}.nii.gz").unlink()
    assert told(study) == [("an echo is missing", "notice")]


def test_unringing_wants_all_of_k_space(study):
    edit(study, DWI, PartialFourier=0.75)
    assert told(study) == []
    assert told(study, dwi={"unring": True}) == [("partial Fourier data", "error")]


def test_without_metadata_and_entity_the_pulse_is_unknown(make):
    make.image(
        "sub-01/anat/sub-01_echo-1_flip-1_MPM.nii.gz", EchoTime=0.002, FlipAngle=6, RepetitionTimeExcitation=0.02
    )
    assert ("no MTState", "error") in told(make)


def test_a_shifted_echo_is_an_error_and_rounding_is_none(study):
    affine = np.array([[2.0, 0, 0, -10], [0, 2, 0, -8], [0, 0, 2, -6], [0, 0, 0, 1]])
    affine[0, 3] += 2e-4
    study.image(f"{PDW_2}.nii.gz", affine=affine)
    assert told(study) == []
    affine[0, 3] += 0.5
    study.image(f"{PDW_2}.nii.gz", affine=affine)
    assert told(study) == [("position mismatch between echoes", "error")]


@pytest.mark.parametrize(("n", "severity"), [(1, "error"), (3, "notice")])
def test_few_echoes_for_r2s(make, n, severity):
    make.mpm("sub-01", ("PDw",), n=n)
    problems = {what: grade for what, grade in told(make) if "echoes for R2*" in what}
    assert list(problems.values()) == [severity]


def test_no_b1_map_and_no_units_are_notices_and_unknown_units_an_error(make):
    make.mpm("sub-01")
    assert told(make) == [("no B1 map", "notice")]
    make.b1("sub-01", "")
    assert told(make) == [("no Units for the B1 map", "notice")]
    make.b1("sub-01", "furlongs")
    assert told(make) == [("unknown Units 'furlongs' of the B1 map", "error")]
    make.b1("sub-01", "degrees x 10")
    assert told(make) == [("no FlipAngle for the B1 map", "error")]


def test_half_a_raw_b1_acquisition_is_an_error(make):
    make.mpm("sub-01")
    make.image("sub-01/fmap/sub-01_acq-tr1_TB1AFI.nii.gz", FlipAngle=60, RepetitionTimeExcitation=0.02)
    assert told(make) == [("1 TB1AFI image where two are wanted", "error")]


def test_missing_b_values_and_wrong_counts(study):
    (study.root / f"{DWI}.bval").unlink()
    assert told(study) == [("no b-values (.bval)", "error")]
    study.text(f"{DWI}.bval", "0 1000 1000\n")
    assert told(study) == [("images, b-values and b-vectors do not match", "error")]
    study.text(f"{DWI}.bval", "")
    assert told(study) == [("the file is empty", "error")]


def test_a_series_that_does_not_count_needs_no_gradients(study):
    study.dwi("sub-01_ses-01", "dir-PA_dwi", n=2, gradients=False)
    assert [grade for _, grade in told(study)] == ["notice"]


def test_no_readout_time_is_a_notice(study):
    edit(study, DWI, TotalReadoutTime=None)
    assert told(study) == [("no TotalReadoutTime", "notice")]


def test_stages_that_are_not_wanted_are_not_checked(study):
    (study.root / f"{DWI}.bvec").unlink()
    edit(study, PDW_2, EchoTime=None)
    (study.root / "participants.tsv").unlink()
    assert told(study, stages=["anat"]) == []
    assert len(errors(check(study))) == 3


def test_a_group_too_small_for_a_model_needs_no_covariates(study, monkeypatch):
    monkeypatch.setattr(checks, "MIN_PARTICIPANTS", 3)
    study.table("participants.tsv", "participant_id group age", "sub-01 A n/a", "sub-02 B 41")
    assert told(study) == []


def test_a_missing_covariate_is_an_error_for_several_people_only(study):
    study.table("participants.tsv", "participant_id group age", "sub-01 A n/a", "sub-02 B 41")
    assert told(study) == [("no age for sub-02".replace("02", "01"), "error")]
    assert told(study, participants=["01"]) == []


def test_data_of_nobody_and_nobody_without_data(study):
    study.table("participants.tsv", "participant_id group age", "sub-01 A 30", "sub-09 B 41")
    assert told(study) == [("no line for sub-02", "error"), ("no data for sub-09", "notice")]


def test_an_empty_dataset_says_so(make):
    assert told(make) == [("no usable data", "error")]


def test_a_missing_dataset_is_one_error(tmp_path):
    config, _ = load_config({"bids_dir": str(tmp_path / "nowhere")})
    assert [problem.what for problem in check_study(config)[1]] == ["bids_dir: no such folder"]


def test_broken_settings_do_not_hide_broken_data(study):
    (study.root / f"{DWI}.bvec").unlink()
    problems = [problem.what for problem in check(study, participants="01", dwi=3, stages=["dwii"])]
    assert {"no b-vectors (.bvec)", "participants is '01' (text)", "dwi is 3"} < set(problems)


def test_stages_maps_and_contrasts_without_data(make):
    make.t1w("sub-01")
    problems = told(make, stages=["dwi", "glm"], model={"maps": ["R1", "vbm"]}, anat={"contrast": "MTsat"})
    assert problems == [
        ("no data for dwi", "error"),
        ("no data for R1", "error"),
        ("no MTsat for the structural image", "error"),
    ]


def test_a_structural_image_is_one_volume(make):
    make.t1w("sub-01", shape=(4, 5, 3, 2))
    assert told(make) == [("a T1w image with several volumes", "error")]


def test_smoothed_maps_share_a_grid(make):
    make.image("a.nii.gz")
    make.image("b.nii.gz")
    make.image("c.nii.gz", (3, 3, 3))
    lines = [f"sub-0{n} R1 {name}.nii.gz smoothed GM" for n, name in enumerate("abc", start=1)]
    make.table("images.tsv", "participant_id map path stage tissue", *lines)
    config, _ = load_config({"images": str(make.root / "images.tsv"), "model": {"group": None, "covariates": []}})
    problems = check_study(config)[1]
    assert [problem.what for problem in problems] == ["shape mismatch between smoothed maps"]
    assert problems[0].file.endswith("c.nii.gz")


def test_a_plain_behaviour_table_needs_participants(study):
    study.table("behaviour.tsv", "person day csr_percent", "sub-01 0 40")
    assert told(study) == [("no column participant_id", "error")]


def test_what_follows_from_an_unreadable_table_is_not_told(study):
    (study.root / "participants.tsv").write_text("participant_id,group,age\nsub-01,A,30\n")
    assert told(study) == [("no column participant_id", "error")]


@pytest.mark.parametrize(("key", "label", "words"), [("sessions", "1", "no ses-1"), ("participants", "1", "no sub-1")])
def test_a_label_that_selects_nothing_is_named(study, key, label, words):
    (problem,) = errors(check(study, **{key: [label]}))
    assert words in problem.what
    assert "did you mean" in problem.remedy
