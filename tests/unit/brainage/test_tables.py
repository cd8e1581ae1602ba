"""Parcels and tables: what is read, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.unit.brainage.conftest import edges, nodes, people

from plastimap.brainage.freesurfer import read_stats, read_stats_folder, read_stats_tables
from plastimap.brainage.parcels import FRONTOPARIETAL, Parcels, as_parcels, folded
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.tables import as_parcel_table, read_parcel_table, read_text_table
from plastimap.cli import main

APARC = """# Table of FreeSurfer cortical parcellation anatomical statistics
# hemi {side}
# Measure Cortex, MeanThickness, Mean Thickness, 2.4, mm
# ColHeaders StructName NumVert SurfArea GrayVol ThickAvg ThickStd MeanCurv GausCurv FoldInd CurvInd
G&S_frontomargin  1000 700 1500 {thickness} 0.5 0.1 0.0 10 1.0
S_central  2000 1400 2500 1.9 0.5 0.1 0.0 10 1.0
"""
ASEG = """# Measure EstimatedTotalIntraCranialVol, eTIV, Estimated Total Intracranial Volume, 1500000.5, mm^3
# ColHeaders Index SegId NVoxels Volume_mm3 StructName normMean normStdDev normMin normMax normRange
  1   4   5000   5000.5  Left-Lateral-Ventricle   30 10 5 90 85
