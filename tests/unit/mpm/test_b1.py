from __future__ import annotations

import numpy as np
import pytest

from plastimap.images import Volume
from plastimap.mpm.b1 import b1_coverage, b1_on_grid, b1_ratio, n4_field, unicort_like
from plastimap.mpm.maps import r1_and_a


@pytest.mark.parametrize(
    ("units", "factor", "flip"),
    [
        ("percent of the nominal flip angle", 100, None),
        ("percent", 100, None),
        ("%", 100, None),
        ("p.u.", 100, None),
        ("ratio", 1, None),
        ("relative", 1, None),
        ("1", 1, None),
        ("arbitrary", 100, None),
        ("arbitrary", 1, None),
        ("", 1, None),
        ("degrees", 80, 80),
        ("degrees x 10", 800, 80),
        ("10*degrees", 600, 60),
    ],
)
def test_units(units, factor, flip):
    truth = np.linspace(0.7, 1.3, 50)
    np.testing.assert_allclose(b1_ratio(truth * factor, units, nominal_flip_deg=flip), truth, rtol=1e-6)


def test_zeros_and_outliers_are_not_measured():
    found = b1_ratio([100, 0, np.nan, 95, 103, 900, 98, 99, 101, 102], "percent")
    np.testing.assert_array_equal(np.isnan(found), [False, True, True, False, False, True, False, False, False, False])


@pytest.mark.parametrize(
    ("data", "units", "words"),
    [
        (np.full(9, 1.0), "percent", "implausible.*correct Units"),
        (np.full(9, 100.0), "ratio", "implausible.*correct Units"),
        (np.full(9, 800.0), "arbitrary", "implausible.*correct Units"),
        (np.r_[np.full(5, 100.0), np.full(4, 900.0)], "percent", "implausible"),
        (np.full(9, 80.0), "degrees", "FlipAngle"),
        (np.full(9, 80.0), "Tesla", "not understood.*percent"),
        (np.zeros(9), "percent", "no positive value"),
    ],
)
def test_implausible_maps_are_refused_with_a_remedy(data, units, words):
    with pytest.raises(ValueError, match=words):
        b1_ratio(data, units)


def grid(shape, size, origin=(0.0, 0.0, 0.0)):
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = origin
    return Volume(np.zeros(shape, dtype=np.float32), affine)


def field(volume):
    points = np.indices(volume.shape).reshape(3, -1).T @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    x, y, z = points.T
    return (1 + 0.25 * np.cos(x / 60) * np.cos(y / 70) - 0.1 * np.sin(z / 50)).reshape(volume.shape)


def test_smooth_field_survives_the_change_of_grid():
    source, target = grid((30, 32, 28), 4.0, (-60, -64, -56)), grid((50, 50, 45), 2.0, (-50, -50, -45))
    found = b1_on_grid(Volume(field(source).astype(np.float32), source.affine), target)
    # A Gaussian of 8 mm lowers a cosine of 60 mm/rad by 0.16 %; linear interpolation between 4 mm adds 0.06 %.
    np.testing.assert_allclose(found, field(target), atol=0.003)


def test_noise_is_smoothed(rng):
    source = grid((30, 30, 30), 4.0)
    noisy = field(source) + rng.normal(0, 0.03, source.shape)
    found = b1_on_grid(Volume(noisy, source.affine), source)
    assert (found - field(source))[4:-4, 4:-4, 4:-4].std() < 0.01


def test_border_is_neither_pulled_down_by_zeros_nor_extrapolated():
    source = grid((40, 40, 40), 3.0, (-60, -60, -60))
    truth = field(source)
    centre = np.linalg.norm(np.indices(source.shape) - 19.5, axis=0)
    inside = centre < 14
    measured = np.where(inside, truth, 0).astype(np.float32)
    found = b1_on_grid(Volume(measured, source.affine), source)
    # A plain Gaussian would lose half the value at the border, a normalised one 0.008 of it by the field's slope.
    np.testing.assert_allclose(found[inside], truth[inside], atol=0.005)
    assert np.isfinite(found).all()
    assert found.min() > truth[inside].min() - 0.02
    assert found.max() < truth[inside].max() + 0.02
    # No step at the border: neighbours differ no more than a smooth field does.
    assert max(np.abs(np.diff(found, axis=axis)).max() for axis in range(3)) < 0.03


def test_coverage_says_how_much_was_measured():
    source, target = grid((10, 10, 10), 4.0), grid((20, 20, 20), 4.0)
    data = np.ones(source.shape)
    data[:5] = 0
    mask = np.zeros(target.shape, dtype=bool)
    mask[:10, :10, :10] = True
    assert b1_coverage(Volume(data, source.affine), target, mask) == pytest.approx(0.5)


def test_unicort_finds_a_planted_field():
    volume = grid((48, 56, 48), 4.0, (-96, -112, -96))
    radius = np.linalg.norm(
        (np.indices(volume.shape).T - (23.5, 27.5, 23.5)).T / np.reshape([18, 22, 18], (3, 1, 1, 1)), axis=0
    )
    mask = radius < 1
    x, y, z = np.indices(volume.shape) * 4.0 - np.reshape([96, 112, 96], (3, 1, 1, 1))
    planted = 1 + 0.12 * np.exp(-(x**2 + y**2 + z**2) / 2 / 50**2) - 0.03 * x / 72
    planted /= planted[mask].mean()
    r1 = np.where(np.sin(x / 9) * np.sin(y / 11) * np.sin(z / 8) > 0, 1.0, 0.65)
    signals = [
        np.sin(a * planted) * (1 - np.exp(-0.025 * r1)) / (1 - np.cos(a * planted) * np.exp(-0.025 * r1))
        for a in np.deg2rad((6.0, 21.0))
    ]
    apparent, _ = r1_and_a(*signals, flip_pdw_deg=6.0, flip_t1w_deg=21.0, tr_pdw=0.025, tr_t1w=0.025)
    found = unicort_like(np.where(mask, apparent, np.nan).astype(np.float32), mask, (4.0, 4.0, 4.0))
    assert found[mask].mean() == pytest.approx(1, abs=1e-4)
    # Half the planted variation must go (the inverted direction would double it).
    assert np.std((found / planted)[mask]) < 0.5 * np.std(planted[mask])
    assert np.corrcoef(found[mask], planted[mask])[0, 1] > 0.85


def test_the_number_of_processors_does_not_change_a_field(rng):
    import SimpleITK

    place = np.indices((40, 44, 36)) / 20 - 1
    inside = (place**2).sum(axis=0) < 1
    image = np.exp(0.2 * place[0] - 0.1 * place[2] ** 2) + 0.02 * rng.standard_normal(inside.shape)
    found, usual = [], SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        for threads in (1, 4):
            SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            found.append(n4_field(image, inside, 4.0, fwhm_mm=60))
            assert SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads() == threads
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(usual)
    np.testing.assert_array_equal(*found)


def test_unicort_without_a_brain_is_refused():
    with pytest.raises(ValueError, match="positive R1"):
        unicort_like(np.full((5, 5, 5), np.nan), np.ones((5, 5, 5), dtype=bool), 1.0)
