"""The target grid, and regions on it."""

from __future__ import annotations

import numpy as np
import pytest

from plastimap.icbm import standard_image
from plastimap.images import Volume
from plastimap.space.grids import BRAIN_BOX_MM, TARGET_SPACE, hemispheres, target_grid
from plastimap.space.rois import RoiProblem, build_rois, image_roi, sphere
from plastimap.space.search import search_volumes, tissue_masks
from plastimap.transforms import world_points

GRID = target_grid(4.0)


@pytest.mark.parametrize("resolution", [1.0, 1.5, 2.0, 3.0])
def test_voxel_centres_are_multiples_of_the_resolution(resolution):
    shape, affine = target_grid(resolution)
    steps = affine[:3, 3] / resolution
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    last = affine[:3, 3] + resolution * (np.array(shape) - 1)
    assert (affine[:3, 3] <= BRAIN_BOX_MM[0]).all()
    assert (last >= BRAIN_BOX_MM[1]).all()


def test_the_box_holds_the_standard_brain():
    gm, wm = standard_image("gm"), standard_image("wm")
    inside = np.argwhere(gm.data + wm.data > 0.05)
    low, high = (gm.affine[:3, :3] @ index + gm.affine[:3, 3] for index in (inside.min(axis=0), inside.max(axis=0)))
    # At the neck the template itself is cut at -72.
    assert (low >= BRAIN_BOX_MM[0]).all()
    assert (high <= BRAIN_BOX_MM[1]).all()
    assert (low - BRAIN_BOX_MM[0] < 6).all()
    assert (np.array(BRAIN_BOX_MM[1]) - high < 6).all()


def test_odd_resolutions_are_refused():
    with pytest.raises(ValueError, match="resolution"):
        target_grid(0.0)


def test_left_is_negative_x():
    sides, x = hemispheres(GRID), world_points(GRID)[0]
    assert (x[sides["L"]] < 0).all()
    assert (x[sides["R"]] > 0).all()
    assert not (sides["L"] | sides["R"])[np.abs(x) < 1e-9].any()


def test_sphere_has_its_volume_and_its_mirror():
    one = sphere((30, -20, 40), 16, GRID)
    # Counting voxel centres: 4/3 pi 16^3 / 64 = 268 voxels, within a few percent.
    assert one.sum() == pytest.approx(4 / 3 * np.pi * 16**3 / 64, rel=0.1)
    both = sphere((30, -20, 40), 16, GRID, mirror=True)
    sides = hemispheres(GRID)
    assert (both & sides["L"]).sum() == (both & sides["R"]).sum() == one.sum()


@pytest.mark.parametrize(("centre", "radius"), [((1, 2), 3), ((1, 2, 3), 0), ((1, 2, np.nan), 4)])
def test_bad_spheres_are_refused(centre, radius):
    with pytest.raises(RoiProblem, match="sphere"):
        sphere(centre, radius, GRID)


def _image(data):
    return Volume(data.astype(np.float32), GRID[1])


def test_labels_and_thresholds():
    x = world_points(GRID)[0]
    labels = np.where(x < -20, 3, np.where(x > 20, 5, 0))
    np.testing.assert_array_equal(image_roi(_image(labels), GRID, labels=3), x < -20)
    np.testing.assert_array_equal(image_roi(_image(labels), GRID, labels=[3, 5]), np.abs(x) > 20)
    np.testing.assert_array_equal(image_roi(_image(labels), GRID, labels=3, mirror=True), np.abs(x) > 20)
    probability = np.clip(x / 70, 0, 1)
    np.testing.assert_array_equal(image_roi(_image(probability), GRID, threshold=0.25), probability >= 0.25)
    with pytest.raises(RoiProblem, match="not by both"):
        image_roi(_image(labels), GRID, labels=3, threshold=0.2)


def test_tissue_masks_take_the_larger_class():
    gm, wm = np.array([0.15, 0.25, 0.45, 0.3, 0.2]), np.array([0.05, 0.1, 0.5, 0.65, 0.1])
    csf = np.array([0.8, 0.65, 0.05, 0.05, 0.1])
    masks = tissue_masks({"GM": gm, "WM": wm, "CSF": csf})
    np.testing.assert_array_equal(masks["GM"], [False, False, False, False, True])
    np.testing.assert_array_equal(masks["WM"], [False, False, False, True, False])
    assert tissue_masks({"GM": gm, "WM": wm})["GM"][1]
    assert tissue_masks({"GM": gm, "WM": wm}, {"WM": 0.5, "minimum_subjects": 1.0})["WM"][2]


def test_search_volumes_per_hemisphere_and_tissue():
    grey = np.zeros(GRID[0], dtype=bool)
    grey[:, :, : GRID[0][2] // 2] = True
    tissues = {"GM": grey, "WM": ~grey}
    whole = search_volumes([], tissues, GRID)
    sides = hemispheres(GRID)
    np.testing.assert_array_equal(whole.mask("L", "GM"), sides["L"] & grey)
    assert whole.notes == ()
    assert whole.voxels["all"]["R WM"] == (sides["R"] & ~grey).sum()
    right = search_volumes([{"name": "hand", "sphere": {"centre": [40, -20, 50], "radius": 12}}], tissues, GRID)
    assert right.voxels["hand"]["R WM"] > 0
    assert any("L WM is empty" in note for note in right.notes)


def test_images_declare_their_space():
    data = _image(np.ones(GRID[0]))
    spec = {"name": "thalamus", "image": "t.nii.gz", "threshold": 0.5}
    (named,) = build_rois([{**spec, "space": TARGET_SPACE}], GRID, images={"thalamus": data})
    assert named.notes == ()
    (other,) = build_rois([{**spec, "space": "MNI152NLin6Asym"}], GRID, images={"thalamus": data})
    assert "MNI152NLin6Asym" in other.notes[0]
    (silent,) = build_rois([spec], GRID, images={"thalamus": data})
    assert "declares no space" in silent.notes[0]


def test_small_and_empty_regions_are_named():
    rois = build_rois(
        [
            {"name": "dot", "sphere": {"centre": [40, 0, 0], "radius": 4}},
            {"name": "nowhere", "sphere": {"centre": [400, 0, 0], "radius": 4}},
        ],
        GRID,
    )
    assert "voxels only" in rois[0].notes[0]
    assert "nowhere is empty" in rois[1].notes[0]
    outside = search_volumes(
        [{"name": "dot", "sphere": {"centre": [40, 0, 0], "radius": 20}}], {"GM": np.zeros(GRID[0], dtype=bool)}, GRID
    )
    assert any("no voxel of an analysed tissue" in note for note in outside.notes)


def test_a_region_needs_something():
    with pytest.raises(RoiProblem, match="either a sphere or an image"):
        build_rois([{"name": "x"}], GRID)
    with pytest.raises(RoiProblem, match="was not given"):
        build_rois([{"name": "x", "image": "x.nii"}], GRID)
