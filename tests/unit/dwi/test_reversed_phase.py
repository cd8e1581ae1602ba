from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from plastimap.dwi._sampling import shifted_lines
from plastimap.dwi.reversed_phase import coarser, conjugate_gradients, displacement_of_pair, slope, slope_transposed

SHAPE = (16, 14, 40)
FINE = 8


def pushed(fine, shift, n):
    """Signal of points FINE times as dense along the last axis, moved by `shift` voxels into n voxels."""
    place = (np.arange(fine.shape[2]) + 0.5) / FINE - 0.5 + shift
    low = np.floor(place).astype(int)
    x, y, _ = np.indices(fine.shape)
    total = np.zeros((*fine.shape[:2], n))
    for step, weight in ((0, 1 - (place - low)), (1, place - low)):
        inside = (low + step >= 0) & (low + step < n)
        np.add.at(total, (x[inside], y[inside], (low + step)[inside]), (fine * weight / FINE)[inside])
    return total


def pair(rng, *, ratio=1.0, gain=1.0, noise=0.0):
    """A textured object under a smooth displacement, seen both ways; the displacement on the voxels; the object."""
    x, y, z = SHAPE
    fine_shape = (x, y, z * FINE)
    texture = ndimage.gaussian_filter(rng.normal(size=fine_shape), (1.2, 1.2, 1.2 * FINE))
    along = (np.arange(z * FINE) + 0.5) / FINE - 0.5
    body = ((along > 7) & (along < z - 8))[None, None] * ndimage.gaussian_filter(np.ones(fine_shape), 1)
    fine = 300 * body * (1 + 2 * texture / texture.std() * 0.15)
    centre = np.array([x / 2, y / 2, 0.55 * z])
    size = np.array([7.0, 7.0, 6.0])

    def shift(places):
        far = [((one - c) / s) ** 2 for one, c, s in zip(places, centre, size, strict=True)]
        return 2.5 * np.exp(-0.5 * sum(far)) - 0.6

    grid = np.meshgrid(np.arange(x), np.arange(y), along, indexing="ij")
    moved = shift(grid)
    forward, backward = pushed(fine, moved, z), gain * pushed(fine, -ratio * moved, z)
    images = [image + rng.normal(0, noise, image.shape) for image in (forward, backward)]
    return *images, shift(np.indices(SHAPE).astype(float)), fine.reshape(x, y, z, FINE).mean(axis=3)


def inside(true):
    """Voxels of the object, away from its ends."""
    place = np.arange(SHAPE[2])
    return np.broadcast_to((place > 9) & (place < SHAPE[2] - 10), true.shape)


@pytest.mark.parametrize(("ratio", "gain"), [(1.0, 1.0), (0.7, 1.6)])
def test_displacement_is_found(rng, ratio, gain):
    forward, backward, true, _ = pair(rng, ratio=ratio, gain=gain, noise=10)
    found = displacement_of_pair(forward, backward, ratio=ratio)
    where = inside(true)
    # The displacement is 1.2 voxels RMS; signal with a thirtieth of noise tells it to a tenth of that.
    assert np.sqrt((true[where] ** 2).mean()) > 0.7
    assert np.sqrt(((found - true)[where] ** 2).mean()) < 0.12


def test_exchanged_images_give_the_opposite(rng):
    forward, backward, _, _ = pair(rng)
    one, other = displacement_of_pair(forward, backward), displacement_of_pair(backward, forward)
    np.testing.assert_allclose(one, -other, atol=0.03)


def test_equal_images_are_not_displaced(rng):
    image = pair(rng)[3]
    np.testing.assert_allclose(displacement_of_pair(image, image), 0, atol=1e-9)


@given(scale=st.floats(1e-3, 1e4))
@settings(max_examples=5, deadline=None)
def test_brightness_does_not_matter(scale):
    forward, backward, _, _ = pair(np.random.default_rng(4))
    one, other = (displacement_of_pair(s * forward, s * backward) for s in (1.0, scale))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_transposed_slope(rng):
    one, other = rng.normal(size=(2, 3, 4, 7))
    assert (slope(one) * other).sum() == pytest.approx((one * slope_transposed(other)).sum())


def test_lines_are_splines_with_their_slopes(rng):
    image = rng.normal(size=(3, 4, 12))
    coefficients = ndimage.spline_filter1d(image, axis=-1, mode="mirror")
    shift = rng.uniform(-1.5, 1.5, image.shape)
    values, slopes = shifted_lines(coefficients, shift)
    places = np.indices(image.shape).astype(float)
    places[2] = np.clip(places[2] + shift, 0, 11)
    expected = [
        [ndimage.map_coordinates(line, [place], order=3, mode="mirror") for line, place in zip(*rows, strict=True)]
        for rows in zip(image, places[2], strict=True)
    ]
    np.testing.assert_allclose(values, expected, atol=1e-9)
    step = 1e-6
    ahead, behind = (shifted_lines(coefficients, shift + h)[0] for h in (step, -step))
    clear = (places[2] > 0) & (places[2] < 11)
    np.testing.assert_allclose(slopes[clear], ((ahead - behind) / (2 * step))[clear], atol=1e-5)


def test_blocks_keep_the_mean(rng):
    image = rng.normal(size=(8, 4, 12))
    assert coarser(image, (2, 1, 4)).shape == (4, 4, 3)
    assert coarser(image, (2, 1, 4)).mean() == pytest.approx(image.mean())
    assert coarser(rng.normal(size=(5, 4, 3)), (2, 2, 2)).shape == (3, 2, 2)


def test_conjugate_gradients_solve(rng):
    matrix = rng.normal(size=(24, 24))
    matrix = matrix @ matrix.T + 24 * np.eye(24)
    right = rng.normal(size=(2, 3, 4))
    found = conjugate_gradients(
        lambda image: (matrix @ image.ravel()).reshape(image.shape), right, np.diag(matrix).reshape(2, 3, 4)
    )
    rest = matrix @ found.ravel() - right.ravel()
    assert np.linalg.norm(rest) < 0.05 * np.linalg.norm(right)
