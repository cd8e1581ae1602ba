from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plastimap.images import Volume
from plastimap.report.checks import checks_of, displacement_of, notes_of, parameters_of, tissue_medians
from plastimap.report.cohort import mean_sd, quality_columns
from plastimap.report.inputs import Model, ResultImage, ScanInputs, StudyInputs
from plastimap.report.pages import file_name
from plastimap.report.results import (
    cluster_voxels,
    judge,
    preservation_table,
    safeguards,
    shape_table,
    trajectory_panels,
)
from plastimap.report.tables import make_table, number, p_value


def clusters() -> pd.DataFrame:
    return pd.DataFrame({
        "cluster": [1, 2, 3], "map": "R1", "tissue": "GM", "hemisphere": "L", "contrast": "a > b", "term": "linear",
        "direction": ">", "cluster_p_fwe": [0.04, 0.0001, 0.3], "cluster_p_corrected": [0.4, 0.001, 1.0],
        "x": 1.0, "y": 2.0, "z": 3.0, "warnings": ["", None, ""]})  # fmt: skip


def test_judge_parts_what_survives() -> None:
    verdict = judge(clusters(), pd.DataFrame({"min_p": [1.0] * 10}), limit=0.05)
    assert verdict.survived["cluster"].tolist() == [2]
    assert verdict.own_only["cluster"].tolist() == [1]
    assert verdict.families == 10


def test_without_correction_the_own_volume_counts() -> None:
    verdict = judge(clusters().drop(columns="cluster_p_corrected"), None, limit=0.05)
    assert verdict.survived["cluster"].tolist() == [2, 1]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_cluster_voxels_stay_on_their_side(sign: float) -> None:
    t = np.zeros((10, 5, 5))
    t[2:8, 2, 2] = 5.0 * sign
    t[2:8, 3, 3] = -5.0 * sign
    search = np.ones(t.shape)
    search[5:] = 2
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    result = ResultImage("R1", "GM", "c", "linear", Volume(t, affine), 4.0, Volume(search, affine), ((6.0, 4.0, 4.0),))
    assert sorted(map(tuple, np.argwhere(cluster_voxels(result)).tolist())) == [(2, 2, 2), (3, 2, 2), (4, 2, 2)]


def test_peak_outside_of_the_map_shows_nothing() -> None:
    t = Volume(np.full((4, 4, 4), 9.0), np.eye(4))
    result = ResultImage("R1", "GM", "c", "linear", t, 4.0, None, ((99.0, 0.0, 0.0),))
    assert not cluster_voxels(result).any()


def test_trajectories_meet_their_cluster() -> None:
    table = pd.DataFrame({"map": ["R1", "R1", "FA"], "tissue": "GM", "cluster": [2, 1, 2], "participant_id": "a",
                          "group": None, "session": "1", "day": 0.0, "value": [7.0, 8.0, 9.0]})  # fmt: skip
    panels = trajectory_panels(clusters(), table, limit=5)
    assert [panel.table["value"].tolist() for panel in panels] == [[8.0], [7.0]]
    assert panels[0].table["group"].tolist() == ["everybody"]
    assert len(trajectory_panels(clusters(), table, limit=1)) == 1


def test_shapes_meet_their_cluster() -> None:
    courses = pd.DataFrame({
        "map": "R1", "tissue": "GM", "cluster": [1, 1, 2, 2, 3],
        "course": ["linear", "none", "none", "quadratic", "none"],
        "bic": [5.0, 3.0, 9.0, 4.0, 1.0],
        "delta_aic": [0.0, 1.0, 6.0, 0.0, 0.0], "weight": [0.62, 0.38, 0.05, 0.95, 1.0],
    })  # fmt: skip
    found = clusters().assign(test="a > b")
    table = shape_table(found, courses)
    assert table is not None
    # The third cluster has one shape only: nothing to compare.
    assert [row[2:] for row in table.rows] == [
        ("linear", "none", "linear 0.62, none 0.38"),
        ("quadratic", "quadratic", "quadratic 0.95, none 0.05"),
    ]
    assert shape_table(found, courses[courses["cluster"] == 3]) is None
    assert shape_table(found, None) is None
    # Not among those compared, or no shape of a group at all.
    bent = shape_table(found.assign(term="quadratic"), courses)
    assert bent is not None
    assert len(bent.rows) == 1
    assert shape_table(found.assign(test="csr_percent_delta in a <> 0"), courses) is None


