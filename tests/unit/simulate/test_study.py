from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from tests.unit.simulate.coarse import make_spec

from plastimap.simulate import SimulationSpec, StudyProblem, people, simulate_study
from plastimap.simulate.truth import realised_fraction

EXAMPLES = Path(__file__).parents[3] / "config" / "examples"


@pytest.fixture(scope="module")
def small(spec: SimulationSpec) -> SimulationSpec:
    return make_spec(
        groups={"A": 2, "C": 1},
        trainees=["A"],
        days=[0, 84],
        missing=["sub-03_ses-02"],
        include=["mpm", "b1", "dwi", "t1w"],
    )


@pytest.fixture(scope="module")
def study(small: SimulationSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_study(tmp_path_factory.mktemp("study") / "bids", small, progress=None)


def test_the_layout(study: Path, small: SimulationSpec) -> None:
    scan = study / "sub-01" / "ses-02"
    assert len(list((scan / "anat").glob("*_MPM.nii.gz"))) == 9
    assert (scan / "anat" / "sub-01_ses-02_T1w.nii.gz").exists()
    assert (scan / "fmap" / "sub-01_ses-02_TB1map.nii.gz").exists()
    assert not (study / "sub-03" / "ses-02").exists()
    bvecs = np.loadtxt(scan / "dwi" / "sub-01_ses-02_dir-AP_dwi.bvec")
    image = nib.load(scan / "dwi" / "sub-01_ses-02_dir-AP_dwi.nii.gz")
    assert bvecs.shape == (3, image.shape[3])
    assert image.get_data_dtype() == np.int16
    visits = pd.read_csv(study / "sub-03" / "sub-03_sessions.tsv", sep="\t")
    assert visits.to_dict("list") == {"session_id": ["ses-01"], "day": [0.0]}
    table = pd.read_csv(study / "sub-01" / "ses-01" / "beh" / "sub-01_ses-01_task-dance_beh.tsv", sep="\t")
    assert list(table.columns) == ["day", "side", "csr_percent", "rt_ms"]
    assert not (study / "sub-03" / "ses-01" / "beh").exists()
    sidecar = json.loads((study / "acq-MTw_echo-2_flip-1_mt-on_MPM.json").read_text())
    assert (sidecar["EchoTime"], sidecar["MTState"], sidecar["FlipAngle"]) == (0.00468, True, 6.0)
    assert len(pd.read_csv(study / "participants.tsv", sep="\t")) == len(people(small))


def test_bids_validator_finds_no_error(study: Path) -> None:
    validator = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    result = subprocess.run([validator, str(study), "--json"], capture_output=True, text=True, check=False)
    issues = json.loads(result.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_a_second_time_does_nothing_and_another_study_is_refused(study: Path, small: SimulationSpec) -> None:
    lines: list[str] = []
    before = (study / "participants.tsv").stat().st_mtime_ns
    simulate_study(study, small, progress=lines.append)
    assert lines == [f"{study} already holds this simulated study"]
    assert (study / "participants.tsv").stat().st_mtime_ns == before
    with pytest.raises(StudyProblem, match="another simulated study"):
        simulate_study(study, make_spec(seed=7), progress=None)


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StudyProblem, match="not empty"):
        simulate_study(tmp_path, make_spec(), progress=None)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_unfinished_study_is_finished(tmp_path: Path) -> None:
    spec = make_spec(groups={"A": 1}, trainees=["A"], days=[0], include=["t1w"])
    folder = simulate_study(tmp_path / "bids", spec, progress=None)
    image = folder / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    first = np.asarray(nib.load(image).dataobj)
    image.unlink()
    (folder / "truth" / "simulation.json").rename(folder / ".simulating.json")
    simulate_study(folder, spec, progress=None)
    assert np.array_equal(np.asarray(nib.load(image).dataobj), first)
    assert not (folder / ".simulating.json").exists()
    assert not (folder / "sub-01" / "sub-01_sessions.tsv").exists()


def test_truth_tables(spec: SimulationSpec, tmp_path: Path) -> None:
    from plastimap.simulate.truth import write_truth

    write_truth(tmp_path, spec, people(spec))
    effects = pd.read_csv(tmp_path / "effects.tsv", sep="\t", keep_default_na=False)
    assert list(effects["direction"]) == [">", "<", ">", ">"]
    assert list(effects["hemisphere"]) == ["L", "R", "R", "L"]
    # The edge is half-way down at the radius: a little less than the planted size on average, never more.
    assert (effects["realised"] < effects["size"]).all()
    assert (effects["realised"] > 0.88 * effects["size"]).all()
    changes = pd.read_csv(tmp_path / "changes.tsv", sep="\t")
    assert len(changes) == 8 * 4 * 3
    mask = nib.load(tmp_path / "R1-corona-left_mask.nii.gz")
    centre = np.linalg.inv(mask.affine) @ [-26, -18, 28, 1]
    assert mask.dataobj[tuple(np.round(centre[:3]).astype(int))] == 1


def test_realised_volume_change_equals_the_analytic_one(spec: SimulationSpec) -> None:
    """Growth measured by finite differences agrees with the same blob as a plain factor (step of the table)."""
    from dataclasses import replace

    volume = spec.effects[2]
    factor = replace(volume, map="R1")
    assert realised_fraction(volume, voxel_mm=8) == pytest.approx(realised_fraction(factor, voxel_mm=8), rel=0.01)


def test_the_demo_specification_is_valid() -> None:
    spec = SimulationSpec.from_dict(yaml.safe_load((EXAMPLES / "demo-simulation.yaml").read_text(encoding="utf-8")))
    study = yaml.safe_load((EXAMPLES / "demo.yaml").read_text(encoding="utf-8"))
    names = {contrast["name"] for contrast in study["model"]["contrasts"]}
    assert {effect.contrast for effect in spec.effects} <= names
    for effect in spec.effects:
        # Every place lies in a region of interest.
        distances = []
        for roi in study["rois"]:
            centre = np.array(roi["sphere"]["centre"])
            near = min(np.linalg.norm(np.array(effect.centre) - centre * [side, 1, 1]) for side in (1, -1))
            distances.append(near + effect.radius - roi["sphere"]["radius"])
        assert min(distances) <= 1.0, effect.name
