from __future__ import annotations

import json

import pytest

from plastimap.bids.checks import check_study
from plastimap.bids.fields import find_field
from plastimap.bids.manifest import index_dataset
from plastimap.bids.plan import Study
from plastimap.config import load_config

FMAP = "sub-01/fmap/sub-01"
DWI = "sub-01/dwi/sub-01_dir-AP_dwi"


class Wildcards:
    scan = "sub-01"


@pytest.fixture
def scan(make):
    """A person with a structural image and a diffusion series, encoded along j."""
    make.t1w("sub-01")
    make.dwi("sub-01", "dir-AP_dwi", n=12)
    return make


def epi(make, label="dir-PA", *, phase="j-", **about):
    return make.image(f"{FMAP}_{label}_epi.nii.gz", PhaseEncodingDirection=phase, TotalReadoutTime=0.04, **about)


def field_map(make, **about):
    echoes = {"EchoTime1": 0.005, "EchoTime2": 0.00746}
    make.image(f"{FMAP}_magnitude1.nii.gz")
    return make.image(f"{FMAP}_phasediff.nii.gz", **{**echoes, **about})


def chosen(make, how="auto"):
    rows = index_dataset(make.root, make.config()).rows
    series = next(row for row in rows if row.suffix == "dwi" and row.used)
    return find_field(series, rows, how), series


def told(make, how):
    config, found = load_config({"bids_dir": str(make.root), "dwi": {"susceptibility": how}})
    problems = check_study(config, config_problems=found)[1]
    return {(problem.what, problem.severity) for problem in problems}


def test_reversed_phase_comes_before_a_field_map(scan):
    assert chosen(scan)[0] is None
    field_map(scan)
    assert chosen(scan)[0].kind == "phasediff"
    image = epi(scan)
    found, series = chosen(scan)
    assert (found.kind, found.files) == ("reversed", [str(image)])
    assert found.settings(series)["readout_ratio"] == pytest.approx(0.8)
    assert chosen(scan, "field_map")[0].kind == "phasediff"
    assert [name.rpartition("_")[2] for name in chosen(scan, "field_map")[0].files] == [
        "phasediff.nii.gz", "magnitude1.nii.gz",
    ]  # fmt: skip


def test_only_the_opposite_direction_serves(scan):
    epi(scan, "dir-AP", phase="j")
    epi(scan, "dir-LR", phase="i-")
    assert chosen(scan)[0] is None


def test_a_second_series_serves(scan):
    scan.dwi("sub-01", "dir-PA_dwi", n=8)
    sidecar = scan.root / "sub-01/dwi/sub-01_dir-PA_dwi.json"
    sidecar.write_text(json.dumps({"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.05}))
    found, series = chosen(scan)
    assert series.dir == "AP"
    assert (found.image.suffix, found.image.dir, found.image.used) == ("dwi", "PA", False)
    assert found.image.bval is not None


@pytest.mark.parametrize("key", ["IntendedFor", "B0FieldIdentifier"])
def test_what_is_meant_for_others_is_left(scan, key):
    mine = {"IntendedFor": f"bids::{DWI}.nii.gz", "B0FieldIdentifier": "own"}[key]
    if key == "B0FieldIdentifier":
        content = json.loads((scan.root / f"{DWI}.json").read_text())
        (scan.root / f"{DWI}.json").write_text(json.dumps({**content, "B0FieldSource": "own"}))
    epi(scan, "run-2_dir-PA", **{key: ["func/other_bold.nii.gz"]})
    assert chosen(scan)[0] is None
    named = epi(scan, "run-1_dir-PA", **{key: [mine]})
    assert chosen(scan)[0].files == [str(named)]


def test_fields_without_a_series_make_no_scan(make):
    make.t1w("sub-01_ses-01")
    make.image("sub-01/ses-02/fmap/sub-01_ses-02_phasediff.nii.gz", EchoTime1=0.005, EchoTime2=0.007)
    assert index_dataset(make.root, make.config()).scans == ("sub-01_ses-01",)


def test_problems_are_told_before_the_first_job(scan):
    absent = "nothing to correct susceptibility by"
    assert (absent, "notice") in told(scan, "auto")
    assert (absent, "error") in told(scan, "reversed")
    assert absent not in {what for what, _ in told(scan, "none")}
    field_map(scan, EchoTime2=7.46)
    content = json.loads((scan.root / f"{DWI}.json").read_text())
    del content["TotalReadoutTime"]
    (scan.root / f"{DWI}.json").write_text(json.dumps(content))
    assert {("no TotalReadoutTime", "error"), ("EchoTime1 and EchoTime2 cannot be used", "error")} <= told(scan, "auto")
    # Echo spacing and matrix say the same.
    spacing = {"EffectiveEchoSpacing": 0.0005, "ReconMatrixPE": 101}
    (scan.root / f"{DWI}.json").write_text(json.dumps({**content, **spacing}))
    assert chosen(scan)[1].readout_s == pytest.approx(0.05)
    assert ("no TotalReadoutTime", "error") not in told(scan, "auto")
    (scan.root / f"{DWI}.json").write_text("{}")
    assert ("no PhaseEncodingDirection", "error") in told(scan, "auto")


def test_a_broken_field_stops_only_a_study_that_uses_it(scan):
    epi(scan).write_bytes(b"")
    assert ("the file is empty", "error") in told(scan, "auto")
    assert ("the file is empty", "error") not in told(scan, "none")


def test_units_of_a_ready_field_are_wanted(scan):
    scan.image(f"{FMAP}_fieldmap.nii.gz", Units="T")
    assert ("a field map without usable Units", "error") in told(scan, "field_map")
    scan.image(f"{FMAP}_fieldmap.nii.gz", Units="Hz")
    assert ("a field map without usable Units", "error") not in told(scan, "field_map")


def test_rules_get_the_files_only_when_asked(scan):
    image = epi(scan)
    for how, files in (("none", []), ("auto", [str(image)])):
        config = scan.config(dwi={"susceptibility": how})
        study = Study(config, index_dataset(scan.root, config))
        assert study.dwi_files(Wildcards())["fields"] == files
        assert (study.dwi_field_settings(Wildcards()) or {}).get("kind") == ("reversed" if files else None)


@pytest.mark.parametrize("there", [False, True])
def test_eddy_has_to_be_installed(scan, monkeypatch, tmp_path, there):
    monkeypatch.setenv("PATH", str(tmp_path))
    if there:
        program = tmp_path / "eddy_cpu"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    config = {"bids_dir": str(scan.root), "dwi": {"motion": "eddy", "susceptibility": "auto"}}
    what = {problem.what for problem in load_config(config)[1]}
    assert ("dwi.motion is eddy, which is not installed" in what) is not there
    assert "dwi.susceptibility with dwi.motion: eddy" in what


@pytest.mark.shared
def test_measured_images_are_found(make, shared):
    rows = index_dataset(shared / "data" / "real-siemens-1subject", make.config()).rows
    series = next(row for row in rows if row.suffix == "dwi" and row.used)
    assert find_field(series, rows, "reversed").image.suffix == "dwi"
    field = find_field(series, rows, "field_map")
    assert (field.kind, field.image.echo_difference_s) == ("phasediff", pytest.approx(0.00246))
