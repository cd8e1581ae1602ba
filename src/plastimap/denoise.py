"""Noise out of a diffusion series by the Marchenko–Pastur law (MP-PCA).

A patch of n voxels × N volumes of pure noise has covariance eigenvalues of a known, bounded distribution. What
exceeds it is signal; the rest is left out. Patches overlap and are averaged, those with fewer signal components
counting more (Manjón 2013, doi:10.1371/journal.pone.0073021).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap._mppca import denoised_sums

CHUNK_PLANES = 12
"""Image planes whose patches make one task. Tasks are added up in order, however many run at a time."""


RICIAN_ROUNDS = 5
"""Noise and signal depend on each other; where the signal exceeds the noise, five rounds settle both."""


@dataclass(frozen=True)
class Denoised:
    """Result of :func:`denoise_mppca`.

    Attributes
    ----------
    data : ndarray of float32, shape (X, Y, Z, N)
        Never negative; outside the mask as it was.
    sigma : ndarray of float32, shape (X, Y, Z)
        Standard deviation of the noise; NaN outside the mask.
    rank : ndarray of float32, shape (X, Y, Z)
        Signal components, averaged over the patches of a voxel; NaN outside the mask.
    """

    data: NDArray[np.float32]
    sigma: NDArray[np.float32]
    rank: NDArray[np.float32]


def denoise_mppca(
    data: NDArray,
    *,
    mask: NDArray[np.bool_] | None = None,
    stride: int | None = None,
    shrink: bool = False,
    rician: bool = False,
    threads: int = 1,
) -> Denoised:
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
        Voxels between neighbouring patches, at most the patch's edge. The patch's radius when not given: large patches
        then cost an eighth or less of what all of them would, at nearly the same result.
    shrink : bool
        Scale the kept components to what is nearest to the signal in mean square (Gavish 2017,
        doi:10.1109/TIT.2017.2653801). Images then have a tenth less error, but weak directional components fade, and
        FA comes out .01 lower; so the default is to keep them whole.
    rician : bool
        Take the bias of magnitude data off, which is near half of sigma²/signal (Koay 2006,
        doi:10.1016/j.jmr.2006.01.016). Good for weak signals of high shells.
    threads : int
        Patches are worked on by so many threads; the result does not depend on it.

    Returns
    -------
    Denoised

    Raises
    ------
    ValueError
        When the data are not 4D, have a single volume, are smaller than a patch, or patches would leave gaps.
    """
    from threadpoolctl import threadpool_limits

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
    clean = np.ascontiguousarray(without_nan(data))
    # The product of a patch with itself is small: more than one BLAS thread would only spin.
    with threadpool_limits(1, user_api="blas"):
        signal, sums = _summed(clean, patch_corners(where, edge, step), edge, shrink, threads)
    reached = where & (sums[..., 0] > 0)
    # In place: a series of many volumes fits into memory a few times only.
    np.divide(signal, sums[..., :1], out=signal, where=reached[..., None])
    np.copyto(signal, clean, where=~reached[..., None])
    quotients = np.full((*data.shape[:3], 2), np.nan, dtype=np.float32)
    quotients[reached] = sums[reached, 1:] / sums[reached, :1]
    result = np.maximum(signal, 0, out=signal, where=reached[..., None])
    sigma = np.sqrt(quotients[..., 0])
    if rician:
        result[reached], sigma[reached] = without_rician_bias(result[reached], sigma[reached])
    return Denoised(data=result, sigma=sigma, rank=quotients[..., 1])


def without_nan(data: NDArray) -> NDArray[np.float32]:
    """Images as float32 with 0 for NaN; the array itself where it already is so."""
    series = np.asarray(data, dtype=np.float32)
    # Both are NaN when any number is.
    bounds = np.array([series.min(), series.max()]) if series.size else np.zeros(2)
    return series if np.isfinite(bounds).all() else np.nan_to_num(series)


def patch_radius(n_volumes: int) -> int:
    """Radius in voxels of the smallest cube with more voxels than `n_volumes`."""
    radius = 1
    while (2 * radius + 1) ** 3 <= n_volumes:
        radius += 1
    return radius


def patch_corners(where: NDArray[np.bool_], edge: int, stride: int) -> NDArray[np.intp]:
    """First voxels of the patches that touch the mask: a grid of the given stride, closed at the far borders."""
    from scipy import ndimage

    firsts = [np.unique([*range(0, n - edge + 1, stride), n - edge]) for n in where.shape]
    # The maximum filter's origin moves its window such that it looks at the patch that begins at the voxel.
    touched = ndimage.maximum_filter(where.astype(np.uint8), size=edge, origin=-(edge // 2), mode="constant")
    grid = np.stack(np.meshgrid(*firsts, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid[touched[tuple(grid.T)] > 0]


def without_rician_bias(
    signal: NDArray[np.float32], sigma: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Turn means of magnitude data into the signals below the noise, and their spread into the noise's.

    Parameters
    ----------
    signal : ndarray, shape (n, N)
        Expected magnitudes (denoised).
    sigma : ndarray, shape (n,)
        Standard deviation of the magnitudes.

    Returns
    -------
    signal : ndarray of float32, shape (n, N)
    sigma : ndarray of float32, shape (n,)
        Standard deviation of the real and of the imaginary part.
    """
    from scipy import special

    ratio = np.concatenate([np.linspace(0, 8, 801), [16, 64, 1e3, 1e6]])
    half = ratio**2 / 4
    magnitude = np.sqrt(np.pi / 2) * ((1 + 2 * half) * special.i0e(half) + 2 * half * special.i1e(half))
    # Far above the noise the difference of large squares has no digits left; there the variance is that of the noise.
    variance = np.where(ratio > 100, 1.0, 2 + ratio**2 - magnitude**2)
    noise = sigma.astype(np.float64)
    positive = np.where(noise > 0, noise, 1.0)
    for _ in range(RICIAN_ROUNDS):
        share = np.interp(signal / positive[:, None], magnitude, variance).mean(axis=1)
        positive = np.where(noise > 0, noise / np.sqrt(share), 1.0)
    found = np.interp(signal / positive[:, None], magnitude, ratio) * positive[:, None]
    kept = np.where(noise[:, None] > 0, found, signal)
    return kept.astype(np.float32), np.where(noise > 0, positive, noise).astype(np.float32)


def _summed(
    data: NDArray[np.float32], corners: NDArray[np.intp], edge: int, shrink: bool, threads: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weighted sums over all patches, as :func:`~plastimap._mppca.denoised_sums` gives them."""
    signal = np.zeros_like(data)
    sums = np.zeros((*data.shape[:3], 3), dtype=np.float32)

    def work(task: tuple[int, NDArray[np.intp]]) -> tuple[int, tuple[NDArray, NDArray]]:
        first, own = task
        last = int(own[:, 0].max()) + edge
        return first, denoised_sums(data[first:last], own - (first, 0, 0), edge, shrink)

    with ThreadPoolExecutor(threads) as pool:
        # The map hands results over in the order of the tasks, so sums are formed in one order only.
        for first, (part, weights) in pool.map(work, _tasks(corners)):
            signal[first : first + len(part)] += part
            sums[first : first + len(part)] += weights
    return signal, sums


def _tasks(corners: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Patches by blocks of planes along the first axis: first plane, corners."""
    block = corners[:, 0] // CHUNK_PLANES
    for number in np.unique(block):
        own = corners[block == number]
        yield int(own[:, 0].min()), own
