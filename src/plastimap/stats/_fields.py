"""Compiled core of :mod:`plastimap.stats.resampling`: clusters and cluster enhancement on a lattice of voxels."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_compiled: Any = njit(cache=True, nogil=True)
# Sums and extremes may be reordered for vector units; nothing here is NaN.
_vectorised: Any = njit(cache=True, nogil=True, fastmath=True)

_LEAST = 1e-30
"""Residual sum of squares of a voxel without any: its effect is 0, and so is its statistic."""


def neighbours(mask: NDArray[np.bool_], *, reach: int) -> NDArray[np.int32]:
    """Neighbours of every voxel of a mask, as positions within the mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
    reach : int
        1 = voxels that share a face (6), 2 = also an edge (18).

    Returns
    -------
    ndarray of int32, shape (n_voxels, 6 or 18)
        -1 = none. The first half of the columns are neighbours that come before a voxel, the second half after it.
    """
    position = np.full(tuple(n + 2 for n in mask.shape), -1, dtype=np.int32)
    position[1:-1, 1:-1, 1:-1][mask] = np.arange(np.count_nonzero(mask), dtype=np.int32)
    here = np.argwhere(mask) + 1
    steps = [step for step in product((-1, 0, 1), repeat=3) if 0 < np.abs(step).sum() <= reach]
    return np.column_stack([position[tuple((here + np.array(step)).T)] for step in steps])


@_compiled
def _root(parent: Any, voxel: int) -> int:
    while parent[voxel] != voxel:
        parent[voxel] = parent[parent[voxel]]
        voxel = parent[voxel]
    return voxel


@_compiled
def largest_clusters(values: Any, nearby: Any, threshold: float) -> Any:
    """Extent of the largest cluster above a threshold, and mass (sum of the excess) of the heaviest.

    Parameters
    ----------
    values : (n_voxels,); NaN = outside
    nearby : (n_voxels, k), from :func:`neighbours`
    threshold : float
    """
    n = values.size
    parent = np.empty(n, np.int32)
    extent, mass = np.zeros(n, np.int32), np.zeros(n)
    half = nearby.shape[1] // 2
    for voxel in range(n):
        if not values[voxel] > threshold:
            continue
        parent[voxel] = voxel
        extent[voxel], mass[voxel] = 1, values[voxel] - threshold
        for j in range(half):
            other = nearby[voxel, j]
            if other >= 0 and values[other] > threshold:
                one, two = _root(parent, voxel), _root(parent, other)
                if one != two:
                    parent[one] = two
                    extent[two] += extent[one]
                    mass[two] += mass[one]
    return extent.max(), mass.max()


def tfce(values: NDArray[np.float64], nearby: NDArray[np.int32]) -> NDArray[np.float64]:
    """Threshold-free cluster enhancement of positive values, exactly: ∫ e(h)^0.5 h² dh from 0 to each voxel's value.

    Exponents of Smith & Nichols 2009 (doi:10.1016/j.neuroimage.2008.03.061); neighbours share a face. Voxels join in
    descending order. The cluster that a voxel completes is the same from its own height down to that of the voxel
    that it is joined to next, so e is the size of its subtree on that way, and the integral adds up along the tree.

    Parameters
    ----------
    values : ndarray, shape (n_voxels,)
        NaN and what is not positive count as outside.
    nearby : ndarray of int32, shape (n_voxels, 6)
        From :func:`neighbours`.

    Returns
    -------
    ndarray, shape (n_voxels,)
        0 outside.
    """
    inside = np.flatnonzero(values > 0).astype(np.int32)
    order = np.argsort(-values[inside])
    voxels = inside[order]
    out = np.zeros(values.size)
    out[voxels] = _enhanced(values[voxels], voxels, nearby)
    return out


@_compiled
def _ranked_neighbours(voxels: Any, nearby: Any) -> Any:
    """Neighbours of voxels given in some order, as positions in that order; very large = none.

    They are looked up for all voxels before any is joined: the processor then fetches many at a time.
    """
    n, none = voxels.size, nearby.shape[0]
    rank = np.full(none + 1, np.iinfo(np.int32).max, np.int32)
    for k in range(n):
        rank[voxels[k]] = k
    out = np.empty((n, nearby.shape[1]), np.int32)
    for k in range(n):
        for j in range(nearby.shape[1]):
            other = nearby[voxels[k], j]
            out[k, j] = rank[other if other >= 0 else none]
    return out


@_compiled
def _enhanced(heights: Any, voxels: Any, nearby: Any) -> Any:
    """Enhance voxels given in descending order."""
    n = voxels.size
    near = _ranked_neighbours(voxels, nearby)
    joined = np.full(n, -1, np.int32)
    short = np.empty(n, np.int32)
    size = np.ones(n, np.int32)
    for k in range(n):
        short[k] = k
        for j in range(near.shape[1]):
            # Only what comes before is there already.
            if near[k, j] < k:
                root = _root(short, near[k, j])
                if root != k:
                    joined[root] = k
                    short[root] = k
                    size[k] += size[root]
    gain = np.empty(n)
    for k in range(n - 1, -1, -1):
        cube, below, gained = heights[k] ** 3, 0.0, 0.0
        if joined[k] >= 0:
            below, gained = heights[joined[k]] ** 3, gain[joined[k]]
        gain[k] = gained + np.sqrt(size[k]) * (cube - below) / 3
    return gain


@_vectorised
def t_images(effect: Any, nuisance: Any, squares: Any, dof: float, out: Any) -> None:
    """Compute t of each resample from its projections: effect (b, n), nuisance (b, q, n), squares (n,), out (b, n)."""
    scale, least = squares.dtype.type(dof), squares.dtype.type(_LEAST)
    for b in range(effect.shape[0]):
        own = effect[b]
        left = squares - own * own
        for j in range(nuisance.shape[1]):
            left -= nuisance[b, j] * nuisance[b, j]
        for voxel in range(own.size):
            out[b, voxel] = own[voxel] * np.sqrt(scale / max(left[voxel], least))


@_vectorised
def f_images(effects: Any, nuisance: Any, squares: Any, dof: float, out: Any) -> None:
    """Compute F of each resample: effects (b, r, n), the rest as in :func:`t_images`."""
    scale, least = squares.dtype.type(dof / effects.shape[1]), squares.dtype.type(_LEAST)
    for b in range(effects.shape[0]):
        explained = np.zeros_like(squares)
        for j in range(effects.shape[1]):
            explained += effects[b, j] * effects[b, j]
        left = squares - explained
        for j in range(nuisance.shape[1]):
            left -= nuisance[b, j] * nuisance[b, j]
        for voxel in range(squares.size):
            out[b, voxel] = explained[voxel] * scale / max(left[voxel], least)


@_vectorised
def extremes(images: Any, largest: Any, smallest: Any) -> None:
    """Raise `largest` and lower `smallest`, shape (b,), to what the images, shape (b, n), hold."""
    for b in range(images.shape[0]):
        high, low = largest[b], smallest[b]
        for voxel in range(images.shape[1]):
            high = max(high, images[b, voxel])
            low = min(low, images[b, voxel])
        largest[b], smallest[b] = high, low


@_compiled
def gather(image: Any, columns: Any, sign: float, out: Any) -> float:
    """Turn an image's voxels at `columns` into `out`, and return the largest."""
    highest = -np.inf
    for k in range(columns.size):
        value = sign * image[columns[k]]
        out[k] = value
        highest = max(highest, value)
    return highest
