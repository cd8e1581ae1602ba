"""From a raw diffusion series to its maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.dwi.denoise import denoise_mppca
from plastimap.dwi.gradients import check_gradients, fsl_to_world
from plastimap.dwi.mask import brain_mask
from plastimap.dwi.motion import MotionCorrected, correct_motion
from plastimap.dwi.tensor import Method, fit_tensor
from plastimap.images import Volume

Image = NDArray[np.float32]


@dataclass(frozen=True)
class DwiMaps:
    """Result of :func:`process_dwi`; maps are float32, NaN outside the mask.

    Attributes
    ----------
    fa : ndarray, shape (X, Y, Z)
    md, ad, rd : ndarray
        µm²/ms.
    s0 : ndarray
        Fitted signal at b = 0.
    direction : ndarray, shape (X, Y, Z, 3)
        Unit vector of the largest diffusivity in world axes (RAS).
    mean_b0 : ndarray
        Mean of the aligned b = 0 volumes, finite everywhere.
    mask : ndarray of bool
    notes : tuple of str
    qa : dict
        Counts, signal-to-noise ratio, motion per volume; ready for JSON.
    """

    fa: Image
    md: Image
    ad: Image
    rd: Image
    s0: Image
    direction: Image
    mean_b0: Image
    mask: NDArray[np.bool_]
    notes: tuple[str, ...]
    qa: dict[str, Any]


def process_dwi(
    volume: Volume,
    bvals: ArrayLike,
    bvecs: ArrayLike,
    *,
    denoise: bool = True,
    motion: bool = True,
    fit: Method = "wls",
    b0_threshold: float = 50,
    max_bval: float = 1500,
    mask: NDArray[np.bool_] | None = None,
) -> DwiMaps:
    """Denoise, align, mask and fit a diffusion series.

    Parameters
    ----------
    volume : Volume, shape (X, Y, Z, N)
        Raw magnitude series.
    bvals : array_like, shape (N,)
        s/mm².
    bvecs : array_like, shape (N, 3)
        In FSL's convention, as in BIDS.
    denoise, motion : bool
        Whether to take these steps.
    fit : {"ols", "wls"}
        Tensor estimator.
    b0_threshold : float
        s/mm²; at or below it a volume counts as b = 0.
    max_bval : float
        s/mm²; shells above it are left out of the tensor fit where enough directions remain below.
    mask : ndarray of bool, shape (X, Y, Z), optional
        Brain; found on the mean b = 0 image when not given.

    Returns
    -------
    DwiMaps

    Raises
    ------
    ValueError
        When series and gradients do not go together; the message names every problem.
    """
    if volume.data.ndim != 4:
        raise ValueError(f"a series of shape (X, Y, Z, N) is wanted, not {volume.data.shape}")
    problems = check_gradients(bvals, bvecs, n_volumes=volume.data.shape[3], b0_threshold=b0_threshold)
    if problems:
        raise ValueError("; ".join(problems))
    b = np.asarray(bvals, dtype=np.float64)
    b0 = b <= b0_threshold
    data = np.nan_to_num(volume.data.astype(np.float32))
    # The first mask is only for what comes before alignment; the last word is that of the aligned b = 0 images.
    first_mask = (
        brain_mask(data[..., b0].mean(axis=-1), voxel_size=volume.voxel_size)
        if mask is None
        else np.asarray(mask, dtype=bool)
    )
    qa: dict[str, Any] = {"n_volumes": int(b.size), "n_b0": int(b0.sum())}
    sigma = float("nan")
    if denoise:
        denoised = denoise_mppca(data, mask=_widened(first_mask))
        data, sigma = denoised.data, float(np.nanmedian(denoised.sigma[first_mask]))
    world = fsl_to_world(bvecs, volume.affine)
    if motion:
        corrected = correct_motion(Volume(data, volume.affine), b, world, mask=first_mask, b0_threshold=b0_threshold)
        data, world = corrected.data, corrected.bvecs
        qa |= motion_summary(corrected)
    mean_b0 = data[..., b0].mean(axis=-1)
    final_mask = first_mask if mask is not None else brain_mask(mean_b0, voxel_size=volume.voxel_size)
    tensor = fit_tensor(data, b, world, mask=final_mask, method=fit, b0_threshold=b0_threshold, max_bval=max_bval)
    qa |= tensor.qa | _signal_to_noise(mean_b0[final_mask], sigma, tensor.qa["noise_sd"])
    return DwiMaps(
        fa=tensor.fa,
        md=tensor.md,
        ad=tensor.ad,
        rd=tensor.rd,
        s0=tensor.s0,
        direction=tensor.direction,
        mean_b0=mean_b0,
        mask=final_mask,
        notes=tensor.notes,
        qa=qa,
    )


def motion_summary(corrected: MotionCorrected) -> dict[str, Any]:
    """Numbers about the motion, ready for JSON: per volume, mean and largest."""
    return {
        "mean_displacement_mm": float(corrected.displacement.mean()),
        "max_displacement_mm": float(corrected.displacement.max()),
        "displacement_mm": np.round(corrected.displacement, 4).tolist(),
        "motion_parameters_mm_deg": np.round(corrected.parameters, 4).tolist(),
    }


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Give the mask a margin of two voxels, for what may move into it."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(mask, iterations=2), dtype=bool)


def _signal_to_noise(b0_signal: NDArray[np.floating], sigma: float, residual_sd: float) -> dict[str, Any]:
    """Median b = 0 signal over the noise: that of MP-PCA, else that of the tensor's residuals."""
    noise, source = (
        (sigma, "MP-PCA") if np.isfinite(sigma) and sigma > 0 else (residual_sd, "residuals of the tensor fit")
    )
    known = np.isfinite(noise) and noise > 0 and b0_signal.size
    return {"snr_b0": float(np.median(b0_signal) / noise) if known else float("nan"), "noise_from": source}
