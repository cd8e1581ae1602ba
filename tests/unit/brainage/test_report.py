"""Brain age in the study's page: what errors are called, and pictures of groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plastimap.brainage.surface import VERTICES
from plastimap.paths import Paths
from plastimap.report.brainage import BrainageInputs, build_brainage, read_brainage
from plastimap.report.brainage_surfaces import surface_means
from plastimap.writing import write_json, write_table

REGIONS = (("visual", "L"), ("visual", "R"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        {"participant_id": f"sub-{number}", "network": "visual", "hemisphere": side, "age": 50.0, "predicted_age": 51.0,
         "lower": 40.0, "upper": 60.0, "pad": 1.0, "pad_corrected": float(number),
         "side": "ipsilesional" if number < 2 and side == "L" else "contralesional" if number < 2 else None}
        for number in range(4) for side in "LR"
    ]  # fmt: skip
    write_table(tmp_path / Paths.brainage_ages, pd.DataFrame(rows))
    groups = pd.DataFrame({"network": ["visual"] * 2, "place": ["L", "R"], "pad_corrected": 1.0, "error": 0.2})
    write_table(tmp_path / Paths.brainage_statistics / "groups.tsv", groups)
    people = pd.DataFrame({"participant_id": [f"sub-{number}" for number in range(4)],
                           "group": ["stroke", "stroke", "healthy", "healthy"]})  # fmt: skip
    write_table(tmp_path / Paths.brainage_people, people)
    write_json(tmp_path / Paths.brainage_notes, {"notes": []})
    errors = {"mae": 7.5, "mae_corrected": 0.3, "r2_corrected": 0.99}
    card = {"people_per_site": {"a": 100}, "settings": {"method": "ridge"}, "parcels": {}, "age_range_years": [20, 80],
            "training_data": "simulated", "regions": [["visual", "L"]],
            "metrics": {"random folds": {"all": {"whole brain": errors}}}}  # fmt: skip
    write_json(tmp_path / Paths.brainage_card, card)
    return tmp_path


def read(folder: Path, **changed: Any) -> BrainageInputs:
    found = read_brainage(folder, {"brainage": changed})
    assert found is not None
    return found


def test_corrected_errors_are_called_no_accuracy(folder: Path) -> None:
    (table,) = (one for one in build_brainage(read(folder)).tables if "Errors of the model" in one.caption)
    assert "they are no accuracy" in table.caption
    assert "mae corrected" in table.headings
    assert not any("r2" in name for name in table.headings)


def test_groups_are_drawn_beside_everybody(folder: Path) -> None:
    inputs = read(folder)
    assert inputs.groups == {"sub-0": "stroke", "sub-1": "stroke", "sub-2": "healthy", "sub-3": "healthy"}
    vertices = {side: np.full(VERTICES, number) for number, side in enumerate("LR")}
    drawn = {one.name: one for one in surface_means(inputs.ages, inputs.groups, vertices, REGIONS)}
    # Only people of one group have a lesion: its sides need no picture of the group.
    assert list(drawn) == [
        "brainage_surface", "brainage_surface_group-healthy", "brainage_surface_group-stroke", "brainage_sides"
    ]  # fmt: skip
    means = {name: one.numbers["pad_corrected"].unique().tolist() for name, one in drawn.items()}
    assert list(means.values()) == [[1.5], [2.5], [0.5], [0.5]]
    assert "of group stroke" in drawn["brainage_surface_group-stroke"].caption
    assert surface_means(inputs.ages, inputs.groups, {}, REGIONS) == []


def test_people_of_two_groups_have_no_pictures_of_groups(folder: Path) -> None:
    people = pd.DataFrame({"participant_id": ["sub-0", "sub-0"], "group": ["stroke", "healthy"]})
    write_table(folder / Paths.brainage_people, people)
    inputs = read(folder)
    assert inputs.groups == {}
    assert inputs.notes == ("No pictures of groups: people of more than one group: sub-0.",)