def test_preservation_is_shown_where_it_was_asked_for() -> None:
    tested = Model("MTsat", "WM", {"preservation": [{"hemisphere": "L", "n": 17, "mean_r": 0.3, "t": 4, "p": 0.0004}]})
    table = preservation_table(StudyInputs(models=(Model("R1", "GM", {}), tested)))
    assert table is not None
    assert table.rows == (("MTsat", "WM", "L", "17", "0.3", "4", "< .001"),)
    assert preservation_table(StudyInputs(models=(Model("R1", "GM", {"preservation": []}),))) is None


def test_safeguards_without_correction_say_so() -> None:
    verdict = judge(clusters(), pd.DataFrame({"min_p": [1.0] * 10}), limit=0.05)
    study = StudyInputs(config={"inference": {"family_correction": "none"}})
    told = dict(safeguards(study, verdict))
    assert "No correction was made across them" in told["Many questions"]
    assert "no single person carries half" in told["One person, or a disagreeing mean"]


def test_time_is_coded_only_where_a_model_was_fitted() -> None:
    config = {"model": {"coding": "orthogonal"}}
    assert "Time coding" not in dict(safeguards(StudyInputs(config=config), None))
    fitted = StudyInputs(config=config, models=(Model("R1", "GM", {"time_coding": "Linear time."}),))
    assert dict(safeguards(fitted, None))["Time coding"].startswith("Linear time. Another coding")


def test_medians_of_pure_tissue_only() -> None:
    data = np.full((4, 4, 4), 1.0)
    data[:2] = 3.0
    wm = np.where(np.arange(4)[:, None, None] < 2, 0.95, 0.5) * np.ones(data.shape)
    data[0, 0, 0] = np.nan
    assert tissue_medians(data, {"WM": wm, "GM": np.zeros(data.shape)}) == {"WM": 3.0}


def test_checks_flag_what_is_unusual() -> None:
    moved = [0.1] * 9 + [3.0]
    scan = ScanInputs("sub-01", medians={"R1": {"WM": 1.05, "GM": 0.3}}, qa={
        "dwi": {"displacement_mm": moved, "notes": ["x", "x"]}, "anat": {"tiv_ml": 400.0, "notes": "one"}})  # fmt: skip
    flags = {check.name: check.flag for check in checks_of(scan) if check.flag}
    assert flags == {"R1 (1/s), GM median": "below what is usual at 3 T",
                     "largest motion (mm)": "volume 9 moved 3.0 mm",
                     "anat: tiv ml": "unusual for an adult"}  # fmt: skip
    assert notes_of(scan) == ["dwi: x", "anat: one"]


def test_motion_is_found_one_level_down() -> None:
    qa = {"motion": {"displacement": [0.0, 1.0], "parameters": np.zeros((2, 6)).tolist()}}
    assert displacement_of(qa) is not None
    assert parameters_of(qa).shape == (2, 6)
    assert parameters_of({"parameters": [[1, 2]]}) is None
    assert displacement_of({"displacement": []}) is None


def test_table_skips_absent_columns_and_counts_rows() -> None:
    frame = pd.DataFrame({"a": [0.00001, 0.5, np.nan], "b": ["x", None, "<i>"]})
    table = make_table(frame, {"a": "p", "c": "not there", "b": "word"}, caption="c", p_columns=("a",), limit=2)
    assert table.headings == ("p", "word")
    assert table.rows == (("< .001", "x"), (".500", "–"))
    assert "2 of 3" in table.note
    assert make_table(frame.iloc[:0], caption="c").note == "None."


@pytest.mark.parametrize(("value", "text"), [(3.0, "3"), (1234.56, "1235"), (0.00012345, "0.000123"), (None, "–"),
                                             (float("inf"), "inf"), (np.int64(4), "4"), ("n/a", "–"),
                                             (np.bool_(True), "yes")])  # fmt: skip
def test_numbers(value: object, text: str) -> None:
    assert number(value) == text


def test_p_values() -> None:
    assert [p_value(p) for p in (0.0005, 0.05, 0.9999, np.nan)] == ["< .001", ".050", "1.000", "–"]


def test_cohort_numbers() -> None:
    people = pd.DataFrame({"age": ["20", "40", "n/a"], "tiv": [np.nan] * 3})
    assert mean_sd(people, "age") == "30 ± 14.1"
    assert mean_sd(people, "tiv") == mean_sd(people, "absent") == "–"


def test_quality_columns_vary() -> None:
    scans = pd.DataFrame(
        {"scan": ["a", "b"], "day": [0.0, 1.0], "same": [1, 1], "moved": [0.1, 0.3], "word": ["x", "y"]}
    )
    assert quality_columns(scans) == ["moved"]


def test_file_names_are_plain() -> None:
    assert file_name("clusters", "SCI > CON", "../x", ending="png") == "clusters_SCI---CON_---x.png"
