"""A field in Hz from a gradient echo's phases: unwrapped, smoothed, and continued beyond the head."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST_MAGNITUDE = 0.15
"""Share of the bright voxels' magnitude (their 98th percentile) below which a phase is noise."""

SMOOTHING_MM = 2.0
"""Standard deviation of the smoothing of the field, weighted by the squared magnitude."""

REACH_MM = (4.0, 10.0, 40.0)
"""Standard deviations of the kernels that continue the field beyond the head, the nearest first."""

Image = NDArray[np.float64]


def field_in_hz(phase: NDArray, magnitude: NDArray, *, echo_difference_s: float, voxel_size: ArrayLike) -> Image:
    """Field from the difference of two echoes' phases.

    Parameters
    ----------
    phase : ndarray, shape (X, Y, Z)
        Phase of the later echo less that of the earlier one, radians; may be wrapped.
    magnitude : ndarray, shape (X, Y, Z)
    echo_difference_s : float
        Seconds between the echoes.
    voxel_size : array_like
        mm, shape (3,).

    Returns
    -------
    ndarray, shape (X, Y, Z)
        Hz; finite and smooth everywhere.
    """
    head = largest_piece(magnitude > LEAST_MAGNITUDE * np.percentile(magnitude, 98))
    unwrapped = unwrapped_phase(phase, head)
    # A field is known but for turns common to all voxels; shimming leaves the smallest.
    unwrapped -= 2 * np.pi * np.rint(np.median(unwrapped[head]) / (2 * np.pi))
    hz = np.where(head, unwrapped / (2 * np.pi * echo_difference_s), 0.0)
    return continued(hz, np.where(head, magnitude.astype(np.float64) ** 2, 0.0), voxel_size)


def unwrapped_phase(phase: NDArray, where: NDArray[np.bool_]) -> Image:
    """Unwrap a phase along the most reliable paths (Abdul-Rahman 2007, doi:10.1364/AO.46.006623).

    Neighbours are joined in the order of their reliability, which is what a minimum spanning tree does; along the tree
    the phase changes by less than half a turn from voxel to voxel.

    Parameters
    ----------
    phase : ndarray, shape (X, Y, Z)
        Radians.
    where : ndarray of bool, shape (X, Y, Z)
        Voxels to unwrap, in one piece; the others stay as they are.

    Returns
    -------
    ndarray, shape (X, Y, Z)
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

    number = np.full(where.shape, -1)
    number[where] = np.arange(np.count_nonzero(where))
    rough = roughness(phase)
    pairs, costs = [], []
    for axis in range(3):
        low, high = (tuple(part if d == axis else slice(None) for d in range(3)) for part in _NEIGHBOURS)
        both = where[low] & where[high]
        pairs.append(np.stack([number[low][both], number[high][both]]))
        costs.append((rough[low] + rough[high])[both])
    first, second = np.concatenate(pairs, axis=1)
    n = int(number.max()) + 1
    # A cost of 0 would be no edge.
    graph = coo_matrix((np.concatenate(costs) + 1e-6, (first, second)), shape=(n, n)).tocsr()
    order, parent = breadth_first_order(minimum_spanning_tree(graph), 0, directed=False)
    values = phase[where].astype(np.float64)
    result = phase.astype(np.float64).copy()
    result[where] = values + 2 * np.pi * _turns(values, np.asarray(order), np.asarray(parent))
    return result


_NEIGHBOURS = (slice(None, -1), slice(1, None))


def _turns(values: Image, order: NDArray[np.integer], parent: NDArray[np.integer]) -> Image:
    """Whole turns to add to each value, from a tree given in an order in which parents come first."""
    own = np.zeros(values.size)
    own[order[1:]] = np.rint((values[parent[order[1:]]] - values[order[1:]]) / (2 * np.pi))
    # Sums along the paths to the root, whose own is 0, by doubling the steps.
    ahead = np.where(parent < 0, order[0], parent)
    for _ in range(max(1, int(np.ceil(np.log2(values.size))))):
        own = own + own[ahead]
        ahead = ahead[ahead]
    return own


def roughness(phase: NDArray) -> Image:
    """Squared second differences of a wrapped phase along the axes: large where noise or a wrap runs through."""
    total = np.zeros(phase.shape)
    for axis in range(3):
        step = wrapped(np.diff(phase.astype(np.float64), axis=axis))
        inner = tuple(slice(1, -1) if d == axis else slice(None) for d in range(3))
        total[inner] += wrapped(np.diff(step, axis=axis)) ** 2
    return total


def wrapped(phase: NDArray) -> Image:
    """Phase between −π and π."""
    return np.asarray(phase - 2 * np.pi * np.rint(phase / (2 * np.pi)), dtype=np.float64)


def in_radians(phase: NDArray) -> Image:
    """Phase in radians, as scanners store it: radians already, or any whole turn spread over the stored numbers.

    dcm2niix leaves Siemens' −4096 … 4094 and 0 … 4095 as they are.
    """
    low, high = float(np.min(phase)), float(np.max(phase))
    if high - low <= 2.02 * np.pi:
        return np.asarray(phase, dtype=np.float64)
    turn = 2.0 ** np.ceil(np.log2(high - low))
    return np.asarray(phase, dtype=np.float64) * 2 * np.pi / turn


def continued(field: Image, weights: Image, voxel_size: ArrayLike) -> Image:
    """Smooth a field by weight, and continue it smoothly to where no weight is."""
    from scipy import ndimage

    result, known = np.zeros_like(field), np.zeros(field.shape, dtype=bool)
    floor = 0.01 * weights.max()
    for sd in (SMOOTHING_MM, *REACH_MM):
        voxels = sd / np.asarray(voxel_size, dtype=np.float64)
        mass = ndimage.gaussian_filter(weights, voxels)
        mean = ndimage.gaussian_filter(weights * field, voxels) / np.maximum(mass, 1e-30)
        new = ~known & (mass > floor)
        result[new], known = mean[new], known | new
    result[~known] = float((weights * field).sum() / max(weights.sum(), 1e-30))
    # The kernels' borders are steps, and a step folds an image.
    blurred = ndimage.gaussian_filter(result, 2 * SMOOTHING_MM / np.asarray(voxel_size, dtype=np.float64))
    inside = ndimage.gaussian_filter((weights > 0).astype(np.float64), SMOOTHING_MM / np.asarray(voxel_size))
    return inside * result + (1 - inside) * blurred


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Largest connected piece of a mask, its holes filled."""
    from scipy import ndimage

    labels, n_pieces = ndimage.label(mask)  # type: ignore[misc]
    if n_pieces > 1:
        mask = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return np.asarray(mask, dtype=bool)
