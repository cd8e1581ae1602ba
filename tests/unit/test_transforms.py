"""Transforms against analytic maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from plastimap.images import Volume
from plastimap.transforms import (
    TransformProblem,
    Warp,
    compose,
    folding_share,
    invert,
    jacobian,
    resample,
    transform_points,
    world_points,
)

SHAPE = (20, 24, 22)
AFFINE = np.array([[-2.0, 0, 0, 18], [0, 2.0, 0, -20], [0, 0, 2.0, -25], [0, 0, 0, 1]])
GRID = (SHAPE, AFFINE)


def bump(height: tuple[float, float, float], width: float = 9.0) -> Warp:
    """A smooth local displacement; the slope stays below 1."""
    squared = (world_points(GRID) ** 2).sum(axis=0)
    field = np.exp(-squared / (2 * width**2))[..., np.newaxis] * np.array(height)
    return Warp(field.astype(np.float32), AFFINE)


def rigid_matrix(angles: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def test_identity_changes_nothing(rng):
    volume = Volume(rng.normal(size=SHAPE).astype(np.float32), AFFINE)
    np.testing.assert_allclose(resample(volume, volume, np.eye(4)), volume.data, atol=1e-6)
    np.testing.assert_allclose(resample(volume, volume, []), volume.data, atol=1e-6)


def test_linear_image_is_pulled_exactly():
    # Trilinear interpolation is exact for a linear image, so a wrong direction or axis shows at once.
    slope = np.array([0.5, -0.3, 0.2])
    volume = Volume(np.tensordot(slope, world_points(GRID), axes=1).astype(np.float32), AFFINE)
    small = ((8, 8, 8), np.array([[2.0, 0, 0, -8], [0, 2.0, 0, -6], [0, 0, 2.0, -7], [0, 0, 0, 1]]))
    matrix = rigid_matrix((4, -3, 6), (1.5, -2, 1))
    warp = bump((2, -1, 1.5))
    wanted = np.tensordot(slope, transform_points([warp, matrix], world_points(small)), axes=1)
    np.testing.assert_allclose(resample(volume, small, [warp, matrix]), wanted, atol=2e-5)


def test_order_of_a_chain_matters():
    # First the turn, then the shift: (1, 0, 0) turns to (0, 1, 0) and moves to (5, 1, 0).
    turn, shift = rigid_matrix((0, 0, 90), (0, 0, 0)), rigid_matrix((0, 0, 0), (5, 0, 0))
    point = np.array([[1.0], [0], [0]])
    np.testing.assert_allclose(transform_points([turn, shift], point).ravel(), [5, 1, 0], atol=1e-12)
    np.testing.assert_allclose(transform_points([shift, turn], point).ravel(), [0, 6, 0], atol=1e-12)


def test_nan_neither_spreads_nor_becomes_zero():
    data = np.full(SHAPE, 3.0, dtype=np.float32)
    data[:5] = np.nan
    half = np.eye(4)
    half[0, 3] = 0.6
    result = resample(Volume(data, AFFINE), GRID, half)
    assert np.isfinite(result).any()
    np.testing.assert_allclose(result[np.isfinite(result)], 3.0, atol=1e-5)
    assert np.isnan(result[:4]).all()
    assert np.isfinite(result[6:-1]).all()


def test_splines_do_not_ring_at_gaps():
    data = np.full(SHAPE, 3.0, dtype=np.float32)
    data[:5] = np.nan
    data[10, 10, 10] = np.nan
    half = np.eye(4)
    half[0, 3] = 0.7
    result = resample(Volume(data, AFFINE), GRID, half, order=3)
    np.testing.assert_allclose(result[np.isfinite(result)], 3.0, atol=1e-4)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(resample(Volume(data, AFFINE), GRID, half)))


def test_outside_is_nan_for_maps_and_zero_for_probabilities():
    volume = Volume(np.ones(SHAPE, dtype=np.float32), AFFINE)
    away = np.eye(4)
    away[2, 3] = 500
    assert np.isnan(resample(volume, volume, away)).all()
    assert (resample(volume, volume, away, validity=False) == 0).all()


def test_inputs_stay_as_they_are(rng):
    data = rng.normal(size=SHAPE).astype(np.float32)
    data[3, 3, 3] = np.nan
    before = data.copy()
    resample(Volume(data, AFFINE), GRID, bump((1, 1, 1)))
    np.testing.assert_array_equal(data, before)


def test_nearest_keeps_labels(rng):
    labels = rng.integers(0, 5, SHAPE).astype(np.float32)
    result = resample(Volume(labels, AFFINE), GRID, bump((1.3, 0.7, 0)), order="nearest", validity=False)
    assert set(np.unique(result)) <= set(range(5))


def test_several_images_at_once(rng):
    data = rng.normal(size=(*SHAPE, 3)).astype(np.float32)
    together = resample(Volume(data, AFFINE), GRID, bump((1, 0, 0)))
    alone = resample(Volume(data[..., 1], AFFINE), GRID, bump((1, 0, 0)))
    np.testing.assert_array_equal(together[..., 1], alone)


def test_jacobian_of_a_linear_map():
    matrix = np.diag([1.1, 0.9, 1.05, 1.0])
    field = np.moveaxis(0.02 * world_points(GRID), 0, -1).astype(np.float32)
    # p + 0.02 p, then the matrix: the determinant is the same everywhere, edges included.
    np.testing.assert_allclose(jacobian(Warp(field, AFFINE, matrix)), 1.02**3 * 1.1 * 0.9 * 1.05, rtol=1e-5)


def test_jacobian_of_a_bump():
    points = world_points(GRID)
    height, width = np.array([2.0, -1.0, 1.5]), 9.0
    profile = np.exp(-(points**2).sum(axis=0) / (2 * width**2))
    # d = h g(p): det(I + h grad g') = 1 + h . grad g.
    wanted = 1 + np.tensordot(height, -points / width**2 * profile, axes=1)
    # Central differences over 2 x 2 mm on a bump of 9 mm: error (2/9)^2 / 6 of the slope, about 0.003.
    inside = (slice(1, -1),) * 3
    np.testing.assert_allclose(jacobian(bump((2.0, -1.0, 1.5)))[inside], wanted[inside], atol=4e-3)


@settings(max_examples=10, deadline=None)
@given(st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(-8, 8)] * 3), st.tuples(*[st.floats(-4, 4)] * 3))
def test_inverse_undoes(height, angles, shift):
    warp = Warp(bump(height).displacement, AFFINE, rigid_matrix(angles, shift))
    back = invert(warp, GRID)
    both = compose([back, warp], GRID).displacement
    # Away from the edge, where the inverse would need displacements from outside the grid.
    # Trilinear interpolation of a 9 mm bump on 2 mm: up to h (2/9)^2 / 8 = 0.02 mm.
    assert np.abs(both[4:-4, 4:-4, 4:-4]).max() < 0.03


def test_a_stretch_by_three_has_an_inverse():
    # A full step of the fixed-point iteration overshoots where the map stretches by more than 2.
    points = world_points(GRID)
    profile = np.exp(-(points**2).sum(axis=0) / (2 * 10.0**2))
    warp = Warp(np.moveaxis(2.0 * points * profile, 0, -1).astype(np.float32), AFFINE)
    assert jacobian(warp).max() > 20
    back = invert(warp)
    both = compose([back, warp], GRID).displacement
    assert np.abs(both[6:-6, 6:-6, 6:-6]).max() < 0.01


def test_a_fold_has_no_inverse():
    folded = bump((0, 0, 60.0))
    assert folding_share(jacobian(folded)) > 0
    with pytest.raises(TransformProblem, match="folds"):
        invert(folded)


def test_compose_equals_chain():
    chain = [bump((1, 2, -1)), rigid_matrix((2, 3, 1), (1, -1, 2)), bump((-1, 0.5, 0))]
    points = world_points(GRID)
    composed = compose(chain, GRID)
    np.testing.assert_allclose(
        np.moveaxis(composed.displacement, -1, 0), transform_points(chain, points) - points, atol=1e-5
    )


@pytest.mark.parametrize("bad", [np.eye(3), np.full((4, 4), np.nan)])
def test_what_is_no_transform_is_refused(bad):
    with pytest.raises(TransformProblem, match="matrix"):
        transform_points(bad, np.zeros((3, 1)))


def test_a_warp_needs_three_components():
    with pytest.raises(TransformProblem, match="shape"):
        Warp(np.zeros((4, 4, 4), dtype=np.float32), np.eye(4))
