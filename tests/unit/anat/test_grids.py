"""Working grids: the field of view is kept, mirrored scans get mirrored grids."""

from __future__ import annotations

import numpy as np
import pytest

from plastimap.anat.grids import (
    around,
    closed,
    cropped,
    drawn_on,
    largest_piece,
    resample_isotropic,
    sample,
    within,
)
from plastimap.drawn import inside_drawn
from plastimap.images import Volume


def test_oblique_scan_there_and_back(rng: np.random.Generator) -> None:
    axes = np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij")
    data = np.exp(-4 * sum(axis**2 for axis in axes)).astype(np.float32)
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, -2.0, 2.0])
    affine[:3, 3] = rng.normal(size=3) * 30
    grid = resample_isotropic(Volume(data, affine), 1.5)
    back = sample(grid.data, grid.affine, data.shape, affine)
    inner = (slice(3, -3),) * 3
    # Linear interpolation twice flattens a bump of 6 voxels' width by a few percent.
    assert np.abs(back - data)[inner].max() < 0.05


def turned(angle: float, voxel_mm: float = 2.0) -> np.ndarray:
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] *= voxel_mm
    return affine


def test_a_tilted_scan_is_not_blurred() -> None:
    # Gyri some 5 voxels apart: the shape that decides on volumes.
    x, y, _ = np.indices((40, 40, 12))
    gyri = (1 + 0.5 * np.cos(2 * np.pi * x / 5) * np.cos(2 * np.pi * y / 5)).astype(np.float32)
    grid = resample_isotropic(Volume(gyri, turned(0.15)), 2.0)
    inner = grid.data[12:-12, 12:-12, 4:-4]
    # Linear means keep .60 of the variance, splines .98.
    assert inner.var() == pytest.approx(gyri.var(), rel=0.05)
    upright = resample_isotropic(Volume(gyri, turned(0.0)), 2.0)
    np.testing.assert_array_equal(upright.data, gyri)


def test_a_tilted_scan_keeps_its_air_and_its_range() -> None:
    data = np.zeros((24, 24, 12), dtype=np.float32)
    data[8:16, 8:16, 3:9] = 1
    grid = resample_isotropic(Volume(data, turned(0.2)), 2.0)
    linear = sample(data, turned(0.2), grid.shape, grid.affine)
    # A spline rings beside a step: as if there were signal in air.
    assert not grid.data[linear == 0].any()
    assert (linear == 0).mean() > 0.5
    assert grid.data.min() == 0
    assert grid.data.max() == 1


def test_mirrored_scan_gives_the_mirrored_grid(rng: np.random.Generator) -> None:
    data = rng.normal(size=(11, 13, 9)).astype(np.float32)
    affine = np.diag([1.3, 1.3, 1.3, 1.0])
    flipped = affine.copy()
    flipped[0, 0] = -1.3
    flipped[0, 3] = 10 * 1.3
    one = resample_isotropic(Volume(data, affine), 2.0)
    other = resample_isotropic(Volume(data[::-1], flipped), 2.0)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-9)
    np.testing.assert_allclose(one.data, other.data, atol=1e-5)


def test_same_grid_is_a_copy(rng: np.random.Generator) -> None:
    volume = Volume(rng.normal(size=(5, 6, 7)).astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    copy = resample_isotropic(volume, 2.0)
    np.testing.assert_array_equal(copy.data, volume.data)
    assert not np.shares_memory(copy.data, volume.data)


def test_closing_bridges_a_fissure_but_not_a_wide_gap() -> None:
    mask = np.zeros((30, 30, 30), dtype=bool)
    mask[5:25, 5:25, 5:25] = True
    mask[14:16, 5:25, 12:25] = False
    size = np.ones(3)
    assert closed(mask, size, 3.0)[14, 15, 20]
    mask[8:22, 5:25, 12:25] = False
    assert not closed(mask, size, 3.0)[15, 15, 20]


def test_closing_does_not_mutate_and_reaches_the_edge() -> None:
    mask = np.ones((6, 6, 6), dtype=bool)
    before = mask.copy()
    assert closed(mask, np.ones(3), 2.0).all()
    np.testing.assert_array_equal(mask, before)


def test_within_measures_millimetres() -> None:
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[4, 4, 4] = True
    grown = within(mask, np.array([1.0, 2.0, 3.0]), 3.0)
    assert grown[7, 4, 4]
    assert not grown[8, 4, 4]
    assert grown[4, 5, 4]
    assert not grown[4, 6, 4]
    assert grown[4, 4, 5]


def test_largest_piece() -> None:
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[:2, :2, :2] = True
    mask[5:, 5:, 5:] = True
    assert largest_piece(mask).sum() == 27
    assert not largest_piece(np.zeros((3, 3, 3), dtype=bool)).any()


def test_cropping_keeps_the_place(rng: np.random.Generator) -> None:
    volume = Volume(rng.normal(size=(10, 11, 12)), np.diag([2.0, 3.0, 4.0, 1.0]))
    mask = np.zeros(volume.shape, dtype=bool)
    mask[4, 5, 6] = True
    part = cropped(volume, around(volume, mask, 4.0))
    assert part.shape == (5, 5, 3)
    assert part.affine[:3, 3] == pytest.approx([4.0, 9.0, 20.0])
    assert part.data[2, 2, 1] == volume.data[4, 5, 6]


def test_drawn_masks_are_joined_on_the_grid_of_the_scan() -> None:
    scan = Volume(np.zeros((10, 10, 10)), np.eye(4))
    first = np.zeros((10, 10, 10))
    first[2:4] = 1
    # Twice as coarse: its voxel 4 covers the scan's voxels 8 and 9; what is missing in voxel 3 is not drawn.
    second = np.zeros((6, 6, 6))
    second[3] = np.nan
    second[4] = 2
    coarse = np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = 0.5
    joined = drawn_on(scan, [Volume(first, np.eye(4)), Volume(second, coarse)])
    assert joined is not None
    assert joined[:, 5, 5].tolist() == [False, False, True, True, False, False, False, False, True, True]
    assert drawn_on(scan, []) is None


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        # Labels, however they are scaled: several lesions, one value of a packed file, one that is not quite 1.
        ([0, 1, 2, 7], [False, True, True, True]),
        ([0, 1 / 255, 0, 1 / 255], [False, True, False, True]),
        ([0, 0.99999994, np.nan, -1], [False, True, False, False]),
        # Shares of a smoothed or resampled mask, a spline's overshoot, per cent.
        ([0.02, 0.5, 0.51, 1.0], [False, False, True, True]),
        ([-0.1, 0.3, 0.7, 1.15], [False, False, True, True]),
        ([0.5, 49.0, 51.0, 99.5], [False, False, True, True]),
        # Probabilities that are low everywhere mark nothing.
        ([0.0, 0.1, 0.2, 0.3], [False, False, False, False]),
        ([0.0, np.inf, 0.0, 0.0], [False, False, False, False]),
    ],
)
def test_shares_count_above_one_half_and_labels_above_nothing(values: list[float], inside: list[bool]) -> None:
    assert inside_drawn(np.array(values)).tolist() == inside


def test_outside_the_field_of_view_is_fill_or_the_nearest_voxel() -> None:
    data = np.arange(4.0).reshape(4, 1, 1) + 1
    target = np.eye(4)
    target[0, 3] = -3.0
    assert sample(data, np.eye(4), (3, 1, 1), target, fill=-5.0).ravel().tolist() == [-5.0, -5.0, -5.0]
    assert sample(data, np.eye(4), (3, 1, 1), target, fill=None).ravel().tolist() == [1.0, 1.0, 1.0]
