"""Compiled core of resampling: statistics of exchanged data; clusters and their enhancement on a lattice of voxels."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_compiled: Any = njit(cache=True, nogil=True)
# Sums and extremes may be reordered for vector units; nothing here is NaN.
_vectorised: Any = njit(cache=True, nogil=True, fastmath=True)

FACES = 6
"""Neighbours that share a face; a constant, so that loops over them are unrolled."""

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


def tfce(values: NDArray[np.floating], nearby: NDArray[np.int32]) -> NDArray[np.float64]:
    """Threshold-free cluster enhancement of positive values: ∫ e(h)^0.5 h² dh from 0 to each voxel's value.

    Exponents of Smith & Nichols 2009 (doi:10.1016/j.neuroimage.2008.03.061); neighbours share a face. Voxels join in
    descending order. The cluster that a voxel completes is the same from its own height down to that of the voxel
    that it is joined to next, so e is the size of its subtree on that way, and the integral adds up along the tree.
    No steps of height: the integral is exact for the values in single precision.

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
    short = np.asarray(values, dtype=np.float32)
    voxels = _descending(short, short.view(np.uint32))
    return _integrals(short, voxels, *_join(_earlier_neighbours(voxels, nearby)))


@_compiled
def _descending(values: Any, bits: Any) -> Any:
    """Positions of positive values from the largest to the smallest; equal ones keep their order.

    The bits of positive float32 numbers sort as the numbers do. Counting sort by 11, 11 and 10 bits: several times
    faster than a comparison sort, which would take as long as all the rest.
    """
    inside, keys, n = np.empty(values.size, np.int32), np.empty(values.size, np.uint32), 0
    places = np.zeros((3, 2048), np.int32)
    for voxel in range(values.size):
        if values[voxel] > 0:
            key = ~bits[voxel]
            inside[n], keys[n] = voxel, key
            n += 1
            places[0, key & 2047] += 1
            places[1, (key >> 11) & 2047] += 1
            places[2, key >> 22] += 1
    for i in range(3):
        total = 0
        for digit in range(2048):
            count = places[i, digit]
            places[i, digit] = total
            total += count
    here, there = np.arange(n).astype(np.int32), np.empty(n, np.int32)
    for i in range(3):
        own = places[i]
        for position in here:
            digit = (keys[position] >> np.uint32(11 * i)) & 2047
            there[own[digit]] = position
            own[digit] += 1
        here, there = there, here
    return inside[here]


@_compiled
def _earlier_neighbours(voxels: Any, nearby: Any) -> Any:
    """Neighbours that stand before each voxel in the given order, as positions in it.

    Row k of the result: 1 + their number, then they. Voxels are visited as they lie in space, where neighbours share
    cache lines; along the order every look would go to the memory.
    """
    n, none = voxels.size, nearby.shape[0]
    rank = np.full(none + 1, n, np.int32)
    for k in range(n):
        rank[voxels[k]] = k
    out = np.empty((n, FACES + 2), np.int32)
    for voxel in range(none):
        k = rank[voxel]
        if k == n:
            continue
        end = 1
        for j in range(FACES):
            # No branch, which would be taken at random: what is not earlier is written over. -1 is the last rank.
            other = rank[nearby[voxel, j]]
            out[k, end] = other
            end += 1 if other < k else 0
        out[k, 0] = end
    return out


@_compiled
def _join(near: Any) -> Any:
    """Let voxels join one by one: what each is joined to next (-1 = nothing), and its subtree's size.

    `near` is from :func:`_earlier_neighbours`.
    """
    n = near.shape[0]
    # Of the clusters so far: a tree that finds the root, its size, and the voxel that joined last.
    parent, count, latest = np.empty(n, np.int32), np.ones(n, np.int32), np.empty(n, np.int32)
    joined, size = np.full(n, -1, np.int32), np.ones(n, np.int32)
    for k in range(n):
        end = near[k, 0]
        if end == 1:
            parent[k], latest[k] = k, k
            continue
        root = _root(parent, near[k, 1])
        joined[latest[root]] = k
        for j in range(2, end):
            if parent[near[k, j]] == root:
                continue
            other = _root(parent, near[k, j])
            if other == root:
                continue
            joined[latest[other]] = k
            if count[other] > count[root]:
                root, other = other, root
            parent[other] = root
            count[root] += count[other]
        parent[k], latest[root] = root, k
        count[root] += 1
        size[k] = count[root]
    return joined, size


@_compiled
def _integrals(values: Any, voxels: Any, joined: Any, size: Any) -> Any:
    """Integrals of values in descending order: each voxel's own part, and that of what it is joined to."""
    n = voxels.size
    cube, total, out = np.zeros(n + 1), np.zeros(n + 1), np.zeros(values.size)
    for k in range(n):
        height = np.float64(values[voxels[k]])
        cube[k] = height * height * height / 3
    for k in range(n - 1, -1, -1):
        # -1, nothing, is the last: height 0.
        total[k] = total[joined[k]] + np.sqrt(np.float64(size[k])) * (cube[k] - cube[joined[k]])
        out[voxels[k]] = total[k]
    return out


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
