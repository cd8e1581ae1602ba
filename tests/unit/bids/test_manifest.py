from __future__ import annotations

import json
import warnings
from dataclasses import replace

import pytest

from plastimap.bids.manifest import Manifest, behaviour_files, index_dataset, read_manifest, write_manifest
from plastimap.bids.problems import errors
from plastimap.bids.rows import COLUMNS


def index(make, **changes):
    return index_dataset(make.root, make.config(**changes))


def test_a_whole_study_has_a_row_per_file(study):
    manifest = index(study)
    assert manifest.name == "tiny"
    assert manifest.scans == ("sub-01_ses-01", "sub-01_ses-02", "sub-02_ses-01", "sub-02_ses-02")
    one = manifest.of("sub-02_ses-02")
    assert sorted(row.suffix for row in one) == sorted(["MPM"] * 9 + ["TB1map", "T1w", "dwi"])
    assert {row.weighting for row in one if row.suffix == "MPM"} == {"PDw", "T1w", "MTw"}
    assert {row.day for row in one} == {28}
    assert [person["group"] for person in manifest.participants] == ["A", "B"]
    assert manifest.problems == ()


def test_metadata_reach_the_rows(study):
    rows = {row.suffix: row for row in index(study).of("sub-01_ses-01")}
    echo = rows["MPM"]
    assert (echo.tr_s, echo.echo, echo.flip, echo.mt, echo.weighting) == (0.0245, 3, 2, "off", "T1w")
    assert echo.echo_time_s == pytest.approx(0.0069)
    assert rows["TB1map"].units == "percent"
    assert rows["dwi"].bval == (study.root / "sub-01/ses-01/dwi/sub-01_ses-01_dwi.bval").as_posix()
    assert (rows["dwi"].n_volumes, rows["T1w"].n_volumes) == (8, 1)
    assert (rows["dwi"].phase_encoding, rows["dwi"].readout_s) == ("j", 0.05)


def test_the_table_reads_back_and_is_written_only_when_it_changed(study, tmp_path):
    manifest, file = index(study), tmp_path / "out" / "manifest.tsv"
    assert write_manifest(file, manifest)
    assert read_manifest(file).rows == manifest.rows
    before = file.stat().st_mtime_ns
    assert not write_manifest(file, index(study))
    assert file.stat().st_mtime_ns == before
    assert write_manifest(file, Manifest(manifest.rows[1:]))
    widths = {len(line.split("\t")) for line in file.read_text().splitlines()}
    assert widths == {len(COLUMNS)}


def test_another_versions_table_is_refused(tmp_path):
    (tmp_path / "manifest.tsv").write_text("participant_id\tpath\nsub-01\tx\n")
    with pytest.raises(ValueError, match="another version"):
        read_manifest(tmp_path / "manifest.tsv")


def test_missing_values_survive_the_table(make, tmp_path):
    make.t1w("sub-01")
    row = replace(index(make).rows[0], day=None, shape=None, affine=None, skull_stripped=False, used=False)
    write_manifest(tmp_path / "m.tsv", Manifest((row,)))
    assert read_manifest(tmp_path / "m.tsv").rows == (row,)


@pytest.mark.parametrize("kind", ["t1w and dwi", "mpm alone", "beh alone"])
def test_parts_of_a_study_are_indexed(make, kind):
    if kind == "t1w and dwi":
        make.t1w("sub-01")
        make.dwi("sub-01")
    elif kind == "mpm alone":
        make.mpm("sub-01", ("PDw", "T1w"))
    else:
        make.table("sub-01/beh/sub-01_task-dance_beh.tsv", "day side csr_percent", "0 left 50")
    manifest = index(make)
    assert {row.session for row in manifest.rows} == {None}
    assert {row.day for row in manifest.rows} == {0}
    assert not errors(manifest.problems)
    assert manifest.scans == (() if kind == "beh alone" else ("sub-01",))


def test_ragged_data_are_indexed_as_they_are(study):
    study.t1w("sub-02_ses-03")
    study.table("sub-02/sub-02_sessions.tsv", "session_id day", "ses-01 0", "ses-02 28", "ses-03 90")
    study.mpm("sub-01_ses-01", ("PDw",), run="_run-2")
    manifest = index(study)
    assert "sub-02_ses-03" in manifest.scans
    assert [row.day for row in manifest.of("sub-02_ses-03")] == [90]
    repeated = [row for row in manifest.of("sub-01_ses-01") if row.weighting == "PDw"]
    assert {row.run for row in repeated} == {2}
    assert [problem.severity for problem in manifest.problems] == ["notice"]


def test_participants_and_sessions_are_selected(study):
    manifest = index(study, participants=["02"], sessions=["02"])
    assert manifest.scans == ("sub-02_ses-02",)
    assert {row.day for row in manifest.rows} == {28}
    assert [person["participant_id"] for person in manifest.participants] == ["sub-02"]


