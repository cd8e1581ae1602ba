"""How smooth the noise is, from the residuals of a fitted model.

Kiebel 1999 (doi:10.1006/nimg.1999.0508) and Worsley 1999, in the form that SPM12 computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.problems import StatsProblem
from plastimap.stats.rft import resel_counts

MAX_IMAGES = 64
"""Residual images used at most, evenly spaced, as in SPM."""

ROUGH_FWHM = 2.5
"""Voxels; below it a lattice of voxels is a poor stand-in for a continuous field."""


@dataclass(frozen=True)
class Smoothness:
    """Smoothness of a noise field.

    Attributes
    ----------
    fwhm : ndarray, shape (3,)
        Full width at half maximum in voxels, by axis. Never floored: p values follow from it as it is.
    rpv : ndarray, shape (n_voxels,)
        Resels per voxel; NaN where a voxel's forward neighbours are not all in the mask.
    resels : ndarray, shape (4,)
        Resel counts of the whole mask.
    """

    fwhm: NDArray[np.float64]
    rpv: NDArray[np.float64]
    resels: NDArray[np.float64]

    @property
    def rough(self) -> bool:
        """Whether the field is too rough for its lattice to be taken as continuous."""
        return bool((self.fwhm < ROUGH_FWHM).any())


def estimate(
    residuals: NDArray[np.floating] | Callable[[int], NDArray[np.float64]],
    mask: NDArray[np.bool_],
    *,
    dof: float,
    sd: NDArray[np.float64] | None = None,
    n_images: int | None = None,
) -> Smoothness:
    """Smoothness of residuals, from the forward differences of their standardised images.

    Parameters
    ----------
    residuals : ndarray, shape (n_images, n_voxels), or callable
        Residuals of the model in the voxels of `mask` (C order); or a
        function that gives the i-th image, for models too large to unfold.
    mask : ndarray of bool, shape (X, Y, Z)
        Analysed voxels.
    dof : float
        Error degrees of freedom.
    sd : ndarray, shape (n_voxels,), optional
        Residual standard deviation; default: from the residuals.
    n_images : int, optional
        Needed where `residuals` is a function.

    Returns
    -------
    Smoothness

    Raises
    ------
    StatsProblem
        If the mask holds no 2 × 2 × 2 block of voxels, or the residuals do not vary in space.
    """
    image, total, spread = _images(residuals, dof, sd, n_images)
    base, steps = _forward_neighbours(np.asarray(mask, dtype=bool))
    if base.size == 0:
        raise StatsProblem(
            "the analysis mask holds no 2 × 2 × 2 block of voxels: no smoothness, so no cluster p values"
        )
    products = np.zeros((6, base.size))
    count = min(total, MAX_IMAGES)
    chosen = np.floor(np.linspace(1, total, count) + 0.5).astype(int) - 1
    for index in chosen:
        standardised = image(int(index)) / spread
        here = standardised[base]
        x, y, z = (standardised[step] - here for step in steps)
        for row, (one, other) in enumerate(((x, x), (y, y), (z, z), (x, y), (x, z), (y, z))):
            products[row] += one * other
    products *= (total / dof) / count
    xx, yy, zz, xy, xz, yz = products
    determinant = xx * yy * zz + 2 * xy * xz * yz - xx * yz**2 - yy * xz**2 - zz * xy**2
    a = 4 * np.log(2)
    rpv = np.sqrt(np.maximum(determinant, 0) / a**3)
    along = np.sqrt(products[:3] / a).mean(axis=1)
    if not (rpv.mean() > 0 and (along > 0).all()):
        raise StatsProblem("the residuals do not vary in space: no smoothness, so no cluster p values")
    fwhm = 1.0 / (rpv.mean() ** (1 / 3) * along / np.prod(along) ** (1 / 3))
    everywhere = np.full(int(np.count_nonzero(mask)), np.nan)
    everywhere[base] = rpv
    return Smoothness(fwhm=fwhm, rpv=everywhere, resels=resel_counts(mask, fwhm))


def _images(
    residuals: NDArray[np.floating] | Callable[[int], NDArray[np.float64]],
    dof: float,
    sd: NDArray[np.float64] | None,
    n_images: int | None,
) -> tuple[Callable[[int], NDArray[np.float64]], int, NDArray[np.float64]]:
    """Return a function that gives the i-th residual image, their number, and their standard deviation."""
    if callable(residuals):
        if n_images is None or sd is None:
            raise ValueError("residuals given as a function need n_images and sd")
        return residuals, n_images, sd
    stack = np.asarray(residuals, dtype=np.float64)
    spread = np.sqrt((stack**2).sum(axis=0) / dof) if sd is None else sd
    return lambda index: stack[index], stack.shape[0], spread


def _forward_neighbours(
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.intp], tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]]:
    """Voxels (as positions within the mask) with a full 2 × 2 × 2 block ahead, and their next ones along each axis."""
    position = np.full(mask.shape, -1, dtype=np.intp)
    position[mask] = np.arange(np.count_nonzero(mask))
    low, high = slice(None, -1), slice(1, None)
    block = np.ones(tuple(max(n - 1, 0) for n in mask.shape), dtype=bool)
    for corner in product((low, high), repeat=3):
        block &= mask[corner]
    return position[low, low, low][block], (
        position[high, low, low][block],
        position[low, high, low][block],
        position[low, low, high][block],
    )
