"""Smoothing against SPM12's images and against closed forms."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from plastimap.space.smooth import gaussian, kernel, known_volume, tissue_weighted, tissue_weighted_error


@given(st.floats(0.1, 12))
def test_kernel_is_a_symmetric_weighting(fwhm):
    taps = kernel(fwhm)
    assert taps.sum() == pytest.approx(1)
    assert (taps >= 0).all()
    np.testing.assert_allclose(taps, taps[::-1], atol=1e-15)


@pytest.mark.parametrize("fwhm", [1.5, 3.0, 5.0])
def test_kernel_has_the_variance_of_its_parts(fwhm):
    # Variances add: the Gaussian's, and 1/6 of the triangle of base 2 (2 x 1/12), sampled: exact for a B-spline.
    taps = kernel(fwhm)
    x = np.arange(taps.size) - taps.size // 2
    assert (taps * x**2).sum() == pytest.approx(fwhm**2 / (8 * np.log(2)) + 1 / 6, rel=1e-3)


def test_no_smoothing_is_a_copy(rng):
    data = rng.normal(size=(5, 6, 7)).astype(np.float32)
    result = gaussian(data, 0, (2, 2, 2))
    np.testing.assert_array_equal(result, data)
    assert result is not data


@given(hnp.arrays(np.float64, (9, 8, 7), elements=st.floats(-5, 5)))
def test_axes_are_alike(data):
    turned = gaussian(data.transpose(2, 0, 1), 4, (1.5, 1.5, 1.5))
    np.testing.assert_allclose(turned, gaussian(data, 4, (1.5, 1.5, 1.5)).transpose(2, 0, 1), atol=1e-5)


def test_mass_is_kept_away_from_the_edge():
    data = np.zeros((41, 41, 41))
    data[20, 20, 20] = 8.0
    assert gaussian(data, 6, (1.5, 1.5, 1.5)).sum() == pytest.approx(8, rel=1e-5)


def inside_third_axis(shape, fwhm_mm, voxel_size):
    """Share of the kernel inside the volume along the third axis: SPM divides by it, there alone."""
    return ndimage.convolve1d(np.ones(shape[2]), kernel(fwhm_mm / voxel_size[2]), mode="constant")


def test_what_is_known_of_a_volume_is_smoothed():
    rng = np.random.default_rng(5)
    whole = ndimage.gaussian_filter(rng.uniform(0, 1, (30, 30, 30)), 2)
    np.testing.assert_array_equal(known_volume(whole, 6, (2, 2, 2)), gaussian(whole, 6, (2, 2, 2)))
    holed = whole.copy()
    holed[8:20, 8:20, 8:20] = np.nan
    found, clean = known_volume(holed, 6, (2, 2, 2)), gaussian(whole, 6, (2, 2, 2))
    assert np.isnan(found[9:19, 9:19, 9:19]).all()
    around = np.isfinite(found)
    assert around[7, 14, 14]
    # A tenth of the volume or less at the gap's edge; counted as 0, up to half of it is missing.
    assert np.abs(found - clean)[around].max() < 0.1 * clean.mean()
    # Far from the gap nothing changes but the last digit.
    np.testing.assert_allclose(found[:2], clean[:2], rtol=1e-6)


def test_negative_widths_are_refused():
    with pytest.raises(ValueError, match="negative"):
        gaussian(np.ones((3, 3, 3)), -1, (1, 1, 1))


def test_tissue_weighting_keeps_a_constant_and_ignores_gaps(rng):
    tissue = np.zeros((24, 24, 24))
    tissue[6:18, 6:18, 6:18] = rng.uniform(0.2, 1, (12, 12, 12))
    values = np.full(tissue.shape, 1.3)
    values[10:12, 10, 10] = np.nan
    values[tissue == 0] = 99
    result = tissue_weighted(values, tissue, 5, (2, 2, 2))
    # What lies outside the tissue (99) must not leak in; outside is NaN.
    np.testing.assert_allclose(result[np.isfinite(result)], 1.3, rtol=1e-5)
    assert np.isnan(result[0, 0, 0])
    assert np.isfinite(result[10, 10, 10])


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        tissue_weighted(np.ones((3, 3, 3)), np.ones((3, 3, 4)), 5, (1, 1, 1))


@pytest.mark.shared
def test_equals_spm_smooth(shared):
    folder = shared / "reference" / "spm12-smooth"
    image = nib.load(folder / "single_subj_T1.nii.gz")
    wanted = np.asarray(nib.load(folder / "single_subj_T1_smooth8mm.nii.gz").dataobj)
    size = nib.affines.voxel_sizes(image.affine)
    plain = gaussian(np.asarray(image.dataobj), 8, size)
    error = np.abs(plain / inside_third_axis(plain.shape, 8, size) - wanted)
    # SPM stores the result in the input's 8-bit steps of 1/255: half a step.
    assert error.max() < 0.5 / 255 + 1e-5
    assert np.abs(plain - wanted).max() > 0.1


@pytest.mark.shared
def test_equals_hmri_tissue_weighting(shared):
    def load(name):
        return np.asarray(nib.load(shared / "reference" / "hmri" / "vbq" / f"{name}.nii.gz").dataobj, dtype=np.float64)

    size = nib.affines.voxel_sizes(nib.load(shared / "reference" / "hmri" / "vbq" / "wR1.nii.gz").affine)
    values, tissue, prior, wanted = load("wR1"), load("mwc1"), load("TPM1"), load("wap1_wR1")
    edges = inside_third_axis(tissue.shape, 6, size)
    smooth = gaussian(tissue, 6, size) / edges
    np.testing.assert_allclose(smooth, load("smwc1"), atol=1e-6)
    # hMRI's numerator leaves out what lies beyond the prior: there the map counts as 0. Its edges are SPM's, too.
    found = np.where(smooth > 0.05, tissue_weighted(np.where(prior > 0.05, values, 0), tissue, 6, size), np.nan)
    both = np.isfinite(found)
    assert (both <= np.isfinite(wanted)).all()
    assert both.sum() > 0.99 * np.isfinite(wanted).sum()
    np.testing.assert_allclose(found[both], wanted[both], atol=1e-6)
    # Ours leaves that limit out, which makes no difference to speak of inside the tissue.
    ours, inside = tissue_weighted(values, tissue, 6, size), both & (prior >= 0.2)
    assert np.abs(ours / wanted - 1)[inside].max() < 0.002


def test_error_of_smoothed_noise():
    """Noise drawn 300 times: its spread after smoothing against what was told before; 300 draws leave 4 %."""
    rng = np.random.default_rng(1)
    shape, voxel = (12, 11, 10), (1.5, 1.5, 1.5)
    tissue = rng.uniform(0.2, 1, shape).astype(np.float32)
    errors = rng.uniform(0.5, 2, shape).astype(np.float32)
    errors[2, 3, 4] = np.nan
    draws = np.stack([tissue_weighted(errors * rng.standard_normal(shape), tissue, 4, voxel) for _ in range(300)])
    told = tissue_weighted_error(errors, tissue, 4, voxel)
    ratio = draws.std(axis=0) / told
    assert np.nanmedian(ratio) == pytest.approx(1, abs=0.02)
    assert np.nanstd(ratio) < 0.06
    np.testing.assert_array_equal(np.isnan(told), np.isnan(draws[0]))
    np.testing.assert_allclose(tissue_weighted_error(errors, tissue, 0, voxel)[0, 0, 0], errors[0, 0, 0], rtol=1e-6)


def test_error_of_another_shape():
    with pytest.raises(ValueError, match="beside a tissue"):
        tissue_weighted_error(np.ones((2, 2, 2)), np.ones((2, 2, 3)), 4, (1, 1, 1))
