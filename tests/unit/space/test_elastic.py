"""The solver against dense algebra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft

from plastimap.space.elastic import apply_spectrum, bending_spectrum, noise_level, smallest, solve, world_gradient

SHAPE = (6, 5, 8)
SIZE = np.array([2.0, 2.0, 3.0])


def test_spectrum_is_the_squared_laplacian(rng):
    spectrum = bending_spectrum(SHAPE, SIZE, 2.0)
    # One wave along z: (2 pi / (8 x 3 mm))^4, times stiffness 2 and the voxel volume 12.
    z = np.arange(8)
    wave = np.broadcast_to(np.cos(2 * np.pi * z / 8), SHAPE).astype(np.float32)
    field = np.stack([wave, 0 * wave, 2 * wave])
    expected = (2 * np.pi / 24) ** 4 * 2 * 12
    np.testing.assert_allclose(apply_spectrum(spectrum, field), expected * field, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
def test_solution_solves_the_equation(rng, channels):
    spectrum = bending_spectrum(SHAPE, SIZE, 5.0)
    gradients = [rng.normal(size=(3, *SHAPE)).astype(np.float32) for _ in range(channels)]
    right = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    found = solve(gradients, right, spectrum, iterations=400, tolerance=1e-6)
    left = apply_spectrum(spectrum, found) + sum(g * (g * found).sum(axis=0) for g in gradients)
    assert np.abs(left - right).max() < 2e-3 * np.abs(right).max()


def test_nothing_to_match_moves_nothing():
    zero = np.zeros((3, *SHAPE), dtype=np.float32)
    assert not solve([zero], zero, bending_spectrum(SHAPE, SIZE, 1.0), iterations=5).any()


def test_spectrum_matches_its_transform():
    assert bending_spectrum(SHAPE, SIZE, 1.0).shape == fft.rfftn(np.zeros(SHAPE)).shape


def test_gradient_is_in_world_axes():
    affine = np.array([[0, 2.0, 0, 0], [-3.0, 0, 0, 5], [0, 0, 1.5, 1], [0, 0, 0, 1]])
    index = np.indices(SHAPE).reshape(3, -1)
    world = affine[:3, :3] @ index
    image = (np.array([0.5, -1.0, 2.0]) @ world).reshape(SHAPE).astype(np.float32)
    gradient = world_gradient(image, affine)
    np.testing.assert_allclose(gradient.reshape(3, -1), np.tile([[0.5], [-1.0], [2.0]], index.shape[1]), atol=1e-4)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_noise_level_of_a_mean_is_put_right(rng, n):
    images = rng.normal(0, 0.4, (n, 20, 20, 20)).astype(np.float32)
    residuals = list(images.mean(axis=0) - images)
    # 8000 n values: the median absolute deviation has a relative standard error of about 1 %.
    assert noise_level(residuals, np.ones((20, 20, 20), dtype=bool)) == pytest.approx(0.4, rel=0.05)


def test_noise_never_vanishes():
    assert smallest(0.0, [np.full(3, 10.0)]) == pytest.approx(0.01)
    assert smallest(0.5, [np.ones(3)]) == 0.5
