"""Mirror and difference of the hemispheres."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plastimap.images import Volume
from plastimap.stats.asymmetry import mirrored, right_minus_left, sides_of
from plastimap.stats.problems import StatsProblem

SHAPE = (11, 4, 3)


def grid(step, origin):
    affine = np.diag([step, 1.5, 1.5, 1.0])
    affine[0, 3] = origin
    return affine


def linear(affine, slope=2.0):
    """A map that is x mm times a slope, the same in all planes."""
    x = affine[0, 0] * np.arange(SHAPE[0]) + affine[0, 3]
    return np.broadcast_to((slope * x)[:, None, None], SHAPE).astype(np.float32)


@given(st.sampled_from([1.5, -1.5, 2.0]), st.floats(-2, 2))
def test_a_mirror_turns_x_round(step, off):
    """Whatever the grid's direction and wherever it starts, at voxels or between."""
    affine = grid(step, -5 * step + off)
    seen = mirrored(linear(affine), affine)
    known = np.isfinite(seen)
    assert known.sum() >= 8 * 12
    np.testing.assert_allclose(seen[known], -linear(affine)[known], atol=1e-4)


def test_on_a_symmetric_grid_nothing_is_interpolated(rng):
    affine = grid(1.5, -7.5)
    volume = rng.normal(size=SHAPE).astype(np.float32)
    volume[2, 1, 1] = np.nan
    np.testing.assert_array_equal(mirrored(volume, affine), volume[::-1])
    np.testing.assert_array_equal(mirrored(mirrored(volume, affine), affine), volume)


def test_differences_lie_on_the_right(rng):
    affine = grid(-1.5, 7.5)
    volumes = [rng.normal(size=SHAPE).astype(np.float32) for _ in range(3)]
    mask = np.ones(SHAPE, dtype=bool)
    mask[1, 0, 0] = False
    x = affine[0, 0] * np.arange(SHAPE[0]) + affine[0, 3]
    search = {"L": mask & (x < 0)[:, None, None], "R": mask & (x > 0)[:, None, None]}
    found = right_minus_left(volumes, mask, search, affine)
    assert found.mask.sum() == 5 * 12 - 1
    assert not found.mask[x <= 0].any()
    assert not found.mask[1, 0, 0]
    np.testing.assert_allclose(found.maps[0], (volumes[0] - volumes[0][::-1])[found.mask])
    # Seen in a mirror, the brain has the opposite asymmetry.
    other = right_minus_left([volume[::-1] for volume in volumes], mask, search, affine)
    np.testing.assert_allclose(other.maps, -found.maps)


def test_problems():
    oblique = grid(1.5, -7.5)
    oblique[1, 0] = 0.2
    with pytest.raises(StatsProblem, match="left to right"):
        mirrored(np.zeros(SHAPE), oblique)
    mask = np.ones(SHAPE, dtype=bool)
    nothing = {"L": ~mask, "R": mask}
    with pytest.raises(StatsProblem, match="both sides"):
        right_minus_left([np.zeros(SHAPE)], mask, nothing, grid(1.5, -7.5))


@pytest.mark.parametrize("difference", [False, True])
def test_values_of_volumes(rng, difference):
    """One door for both kinds; errors of a difference add up as those of independent values do."""
    affine = grid(1.5, -7.5)
    images = [Volume(rng.normal(size=SHAPE).astype(np.float32), affine) for _ in range(2)]
    errors = [Volume(np.full(SHAPE, 3.0, np.float32), affine), Volume(np.full(SHAPE, 4.0, np.float32), affine)]
    labels = np.zeros(SHAPE, np.float32)
    labels[:5], labels[6:] = 1, 2
    found = sides_of(images, Volume(np.ones(SHAPE, np.float32), affine), Volume(labels, affine), errors=errors,
                     difference=difference)  # fmt: skip
    assert set(found.search_volumes) == ({"R"} if difference else {"L", "R"})
    assert found.maps.shape == (2, found.mask.sum())
    expected = [3 * np.sqrt(2), 4 * np.sqrt(2)] if difference else [3, 4]
    np.testing.assert_allclose(found.errors, np.broadcast_to(np.array(expected)[:, None], found.maps.shape), rtol=1e-6)
    assert bool(found.remarks) == difference
    assert set(found.arguments) == {"mask", "search_volumes", "errors", "remarks"}