def test_a_label_that_nobody_has_is_an_error_with_a_guess(study):
    problems = errors(index(study, participants=[1], sessions=["02"]).problems)
    assert [(problem.what, "01" in problem.remedy) for problem in problems] == [("no sub-1 in the data", True)]


def test_problems_of_people_who_are_not_selected_do_not_matter(study):
    (study.root / "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz").write_bytes(b"")
    assert errors(index(study).problems)
    assert not errors(index(study, participants=["02"]).problems)


def test_everybody_with_data_is_a_participant(make):
    make.t1w("sub-01")
    assert index(make).participants == ({"participant_id": "sub-01"},)


def test_the_pulse_of_the_name_stands_in_and_a_contradiction_is_an_error(make):
    make.mpm("sub-01", ("MTw",), MTState=None)
    manifest = index(make)
    assert {row.mt for row in manifest.rows} == {"on"}
    assert {problem.severity for problem in manifest.problems} == {"notice"}
    make.mpm("sub-01", ("MTw",), MTState=False)
    assert len(errors(index(make).problems)) == 3


def test_repetition_time_stands_in_with_a_notice(make):
    make.mpm("sub-01", ("PDw",), n=1, RepetitionTimeExcitation=None, RepetitionTime=0.03)
    manifest = index(make)
    assert [row.tr_s for row in manifest.rows] == [0.03]
    assert [problem.severity for problem in manifest.problems] == ["notice"]


def test_text_where_a_number_belongs_is_an_error(make):
    make.mpm("sub-01", ("PDw",), n=1, EchoTime="2.3 ms")
    assert [problem.what for problem in errors(index(make).problems)] == ["EchoTime is no number"]


def test_maps_made_elsewhere_join_the_rows(make, tmp_path):
    make.t1w("sub-01")
    make.image("../maps/sub-01/anat/sub-01_R1map.nii.gz")
    make.table("images.tsv", "participant_id map path stage", "sub-02 FA sub-01/anat/sub-01_T1w.nii.gz native")
    manifest = index(make, derivatives=[str(tmp_path / "maps")], images=str(make.root / "images.tsv"))
    assert [(row.scan, row.map) for row in manifest.rows] == [("sub-01", None), ("sub-01", "R1"), ("sub-02", "FA")]
    only = index_dataset(None, make.config(bids_dir=None, derivatives=[str(tmp_path / "maps")]))
    assert only.people == ("sub-01",)


def test_behaviour_is_found_where_bids_or_a_plain_table_has_it(make, tmp_path):
    make.t1w("sub-01")
    config = make.config()
    assert behaviour_files(index(make), config) == []
    plain = make.table("behaviour.tsv", "participant_id day", "sub-01 0")
    assert behaviour_files(index(make), config) == [plain.as_posix()]
    beh = make.table("sub-01/beh/sub-01_task-dance_beh.tsv", "day", "0")
    assert behaviour_files(index(make), config) == [beh.as_posix()]
    named = make.config(behaviour={"table": str(plain)})
    assert behaviour_files(index(make), named) == [str(plain)]


@pytest.mark.slow
def test_pybids_sees_the_same_files_entities_and_metadata(study):
    study.text("MPM.json", json.dumps({"MagneticFieldStrength": 3}))
    study.dwi("sub-01_ses-01", "dir-AP_run-2_dwi", n=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bids import BIDSLayout

        layout = BIDSLayout(study.root)
        theirs = {
            file.path: (file.get_entities(), file.get_metadata())
            for file in layout.get(suffix=["MPM", "dwi", "T1w", "TB1map"], extension=".nii.gz")
        }
    ours = {row.path: row for row in index(study).rows}
    assert ours.keys() == theirs.keys()
    for path, (entities, metadata) in theirs.items():
        row = ours[path]
        assert (row.subject, row.session) == (entities["subject"], entities["session"])
        assert (row.suffix, row.datatype) == (entities["suffix"], entities["datatype"])
        assert (row.acq, row.dir) == (entities.get("acquisition"), entities.get("direction"))
        indices = [None if entities.get(key) is None else int(entities[key]) for key in ("run", "echo", "flip")]
        assert [row.run, row.echo, row.flip] == indices
        assert row.echo_time_s == metadata.get("EchoTime")
        assert row.flip_angle_deg == metadata.get("FlipAngle")


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mpm-cube-hmri-example", "real-siemens-1subject", "real-t1w-adult"])
def test_real_datasets_have_no_errors(make, shared, name):
    manifest = index_dataset(shared / "data" / name, make.config())
    assert not errors(manifest.problems)
    assert manifest.scans == ("sub-01",)
    weightings = [row.weighting for row in manifest.rows if row.suffix == "MPM"]
    expected = {"PDw": 8, "T1w": 8, "MTw": 6} if name.startswith("mpm") else {}
    assert {key: weightings.count(key) for key in set(weightings)} == expected
