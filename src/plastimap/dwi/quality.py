"""Numbers about the quality of a diffusion series, ready for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.dwi.gradients import LEAST_DIRECTIONS
from plastimap.dwi.motion import Aligned, shells
from plastimap.dwi.qspace import contrast_to_noise
from plastimap.dwi.resampling import Distortion

QA_VOXELS = 3000
"""Voxels on which contrast and noise are compared."""


def contrasts(
    data: NDArray, bvals: NDArray[np.float64], bvecs: NDArray[np.float64], mask: NDArray[np.bool_], b0_threshold: float
) -> dict[str, float]:
    """Contrast-to-noise ratio per shell, on some of the brain's voxels."""
    voxels = np.flatnonzero(mask)
    rows = data.reshape(-1, bvals.size)[voxels[:: max(1, voxels.size // QA_VOXELS)]]
    return {
        f"{bvals[shell].mean():.0f}": contrast_to_noise(rows[:, shell].T, bvecs[shell])
        for shell in shells(bvals, b0_threshold)
        if shell.size >= LEAST_DIRECTIONS
    }


def motion_summary(corrected: Aligned) -> dict[str, Any]:
    """Numbers about the motion, ready for JSON: per volume, mean and largest."""
    return {
        "mean_displacement_mm": float(corrected.displacement.mean()),
        "max_displacement_mm": float(corrected.displacement.max()),
        "outlier_slices": [list(place) for place in corrected.outliers],
        "outlier_share": len(corrected.outliers) / (corrected.data.shape[2] * corrected.data.shape[3]),
        "eddy_mm_per_m": np.round(1e3 * corrected.eddy, 3).tolist(),
        "displacement_mm": np.round(corrected.displacement, 4).tolist(),
        "motion_parameters_mm_deg": np.round(corrected.parameters, 4).tolist(),
    }


def distortion_summary(distortion: Distortion, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Numbers about susceptibility: what it was corrected by, and how far signal had moved in the brain."""
    inside = distortion.shift_mm[mask]
    return {
        "source": distortion.source,
        "rms_shift_mm": float(np.sqrt(np.mean(inside**2))),
        "p99_shift_mm": float(np.percentile(np.abs(inside), 99)),
    }


def signal_to_noise(b0_signal: NDArray[np.floating], sigma: float, residual_sd: float) -> dict[str, Any]:
    """Median b = 0 signal over the noise: that of MP-PCA, else that of the tensor's residuals."""
    noise, source = (
        (sigma, "MP-PCA") if np.isfinite(sigma) and sigma > 0 else (residual_sd, "residuals of the tensor fit")
    )
    known = np.isfinite(noise) and noise > 0 and b0_signal.size
    return {"snr_b0": float(np.median(b0_signal) / noise) if known else float("nan"), "noise_from": source}
