"""Pictures on the surface: which vertex a pixel shows, whose gaps go where, and that nothing is fetched."""

from __future__ import annotations

import socket
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from plastimap.brainage.pictures import VIEWS, group_gaps, surface_figure, view_of, write_people
from plastimap.brainage.surface import VERTICES, fsaverage5_mesh

REGIONS = (("visual", "L"), ("visual", "R"), ("whole brain", "B"))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object, **_options: object) -> None:
        raise AssertionError("a picture asks for the network")

    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.mark.parametrize(("side", "view"), VIEWS)
def test_a_pixel_shows_the_nearest_vertex(side: str, view: str) -> None:
    found, coordinates = view_of(side, view), fsaverage5_mesh(side, "infl")[0]
    seen = np.unique(found.vertex[found.vertex >= 0])
    # What is seen from outside lies further out than the middle, and from inside further in.
    outward = coordinates[:, 0] * (-1 if side == "L" else 1)
    further = outward[seen].mean() - outward.mean()
    assert further > 5 if view == "lateral" else further < -5
    # The face has no holes: a background pixel with four neighbours on the surface would be one.
    inside = found.vertex >= 0
    hole = ~inside[1:-1, 1:-1] & inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    assert not hole.any()
    assert 0 <= found.light.min() <= found.light.max() <= 1


def test_front_is_left_in_the_left_lateral_view() -> None:
    for side, left_to_right in (("L", -1), ("R", 1)):
        found, coordinates = view_of(side, "lateral"), fsaverage5_mesh(side, "infl")[0]
        rows, columns = np.nonzero(found.vertex >= 0)
        where = coordinates[found.vertex[rows, columns]]
        assert np.corrcoef(columns, where[:, 1])[0, 1] * left_to_right > 0.99
        assert np.corrcoef(rows, where[:, 2])[0, 1] < -0.99


def test_everybody_gets_a_picture_and_numbers(tmp_path: Path) -> None:
    rows = [
        {"participant_id": person, "session": session, "network": network, "hemisphere": side, "pad_corrected": gap}
        for person, session, shift in (("sub-01", "01", 0.0), ("sub-01", "02", 2.0), ("sub-02", "01", 4.0))
        for (network, side), gap in zip(REGIONS, (1.0 + shift, np.nan, 50.0), strict=True)
    ]
    vertices = {side: np.full(VERTICES, number) for number, side in enumerate("LR")}
    vertices["L"][:100] = -1
    assert write_people(tmp_path, pd.DataFrame(rows), vertices, REGIONS) == 3
    names = {file.name.split("_hemi")[0] for file in tmp_path.glob("*.gii")}
    assert names == {"sub-01_ses-01", "sub-01_ses-02", "sub-02_ses-01", "mean"}
    assert len(list(tmp_path.glob("*_gap.png"))) == 4
    left = nib.load(tmp_path / "sub-01_ses-02_hemi-L_space-fsaverage5_stat-gap.shape.gii").agg_data()  # type: ignore[attr-defined]
    assert np.isnan(left[:100]).all()
    assert (left[100:] == 3).all()
    mean = nib.load(tmp_path / "mean_hemi-L_space-fsaverage5_stat-gap.shape.gii").agg_data()  # type: ignore[attr-defined]
    # Two gaps of one person and one of another: 1 and 3, and 5. People count once.
    assert (mean[100:] == 3.5).all()
    right = nib.load(tmp_path / "sub-02_ses-01_hemi-R_space-fsaverage5_stat-gap.shape.gii").agg_data()  # type: ignore[attr-defined]
    assert np.isnan(right).all()


def test_every_group_gets_a_picture_of_its_mean(tmp_path: Path) -> None:
    ages = pd.DataFrame([
        {"participant_id": f"sub-{number}", "network": network, "hemisphere": side, "pad_corrected": float(number)}
        for number in range(3) for network, side in REGIONS
    ])  # fmt: skip
    vertices = {side: np.full(VERTICES, number) for number, side in enumerate("LR")}
    groups = {"sub-0": "a stroke", "sub-1": "a stroke", "sub-2": "healthy"}
    assert write_people(tmp_path, ages, vertices, REGIONS, groups=groups) == 3
    for name, gap in (("mean", 1.0), ("group-astroke", 0.5), ("group-healthy", 2.0)):
        assert (tmp_path / f"{name}_gap.png").stat().st_size > 1000
        found = nib.load(tmp_path / f"{name}_hemi-R_space-fsaverage5_stat-gap.shape.gii").agg_data()  # type: ignore[attr-defined]
        assert (found == gap).all()
    assert group_gaps(ages, {"sub-0": "a", "sub-1": "a"}) == {}
    assert set(group_gaps(ages, {"sub-0": "T-1", "sub-1": "T1", "sub-2": "+"})) == {"group-1", "group-T12", "group-T13"}


def test_the_sides_of_the_colours_are_alike() -> None:
    values = {"L": np.full(VERTICES, 3.0), "R": np.full(VERTICES, -3.0)}
    figure = surface_figure(values, limit=6.0, title="somebody")
    left, right = (np.asarray(figure.axes[number].images[0].get_array()) for number in (0, 3))
    shown = [view_of(*VIEWS[number]).vertex >= 0 for number in (0, 3)]
    # Older is red, younger is blue.
    assert left[shown[0]][:, 0].mean() > left[shown[0]][:, 2].mean() + 0.1
    assert right[shown[1]][:, 2].mean() > right[shown[1]][:, 0].mean() + 0.1