"""


def subject(root: Path, name: str, thickness: float = 2.3) -> Path:
    folder = root / name / "stats"
    folder.mkdir(parents=True)
    for side in ("lh", "rh"):
        (folder / f"{side}.aparc.a2009s.stats").write_text(APARC.format(side=side, thickness=thickness))
    (folder / "aseg.stats").write_text(ASEG)
    return folder


def test_regions_are_networks_of_hemispheres_and_frontoparietal_is_named(parcels: Parcels) -> None:
    assert len(parcels.regions) == 6
    assert (FRONTOPARIETAL, "L") in parcels.regions
    found = np.concatenate([parcels.members(region) for region in parcels.regions])
    assert sorted(found) == list(range(24))


def test_inner_edges_stay_inside(parcels: Parcels) -> None:
    region = parcels.region_of
    assert len(parcels.inner_edges) == 18
    assert all(region[i] == region[j] for i, j in parcels.inner_edges)
    assert len(parcels.edges) > 18


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hemisphere": "X"}, "hemisphere"),
        ({"name": "lh_Vis_0"}, "twice"),
        ({"network": ["alone", *["Vis"] * 23]}, "fewer than"),
    ],
)
def test_wrong_parcels_are_told(change: dict, words: str) -> None:
    with pytest.raises(BrainageProblem, match=words):
        as_parcels(nodes().assign(**change))


def test_unknown_edges_are_told() -> None:
    with pytest.raises(BrainageProblem, match="not in the table: nowhere"):
        as_parcels(nodes(), pd.concat([edges(), pd.DataFrame([{"one": "nowhere", "other": "lh_Vis_0"}])]))


def test_the_fingerprint_knows_order_and_networks(parcels: Parcels) -> None:
    assert parcels.fingerprint == as_parcels(nodes()).fingerprint
    assert parcels.fingerprint != as_parcels(nodes().iloc[::-1]).fingerprint
    assert parcels.fingerprint != as_parcels(nodes().assign(network="Vis")).fingerprint


def test_spellings_of_one_parcel_are_one() -> None:
    spelled = ("lh_G&S_frontomargin", "lh_g_and_s_frontomargin_thickness", "lh.G&S-frontomargin")
    assert {folded(one) for one in spelled} == {"lh_g_and_s_frontomargin"}


@pytest.mark.parametrize("separator", ["\t", ","])
def test_a_table_is_read_in_the_order_of_the_parcels(tmp_path: Path, parcels: Parcels, separator: str) -> None:
    wide = people(10, seed=3)
    shuffled = wide[list(wide.columns[:4]) + list(wide.columns[4:])[::-1]]
    shuffled.to_csv(tmp_path / "table.tsv", sep=separator, index=False)
    table = read_parcel_table(tmp_path / "table.tsv", parcels)
    np.testing.assert_allclose(table.values, wide.iloc[:, 4:])


def test_people_come_from_their_own_table(tmp_path: Path, parcels: Parcels) -> None:
    wide = people(10, seed=3)
    wide.drop(columns=["age", "sex", "site"]).to_csv(tmp_path / "parcels.tsv", sep="\t", index=False)
    told = wide[["participant_id", "age", "site"]].assign(sex="F", motor_score=50)
    told["participant_id"] = told["participant_id"].str.removeprefix("sub-")
    told.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    table = read_parcel_table(tmp_path / "parcels.tsv", parcels, people=tmp_path / "participants.tsv")
    assert (table.people["sex"] == 0).all()
    assert (table.people["motor_score"] == 50).all()


def test_everything_wrong_with_a_table_is_told_at_once(parcels: Parcels) -> None:
    wide = people(10, seed=3)
    wide.loc[0, "age"] = 12
    wide.loc[1, "age"] = np.nan
    wide.loc[2, "participant_id"] = wide.loc[3, "participant_id"]
    wide.iloc[:, 4:] *= 1000
    with pytest.raises(BrainageProblem) as caught:
        as_parcel_table(wide, parcels)
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    assert all(words in told for words in ("no age", "outside 18", "more than one row", "give them in mm"))


def test_missing_parcels_are_named(parcels: Parcels) -> None:
    with pytest.raises(BrainageProblem, match="1 of 24 parcels have no column: lh_Vis_2"):
        as_parcel_table(people(10, seed=3).drop(columns="lh_Vis_2"), parcels)


def test_a_single_impossible_value_is_missing_and_said(parcels: Parcels) -> None:
    wide = people(10, seed=3)
    wide.loc[0, "lh_Vis_0"] = 0.0
    table = as_parcel_table(wide, parcels)
    assert np.isnan(table.values[0, 0])
    assert any("1 values of thickness" in note for note in table.notes)


def test_stats_of_a_subjects_folder(tmp_path: Path) -> None:
    subject(tmp_path, "sub-01")
    subject(tmp_path, "sub-02", thickness=2.5)
    table = read_stats_folder(tmp_path)
    assert list(table["lh_G&S_frontomargin"]) == [2.3, 2.5]
    assert table["Left-Lateral-Ventricle"].tolist() == [5000.5, 5000.5]
    assert table["eTIV"].tolist() == [1500000.5, 1500000.5]
    assert read_stats(tmp_path / "sub-01" / "stats" / "rh.aparc.a2009s.stats", measure="volume")["rh_S_central"] == 2500


def test_every_broken_stats_file_is_told(tmp_path: Path) -> None:
    (subject(tmp_path, "sub-01") / "lh.aparc.a2009s.stats").write_text("nothing")
    (subject(tmp_path, "sub-02") / "aseg.stats").unlink()
    with pytest.raises(BrainageProblem) as caught:
        read_stats_folder(tmp_path)
    assert len(caught.value.problems) == 2


def test_tables_of_aparcstats2table_are_joined(tmp_path: Path) -> None:
    (tmp_path / "lh.txt").write_text("lh.aparc.thickness\tlh_a_thickness\teTIV\nsub-01\t2.1\t1500\nsub-02\t2.2\t1600\n")
    (tmp_path / "rh.txt").write_text("rh.aparc.thickness\trh_a_thickness\teTIV\nsub-02\t2.4\t1600\nsub-01\t2.3\t1500\n")
    table = read_stats_tables([tmp_path / "lh.txt", tmp_path / "rh.txt"])
    assert table.loc[0].tolist() == ["sub-01", 2.1, 1500, 2.3]
    made = str(tmp_path / "all.tsv")
    assert main(["brainage", "table", str(tmp_path / "lh.txt"), str(tmp_path / "rh.txt"), "--output", made]) == 0
    assert list(read_text_table(made)) == ["participant_id", "lh_a_thickness", "eTIV", "rh_a_thickness"]
    assert main(["brainage", "table", str(tmp_path / "lh.txt"), str(tmp_path / "no.txt"), "--output", made]) > 0
    (tmp_path / "rh.txt").write_text("rh.aparc.thickness\trh_a_thickness\nsub-03\t2.4\n")
    with pytest.raises(BrainageProblem, match="not those of"):
        read_stats_tables([tmp_path / "lh.txt", tmp_path / "rh.txt"])


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 20])
def test_what_is_no_table_is_told_without_a_traceback(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(BrainageProblem, match="no table of text"):
        read_text_table(tmp_path / "t.tsv")
