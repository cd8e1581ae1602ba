from __future__ import annotations

import numpy as np
import pytest
from tests.unit.dwi.conftest import directions

from plastimap.dwi.drift import drift_gains
from plastimap.dwi.qspace import contrast_to_noise, leave_one_out, prediction_weights, spherical_covariance


def tensor_signals(bvecs, rng, n=200, noise=0.0):
    axes = rng.normal(size=(n, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    clean = 100 * np.exp(-0.4 - 1.2 * (bvecs @ axes.T) ** 2)
    return clean, clean + rng.normal(0, noise, clean.shape) if noise else clean


def test_leaving_one_out_equals_doing_it(rng):
    bvecs, values, noise = directions(12), rng.normal(size=12), 0.2
    weights = leave_one_out(bvecs, 1.3, noise)
    np.testing.assert_array_equal(np.diag(weights), 0)
    covariance = spherical_covariance(bvecs, 1.3) + 100.0
    for k in range(12):
        others = np.delete(np.arange(12), k)
        inverse = np.linalg.inv(covariance[np.ix_(others, others)] + noise * np.eye(11))
        assert weights[k] @ values == pytest.approx(covariance[k, others] @ inverse @ values[others])


@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_predictions_beat_the_mean(noise, rng):
    bvecs = directions(30)
    clean, noisy = tensor_signals(bvecs, rng, noise=noise)
    found = prediction_weights(bvecs, noisy) @ noisy
    mean = (noisy.sum(axis=0) - noisy) / 29
    assert np.mean((found - clean) ** 2) < 0.2 * np.mean((mean - clean) ** 2)


def test_signs_and_order_of_directions_do_not_matter(rng):
    bvecs = directions(15)
    _, noisy = tensor_signals(bvecs, rng, noise=5.0)
    weights = prediction_weights(bvecs, noisy)
    np.testing.assert_allclose(prediction_weights(-bvecs, noisy), weights, atol=1e-9)
    order = rng.permutation(15)
    moved = prediction_weights(bvecs[order], noisy[order])
    np.testing.assert_allclose(moved, weights[np.ix_(order, order)], atol=1e-9)


def test_few_volumes_are_predicted_by_the_mean_of_the_others():
    weights = prediction_weights(directions(4), np.ones((4, 10)))
    np.testing.assert_allclose(weights, (1 - np.eye(4)) / 3)
    assert prediction_weights(directions(1), np.ones((1, 3))).shape == (1, 1)


def test_contrast_to_noise_falls_with_noise(rng):
    bvecs = directions(30)
    low, high = (contrast_to_noise(tensor_signals(bvecs, rng, noise=noise)[1], bvecs) for noise in (4.0, 12.0))
    assert low > 2 * high
    assert np.isnan(contrast_to_noise(np.zeros((10, 5)), directions(10)))


@pytest.mark.parametrize(("places", "degree"), [((0, 20, 39), 1), ((0, 8, 16, 24, 32, 39), 2)])
def test_drift_is_found(places, degree):
    course = 1 - 0.04 * (np.arange(40) / 39) ** degree
    b0 = np.isin(np.arange(40), places)
    gains, notes = drift_gains(500 * course[b0], b0)
    np.testing.assert_allclose(gains * course, 1, atol=1e-9)
    assert not notes


@pytest.mark.parametrize("places", [(0,), (0, 1, 2)])
def test_drift_that_cannot_be_seen_is_left_with_a_note(places):
    b0 = np.isin(np.arange(30), places)
    gains, notes = drift_gains(np.linspace(1, 0.9, len(places)), b0)
    np.testing.assert_array_equal(gains, 1)
    assert "drift" in notes[0]
