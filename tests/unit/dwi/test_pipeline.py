from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.unit.dwi.conftest import make_phantom

from plastimap.dwi.pipeline import process_dwi
from plastimap.images import Volume


def to_fsl(world, affine):
    """World axes to FSL's convention, for an image whose axes are the world's."""
    voxel = world * np.sign(np.diag(affine)[:3])
    return voxel * ((-1, 1, 1) if np.linalg.det(affine[:3, :3]) > 0 else (1, 1, 1))


def run(phantom, **options):
    bvecs = to_fsl(phantom.bvecs, phantom.affine)
    return process_dwi(Volume(phantom.data, phantom.affine), phantom.bvals, bvecs, **options)


def truth_of(seed):
    """The phantom's tensors hang on its seed: the same seed without motion and noise gives its true maps."""
    still = make_phantom(motion=0.0, snr=1e6, seed=seed)
    return run(still, denoise=False, motion=False, mask=still.brain)


def rms(found, truth):
    return float(np.sqrt(np.nanmean((found - truth) ** 2)))


def test_motion_correction_brings_fa_back(phantom):
    truth = truth_of(1)
    inner = truth.fa > 0.25
    raw, made = (run(phantom, denoise=False, motion=motion, mask=phantom.brain) for motion in (False, True))
    # Noise alone accounts for about half of the error before correction, and stays.
    assert rms(made.fa[inner], truth.fa[inner]) < 0.85 * rms(raw.fa[inner], truth.fa[inner])
    assert made.qa["mean_displacement_mm"] > 1.5
    json.dumps(made.qa)


def test_denoising_lowers_the_error_of_md(still_phantom):
    truth = truth_of(2)
    inner = truth.fa > 0.25
    raw, made = (run(still_phantom, denoise=d, motion=False, mask=still_phantom.brain) for d in (False, True))
    assert rms(made.md[inner], truth.md[inner]) < 0.85 * rms(raw.md[inner], truth.md[inner])
    assert rms(made.fa[inner], truth.fa[inner]) < 1.05 * rms(raw.fa[inner], truth.fa[inner])
    assert made.qa["snr_b0"] == pytest.approx(30, rel=0.25)  # median over tissues of 1, 1.2 and 3 times 25
    assert made.qa["noise_from"] == "MP-PCA"


def test_maps_have_units_and_nan_outside(still_phantom):
    made = run(still_phantom, denoise=False, motion=False)
    for name in ("fa", "md", "ad", "rd", "s0"):
        image = getattr(made, name)
        assert image.dtype == np.float32
        assert np.isnan(image[~made.mask]).all()
    # Tissue at 0.83-0.85 µm²/ms with partial fluid.
    assert 0.7 < np.nanmedian(made.md) < 1.1
    assert np.isfinite(made.mean_b0).all()
    assert made.qa["noise_from"] == "residuals of the tensor fit"
    assert made.qa["snr_b0"] == pytest.approx(30, rel=0.3)


def test_directions_come_out_in_world_axes(still_phantom):
    """The same scan stored with the x axis reversed has the same directions in the world."""
    made = run(still_phantom, denoise=False, motion=False, mask=still_phantom.brain)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = still_phantom.data.shape[0] - 1
    affine = still_phantom.affine @ flip
    other = process_dwi(
        Volume(still_phantom.data[::-1], affine),
        still_phantom.bvals,
        to_fsl(still_phantom.bvecs, affine),
        denoise=False,
        motion=False,
        mask=still_phantom.brain[::-1],
    )
    clear = np.nan_to_num(made.fa) > 0.4
    np.testing.assert_allclose(other.fa[::-1][clear], made.fa[clear], atol=1e-4)
    cosine = (other.direction[::-1] * made.direction).sum(axis=-1)[clear]
    np.testing.assert_allclose(np.abs(cosine), 1, atol=1e-3)


def test_single_high_shell_works_with_a_note():
    made = run(make_phantom(bval=2500, n_b0=1, motion=0.0), denoise=False, motion=False)
    assert any("2500" in note for note in made.notes)
    assert np.isfinite(made.fa[made.mask]).mean() > 0.99


def test_all_problems_are_named_at_once(still_phantom):
    volume = Volume(still_phantom.data, still_phantom.affine)
    with pytest.raises(ValueError, match=r"13 b-values for 14 volumes.*length 1"):
        process_dwi(volume, still_phantom.bvals[1:], still_phantom.bvecs[1:] * 2)
    with pytest.raises(ValueError, match="X, Y, Z, N"):
        process_dwi(Volume(still_phantom.data[..., 0], still_phantom.affine), still_phantom.bvals, still_phantom.bvecs)


def test_quality_numbers_and_notes(still_phantom):
    made = run(still_phantom, denoise=False)
    assert set(made.qa["cnr"]) == {"1000"}
    assert 0.1 < made.qa["cnr"]["1000"] < 10
    assert made.qa["outlier_slices"] == []
    assert made.qa["bvec_table"]["best"]
    assert any("PhaseEncodingDirection" in note for note in made.notes)
    assert any("drift" in note for note in made.notes)  # two b = 0 volumes, both at the start
    assert made.sigma is None
    assert made.water is None
    assert made.tensor.shape == (*made.mask.shape, 6)
    assert made.colour_fa[~made.mask].max() == 0
    json.dumps(made.qa)


def test_drift_is_taken_out(still_phantom):
    order = [0, *range(2, 14), 1]
    course = np.linspace(1, 0.9, 14).astype(np.float32)
    drifted = replace(
        still_phantom,
        data=still_phantom.data[..., order] * course,
        bvals=still_phantom.bvals[order],
        bvecs=still_phantom.bvecs[order],
    )
    truth, with_drift, corrected = (
        run(p, denoise=False, motion=False, drift=d, mask=p.brain)
        for p, d in ((still_phantom, False), (drifted, False), (drifted, True))
    )
    assert rms(corrected.md, truth.md) < 0.2 * rms(with_drift.md, truth.md)
    assert corrected.qa["drift_percent"] == pytest.approx(11, abs=2)


def test_ringing_is_removed_or_refused(still_phantom):
    plain, clean = (run(still_phantom, denoise=False, motion=False, unring=u) for u in (False, True))
    inside = plain.mask & clean.mask
    assert np.nanmedian(np.abs(plain.fa - clean.fa)[inside]) > 1e-3
    with pytest.raises(ValueError, match="PartialFourier"):
        run(still_phantom, denoise=False, motion=False, unring=True, partial_fourier=0.75)


def test_free_water_needs_two_shells(still_phantom):
    made = run(still_phantom, denoise=False, motion=False, free_water=True, mask=still_phantom.brain)
    assert any("free water" in note for note in made.notes)
    assert made.water is None
    mixed = replace(still_phantom, bvals=np.where(np.arange(14) % 2, 500.0, 1000.0) * (still_phantom.bvals > 0))
    made = run(mixed, denoise=False, motion=False, free_water=True, mask=mixed.brain)
    assert made.water is not None
    assert np.nanmax(made.water) < 1
