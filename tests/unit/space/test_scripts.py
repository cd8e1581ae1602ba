"""The scripts of the space rules, run as jobs run them, on a whole head: brain, skull and air that is not 0."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.space.phantom import AFFINE, GRID, SHAPE, rigid_matrix

from plastimap.images import Volume, read_volume, write_volume
from plastimap.space.lesions import MIDPOINT_MASK
from plastimap.transforms import Warp, apply_matrix, resample, transform_points, world_points
from plastimap.warpfiles import read_matrix, read_warp, write_matrix, write_warp

ROOT = Path(__file__).parents[3]

DRIVER = """
import json, runpy, sys
from types import SimpleNamespace
script, job = sys.argv[1], json.load(open(sys.argv[2]))
parts = {key: SimpleNamespace(**value) if isinstance(value, dict) else value for key, value in job.items()}
parts["input"] = type("Inputs", (SimpleNamespace,), {"__getitem__": lambda self, name: getattr(self, name)})(**job["input"])
runpy.run_path(script, {"snakemake": SimpleNamespace(**parts)})
"""  # noqa: E501

POSE = rigid_matrix((3, -2, 4), (2, 1, -3))


def run_script(name: str, folder: Path, **job: Any) -> str:
    """What the script says on the terminal; nothing where all is well."""
    file, log = folder / "job.json", folder / f"{name}.log"
    file.write_text(json.dumps({"log": [str(log)], **job}, default=str))
    command = [sys.executable, "-c", DRIVER, str(ROOT / "scripts" / f"{name}.py"), str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == bool(done.stderr), done.stderr + log.read_text()
    return done.stderr


def notes_of(file: Path) -> list[str]:
    return json.loads(file.with_name(file.name.replace(".nii.gz", ".json")).read_text()).get("Notes", [])


def head_of(phantom, pull, seed):
    """(whole head, brain mask) of the phantom with skull, under a pull matrix, with noise in the air, too."""
    points = world_points(GRID) / np.array([40.0, 46, 38]).reshape(3, 1, 1, 1)
    radius = np.sqrt((points**2).sum(axis=0))
    head = phantom.image.data + 1.5 * ((radius > 1.12) & (radius < 1.2))
    image = resample(Volume(head.astype(np.float32), AFFINE), GRID, pull, validity=False)
    image = np.abs(image + np.random.default_rng(seed).normal(0, 0.03, SHAPE)).astype(np.float32)
    mask = resample(Volume(phantom.mask.astype(np.float32), AFFINE), GRID, pull, validity=False) > 0.5
    return Volume(image, AFFINE), mask


@pytest.fixture(scope="module")
def person(phantom, tmp_path_factory):
    """A midpoint of one session, as person_template writes it, and a second session that did not change but moved."""
    folder = tmp_path_factory.mktemp("person")
    for name, pull, seed in (("ses-01", np.eye(4), 1), ("ses-02", np.linalg.inv(POSE), 2)):
        image, mask = head_of(phantom, pull, seed)
        write_volume(folder / f"{name}.nii.gz", image)
        write_volume(folder / f"{name}_mask.nii.gz", Volume(mask, AFFINE))
    for name, image in (("GM", phantom.gm), ("WM", phantom.wm)):
        write_volume(folder / f"{name}.nii.gz", image)
    said = run_script(
        "person_template",
        folder,
        input={
            "structural": [folder / "ses-01.nii.gz"],
            "masks": [folder / "ses-01_mask.nii.gz"],
            "GM": [folder / "GM.nii.gz"],
            "WM": [folder / "WM.nii.gz"],
            "lesions": [],
        },
        output={
            "template": folder / "template.nii.gz",
            "tissues": [folder / "mid_GM.nii.gz", folder / "mid_WM.nii.gz"],
            "transforms": folder / "midpoint",
        },
        params={"members": ["sub-01_ses-01"], "contrast": "T1w"},
        wildcards={"subject": "01"},
    )
    assert said == ""
    return folder


def test_the_midpoint_has_its_brain_mask(person, phantom):
    np.testing.assert_array_equal(read_volume(person / "midpoint" / MIDPOINT_MASK).data > 0, phantom.mask)


@pytest.mark.parametrize("contrast", ["T1w", "R1"])
def test_a_whole_head_joins_a_frozen_template(person, phantom, contrast):
    outputs = {name: person / f"{name}.nii.gz" for name in ("warp", "inverse", "jacobian")}
    said = run_script(
        "session_to_template",
        person,
        input={
            "template": person / "template.nii.gz",
            "transforms": person / "midpoint",
            "structural": person / "ses-02.nii.gz",
            "mask": person / "ses-02_mask.nii.gz",
            "lesions": [],
        },
        output=outputs,
        params={"contrast": contrast},
        wildcards={"scan": "sub-01_ses-02"},
    )
    assert said == ""
    points = world_points(GRID)[:, phantom.mask]
    error = np.linalg.norm(transform_points(read_warp(outputs["warp"]), points) - apply_matrix(POSE, points), axis=0)
    # A sixth of the 3 mm voxel; a whole head taken for a brain is off by voxels.
    assert error.mean() < 0.5
    change = np.log(read_volume(outputs["jacobian"]).data[phantom.mask])
    assert abs(change.mean()) < 0.01
    assert change.std() < 0.03
    assert "joined a template" in notes_of(outputs["warp"])[0]


@pytest.fixture
def scan(phantom, tmp_path):
    """A scan that lies in the target space: two maps, tissues, warps that leave all in place, a lesion."""
    hole = np.linalg.norm(world_points(GRID) - np.array([15.0, -10, 5]).reshape(3, 1, 1, 1), axis=0) < 12
    ones, gm, wm = np.ones(SHAPE, dtype=np.float32), phantom.gm.data, phantom.wm.data
    images = {"GM": gm, "WM": wm, "CSF": 0 * gm, "R1": ones, "FA": ones, "jacobian": ones, "to_GM": gm, "to_WM": wm}
    files = {name: tmp_path / f"{name}.nii.gz" for name in (*images, "person")}
    for name, data in images.items():
        write_volume(files[name], Volume(data, AFFINE), sidecar={})
    write_warp(files["person"], Warp(np.zeros((*SHAPE, 3), dtype=np.float32), AFFINE))
    write_matrix(tmp_path / "dwi.txt", np.eye(4))
    lesion = tmp_path / "sub-01_ses-01_label-lesion_mask.nii.gz"
    write_volume(lesion, Volume(hole, AFFINE))
    return tmp_path, files, lesion, hole


def to_target(folder, files, lesions):
    outputs = {
        "maps": [folder / "w_R1.nii.gz", folder / "w_FA.nii.gz"],
        "tissues": [folder / f"w_{name}.nii.gz" for name in ("GM", "WM", "CSF")],
        "modulated": [folder / "m_GM.nii.gz", folder / "m_WM.nii.gz"],
        "qa": folder / "qa.json",
    }
    said = run_script(
        "to_target",
        folder,
        input={
            "person": files["person"],
            "session": files["person"],
            "dwi": [folder / "dwi.txt"],
            "maps": [files["R1"], files["FA"]],
            "tissues": [files[name] for name in ("GM", "WM", "CSF")],
            "template_tissues": [files["GM"], files["WM"]],
            "jacobian": files["jacobian"],
            "lesions": lesions,
        },
        output=outputs,
        params={
            "space": {"resolution": 3.0, "template": {"GM": files["to_GM"], "WM": files["to_WM"]}},
            "maps": ["R1", "FA"],
        },
        wildcards={"scan": "sub-01_ses-01"},
    )
    return said, outputs


def test_a_scan_has_no_values_in_its_lesion(scan, phantom):
    folder, files, lesion, hole = scan
    said, outputs = to_target(folder, files, [lesion])
    assert said == ""
    for file in (*outputs["maps"], *outputs["tissues"]):
        np.testing.assert_array_equal(np.isnan(read_volume(file).data), hole)
        assert notes_of(file) == ["NaN in the lesion"]
    # The volumes are those of the midpoint: other sessions show the place.
    assert np.isfinite(read_volume(outputs["modulated"][0]).data).all()
    qa = json.loads(outputs["qa"].read_text())
    assert qa["not_shown_ml"] == pytest.approx((hole & phantom.mask).sum() * 0.027, rel=0.02)
    assert qa["dice_GM"] > 0.9


def test_sidecars_tell_every_step(scan):
    folder, files, _, hole = scan
    _, outputs = to_target(folder, files, [])
    assert np.isfinite(read_volume(outputs["maps"][0]).data[hole]).all()
    sidecars = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("w_R1", "w_FA", "m_GM")}
    assert sidecars["w_FA"]["Parameters"] == sidecars["w_R1"]["Parameters"] == {"interpolation": "linear, once"}
    assert "twice" in sidecars["m_GM"]["Parameters"]["interpolation"]
    assert any("dwi.txt" in source for source in sidecars["w_FA"]["Sources"])
    assert not any("dwi.txt" in source for source in sidecars["w_R1"]["Sources"])


def test_a_scan_that_lies_wrong_ends_its_job(scan):
    folder, files, _, _ = scan
    for name in ("GM", "WM"):
        volume = read_volume(files[name])
        write_volume(files[name], Volume(np.roll(volume.data, 20, axis=1), volume.affine), sidecar={})
    said, outputs = to_target(folder, files, [])
    assert "sub-01_ses-01 is not where the target space has it" in said
    assert "exclude" in said
    assert not outputs["maps"][0].exists()
    assert not outputs["qa"].exists()


def test_diffusion_images_are_matched_beside_the_lesion(person, phantom, tmp_path):
    lesion = tmp_path / "sub-01_ses-01_label-lesion_mask.nii.gz"
    hole = np.linalg.norm(world_points(GRID) - np.array([15.0, -10, 5]).reshape(3, 1, 1, 1), axis=0) < 12
    write_volume(lesion, Volume(hole, AFFINE))
    metal = read_volume(person / "ses-01.nii.gz").data.copy()
    metal[hole] = 40
    write_volume(tmp_path / "metal.nii.gz", Volume(metal, AFFINE))
    said = run_script(
        "dwi_to_anat",
        tmp_path,
        input={
            "structural": tmp_path / "metal.nii.gz",
            "mask": person / "ses-01_mask.nii.gz",
            "b0": person / "ses-02.nii.gz",
            "b0_mask": person / "ses-02_mask.nii.gz",
            "lesions": [lesion],
        },
        output={"transform": tmp_path / "xfm.txt", "qa": tmp_path / "qa.json"},
        wildcards={"scan": "sub-01_ses-01"},
    )
    assert said == ""
    points = world_points(GRID)[:, phantom.mask]
    found = apply_matrix(read_matrix(tmp_path / "xfm.txt"), points)
    assert np.linalg.norm(found - apply_matrix(POSE, points), axis=0).mean() < 0.7
    assert json.loads((tmp_path / "qa.json").read_text())["notes"] == ["lesions were left out of the match"]
