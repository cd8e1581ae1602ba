"""Whatever part of a study is there, the right jobs are planned, and the rest is said to be left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plastimap.config import read_yaml
from tests.workflow.conftest import Builder, Plan, jobs

LONGITUDINAL = ["ses-01", "ses-02", "ses-03"]


@pytest.mark.parametrize(
    ("people", "sessions", "kinds", "wanted", "absent"),
    [
        (4, LONGITUDINAL, ("mpm", "b1", "dwi"), {"mpm": 12, "dwi": 12, "person_template": 4, "glm": 16}, ()),
        (4, LONGITUDINAL, ("mpm",), {"mpm": 12, "segment": 12, "glm": 8}, ("dwi", "dwi_to_anat")),
        (4, LONGITUDINAL, ("pd_t1", "b1"), {"mpm": 12, "segment": 12, "glm": 6}, ("dwi",)),
        (4, LONGITUDINAL, ("t1w", "dwi"), {"segment": 12, "dwi_to_anat": 12, "glm": 10}, ("mpm",)),
        (4, [], ("t1w",), {"segment": 4, "person_template": 4, "glm": 2}, ("mpm", "dwi")),
        (1, [], ("t1w", "dwi"), {"segment": 1, "smooth": 1, "study_report": 1}, ("glm", "cohort")),
        (1, [], ("dwi",), {"dwi": 1, "study_report": 1}, ("segment", "person_template", "smooth", "glm")),
    ],
    ids=["all", "mpm", "no-mt", "t1w-dwi", "cross-sectional", "one-person", "dwi-only"],
)
def test_matrix(builder: Builder, plan: Plan, people, sessions, kinds, wanted, absent) -> None:
    builder.study(people, sessions, *kinds)
    code, said = plan()
    assert code == 0, said
    planned = jobs(said)
    assert {rule: planned.get(rule, 0) for rule in wanted} == wanted
    assert not set(absent) & planned.keys()


def test_at_most_ten_rules_per_scan(builder: Builder, plan: Plan) -> None:
    builder.study(4, LONGITUDINAL, "mpm", "b1", "dwi", "t1w")
    planned = jobs(plan("participant")[1])
    per_scan = [rule for rule, count in planned.items() if count == 12]
    assert 0 < len(per_scan) <= 10


def test_ragged_studies_are_planned_scan_by_scan(builder: Builder, plan: Plan, tmp_path: Path) -> None:
    builder.study(4, LONGITUDINAL, "mpm", "b1")
    builder.scan("sub-01_ses-01", "dwi")
    builder.person("sub-05", ["ses-01"])
    builder.scan("sub-05_ses-01", "pd_t1")
    builder.person("sub-06", ["ses-01"])
    builder.scan("sub-06_ses-01", "dwi")
    code, said = plan("participant")
    assert code == 0, said
    planned = jobs(said)
    assert planned["dwi"] == 2
    assert sum(count for rule, count in planned.items() if rule.startswith("mpm_set")) == 13
    made = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert made["contrast"] == "R1"  # MTsat lacks in one scan more
    assert any("sub-06_ses-01" in notice for notice in made["notices"])


def test_stages_can_be_chosen(builder: Builder, plan: Plan) -> None:
    builder.study(4, LONGITUDINAL, "mpm", "dwi")
    planned = jobs(plan(stages=["mpm"])[1])
    assert planned["mpm"] == 12
    assert planned.keys() <= {"mpm", "describe", "all"}


def brainage_files(folder: Path, *names: str) -> dict[str, str]:
    """Files that the section ``brainage`` names; planning does not look into them."""
    for name in names:
        (folder / name).write_text("")
    return {name.partition(".")[0]: str(folder / name) for name in names}


def test_regional_brain_age_of_own_maps(builder: Builder, plan: Plan, tmp_path: Path) -> None:
    builder.study(4, LONGITUDINAL, "mpm")
    mask = builder.root / "sub-01" / "ses-01" / "anat" / "sub-01_ses-01_label-lesion_roi.nii.gz"
    mask.write_bytes(b"")
    files = brainage_files(tmp_path, "labels.nii.gz", "label_table.tsv", "model.safetensors")
    wanted = {"brainage_parcels": 1, "brainage_means": 12, "brainage_table": 1}
    section = {name: file for name, file in files.items() if name != "model"}
    planned = jobs(plan(stages=["brainage"], brainage=section)[1])
    assert wanted.items() <= planned.items()
    assert not {"brainage_train", "brainage_apply", "glm", "smooth"} & planned.keys()
    (tmp_path / "model.json").write_text("")
    code, said = plan(stages=["brainage"], brainage=files)
    assert code == 0, said
    assert (wanted | {"brainage_apply": 1, "brainage_statistics": 1}).items() <= jobs(said).items()


def test_regional_brain_age_of_a_table(builder: Builder, plan: Plan, tmp_path: Path) -> None:
    builder.study(1, [], "dwi")
    names = ("table", "parcels", "training", "lesions", "surface_left", "surface_right")
    files = brainage_files(tmp_path, *(f"{name}.tsv" for name in names))
    code, said = plan(brainage={**files, "training_data": "x", "training_licence": "y"})
    assert code == 0, said
    wanted = {f"brainage_{name}": 1 for name in ("train", "apply", "statistics", "surfaces")}
    planned = jobs(said)
    assert (wanted | {"study_report": 1}).items() <= planned.items()
    assert not {"brainage_means", "brainage_parcels", "brainage_table"} & planned.keys()


def test_problems_stop_before_the_first_job_without_a_traceback(builder: Builder, plan: Plan) -> None:
    builder.study(4, LONGITUDINAL, "mpm")
    code, said = plan(smoothing={"mpm": {"GM": 5, "WM": 3, "fwmh": 2}})
    assert code != 0
    assert "fwmh" in said
    assert "Traceback" not in said


def test_planning_writes_manifest_plan_and_config_only(builder: Builder, plan: Plan, tmp_path: Path) -> None:
    builder.study(4, LONGITUDINAL, "mpm")
    before = {file: file.stat().st_mtime_ns for file in builder.root.rglob("*")}
    plan()
    assert {file: file.stat().st_mtime_ns for file in builder.root.rglob("*")} == before
    written = {file.name for file in (tmp_path / "out").iterdir() if not file.name.startswith(".")}
    assert written == {"manifest.tsv", "plan.json", "problems.json", "plastimap.yaml"}
    assert read_yaml(tmp_path / "out" / "plastimap.yaml")[0]["bids_dir"] == str(builder.root)
