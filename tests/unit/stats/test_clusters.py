from __future__ import annotations

import numpy as np
import pytest

from plastimap.stats.clusters import RandomField, cluster_table, find_clusters, search_volume
from plastimap.stats.rft import TField

AFFINE = np.array([[-2.0, 0, 0, 20], [0, 2, 0, -10], [0, 0, 2, 4], [0, 0, 0, 1]])


def map_with(*values: tuple[tuple[int, int, int], float]) -> np.ndarray:
    t = np.zeros((10, 10, 10))
    for place, value in values:
        t[place] = value
    return t


EVERYWHERE = np.ones((10, 10, 10), dtype=bool)


def table_of(t: np.ndarray, *, threshold: float):
    field, search = TField(20), search_volume(EVERYWHERE, EVERYWHERE, [3, 3, 3])
    judge = RandomField(field, search, threshold, np.full(3, 3.0))
    return cluster_table(t, search, judge=judge, field=field, affine=AFFINE, threshold=threshold)


def test_edges_join_and_corners_do_not() -> None:
    t = map_with(((2, 2, 2), 5), ((3, 3, 2), 4), ((4, 4, 3), 6))
    found = find_clusters(t, EVERYWHERE, threshold=3, affine=AFFINE)
    assert [cluster.extent for cluster in found] == [1, 2]
    np.testing.assert_array_equal(found[0].peaks, [[4, 4, 3]])


def test_clusters_at_the_edge_of_the_grid_and_either_side_are_separate() -> None:
    t = map_with(((0, 5, 5), 5), ((9, 5, 5), 5))
    assert [cluster.extent for cluster in find_clusters(t, EVERYWHERE, threshold=3, affine=AFFINE)] == [1, 1]


def test_the_search_volume_cuts_clusters_and_small_ones_go() -> None:
    t = np.zeros((10, 10, 10))
    t[2:6, 4, 4] = 5
    t[8, 8, 8] = 9
    inside = EVERYWHERE.copy()
    inside[4:6] = False
    found = find_clusters(t, inside, threshold=3, affine=AFFINE, minimum_extent=2)
    assert [cluster.extent for cluster in found] == [2]


def test_nan_is_outside() -> None:
    t = np.full((10, 10, 10), np.nan)
    t[4:6, 4, 4] = 5
    assert find_clusters(t, EVERYWHERE, threshold=3, affine=AFFINE)[0].extent == 2
    assert find_clusters(np.full((3, 3, 3), np.nan), np.ones((3, 3, 3), dtype=bool), threshold=3, affine=AFFINE) == ()


def test_peaks_keep_their_distance() -> None:
    t = np.zeros((10, 10, 10))
    t[1:9, 4, 4] = 4
    t[1, 4, 4], t[4, 4, 4], t[8, 4, 4] = 7, 9, 8
    (far,) = find_clusters(t, EVERYWHERE, threshold=3, affine=AFFINE, distance_mm=7)
    np.testing.assert_array_equal(far.peaks[:, 0], [4, 8])
    (near,) = find_clusters(t, EVERYWHERE, threshold=3, affine=AFFINE, distance_mm=4)
    np.testing.assert_array_equal(near.peaks[:, 0], [4, 8, 1])


def test_the_table_is_in_millimetres_and_cubic_millimetres() -> None:
    t = np.zeros((10, 10, 10))
    t[3:5, 3, 3] = 6
    table, clusters = table_of(t, threshold=3)
    assert len(clusters) == 1
    row = table.iloc[0]
    assert (row["x"], row["y"], row["z"]) == (14, -4, 10)
    assert row["volume_mm3"] == 16
    assert row["k"] == 2
    assert 0 < row["cluster_p_fwe"] < 1
    assert 0 < row["cluster_p_unc"] < 1
    assert row["peak_z"] == pytest.approx(4.48640, abs=1e-5)


def test_no_cluster_is_an_empty_table_with_the_same_columns() -> None:
    empty, _ = table_of(np.zeros((10, 10, 10)), threshold=3)
    full, _ = table_of(np.ones((10, 10, 10)), threshold=0.5)
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)
