"""Smoothing against SPM12's images and against closed forms."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from plastimap.space.smooth import gaussian, kernel, tissue_weighted, tissue_weighted_error


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


def test_spm_edges_keep_a_constant_along_the_third_axis_only():
    ones = np.ones((40, 40, 40))
    plain, spm = gaussian(ones, 8, (2, 2, 2)), gaussian(ones, 8, (2, 2, 2), edges="spm")
    assert spm[20, 20, 0] == pytest.approx(1, abs=1e-6)
    assert plain[20, 20, 0] < 0.7
    assert spm[0, 20, 20] == pytest.approx(plain[20, 20, 0], abs=1e-6)


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
    error = np.abs(gaussian(np.asarray(image.dataobj), 8, size, edges="spm") - wanted)
    # SPM stores the result in the input's 8-bit steps of 1/255: half a step.
    assert error.max() < 0.5 / 255 + 1e-5
    assert np.abs(gaussian(np.asarray(image.dataobj), 8, size) - wanted).max() > 0.1


@pytest.mark.shared
def test_equals_hmri_tissue_weighting(shared):
    def load(name):
        return np.asarray(nib.load(shared / "reference" / "hmri" / "vbq" / f"{name}.nii.gz").dataobj, dtype=np.float64)

    size = nib.affines.voxel_sizes(nib.load(shared / "reference" / "hmri" / "vbq" / "wR1.nii.gz").affine)
    np.testing.assert_allclose(gaussian(load("mwc1"), 6, size, edges="spm"), load("smwc1"), atol=1e-6)
    found = tissue_weighted(load("wR1"), load("mwc1"), 6, size, tpm=load("TPM1"), edges="spm")
    wanted = load("wap1_wR1")
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


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
