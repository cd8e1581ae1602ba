"""Smoothing: SPM's Gaussian kernel, plain and tissue-weighted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

LEAST_WEIGHT = 0.05
"""Least smoothed tissue for a tissue-weighted value to be kept."""

LEAST_KNOWN = 0.5
"""Least share of the kernel on voxels with a value for a smoothed volume to be kept."""


def kernel(fwhm_voxels: float) -> NDArray[np.float64]:
    """Gaussian convolved with a linear B-spline, sampled on voxels and normalised.

    Parameters
    ----------
    fwhm_voxels : float
        Full width at half maximum of the Gaussian; 0 gives the identity.

    Returns
    -------
    ndarray, shape (2 r + 1,)
        Support ``r = round(6 sigma)``.

    Notes
    -----
    The integral of a Gaussian against a triangle of base 2 has the closed form
    ``F(x + 1) - 2 F(x) + F(x - 1)``, F being the twice integrated Gaussian
    ``F(x) = x Phi(x / s) + s phi(x / s)``.
    """
    if fwhm_voxels <= 0:
        return np.ones(1)
    sigma = fwhm_voxels / np.sqrt(8 * np.log(2))
    radius = int(np.floor(6 * sigma + 0.5))
    x = np.arange(-radius, radius + 1, dtype=np.float64)

    def twice_integrated(at: NDArray[np.float64]) -> NDArray[np.float64]:
        # Written with erf, odd part only: the even remainder x / 2 cancels in the second difference.
        tail = sigma / np.sqrt(2 * np.pi) * np.exp(-0.5 * (at / sigma) ** 2)
        return 0.5 * at * special.erf(at / (sigma * np.sqrt(2))) + tail

    values = np.maximum(twice_integrated(x + 1) - 2 * twice_integrated(x) + twice_integrated(x - 1), 0)
    return values / values.sum()


def gaussian(
    data: NDArray[np.floating],
    fwhm_mm: float | Sequence[float],
    voxel_size: Sequence[float] | NDArray[np.float64],
) -> NDArray[np.float32]:
    """Smooth a volume; the outside counts as 0.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        NaN counts as 0; :func:`known_volume` smooths what has gaps.
    fwhm_mm : float or three floats
        Full width at half maximum; 0 = none.
    voxel_size : sequence of float, shape (3,)
        Millimetres.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
    """
    result = np.nan_to_num(np.asarray(data, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    widths = np.broadcast_to(np.asarray(fwhm_mm, dtype=np.float64), 3)
    if (widths < 0).any():
        raise ValueError(f"a smoothing kernel of {widths.tolist()} mm: no negative widths")
    for axis in range(3):
        taps = kernel(float(widths[axis]) / float(voxel_size[axis]))
        result = ndimage.convolve1d(result, taps, axis=axis, mode="constant")
    return result.astype(np.float32)


def known_volume(
    volume: NDArray[np.floating],
    fwhm_mm: float | Sequence[float],
    voxel_size: Sequence[float] | NDArray[np.float64],
) -> NDArray[np.float32]:
    """Smooth modulated tissue over what is known of it: ``G*V / G*k``, k being 1 but for gaps (NaN).

    Parameters
    ----------
    volume : ndarray, shape (X, Y, Z)
        Modulated tissue V; NaN where no session showed sound tissue.
    fwhm_mm, voxel_size
        As in :func:`gaussian`.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        NaN where less than half of the kernel lies on known voxels.
    """
    smooth = gaussian(volume, fwhm_mm, voxel_size)
    gaps = ~np.isfinite(volume)
    if not gaps.any():
        return smooth
    known = 1 - gaussian(gaps.astype(np.float64), fwhm_mm, voxel_size)
    return np.divide(smooth, known, out=np.full(volume.shape, np.nan, dtype=np.float32), where=known >= LEAST_KNOWN)


def tissue_weighted(
    values: NDArray[np.floating],
    tissue: NDArray[np.floating],
    fwhm_mm: float | Sequence[float],
    voxel_size: Sequence[float] | NDArray[np.float64],
) -> NDArray[np.float32]:
    """Smooth a quantitative map within a tissue: ``G*(w p) / G*p``.

    Draganski's numerator holds ``w p [TPM > 0.05]`` as well. It is left out: the denominator knows no such limit, so
    tissue that reaches beyond the prior's would be drawn towards 0. With the same kernel and data the two differ by
    at most .1 % where the prior is .2 or more (a test compares both with hMRI's result).

    Parameters
    ----------
    values : ndarray, shape (X, Y, Z)
        The map w. Invalid (NaN) voxels count in neither numerator nor denominator.
    tissue : ndarray, shape (X, Y, Z)
        Modulated tissue p in the same space.
    fwhm_mm, voxel_size
        As in :func:`gaussian`.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        NaN where the smoothed tissue is at most 0.05.

    References
    ----------
    Draganski B. et al. (2011), https://doi.org/10.1016/j.neuroimage.2011.01.052
    """
    if values.shape != tissue.shape:
        raise ValueError(f"a map of shape {values.shape} beside a tissue of shape {tissue.shape}")
    valid = np.isfinite(values)
    share = np.where(valid, np.nan_to_num(tissue), 0)
    numerator = gaussian(np.where(valid, values, 0) * share, fwhm_mm, voxel_size)
    denominator = gaussian(share, fwhm_mm, voxel_size)
    keep = denominator > LEAST_WEIGHT
    return np.divide(numerator, denominator, out=np.full(values.shape, np.nan, dtype=np.float32), where=keep)


def tissue_weighted_error(
    errors: NDArray[np.floating],
    tissue: NDArray[np.floating],
    fwhm_mm: float | Sequence[float],
    voxel_size: Sequence[float] | NDArray[np.float64],
) -> NDArray[np.float32]:
    """Standard error of what :func:`tissue_weighted` gives: ``sqrt(G² * (p s)²) / G*p``.

    Errors of different voxels count as independent. Those of an interpolated map are not; that changes the result by
    a factor which is much the same everywhere, so that it serves to compare scans, not to test one.

    Parameters
    ----------
    errors : ndarray, shape (X, Y, Z)
        Standard errors s of the map. Invalid (NaN) voxels count in neither numerator nor denominator.
    tissue, fwhm_mm, voxel_size
        As in :func:`tissue_weighted`.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        NaN where the smoothed tissue is at most 0.05.
    """
    if errors.shape != tissue.shape:
        raise ValueError(f"a map of shape {errors.shape} beside a tissue of shape {tissue.shape}")
    valid = np.isfinite(errors)
    share = np.where(valid, np.nan_to_num(tissue), 0)
    total = (np.where(valid, errors, 0) * share).astype(np.float64) ** 2
    widths = np.broadcast_to(np.asarray(fwhm_mm, dtype=np.float64), 3)
    for axis in range(3):
        squared = kernel(float(widths[axis]) / float(voxel_size[axis])) ** 2
        total = ndimage.convolve1d(total, squared, axis=axis, mode="constant")
    denominator = gaussian(share, fwhm_mm, voxel_size)
    keep = denominator > LEAST_WEIGHT
    # Rounding may leave a trace below 0.
    root = np.sqrt(np.maximum(total, 0)).astype(np.float32)
    return np.divide(root, denominator, out=np.full(errors.shape, np.nan, dtype=np.float32), where=keep)
