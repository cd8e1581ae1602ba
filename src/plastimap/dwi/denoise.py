"""Noise out of a diffusion series by the Marchenko–Pastur law (MP-PCA)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Denoised:
    """Result of :func:`denoise_mppca`.

    Attributes
    ----------
    data : ndarray of float32, shape (X, Y, Z, N)
        Never negative; outside the mask as it was.
    sigma : ndarray of float32, shape (X, Y, Z)
        Standard deviation of the noise; NaN where not estimated.
    """

    data: NDArray[np.float32]
    sigma: NDArray[np.float32]


def denoise_mppca(data: NDArray, *, mask: NDArray[np.bool_] | None = None) -> Denoised:
    """Denoise a series by principal components of overlapping patches.

    Veraart 2016, doi:10.1016/j.neuroimage.2016.08.016. The patch is the smallest cube with more voxels than there are
    volumes.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z, N)
        Raw magnitude series, before any interpolation: that would correlate the noise.
    mask : ndarray of bool, shape (X, Y, Z), optional
        Where to denoise; everywhere when not given.

    Returns
    -------
    Denoised

    Raises
    ------
    ValueError
        When the data are not 4D, or smaller than the patch.
    """
    from dipy.denoise.localpca import mppca

    if data.ndim != 4:
        raise ValueError(f"a series of shape (X, Y, Z, N) is wanted, not {data.shape}")
    radius = patch_radius(data.shape[3])
    if min(data.shape[:3]) < 2 * radius + 1:
        raise ValueError(
            f"an image of {data.shape[:3]} voxels is smaller than the patch of {2 * radius + 1} voxels a side"
        )
    where = np.ones(data.shape[:3], dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    clean = np.nan_to_num(data.astype(np.float32))
    # DIPY divides by zero where no patch reaches; those voxels are put back below.
    with one_blas_thread(), np.errstate(divide="ignore", invalid="ignore"):
        found, sigma = mppca(clean, mask=where, patch_radius=radius, return_sigma=True, out_dtype=np.float32)
    estimated = where & np.isfinite(sigma) & (sigma > 0)
    return Denoised(
        data=np.where(estimated[..., None], np.maximum(found, 0), clean),
        sigma=np.where(estimated, sigma, np.nan).astype(np.float32),
    )


def patch_radius(n_volumes: int) -> int:
    """Radius in voxels of the smallest cube with more voxels than `n_volumes`."""
    radius = 1
    while (2 * radius + 1) ** 3 <= n_volumes:
        radius += 1
    return radius


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread: on patches this small several threads wait for each other."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
