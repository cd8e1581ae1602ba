"""Field-mapping sets: what is complained about, what is chosen, and what the rules get."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from plastimap.bids.checks import check_study
from plastimap.bids.manifest import index_dataset
from plastimap.bids.plan import Study
from plastimap.config import load_config

FMAP = "sub-01/fmap/sub-01"
ANGLES = {1: 90, 2: 80, 3: 70}


def add(make, name, **metadata):
    """An image of the field maps; metadata of None are left out."""
    wanted = {key: value for key, value in metadata.items() if value is not None}
    shape = wanted.pop("shape", (4, 5, 3))
    return make.image(f"{FMAP}_{name}.nii.gz", shape, **(wanted or {"Manufacturer": "x"}))


def afi(make, first=0.02, second=0.1, *, flip=60, name=""):
    add(make, f"acq-tr1{name}_TB1AFI", FlipAngle=flip, RepetitionTimeExcitation=first)
    add(make, f"acq-tr2{name}_TB1AFI", FlipAngle=60, RepetitionTimeExcitation=second)


def epi(make, **changes):
    for flip, angle in ANGLES.items():
        for echo in (1, 2):
            metadata = {"FlipAngle": angle * (3 - echo), "MixingTime": 0.0312, "EchoTime": 0.02 * echo}
            add(make, f"echo-{echo}_flip-{flip}_TB1EPI", **{**metadata, **changes})


def scaled(make, suffix="TB1TFL", *, flip=80):
    add(make, f"acq-anat_{suffix}", FlipAngle=8)
    add(make, f"acq-famp_{suffix}", FlipAngle=flip)


def double(make, first=60, second=120):
    add(make, "flip-1_TB1DAM", FlipAngle=first)
    add(make, "flip-2_TB1DAM", FlipAngle=second)


def remove(make, name):
    for ending in ("nii.gz", "json"):
        (make.root / f"{FMAP}_{name}.{ending}").unlink()


def edit(make, name, **changes):
    path = make.root / f"{FMAP}_{name}.json"
    merged = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))


def problems(make):
    config, found = load_config({"bids_dir": str(make.root)})
    return check_study(config, config_problems=found)[1]


def study(make):
    config, _ = load_config({"bids_dir": str(make.root)})
    return Study(config, index_dataset(make.root, config))


@pytest.mark.parametrize("whole", [afi, epi, scaled, double, lambda make: scaled(make, "TB1RFM", flip=None)])
def test_whole_sets_have_no_problems(make, whole):
    make.mpm("sub-01")
    whole(make)
    assert problems(make) == []


@pytest.mark.parametrize(
    ("made", "what", "file", "remedy"),
    [
        (lambda make: afi(make, 0.02, 0.02), "both TB1AFI images have one repetition time", "acq-tr1", "inherited by"),
        (lambda make: afi(make, None, None), "no RepetitionTimeExcitation", "acq-tr1", "add RepetitionTimeExcitation"),
        (lambda make: afi(make, 20, 100), "RepetitionTimeExcitation is 20", "acq-tr1", "0.02"),
        (lambda make: afi(make, 0, 0.1), "RepetitionTimeExcitation is 0", "acq-tr1", "seconds"),
        (lambda make: afi(make, flip=55), "FlipAngle differs between TB1AFI images", "acq-tr1", "correct"),
        (lambda make: afi(make, flip=0), "FlipAngle is 0", "acq-tr1", "degrees"),
        (lambda make: epi(make, FlipAngle=None), "no FlipAngle", "echo-2", "add FlipAngle"),
        (lambda make: epi(make, MixingTime=None), "no MixingTime", "echo-2", "add MixingTime"),
        (lambda make: epi(make, MixingTime=31.2), "MixingTime is 31.2", "echo-1", "0.0312"),
        (lambda make: epi(make, MixingTime=0), "MixingTime is 0", "echo-1", "seconds"),
        (lambda make: scaled(make, flip=8), "FlipAngle of TB1TFL is 8", "acq-famp", "saturation"),
        (lambda make: scaled(make, flip=None), "no FlipAngle", "acq-famp", "add FlipAngle"),
        (lambda make: double(make, 60, 90), "flip angles of TB1DAM are not α and 2α", "flip-1", "correct"),
        (lambda make: double(make, 0, 120), "flip angles of TB1DAM are not α and 2α", "flip-1", "correct"),
        (lambda make: double(make, None), "no FlipAngle", "flip-1", "add FlipAngle"),
    ],
)  # fmt: skip
def test_sidecars_that_cannot_be(make, made, what, file, remedy):
    make.mpm("sub-01")
    made(make)
    found = [problem for problem in problems(make) if problem.what == what]
    assert found
    assert found[0].severity == "error"
    assert file in found[0].file
    assert remedy in found[0].remedy
    assert found[0].why


@pytest.mark.parametrize(
    ("made", "gone", "what"),
    [
        (afi, "acq-tr2_TB1AFI", "1 TB1AFI image where two are wanted"),
        (double, "flip-2_TB1DAM", "1 TB1DAM image where two are wanted"),
        (scaled, "acq-anat_TB1TFL", "no acq-anat_TB1TFL"),
        (scaled, "acq-famp_TB1TFL", "no acq-famp_TB1TFL"),
        (lambda make: scaled(make, "TB1RFM"), "acq-famp_TB1RFM", "no acq-famp_TB1RFM"),
        (epi, "echo-2_flip-3_TB1EPI", "a TB1EPI echo without its partner"),
    ],
)
def test_missing_images(make, made, gone, what):
    make.mpm("sub-01")
    made(make)
    remove(make, gone)
    assert [(one.what, one.severity) for one in problems(make)] == [(what, "error")]


def test_one_pair_of_echoes_is_too_few(make):
    make.mpm("sub-01")
    epi(make)
    for flip in (2, 3):
        for echo in (1, 2):
            remove(make, f"echo-{echo}_flip-{flip}_TB1EPI")
    assert [one.what for one in problems(make)] == ["too few flip angles of TB1EPI"]


def test_a_spin_echo_with_another_angle_or_a_later_echo_is_told(make):
    make.mpm("sub-01")
    epi(make)
    edit(make, "echo-1_flip-2_TB1EPI", FlipAngle=70)
    edit(make, "echo-1_flip-3_TB1EPI", EchoTime=0.05)
    assert [(one.what, one.severity) for one in problems(make)] == [
        ("FlipAngle differs between a pair's echoes", "error"),
        ("the spin echo comes after the stimulated echo", "notice"),
    ]


def test_images_of_a_set_share_one_grid_and_are_single_volumes(make):
    make.mpm("sub-01")
    afi(make)
    add(make, "acq-tr2_TB1AFI", FlipAngle=60, RepetitionTimeExcitation=0.1, shape=(4, 5, 4))
    assert [one.what for one in problems(make)] == ["shape mismatch between B1 images"]
    add(make, "acq-tr2_TB1AFI", FlipAngle=60, RepetitionTimeExcitation=0.1, shape=(4, 5, 3, 2))
    assert "a TB1AFI image with several volumes" in [one.what for one in problems(make)]


def test_an_older_repetition_time_is_taken_and_told(make):
    make.mpm("sub-01")
    afi(make)
    edit(make, "acq-tr1_TB1AFI", RepetitionTimeExcitation=None, RepetitionTime=0.02)
    assert [(one.what, one.severity) for one in problems(make)] == [("no RepetitionTimeExcitation", "notice")]


def test_labels_against_the_order_of_the_times_are_told(make):
    make.mpm("sub-01")
    afi(make, 0.1, 0.02)
    what = "labels of TB1AFI do not follow the repetition times"
    assert [(one.what, one.severity) for one in problems(make)] == [(what, "notice")]


def test_field_maps_without_mpm_are_not_checked(make):
    make.t1w("sub-01")
    afi(make, None, None)
    assert problems(make) == []


def names(files):
    return [Path(file).name.removeprefix("sub-01_").removesuffix(".nii.gz") for file in files]


@pytest.mark.parametrize(
    ("made", "method", "n"), [(afi, "TB1AFI", 2), (epi, "TB1EPI", 6), (scaled, "TB1TFL", 2), (double, "TB1DAM", 2)]
)
def test_the_rule_gets_every_image_with_its_parameters(make, made, method, n):
    make.mpm("sub-01")
    made(make)
    wildcards, plan = SimpleNamespace(scan="sub-01"), study(make)
    files, about = plan.b1_files(wildcards), plan.protocol(wildcards)["b1"]
    assert len(files) == n
    assert about["method"] == method
    assert all(len(values) == n for key, values in about.items() if key != "method")
    for i, file in enumerate(files):
        sidecar = json.loads(Path(file.replace(".nii.gz", ".json")).read_text())
        assert about["flip_angle_deg"][i] == sidecar["FlipAngle"]
        assert about["tr_s"][i] == sidecar.get("RepetitionTimeExcitation")
        assert about["mixing_time_s"][i] == sidecar.get("MixingTime")
        assert about["acq"][i] is None or f"acq-{about['acq'][i]}_" in file


def test_a_ready_map_and_no_map(make):
    make.mpm("sub-01")
    wildcards = SimpleNamespace(scan="sub-01")
    assert study(make).protocol(wildcards)["b1"] is None
    assert study(make).b1_files(wildcards) == []
    make.b1("sub-01")
    about = study(make).protocol(wildcards)["b1"]
    assert about["method"] == "TB1map"
    assert about["units"] == ["percent"]
    afi(make)
    assert names(study(make).b1_files(wildcards)) == ["TB1map"]


def test_of_several_sets_the_fullest_counts_whole(make):
    make.mpm("sub-01")
    afi(make, name="Retest")
    add(make, "acq-tr1Test_TB1AFI", FlipAngle=60, RepetitionTimeExcitation=0.02)
    assert names(study(make).b1_files(SimpleNamespace(scan="sub-01"))) == [
        "acq-tr1Retest_TB1AFI",
        "acq-tr2Retest_TB1AFI",
    ]
    assert [(one.what, one.severity) for one in problems(make)] == [("several B1 maps", "notice")]


def test_labels_of_ones_own_are_one_set(make):
    """BIDS asks for acq-tr1 and acq-tr2; the repetition times decide."""
    make.mpm("sub-01")
    add(make, "acq-long_TB1AFI", FlipAngle=60, RepetitionTimeExcitation=0.1)
    add(make, "acq-short_TB1AFI", FlipAngle=60, RepetitionTimeExcitation=0.02)
    assert problems(make) == []
    assert len(study(make).b1_files(SimpleNamespace(scan="sub-01"))) == 2


def test_half_a_set_does_not_displace_a_whole_one(make):
    make.mpm("sub-01")
    add(make, "acq-tr1_TB1AFI", FlipAngle=60, RepetitionTimeExcitation=0.02)
    scaled(make)
    assert names(study(make).b1_files(SimpleNamespace(scan="sub-01"))) == ["acq-anat_TB1TFL", "acq-famp_TB1TFL"]
    assert [(one.what, one.severity) for one in problems(make)] == [("several kinds of B1 acquisition", "notice")]


def sensitivities(make, *labels):
    make.b1("sub-01")
    for label in labels:
        add(make, f"acq-{label}_RB1COR")


@pytest.mark.parametrize(
    "labels",
    [("head", "body"), ("headPDw", "bodyPDw", "headT1w", "bodyT1w", "headMTw", "bodyMTw")],
)
def test_whole_receive_sets(make, labels):
    make.mpm("sub-01")
    sensitivities(make, *labels)
    assert problems(make) == []
    wildcards = SimpleNamespace(scan="sub-01")
    assert len(study(make).receive_files(wildcards)) == len(labels)
    about = study(make).protocol(wildcards)["receive"]
    assert sorted(about["acq"]) == sorted(labels)
    assert about["method"] == "RB1COR"
    assert names(study(make).b1_files(wildcards)) == ["TB1map"]


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        (("head",), "no acq-body_RB1COR"),
        (("headPDw", "bodyPDw", "headT1w", "bodyT1w", "bodyMTw"), "no acq-headMTw_RB1COR"),
        (("headPDw", "bodyPDw", "headT1w", "bodyT1w"), "no sensitivity pair for MTw"),
        (("coil", "other"), "a sensitivity image of no coil"),
    ],
)
def test_receive_sets_that_cannot_be_used(make, labels, what):
    make.mpm("sub-01")
    sensitivities(make, *labels)
    found = problems(make)
    assert found[0].what == what
    assert all(one.severity == "error" for one in found)


def test_the_coils_of_a_pair_share_a_grid_and_pairs_need_not(make):
    make.mpm("sub-01", ("PDw", "T1w"))
    sensitivities(make, "headPDw", "bodyPDw")
    for coil in ("head", "body"):
        add(make, f"acq-{coil}T1w_RB1COR", shape=(4, 5, 4))
    assert problems(make) == []
    add(make, "acq-bodyT1w_RB1COR", shape=(4, 5, 3))
    assert [one.what for one in problems(make)] == ["shape mismatch between coils"]


def test_without_receive_images_nothing_is_said(make):
    make.mpm("sub-01")
    make.b1("sub-01")
    assert problems(make) == []
    assert study(make).protocol(SimpleNamespace(scan="sub-01"))["receive"] is None
