from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plastimap.images import Volume
from plastimap.report.flicker import flicker_figure, views_of
from plastimap.report.slices import (
    View,
    display_window,
    even_cuts,
    mosaic,
    projections,
    sample,
    silhouettes,
    view_of,
)


def world_ramp(shape: tuple[int, int, int], affine: np.ndarray, slope: np.ndarray) -> Volume:
    """An image whose value is a linear function of world position: interpolation is exact."""
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return Volume((grid @ affine[:3, :3].T + affine[:3, 3]) @ slope, affine)


def oblique(angle: float) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-2.0, 2.5, 3.0])
    affine[:3, 3] = [20.0, -25.0, -22.0]
    return affine


@given(angle=st.floats(-0.6, 0.6), axis=st.sampled_from([0, 1, 2]))
@settings(max_examples=20, deadline=None)
def test_sample_shows_world_positions(angle: float, axis: int) -> None:
    affine = oblique(angle)
    slope = np.array([1.0, 10.0, 100.0])
    volume = world_ramp((20, 20, 15), affine, slope)
    centre = affine[:3, :3] @ [9.5, 9.5, 7.0] + affine[:3, 3]
    view = View(centre - 6, centre + 6, 0.5)
    picture = sample(volume, view, (axis, float(centre[axis])))
    right, up = {0: (1, 2), 1: (0, 2), 2: (0, 1)}[axis]
    at = centre.copy()
    at[right], at[up] = view.low[right] + 4 * 0.5, view.low[up] + 9 * 0.5
    # float32 samples of values up to about 4000.
    assert picture[9, 4] == pytest.approx(float(at @ slope), abs=0.02)


def test_nan_neither_spreads_nor_becomes_zero() -> None:
    data = np.full((12, 12, 12), 5.0)
    data[6, 6, 6] = np.nan
    volume = Volume(data, np.eye(4))
    picture = sample(volume, View(np.zeros(3), np.full(3, 11.0), 0.25), (2, 6.0))
    assert np.isnan(picture[24, 24])
    assert np.nanmin(picture) == pytest.approx(5.0)
    assert np.isnan(picture).sum() < 5 * 5


def test_outside_of_the_image_is_nan() -> None:
    volume = Volume(np.ones((4, 4, 4)), np.eye(4))
    picture = sample(volume, View(np.full(3, -3.0), np.full(3, 7.0), 1.0), (2, 1.0))
    assert np.isnan(picture[0, 0])
    assert np.nansum(picture) == 16


def test_view_holds_the_mask() -> None:
    data = np.zeros((20, 20, 20))
    data[5:9, 10:12, 3] = 1
    view = view_of(Volume(data, np.diag([2.0, 2.0, 2.0, 1.0])), margin_mm=1.0)
    np.testing.assert_allclose(view.low, [9, 19, 5])
    np.testing.assert_allclose(view.high, [17, 23, 7])


def test_empty_image_has_a_view() -> None:
    view = view_of(Volume(np.zeros((4, 4, 4)), np.eye(4)))
    assert (view.high > view.low).all()


def test_mosaic_puts_the_first_row_on_top() -> None:
    volume = world_ramp((10, 10, 10), np.eye(4), np.array([0.0, 0.0, 1.0]))
    view = View(np.zeros(3), np.full(3, 9.0), 1.0)
    tiles = mosaic(volume, view, [(2, 1.0), (2, 2.0), (2, 3.0), (2, 4.0)], columns=2)
    height = tiles.panel[0]
    assert np.nanmean(tiles.pixels[height:, :]) == pytest.approx(1.5)
    assert np.nanmean(tiles.pixels[:height, :]) == pytest.approx(3.5)
    assert tiles.corners[0] == (0, height)


def test_even_cuts_are_symmetric() -> None:
    view = View(np.array([-80.0, -100.0, -60.0]), np.array([80.0, 80.0, 90.0]), 1.0)
    places = [place for _, place in even_cuts(view, 1, 5)]
    assert np.mean(places) == pytest.approx(-10.0)
    assert np.ptp(np.diff(places)) == pytest.approx(0.0, abs=1e-9)
    assert even_cuts(view, 2, 1) == [(2, 15.0)]


def test_projection_keeps_the_largest_with_its_sign() -> None:
    data = np.zeros((8, 8, 8))
    data[2, 3, 1], data[2, 3, 6] = 3.0, -5.0
    view = View(np.zeros(3), np.full(3, 8.0), 1.0)
    from_above = projections(Volume(data, np.eye(4)), view)[2]
    assert from_above[3, 2] == -5.0
    from_behind = projections(Volume(data, np.eye(4)), view)[1]
    assert from_behind[1, 2] == 3.0


def test_projection_of_nothing_is_empty() -> None:
    view = View(np.zeros(3), np.full(3, 8.0), 1.0)
    assert all(np.isnan(flat).all() for flat in projections(Volume(np.zeros((8, 8, 8)), np.eye(4)), view))


def test_silhouette_covers_the_object() -> None:
    data = np.zeros((20, 20, 20))
    data[5:15, 5:15, 5:15] = 7
    view = View(np.zeros(3), np.full(3, 19.0), 1.0)
    for shadow in silhouettes(Volume(data, np.eye(4)), view):
        assert shadow[10, 10] == 1
        assert shadow[1, 1] == 0


def test_window_of_nothing_and_of_a_constant() -> None:
    assert display_window(np.array([np.nan, 0.0])) == (0.0, 1.0)
    low, high = display_window(np.full(5, 2.0))
    assert low < 2.0 < high


def test_flicker_shows_every_session_in_the_same_boxes() -> None:
    data = np.zeros((20, 24, 20), dtype=np.float32)
    data[5:15, 5:19, 5:15] = 1.0
    first = Volume(data, np.diag([8.0, 8.0, 8.0, 1.0]))
    moved = np.diag([8.0, 8.0, 8.0, 1.0])
    moved[0, 3] = 16.0
    second = Volume(data, moved)
    views = views_of([(None, None), (first, first), (second, first)])
    assert views is not None
    pictures = [flicker_figure(native, first, views, target="MNI") for native in (first, second)]
    before, after = ([np.asarray(figure.axes[half].images[0].get_array()) for figure in pictures] for half in (0, 1))
    # Two voxels to the right as scanned; nothing moves once both are in the target space.
    assert np.abs(before[0] - before[1]).max() > 0.5
    np.testing.assert_array_equal(after[0], after[1])
    assert pictures[0].get_size_inches().tolist() == pictures[1].get_size_inches().tolist()
    assert views_of([(first, None)]) is None
