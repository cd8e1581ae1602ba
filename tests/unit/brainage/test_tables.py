"""Parcels and tables: what is read, and what is refused in which words."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.unit.brainage.conftest import edges, nodes, people

from plastimap.brainage.freesurfer import read_stats, read_stats_folder, read_stats_tables
from plastimap.brainage.parcels import FRONTOPARIETAL, Parcels, as_parcels, folded
from plastimap.brainage.people import with_days
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.tables import as_parcel_table, read_parcel_table, read_text_table, with_people
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


@pytest.mark.parametrize("name", ["cut.tsv.gz", "plain.tsv.gz"])
def test_what_is_no_archive_is_told_without_a_traceback(tmp_path: Path, name: str) -> None:
    whole = gzip.compress(people(50, seed=1).to_csv(sep="\t").encode())
    (tmp_path / name).write_bytes(whole[:-4000] if name.startswith("cut") else b"a\tb\n1\t2\n")
    with pytest.raises(BrainageProblem, match="no table of text"):
        read_text_table(tmp_path / name)


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["M", "f", "Female", "male "], [1, 0, 0, 1]),
        ([1, 0, 1.0, "0"], [1, 0, 1, 0]),
        ([1, 2, 2, 1], [1, 0, 0, 1]),
        ([1.0, 2.0, None, 1.0], [1, 0, np.nan, 1]),
        (["m", "W", "w", "m"], [1, 0, 0, 1]),
        (["F", "n/a", "O", ""], [0, np.nan, np.nan, np.nan]),
    ],
)
def test_sex_is_read_in_every_full_coding(parcels: Parcels, words: list, numbers: list) -> None:
    table = as_parcel_table(people(4, seed=1).assign(sex=pd.Series(words, dtype=object)), parcels)
    np.testing.assert_array_equal(table.people["sex"], numbers)
    lacking = int(np.isnan(np.array(numbers, dtype=float)).sum())
    assert any(f"sex of {lacking} of 4 rows" in note for note in table.notes) == bool(lacking)
    assert any("Sex is coded" in note for note in table.notes) == (str(words[1]) in ("2", "2.0", "W"))


@pytest.mark.parametrize("words", [[2, 2, 2, 2], ["w", "w", "w", "w"], ["M", "W", "F", "M"], [0, 1, 2, 0], ["y"] * 4])
def test_sex_of_half_a_coding_is_refused(parcels: Parcels, words: list) -> None:
    with pytest.raises(BrainageProblem, match=f"no words for sex: {'y' if 'y' in words else '[2w]'}"):
        as_parcel_table(people(4, seed=1).assign(sex=pd.Series(words, dtype=object)), parcels)


def test_people_who_contradict_themselves_are_refused() -> None:
    table = pd.DataFrame({"participant_id": ["01", "02"], "x": [1.0, 2.0]})
    told = pd.DataFrame({"participant_id": ["sub-01", "sub-01", "02"], "age": [50.0, 60.0, 70.0], "x": 9.0})
    with pytest.raises(BrainageProblem, match="contradict each other in age: sub-01;"):
        with_people(table, told)
    # What one row lacks, another one of the same person tells; what the table has itself is not asked.
    told = told.assign(age=[50.0, np.nan, 70.0], sex=[None, "F", "M"], x=[1.0, 2.0, 3.0])
    joined = with_people(table, told)
    assert joined["age"].tolist() == [50, 70]
    assert joined["sex"].tolist() == ["F", "M"]
    assert joined["x"].tolist() == [1, 2]
    by_session = pd.DataFrame({"participant_id": ["01", "01"], "session": ["1", "2"], "age": [50.0, 60.0]})
    assert with_people(by_session.drop(columns="age"), by_session)["age"].tolist() == [50, 60]


def test_one_age_for_several_sessions_is_told_unless_days_are_known(parcels: Parcels) -> None:
    wide = people(3, seed=1)
    twice = pd.concat([wide.assign(session="1", days=0), wide.assign(session="2", days=730.5)], ignore_index=True)
    bare = as_parcel_table(twice.drop(columns="days"), parcels)
    assert any("3 people have one age for all sessions" in note and "contains" in note for note in bare.notes)
    moved = as_parcel_table(twice, parcels)
    np.testing.assert_allclose(moved.age[3:] - moved.age[:3], 2)
    assert not any("contains" in note for note in moved.notes)
    assert not as_parcel_table(twice.assign(age=np.arange(30, 36)), parcels).notes


def test_parcels_that_were_not_found_are_no_other_unit(parcels: Parcels) -> None:
    wide = people(2, seed=1)
    wide.loc[0, ["lh_Vis_0", "rh_Vis_0"]] = 0.0
    table = as_parcel_table(wide, parcels)
    assert np.isnan(table.values).sum() == 2
    assert any("2 values of thickness" in note for note in table.notes)
    patient = as_parcel_table(people(1, seed=1).assign(lh_Vis_0=np.nan), parcels)
    assert np.isnan(patient.values).sum() == 1
    # A unit is one person's: others in mm do not hide it.
    wide = people(10, seed=1)
    wide.iloc[3, 4:] *= 1000
    with pytest.raises(BrainageProblem, match=r"1 of 10 rows \(sub-0003; median .*give them in mm"):
        as_parcel_table(wide, parcels)


def test_another_measure_of_a_parcel_is_in_nobodys_way(parcels: Parcels) -> None:
    wide = people(5, seed=1)
    both = wide.rename(columns={"lh_Vis_0": "lh_Vis_0_thickness"}).assign(lh_Vis_0_volume=2000.0, other=1, Other=2)
    np.testing.assert_array_equal(as_parcel_table(both, parcels).values, as_parcel_table(wide, parcels).values)
    with pytest.raises(BrainageProblem, match="same parcel: lh_Vis_0 and LH-Vis-0"):
        as_parcel_table(wide.assign(**{"LH-Vis-0": 2.0}).rename(columns={"lh_Vis_0": "lh_Vis_0"}), parcels)


def test_parcels_and_edges_with_empty_cells_are_told() -> None:
    with pytest.raises(BrainageProblem, match="without a hemisphere: lh_Vis_0;"):
        as_parcels(nodes().assign(hemisphere=[None, *nodes()["hemisphere"][1:]]))
    with pytest.raises(BrainageProblem, match="one end alone: 1;"):
        as_parcels(nodes(), pd.concat([edges(), pd.DataFrame([{"one": "lh_Vis_0", "other": None}])]))


def test_identifiers_keep_their_zeros(tmp_path: Path) -> None:
    for side in ("lh", "rh"):
        (tmp_path / f"{side}.txt").write_text(f"{side}.aparc.thickness\t{side}_a_thickness\n001\t2.1\n002\t2.2\n")
    assert read_stats_tables([tmp_path / "lh.txt", tmp_path / "rh.txt"])["participant_id"].tolist() == ["001", "002"]


def test_a_word_among_statistics_is_told(tmp_path: Path) -> None:
    folder = subject(tmp_path, "sub-01")
    (folder / "lh.aparc.a2009s.stats").write_text(APARC.format(side="lh", thickness="2,3"))
    with pytest.raises(BrainageProblem, match=r"lh\.aparc\.a2009s\.stats: ThickAvg is no number"):
        read_stats_folder(tmp_path)


def test_days_of_scans_are_told_by_their_labels() -> None:
    table = pd.DataFrame({"participant_id": ["01", "sub-01", "02"], "session": ["1", "ses-2", None]})
    assert with_days(table, {"sub-01_ses-1": 0.0, "sub-01_ses-2": 30.0, "sub-02": 4.0})["day"].tolist() == [0, 30, 4]
    assert "day" not in with_days(table, {"sub-01_ses-1": None})
