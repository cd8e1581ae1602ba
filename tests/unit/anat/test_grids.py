"""Working grids: the field of view is kept, mirrored scans get mirrored grids."""

from __future__ import annotations

import numpy as np
import pytest

from plastimap.anat.grids import around, closed, cropped, drawn_on, largest_piece, resample_isotropic, sample, within
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


def test_outside_the_field_of_view_is_fill_or_the_nearest_voxel() -> None:
    data = np.arange(4.0).reshape(4, 1, 1) + 1
    target = np.eye(4)
    target[0, 3] = -3.0
    assert sample(data, np.eye(4), (3, 1, 1), target, fill=-5.0).ravel().tolist() == [-5.0, -5.0, -5.0]
    assert sample(data, np.eye(4), (3, 1, 1), target, fill=None).ravel().tolist() == [1.0, 1.0, 1.0]
