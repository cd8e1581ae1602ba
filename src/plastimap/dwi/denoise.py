"""Noise out of a diffusion series by the Marchenko–Pastur law (MP-PCA).

A patch of n voxels × N volumes of pure noise has covariance eigenvalues of a known, bounded distribution. What
exceeds it is signal; the rest is left out. Patches overlap and are averaged, those with fewer signal components
counting more (Manjón 2013, doi:10.1371/journal.pone.0073021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK_NUMBERS = 2_000_000
"""Numbers per step: as many patches are worked on together as this allows."""


@dataclass(frozen=True)
class Denoised:
    """Result of :func:`denoise_mppca`.

    Attributes
    ----------
    data : ndarray of float32, shape (X, Y, Z, N)
        Never negative; outside the mask as it was.
    sigma : ndarray of float32, shape (X, Y, Z)
        Standard deviation of the noise; NaN outside the mask.
    """

    data: NDArray[np.float32]
    sigma: NDArray[np.float32]


def denoise_mppca(data: NDArray, *, mask: NDArray[np.bool_] | None = None, stride: int | None = None) -> Denoised:
    """Denoise a series by principal components of overlapping patches.

    Veraart 2016, doi:10.1016/j.neuroimage.2016.08.016. The patch is the smallest cube with more voxels than there are
    volumes.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z, N)
        Raw magnitude series, before any interpolation: that would correlate the noise. NaN counts as 0.
    mask : ndarray of bool, shape (X, Y, Z), optional
        Where to denoise; everywhere when not given.
    stride : int, optional
        Voxels between the centres of neighbouring patches, at most the patch's edge. The patch's radius when not given:
        large patches then cost an eighth or less of what all of them would, at nearly the same result.

    Returns
    -------
    Denoised

    Raises
    ------
    ValueError
        When the data are not 4D, have a single volume, are smaller than a patch, or patches would leave gaps.
    """
    if data.ndim != 4 or data.shape[3] < 2:
        raise ValueError(f"a series of shape (X, Y, Z, N) with several volumes is wanted, not {data.shape}")
    radius = patch_radius(data.shape[3])
    edge = 2 * radius + 1
    if min(data.shape[:3]) < edge:
        raise ValueError(f"an image of {data.shape[:3]} voxels is smaller than the patch of {edge} voxels a side")
    step = radius if stride is None else stride
    if not 1 <= step <= edge:
        raise ValueError(f"stride {step}: it must lie between 1 and {edge}, the patch's edge")
    where = np.ones(data.shape[:3], dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    clean = np.nan_to_num(data.astype(np.float32))
    result, variance, weight = _averaged_patches(clean, _corners(where, edge, step), edge)
    reached = where & (weight > 0)
    result[reached] /= weight[reached, None]
    result[~reached] = clean[~reached]
    variance[reached] /= weight[reached]
    return Denoised(
        data=np.maximum(result, 0, out=result, where=reached[..., None]),
        sigma=np.where(reached, np.sqrt(variance), np.nan).astype(np.float32),
    )


def patch_radius(n_volumes: int) -> int:
    """Radius in voxels of the smallest cube with more voxels than `n_volumes`."""
    radius = 1
    while (2 * radius + 1) ** 3 <= n_volumes:
        radius += 1
    return radius


def noise_components(eigenvalues: NDArray[np.floating], n_samples: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Noise variance and number of noise components of many patches.

    The largest set of smallest eigenvalues is taken whose spread does not exceed that of the Marchenko–Pastur
    distribution with their mean as variance; then every eigenvalue below the edge for that variance counts as noise.

    Parameters
    ----------
    eigenvalues : ndarray, shape (n_patches, N)
        Ascending, of covariances of `n_samples` voxels.
    n_samples : int
        Voxels of a patch, more than N.

    Returns
    -------
    variance : ndarray, shape (n_patches,)
    n_noise : ndarray of int, shape (n_patches,)
    """
    # A covariance has none below zero but by rounding.
    values = np.maximum(np.asarray(eigenvalues, dtype=np.float64), 0)
    counts = np.arange(1, values.shape[1] + 1)
    means = np.cumsum(values, axis=1) / counts
    fits = values - values[:, :1] <= 4 * np.sqrt(counts / n_samples) * means
    # The last column that fits; the first one always does, as a single value has no spread.
    last = values.shape[1] - 1 - np.argmax(fits[:, ::-1], axis=1)
    variance = means[np.arange(len(values)), last]
    upper_edge = (1 + np.sqrt(values.shape[1] / n_samples)) ** 2 * variance
    return variance, np.count_nonzero(values < upper_edge[:, None], axis=1)


def _corners(where: NDArray[np.bool_], edge: int, stride: int) -> NDArray[np.intp]:
    """First voxels of the patches that touch the mask: a grid of the given stride, closed at the far borders."""
    from scipy import ndimage

    firsts = [np.unique([*range(0, n - edge + 1, stride), n - edge]) for n in where.shape]
    # The maximum filter's origin moves its window such that it looks at the patch that begins at the voxel.
    touched = ndimage.maximum_filter(where.astype(np.uint8), size=edge, origin=-(edge // 2), mode="constant")
    grid = np.stack(np.meshgrid(*firsts, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid[touched[tuple(grid.T)] > 0]


def _averaged_patches(
    data: NDArray[np.float32], corners: NDArray[np.intp], edge: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Weighted sums over patches of the denoised signals and of the noise variance, and the sums of weights."""
    shape, n_volumes = data.shape[:3], data.shape[3]
    flat = np.ascontiguousarray(data).reshape(-1, n_volumes)
    first = np.asarray(np.ravel_multi_index(tuple(corners.T), shape))
    offsets = np.ravel_multi_index(tuple(np.indices((edge, edge, edge)).reshape(3, -1)), shape)
    signal = np.zeros_like(flat)
    variance, weight = np.zeros(len(flat), dtype=np.float32), np.zeros(len(flat), dtype=np.float32)
    step = max(1, CHUNK_NUMBERS // (offsets.size * n_volumes))
    for start in range(0, first.size, step):
        places = first[start : start + step, None] + offsets
        patches, patch_variance, patch_weight = _denoised(flat[places])
        # Patches begin at different voxels, so their k-th voxels all differ: one addition per k has no collisions.
        for k in range(offsets.size):
            signal[places[:, k]] += patches[:, k] * patch_weight[:, None]
            variance[places[:, k]] += patch_variance * patch_weight
            weight[places[:, k]] += patch_weight
    return signal.reshape(data.shape), variance.reshape(shape), weight.reshape(shape)


def _denoised(
    patches: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Patches (n, voxels, N) without their noise components, their noise variances and weights."""
    n_samples, n_volumes = patches.shape[1:]
    mean = patches.mean(axis=1, keepdims=True)
    centred = patches - mean
    values, vectors = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred / n_samples)
    variance, n_noise = noise_components(values, n_samples)
    vectors[np.broadcast_to((np.arange(n_volumes) < n_noise[:, None])[:, None, :], vectors.shape)] = 0
    kept = centred @ vectors @ vectors.transpose(0, 2, 1) + mean
    n_signal = n_volumes - n_noise
    # The mean and the signal's components took their share of the noise with them.
    unbiased = variance * n_samples / np.maximum(n_samples - 1 - n_signal, 1)
    return kept, unbiased.astype(np.float32), (1 / (1 + n_signal)).astype(np.float32)
