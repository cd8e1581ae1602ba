from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from plastimap.stats._fields import largest_clusters, neighbours, tfce
from plastimap.stats.clusters import every_cluster
from plastimap.stats.exchange import exchange, exchanged_images, permutation_scheme
from plastimap.stats.resampling import (
    Nulls,
    Resampled,
    Search,
    height_distributions,
    null_distributions,
    p_of,
    search_lattice,
)


def brute_tfce(values: np.ndarray, steps: int) -> np.ndarray:
    """The sum over thresholds that the exact integral is the limit of."""
    height = values.max() / steps
    out = np.zeros_like(values)
    for h in (np.arange(steps) + 0.5) * height:
        labels, count = ndimage.label(values > h)
        extent = np.bincount(labels.ravel(), minlength=count + 1).astype(float)
        extent[0] = 0
        out += extent[labels] ** 0.5 * h**2 * height
    return out


def test_peaks_of_all_exchanges_without_images(rng: np.random.Generator) -> None:
    mask = np.ones((6, 5, 4), dtype=bool)
    data, matrix = rng.normal(size=(16, 120)), np.column_stack([np.tile(np.eye(2), (8, 1)), rng.normal(size=(16, 2))])
    scheme = permutation_scheme(16, 30, seed=5)
    engine = exchange(data, matrix, [1, -1, 0, 0], kind="t", signed=False)
    half = mask.copy()
    half[:3] = False
    searches = {
        (side, direction): Search(search_lattice(search, mask), sign)
        for side, search in (("all", mask), ("half", half))
        for direction, sign in ((">", 1.0), ("<", -1.0))
    }
    found = height_distributions(engine, scheme, searches)
    images = exchanged_images(engine, scheme)
    expected = null_distributions(images, searches, statistic="height", threshold=3.0)
    assert found.keys() == expected.keys()
    for key, null in expected.items():
        np.testing.assert_allclose(found[key].height, null.height, rtol=1e-5)
        assert found[key].height[0] == pytest.approx(null.height[0], rel=1e-12)


def test_enhancement_is_the_integral(rng: np.random.Generator) -> None:
    values = ndimage.gaussian_filter(rng.normal(size=(14, 13, 12)), 1.2) * 20
    everywhere = np.ones(values.shape, dtype=bool)
    exact = tfce(values.ravel(), neighbours(everywhere, reach=1)).reshape(values.shape)
    brute = brute_tfce(np.maximum(values, 0), 2000)
    assert np.corrcoef(exact.ravel(), brute.ravel())[0, 1] > 0.99999
    np.testing.assert_allclose(exact, brute, rtol=0.02, atol=1e-3 * exact.max())


def test_enhancement_of_a_block_is_known() -> None:
    values = np.zeros((7, 7, 7))
    values[2:4, 2:4, 2:4] = 3.0
    values[2, 2, 2] = 5.0
    values[6, 6, 6] = -4.0
    found = tfce(values.ravel(), neighbours(np.ones(values.shape, dtype=bool), reach=1)).reshape(values.shape)
    assert found[3, 3, 3] == pytest.approx(np.sqrt(8) * 27 / 3)
    assert found[2, 2, 2] == pytest.approx(np.sqrt(8) * 27 / 3 + (125 - 27) / 3)
    assert (found[values <= 0] == 0).all()


def test_enhancement_stays_inside_the_mask() -> None:
    values, mask = np.full((5, 5, 5), 2.0), np.zeros((5, 5, 5), dtype=bool)
    mask[1:3, 2, 2], mask[4, 2, 2] = True, True
    np.testing.assert_allclose(tfce(values[mask], neighbours(mask, reach=1)), np.sqrt([2, 2, 1]) * 8 / 3)


def test_clusters_are_those_of_the_tables(rng: np.random.Generator) -> None:
    values = ndimage.gaussian_filter(rng.normal(size=(16, 15, 14)), 1.0) * 5
    mask = rng.random(values.shape) < 0.9
    values[3, 3, 3] = np.nan
    extent, mass = largest_clusters(values[mask], neighbours(mask, reach=2), 1.0)
    found = every_cluster(values, mask, threshold=1.0)
    assert extent == max(cluster.extent for cluster in found) > 10
    assert mass == pytest.approx(max((values[tuple(cluster.voxels.T)] - 1).sum() for cluster in found))
    assert largest_clusters(values[mask], neighbours(mask, reach=2), 99.0) == (0, 0)


@pytest.mark.parametrize("statistic", ["extent", "mass", "tfce", "height"])
def test_a_judge_compares_like_with_like(rng: np.random.Generator, statistic: str) -> None:
    """The largest observed cluster has the p of the first resample, which is the data themselves."""
    mask = np.ones((12, 12, 12), dtype=bool)
    noise = ndimage.gaussian_filter(rng.normal(size=(20, 12, 12, 12)), (0, 1, 1, 1)) * 6
    lattice = search_lattice(mask, mask)
    images = iter([noise.reshape(20, -1)])
    nulls = null_distributions(images, {("all", ">"): Search(lattice, 1.0)}, statistic=statistic, threshold=1.5)
    null = nulls["all", ">"]
    judge = Resampled(null, statistic, 1.5, mask)
    found = every_cluster(noise[0], mask, threshold=1.5)
    p = judge.clusters(found, noise[0])
    assert p.corrected.min() == pytest.approx((null.cluster >= null.cluster[0]).mean())
    peaks = np.array([found[0].peaks[0]])
    assert judge.peaks(peaks, noise[0]).corrected[0] == pytest.approx((null.height >= null.height[0]).mean())
    np.testing.assert_array_equal(judge.null, null.cluster)


def test_p_counts_the_data_themselves() -> None:
    np.testing.assert_allclose(p_of([5.0, 2.0, 0.0, 9.0], np.array([5.0, 1, 2, 3])), [0.25, 0.75, 1, 0.25])


def test_a_search_in_the_other_direction_turns_the_map() -> None:
    mask = np.ones((3, 3, 3), dtype=bool)
    image = np.linspace(-5, 2, 27)[None]
    searches = {(d, d): Search(search_lattice(mask, mask), s) for d, s in ((">", 1.0), ("<", -1.0))}
    nulls = null_distributions(iter([image]), searches, statistic="height", threshold=1.0)
    assert isinstance(nulls[">", ">"], Nulls)
    assert (nulls[">", ">"].height[0], nulls["<", "<"].height[0]) == (2, 5)
