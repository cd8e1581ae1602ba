"""What a diffusion-weighted volume should look like, from the other volumes of its shell.

A Gaussian process over directions: signals along directions at an angle θ go together by the spherical covariance
(Andersson 2015, doi:10.1016/j.neuroimage.2015.07.067), and a volume is predicted from the others without being fitted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RANGES = (0.7, 1.0, 1.3, np.pi / 2)
"""Angles in radians, one of which is taken as that beyond which signals have nothing in common but their mean."""

NOISE_SHARES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Variances of the noise relative to that of the signal over directions, one of which is taken."""

MEAN_VARIANCE = 100.0
"""Variance of the voxels' means relative to that of the signal over directions: large, for nothing is known of it."""

TRIED_VOXELS = 1000
"""Voxels on which ranges and noise levels are compared."""

LEAST_FOR_MODEL = 8
"""Volumes of a shell below which each is predicted by the mean of the others."""


def prediction_weights(bvecs: NDArray[np.float64], samples: NDArray[np.floating]) -> NDArray[np.float64]:
    """Weights by which the other volumes of a shell predict each one.

    Of the ranges and noise levels above those are taken that predict best.

    Parameters
    ----------
    bvecs : ndarray, shape (N, 3)
        Unit vectors in the head's axes; opposite ones are the same.
    samples : ndarray, shape (N, n)
        Signals of some voxels, for that choice.

    Returns
    -------
    ndarray, shape (N, N)
        Row k gives the prediction of volume k; its own weight is 0.
    """
    n = len(bvecs)
    if n < LEAST_FOR_MODEL:
        return (np.ones((n, n)) - np.eye(n)) / max(n - 1, 1)
    candidates = [leave_one_out(bvecs, angle, noise) for angle in RANGES for noise in NOISE_SHARES]
    some = np.ascontiguousarray(samples[:, :: max(1, samples.shape[1] // TRIED_VOXELS)], dtype=np.float64)
    errors = [float(np.median(((weights @ some - some) ** 2).mean(axis=0))) for weights in candidates]
    return candidates[int(np.argmin(errors))]


def leave_one_out(bvecs: NDArray[np.float64], angle: float, noise: float) -> NDArray[np.float64]:
    """Weights (N, N) of the process with the given range (radians) and share of noise.

    Leaving volumes out in turn costs one inverse: ŷ_k = y_k − (K⁻¹ y)_k / (K⁻¹)_kk (Rasmussen 2006, section 5.4.2).
    """
    covariance = spherical_covariance(bvecs, angle) + MEAN_VARIANCE + noise * np.eye(len(bvecs))
    inverse = np.linalg.inv(covariance)
    weights = np.eye(len(bvecs)) - inverse / np.diag(inverse)[:, None]
    np.fill_diagonal(weights, 0.0)
    return weights


def spherical_covariance(bvecs: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """1 − 3/2 θ/a + 1/2 (θ/a)³ for angles θ between axes below the range a, else 0; shape (N, N)."""
    ratio = np.arccos(np.clip(np.abs(bvecs @ bvecs.T), 0, 1)) / angle
    return np.where(ratio < 1, 1 - 1.5 * ratio + 0.5 * ratio**3, 0.0)


def contrast_to_noise(signals: NDArray[np.floating], bvecs: NDArray[np.float64]) -> float:
    """Angular contrast of a shell over what its volumes do not explain of each other.

    Parameters
    ----------
    signals : ndarray, shape (N, n)
        Of some voxels of the brain.
    bvecs : ndarray, shape (N, 3)

    Returns
    -------
    float
        Median over voxels of the standard deviation of the predictions over that of their errors.
    """
    predicted = prediction_weights(bvecs, signals) @ signals
    errors = (predicted - signals).std(axis=0)
    good = errors > np.finfo(np.float32).eps * np.abs(signals).max()
    return float(np.median(predicted.std(axis=0)[good] / errors[good])) if good.any() else float("nan")
