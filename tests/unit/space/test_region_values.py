"""A region asks its image for a label that it has, or for a threshold in its own unit; otherwise somebody is told."""

from __future__ import annotations

import numpy as np
import pytest

from plastimap.images import Volume, write_volume
from plastimap.space.grids import TARGET_SPACE, target_grid
from plastimap.space.region_checks import region_problems
from plastimap.space.region_values import region_doubts
from plastimap.space.rois import RoiProblem, build_rois

SHARES = np.linspace(0, 1, 64).reshape(4, 4, 4)
LABELS = np.repeat(np.arange(8), 8).reshape(4, 4, 4).astype(float)
GRID = target_grid(4.0)


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        (SHARES, {"threshold": 0.25}),
        (SHARES, {}),
        (SHARES * 1.1, {"threshold": 0.5}),
        (100 * SHARES, {"threshold": 25}),
        (np.rint(100 * SHARES), {"threshold": 25}),
        (LABELS, {"label": 3}),
        (LABELS, {"label": [1, 7]}),
        (np.where(LABELS > 3, np.nan, LABELS), {"label": [1, 3]}),
        # One value alone is a mask, whatever it is.
        ((LABELS > 3).astype(float), {}),
        (255.0 * (LABELS > 3), {}),
    ],
)
def test_what_goes_together_is_not_doubted(data, asked):
    assert region_doubts(data, asked) == []


@pytest.mark.parametrize(
    ("data", "asked", "said", "fatal"),
    [
        (100 * SHARES, {"threshold": 0.25}, "a share", False),
        (LABELS, {"threshold": 0.5}, "a share", False),
        (LABELS, {}, "neither label nor threshold", False),
        (LABELS, {"label": [1, 99]}, "no label 99; it has 1, 2, 3", False),
        (LABELS, {"label": 99}, "no label 99", True),
        (LABELS, {"label": 0}, "label 0 is all that lies outside", True),
        (LABELS, {"label": [0, 3]}, "label 0 is all that lies outside", True),
        (100 * SHARES, {"label": 1}, "values are no labels", True),
        (SHARES, {"threshold": 25}, "no voxel reaches the threshold 25", True),
        (np.zeros((2, 2, 2)), {"threshold": 0.5}, "nothing above 0", True),
        (np.full((2, 2, 2), np.nan), {}, "nothing above 0", True),
    ],
)
def test_what_does_not_is_told(data, asked, said, fatal):
    (found,) = region_doubts(data, asked)
    assert said in found.what
    assert found.fatal is fatal


def test_a_per_cent_atlas_is_told_what_to_write():
    (found,) = region_doubts(100 * SHARES, {"threshold": 0.25})
    assert "write 25" in found.remedy


def test_building_notes_what_may_be_meant_and_refuses_what_cannot():
    image = Volume(LABELS.astype(np.float32), np.diag([10.0, 10, 10, 1]))
    about = {"name": "hand", "image": "hand.nii", "space": TARGET_SPACE}
    (roi,) = build_rois([{**about, "label": [7, 99]}], GRID, images={"hand": image})
    assert [note for note in roi.notes if "no label 99" in note]
    with pytest.raises(RoiProblem, match="region hand: label 0"):
        build_rois([{**about, "label": 0}], GRID, images={"hand": image})


def test_check_reads_the_images(tmp_path):
    file = tmp_path / "atlas.nii.gz"
    write_volume(file, Volume(LABELS.astype(np.float32), np.eye(4)))
    region = {"name": "hand", "image": str(file), "space": TARGET_SPACE}
    asked = [{**region, "label": 3}, {**region, "label": 99}, {**region, "threshold": 0.5}, {**region, "volume": 4}]
    found = region_problems({"rois": [*asked, {"name": "ball", "sphere": {"centre": [0, 0, 0], "radius": 5}}]})
    assert [one.severity for one in found] == ["error", "notice", "error"]
    assert "has volumes 0 to 0" in found[2].why
    # A file that is not there is told by the check of the configuration.
    assert region_problems({"rois": [{**region, "image": str(tmp_path / "none.nii"), "label": 1}]}) == []


@pytest.mark.parametrize(("y", "mirror"), [(-112.0, False), (-112.0, True), (-108.0, False), (-60.0, True)])
def test_a_sphere_beyond_the_edge_is_told(y, mirror):
    grid, radius = target_grid(2.0), 10.0
    about = {"name": "ball", "sphere": {"centre": [30, y, 0], "radius": radius}, "mirror": mirror}
    (roi,) = build_rois([about], grid)
    said = [note for note in roi.notes if "beyond its edge" in note]
    # The volume of the cap that is left, by its height over the last voxels' outer faces.
    height = min(y + radius - (grid[1][1, 3] - 1.0), 2 * radius)
    kept = np.pi * height**2 * (3 * radius - height) / 3 / (4 / 3 * np.pi * radius**3)
    if kept == pytest.approx(1):
        assert said == []
    else:
        told = float(said[0].partition(": ")[2].partition(" %")[0])
        assert told == pytest.approx(100 * kept, abs=3)
