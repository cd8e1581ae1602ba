"""Parcels without a surface: means over labels, and a model made of them from end to end; labels on fsaverage5."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from plastimap.brainage.model import Settings, apply, train
from plastimap.brainage.parcels import FRONTOPARIETAL
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.surface import VERTICES, fsaverage5_mesh, parcel_tables
from plastimap.brainage.tables import as_parcel_table, read_text_table
from plastimap.brainage.volumes import (
    as_labels,
    column_name,
    joined,
    label_means,
    labels_on,
    parcels_of_labels,
    scan_lesion_shares,
)
from plastimap.cli import main
from plastimap.images import Volume, write_volume
from plastimap.writing import write_table

SHAPE = (8, 8, 8)
FAR = np.array([[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def label_image() -> np.ndarray:
    """Eight cubes of 64 voxels, numbered 1 to 8; the first axis is left to right."""
    place = np.indices(SHAPE) // 4
    return 1 + 4 * place[0] + 2 * place[1] + place[2]


def label_table() -> pd.DataFrame:
    return pd.DataFrame({
        "index": range(1, 9), "name": [f"cube{i}" for i in range(1, 9)], "hemisphere": list("LLLLRRRR"),
        "network": ["Vis", "Vis", "Cont", "Cont"] * 2,
    })  # fmt: skip


def test_means_are_means_of_grey_matter_and_volumes_of_everything() -> None:
    image, labels = label_image(), as_labels(label_table(), label_image())
    values = image.astype(float)
    values[0, 0, 0] = np.nan
    grey = np.where(np.indices(SHAPE)[2] % 2, 0.9, 0.1)
    r1 = np.where(grey > 0.5, image, 100.0)
    found = label_means(image, labels, {"vbm": values, "R1": r1}, grey_matter=grey)
    assert found == {**{f"vbm_cube{i}": i for i in range(1, 9)}, **{f"R1_cube{i}": i for i in range(1, 9)}}
    few = label_means(image, labels, {"R1": r1}, grey_matter=np.zeros(SHAPE))
    assert np.isnan(list(few.values())).all()


def test_labels_that_touch_are_joined() -> None:
    image = label_image()
    parcels = parcels_of_labels(as_labels(label_table(), image), image, ["vbm", "R1"])
    names = [tuple(sorted(parcels.names[i] for i in pair)) for pair in parcels.edges]
    assert len(names) == 12 * 2 + 8  # a cube's edges per map, and the maps of each label
    assert ("vbm_cube1", "vbm_cube2") in names
    assert ("R1_cube1", "vbm_cube1") in names
    assert len(parcels.regions) == 4
    assert (FRONTOPARIETAL, "R") in parcels.regions


def test_wrong_labels_are_told() -> None:
    with pytest.raises(BrainageProblem, match="without a voxel"):
        as_labels(label_table().assign(index=range(2, 10)), label_image())
    with pytest.raises(BrainageProblem, match="not on the grid"):
        label_means(label_image(), as_labels(label_table(), label_image()), {"R1": np.zeros((2, 2, 2))},
                    grey_matter=np.zeros(SHAPE))  # fmt: skip


def test_labels_come_to_another_grid_by_the_nearest_voxel() -> None:
    image = label_image()
    given = Volume(image.astype(np.int32), np.eye(4))
    np.testing.assert_array_equal(labels_on(given, given), image)
    # Voxels of 2 mm whose centres lie between those of the labels, inside one cube.
    coarse = np.diag([2.0, 2, 2, 1])
    coarse[:3, 3] = 0.5
    found = labels_on(given, Volume(np.zeros((4, 4, 4)), coarse))
    np.testing.assert_array_equal(found, image[::2, ::2, ::2])
    assert set(np.unique(found)) == set(range(1, 9))


def test_masks_of_a_scan_become_shares_of_labels_where_the_warp_takes_them() -> None:
    image = label_image()
    labels = as_labels(label_table(), image)
    target = Volume(np.zeros(SHAPE), np.eye(4))
    one, other = np.zeros(SHAPE), np.zeros(SHAPE)
    one[2:4, :4, :4], other[2, :4, :4] = 1, 2
    lesion = joined([Volume(one, np.eye(4)), Volume(other, np.eye(4))])
    assert lesion.data.sum() == 32
    found = scan_lesion_shares(lesion, target, np.eye(4), image, labels, ["vbm", "R1"])
    assert found["vbm_cube1"] == found["R1_cube1"] == 0.5
    assert sum(found.values()) == 1.0
    # The target's voxel lies 4 mm to the left of where it comes from: the lesion moves into cube 1 from cube 5.
    shift = np.eye(4)
    shift[0, 3] = 4
    moved = Volume(np.roll(one, 4, axis=0), np.eye(4))
    assert scan_lesion_shares(moved, target, shift, image, labels, ["vbm"]) == {
        name: one for name, one in found.items() if name.startswith("vbm")
    }
    assert set(scan_lesion_shares(None, target, np.eye(4), image, labels, ["vbm"]).values()) == {0.0}


def test_masks_of_people_become_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lesion = np.zeros(SHAPE, dtype=np.uint8)
    lesion[:2, :4, :4] = 1
    write_volume(tmp_path / "mask.nii.gz", Volume(lesion, np.eye(4)))
    write_volume(tmp_path / "labels.nii.gz", Volume(label_image().astype(np.int16), np.eye(4)))
    write_volume(tmp_path / "far.nii.gz", Volume(label_image().astype(np.int16), np.diag([1.0, 1, 1, 1]) + 900 * FAR))
    write_table(tmp_path / "names.tsv", label_table())
    images = pd.DataFrame({"participant_id": ["sub-01"], "mask": ["mask.nii.gz"], "labels": ["labels.nii.gz"]})

    def command(table: pd.DataFrame) -> int:
        write_table(tmp_path / "images.tsv", table)
        words = ("lesions", tmp_path / "images.tsv", "--label-table", tmp_path / "names.tsv")
        return main(["brainage", *map(str, words), "--output", str(tmp_path / "lesions.tsv")])

    assert command(images) == 0
    row = read_text_table(tmp_path / "lesions.tsv").iloc[0]
    assert (row["cube1"], row["cube2"], row["lesion_volume_ml"]) == (0.5, 0, 0.032)
    assert command(images.assign(labels="far.nii.gz")) == 2
    assert "sub-01: no label of the table" in capsys.readouterr().err
    assert command(images.assign(mask="none.nii.gz")) == 2
    assert command(images.drop(columns="mask")) == 2
    assert "no column mask" in capsys.readouterr().err


def test_from_maps_to_ages(rng: np.random.Generator) -> None:
    image = label_image()
    labels = as_labels(label_table(), image)
    age = rng.uniform(20, 80, 90)
    rows = []
    for years in age:
        maps = {"vbm": 0.7 - 0.004 * years + rng.normal(0, 0.1, SHAPE), "R1": 0.6 + 0.001 * years * np.ones(SHAPE)}
        maps["R1"] = maps["R1"] + rng.normal(0, 0.01) + rng.normal(0, 0.05, SHAPE)
        rows.append(label_means(image, labels, maps, grey_matter=np.ones(SHAPE)))
    frame = pd.DataFrame(rows).assign(participant_id=[f"{i:03d}" for i in range(90)], age=age, sex="F", site="one")
    table = as_parcel_table(frame, parcels_of_labels(labels, image, ["vbm", "R1"]))
    assert column_name("cube1", "vbm") == table.parcels.names[0]
    model = train(table.rows(np.arange(60)), Settings())
    error = np.abs(apply(model, table.rows(np.arange(60, 90))).age - age[60:, None]).mean(axis=0)
    # 0.1 over 64 voxels and two labels is 2 years of volume; R1's own 0.01 is 10.
    assert error.max() < 5


def test_labels_on_the_mesh_become_parcels(tmp_path: Path) -> None:
    files: dict[str, dict[str, Path]] = {"parcels": {}, "networks": {}}
    for side in "LR":
        y = fsaverage5_mesh(side, "pial")[0][:, 1]
        quarter = np.searchsorted(np.quantile(y, [0.25, 0.5, 0.75]), y)
        for kind, marks, names in (
            ("parcels", quarter + 1, ["unknown", "a", "b", "c", "d"]),
            ("networks", quarter // 2 + 1, ["unknown", "Vis", "Cont"]),
        ):
            files[kind][side] = tmp_path / f"{side}.{kind}.annot"
            table = np.column_stack([np.arange(len(names))] * 3 + [np.zeros(len(names))]).astype(np.int32)
            nib.freesurfer.write_annot(files[kind][side], marks.astype(np.int32), table, names, fill_ctab=True)
    nodes, edges, vertices = parcel_tables(files["parcels"], files["networks"])
    assert list(nodes["name"]) == ["lh_a", "lh_b", "lh_c", "lh_d", "rh_a", "rh_b", "rh_c", "rh_d"]
    assert list(nodes["network"]) == ["Vis", "Vis", "Cont", "Cont"] * 2
    assert {("lh_a", "rh_a"), ("lh_d", "rh_d")} <= set(zip(edges["one"], edges["other"], strict=True))
    touching = edges[(edges["kind"] == "surface") & (edges["one"].str[:2] == "lh")]
    assert set(zip(touching["one"], touching["other"], strict=True)) == {
        ("lh_a", "lh_b"),
        ("lh_b", "lh_c"),
        ("lh_c", "lh_d"),
    }
    assert vertices["L"].shape == (VERTICES,)
    with pytest.raises(BrainageProblem, match="no labels that can be read"):
        parcel_tables({"L": tmp_path / "none.annot", "R": tmp_path / "none.annot"}, files["networks"])
