"""Where a head ends: foreground, outline, and the depth below it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.anat.grids import closed
from plastimap.images import Volume

PIECE_SHARE = 0.1
"""Pieces of foreground smaller than this share of the largest are specks."""

AIR_SHARE = 0.2
"""Foreground is what exceeds this share of the typical tissue intensity."""

CLOSING_MM = 10.0
"""Fissures and sulci up to about this width belong to the brain."""


def find_foreground(data: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell what is not air; `data` of shape (X, Y, Z), finite."""
    # A quantitative map is noise of any size in air, sometimes larger than tissue. Where the local mean does not
    # stand out from the local scatter it is weighted down (Wiener's factor); smooth tissue keeps its value.
    bounded = np.clip(data, *np.percentile(data, [0.5, 99.5]))
    mean = np.asarray(ndimage.uniform_filter(bounded, 3, mode="constant"), dtype=np.float64)
    square = np.asarray(ndimage.uniform_filter(bounded.astype(np.float64) ** 2, 3, mode="constant"))
    signal = np.clip(mean, 0, None) ** 3 / np.maximum(square, 1e-30)
    bright = signal > _otsu(signal[signal > 0])
    return signal > AIR_SHARE * float(np.median(signal[bright]))


def _otsu(values: NDArray[np.float64]) -> float:
    """Threshold between two groups with the largest variance between them (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256, range=(0, float(np.percentile(values, 99.5))))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts).astype(np.float64)
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sums[-1] * below / below[-1] - sums) ** 2 / (below * (below[-1] - below))
    return float(centres[np.nanargmax(np.where(np.isfinite(between), between, 0))])


def below_outline(volume: Volume, foreground: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Outline what a scan shows, and measure how deep every voxel lies below it.

    Parameters
    ----------
    volume : Volume
        Isotropic voxels.
    foreground : ndarray of bool, shape (X, Y, Z)
        What is not air.

    Returns
    -------
    hull : ndarray of bool, shape (X, Y, Z)
        The foreground without specks, closed and filled.
    depth : ndarray, shape (X, Y, Z)
        Millimetres to the nearest voxel outside; 0 there. The edge of the field of view is no surface.
    """
    hull = closed(_large_pieces(foreground), volume.voxel_size, CLOSING_MM / 2)
    inner = (slice(1, -1),) * 3
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(hull, 1, mode="edge")))[inner]
    return hull, depth * volume.voxel_size[0]


def _large_pieces(foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # Not opened first: at 3 mm a scalp is one voxel thick, and would be gone.
    found: Any = ndimage.label(foreground)
    labels, count = found
    if count == 0:
        return foreground
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= PIECE_SHARE * sizes.max())[labels], dtype=bool)
