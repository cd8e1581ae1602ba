"""Diffusion tensor of the tissue beside free water, from two shells or more.

Fluid beside tissue (ventricles, oedema) lowers FA and raises MD of a voxel. With two shells its share can be told
from the tissue's tensor (Hoy 2014, doi:10.1016/j.neuroimage.2014.09.053).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.dwi._eigen import eigensystems, scalars
from plastimap.dwi._tensor import INVALID, equations_of, fit_rows
from plastimap.dwi.gradients import normalised
from plastimap.dwi.motion import shells
from plastimap.dwi.tensor import chunks, tensor_design

WATER = 3.0
"""Diffusivity of water at body temperature, µm²/ms."""

COARSE = tuple(np.arange(0, 0.951, 0.05))
"""Shares of water that are tried first; a voxel of more has no tissue to speak of."""

FINE = tuple(np.arange(-0.04, 0.041, 0.01))
"""Steps around the best of them that are tried then."""

SLOWEST, FASTEST = 0.1, 2.5
"""µm²/ms: a share of water that leaves the tissue a mean diffusivity outside of this is none."""

Image = NDArray[np.float32]


class TooFewShells(ValueError):
    """Free water cannot be told from tissue with a single shell."""


@dataclass(frozen=True)
class FreeWaterMaps:
    """Result of :func:`fit_free_water`: float32 maps of shape (X, Y, Z), NaN where nothing was fitted.

    Attributes
    ----------
    fraction : ndarray
        Share of the b = 0 signal that is free water, 0–0.99.
    fa, md, ad, rd : ndarray
        Of the tissue; µm²/ms.
    """

    fraction: Image
    fa: Image
    md: Image
    ad: Image
    rd: Image


def fit_free_water(
    data: NDArray, bvals: ArrayLike, bvecs: ArrayLike, *, mask: NDArray[np.bool_], b0_threshold: float = 50
) -> FreeWaterMaps:
    """Fit S / S0 = f exp(−3 b) + (1 − f) exp(−b gᵀDg): for each share f a tensor, and the share that fits best.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z, N)
    bvals : array_like, shape (N,)
        s/mm²; all volumes are used.
    bvecs : array_like, shape (N, 3)
    mask : ndarray of bool, shape (X, Y, Z)
    b0_threshold : float
        s/mm²; at or below it a volume counts as b = 0.

    Returns
    -------
    FreeWaterMaps

    Raises
    ------
    TooFewShells
        When there are fewer than two shells, or no b = 0 volume.
    """
    b, g = np.asarray(bvals, dtype=np.float64), normalised(bvecs)
    is_b0 = b <= b0_threshold
    n_shells = len(shells(b, b0_threshold))
    if n_shells < 2 or not is_b0.any():
        raise TooFewShells(f"free water needs b = 0 and two shells; there are {n_shells} shells")
    where = np.asarray(mask, dtype=bool)
    model = _Model(tensor_design(b * 1e-3, g), np.exp(-WATER * b * 1e-3).astype(np.float32), is_b0)
    found = np.full((int(np.count_nonzero(where)), 5), np.nan, dtype=np.float32)
    for rows, signals in chunks(data, where, np.ones(b.size, dtype=bool)):
        found[rows] = model.fit(signals)
    images = np.full((where.size, 5), np.nan, dtype=np.float32)
    images[where.ravel()] = found
    return FreeWaterMaps(*(np.ascontiguousarray(part).reshape(where.shape) for part in images.T))


@dataclass(frozen=True)
class _Model:
    """What all voxels share: the tensor's design matrix (N, 7), the water's decay (N,), and which volumes are b = 0."""

    design: NDArray[np.float64]
    water: NDArray[np.float32]
    is_b0: NDArray[np.bool_]

    def fit(self, signals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fraction, FA, MD, AD and RD (n, 5) of signals (N, n)."""
        level = signals[self.is_b0].mean(axis=0)
        good = np.isfinite(level) & (level > 0)
        relative = signals[:, good] / level[good]
        n = relative.shape[1]
        best, error, share = np.full((n, 8), np.nan), np.full(n, np.inf), np.zeros(n)
        best, error, share = self._tried(relative, (np.full(n, f) for f in COARSE), best, error, share)
        around = share
        best, error, share = self._tried(relative, (around + step for step in FINE), best, error, share)
        values, directions = np.empty((n, 3)), np.empty((n, 3))
        eigensystems(np.nan_to_num(best), values, directions)
        found = np.empty((n, 4), dtype=np.float32)
        scalars(values, found)
        result = np.full((signals.shape[1], 5), np.nan, dtype=np.float32)
        result[good] = np.where(np.isfinite(error)[:, None], np.column_stack([share, found]), np.nan)
        return result

    def _tried(
        self,
        relative: NDArray[np.float32],
        shares: Iterable[NDArray[np.float64]],
        best: NDArray[np.float64],
        error: NDArray[np.float64],
        share: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Best tensors (n, 8), their errors and shares of water, after some more shares (n,) were tried."""
        equations = equations_of(self.design)
        level = (self.is_b0 / self.is_b0.sum()).astype(np.float32)
        fitted, states = np.empty(best.shape), np.empty(len(best), dtype=np.int8)
        for tried in shares:
            water = np.clip(tried, 0, 0.99).astype(np.float32)
            tissue = (relative - water * self.water[:, None]) / (1 - water)
            fit_rows(tissue, level, equations, 1, False, fitted, states)
            mean = fitted[:, :3].mean(axis=1)
            possible = (states != INVALID) & (mean > SLOWEST) & (mean < FASTEST)
            # The tissue's residuals are those of the whole over its share.
            own = np.where(possible, fitted[:, 7] * (1 - water), np.inf)
            better = own < error
            best = np.where(better[:, None], fitted, best)
            error, share = np.where(better, own, error), np.where(better, water, share)
        return best, error, share
