from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from plastimap.dwi.unring import RingingProblem, calmest, shift_matrices, shifts, unring


def ringing_image(n=48, fine=8):
    """A disk with a square in it, as seen through a k-space that ends; and the mean of the truth over each voxel."""
    x = (np.arange(n * fine) + 0.5) / fine - n / 2
    truth = 100.0 * (x[:, None] ** 2 + x**2 < (0.37 * n) ** 2)
    truth[np.ix_(np.abs(x - 4) < 5.3, np.abs(x + 3) < 6.2)] += 80
    spectrum = np.fft.fftshift(np.fft.fft2(truth)) / fine**2
    first = (n * fine - n) // 2
    cut = spectrum[first : first + n, first : first + n]
    k = np.fft.fftshift(np.fft.fftfreq(n))
    cut = cut * np.exp(2j * np.pi * (k[:, None] + k) * (0.5 - 0.5 / fine))
    seen = np.abs(np.fft.ifft2(np.fft.ifftshift(cut)))
    return seen[..., None], truth.reshape(n, fine, n, fine).mean(axis=(1, 3))[..., None]


def rms(found, truth):
    return float(np.sqrt(np.mean((found - truth) ** 2)))


def test_ringing_goes():
    seen, truth = ringing_image()
    flat = ndimage.maximum_filter(truth, (5, 5, 1)) == ndimage.minimum_filter(truth, (5, 5, 1))
    made = unring(seen)
    assert rms(made[flat], truth[flat]) < 0.85 * rms(seen[flat], truth[flat])
    assert rms(made, truth) < 0.9 * rms(seen, truth)


@pytest.mark.parametrize("axis", [0, 1])
def test_ringing_of_straight_borders_goes_almost_wholly(axis):
    """Bars with borders at different places between voxel centres."""
    n, fine = 64, 16
    x = (np.arange(n * fine) + 0.5) / fine
    bars = 100.0 * ((x > 10.3) & (x < 25.8)) + 60.0 * ((x > 38.6) & (x < 52.1))
    spectrum = np.fft.fft(bars)[np.r_[0 : n // 2, -(n // 2) : 0]] / fine
    seen = np.fft.ifft(spectrum * np.exp(2j * np.pi * np.fft.fftfreq(n) * (0.5 - 0.5 / fine))).real
    truth = bars.reshape(n, fine).mean(axis=1)
    flat = ndimage.maximum_filter(truth, 5) == ndimage.minimum_filter(truth, 5)
    image = np.moveaxis(np.repeat((seen + 50)[:, None], 16, axis=1), 0, axis)[..., None]
    made = np.moveaxis(unring(image)[..., 0], axis, 0)[:, 0] - 50
    assert rms(made[flat], truth[flat]) < 0.35 * rms(seen[flat], truth[flat])


def test_a_smooth_image_stays():
    x = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    smooth = 100 + 20 * np.sin(x)[:, None, None] * np.cos(x)[None, :, None]
    np.testing.assert_allclose(unring(smooth), smooth, atol=0.2)


@pytest.mark.parametrize("axis", [0, 1])
def test_slice_axis_and_volumes(axis):
    seen, _ = ringing_image(32)
    turned = np.moveaxis(np.repeat(seen, 2, axis=2), 2, axis)
    series = np.stack([turned, 2 * turned], axis=-1)
    made = unring(series, slice_axis=axis)
    expected = np.moveaxis(np.repeat(unring(seen), 2, axis=2), 2, axis)
    np.testing.assert_allclose(made[..., 0], expected, atol=1e-3)
    np.testing.assert_allclose(made[..., 1], 2 * expected, atol=2e-3)


def test_outside_the_mask_nothing_changes_and_inputs_stay():
    seen, _ = ringing_image(32)
    seen[3, 3] = np.nan
    before = seen.copy()
    mask = np.zeros(seen.shape, dtype=bool)
    mask[8:20, 9:25] = True
    made = unring(seen, mask=mask)
    np.testing.assert_array_equal(seen, before)
    np.testing.assert_array_equal(made[~mask], np.nan_to_num(seen[~mask]).astype(np.float32))
    assert (made[mask] != seen[mask]).any()
    np.testing.assert_allclose(made[mask], unring(seen)[mask], atol=1e-3)


@pytest.mark.parametrize("n", [12, 13])
def test_shifts_move_a_wave(n):
    wave = np.cos(2 * np.pi * 2 * np.arange(n) / n)
    moved = (wave.astype(np.float32) @ shift_matrices(n, 3)).reshape(7, n)
    expected = [np.cos(2 * np.pi * 2 * (np.arange(n) + step) / n) for step in shifts(3)]
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_shifts_stay_below_half_a_voxel():
    found = shifts(20)
    assert found[0] == 0
    assert len(np.unique(found)) == 41
    assert np.abs(found).max() < 0.5


def test_a_flat_line_keeps_its_values():
    lines = np.full((2, 16), 7, dtype=np.float32)
    np.testing.assert_allclose(calmest(lines @ shift_matrices(16, 4), shifts(4)), lines, rtol=1e-5)


def test_partial_fourier_and_wrong_shapes_are_refused():
    with pytest.raises(RingingProblem, match=r"PartialFourier is 0\.75"):
        unring(np.ones((8, 8, 2)), partial_fourier=0.75)
    assert unring(np.ones((8, 8, 2)), partial_fourier=1).shape == (8, 8, 2)
    with pytest.raises(ValueError, match="X, Y, Z"):
        unring(np.ones((8, 8)))
