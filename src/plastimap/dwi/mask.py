"""Which voxels of a diffusion series are brain."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SMOOTHING_VOXELS = 0.7
"""Standard deviation of the smoothing before the threshold."""

N_BINS = 256
"""Of the histogram from which the threshold is taken."""

EDGE_SHARE = 0.5
"""Share of the brain's median signal at which it ends; fat-suppressed scalp stays below."""

OPENING_MM = 6.5
"""Depth of the erosion that parts the brain from what hangs on to it."""


def brain_mask(b0: NDArray, *, voxel_size: ArrayLike = 3.0) -> NDArray[np.bool_]:
    """Brain of a b = 0 image, with or without what is left of the skull after fat suppression.

    The logarithm of the smoothed image is cut by Otsu's threshold (on the plain image, cerebrospinal fluid would be
    set apart from the rest instead). An erosion parts the brain from eyes and scalp, the largest piece is grown back,
    and its holes are filled.

    Parameters
    ----------
    b0 : ndarray, shape (X, Y, Z)
        Mean b = 0 image.
    voxel_size : array_like
        Edge lengths in mm, shape (3,) or one for all.

    Returns
    -------
    ndarray of bool

    Raises
    ------
    ValueError
        When the image has no signal.
    """
    from scipy import ndimage

    image = np.nan_to_num(np.asarray(b0, dtype=np.float64), posinf=0.0, neginf=0.0)
    smooth = ndimage.gaussian_filter(np.maximum(image, 0), SMOOTHING_VOXELS)
    bright = float(np.percentile(smooth, 98))
    if bright <= 0:
        raise ValueError("the b = 0 image holds no signal; a brain mask cannot be made")
    # Below a hundredth of the bright voxels it is air, however far below.
    logs = np.log(np.clip(smooth, 0.01 * bright, bright))
    roughly = logs > otsu(logs)
    # Otsu's cut of logarithms lies far down the border's slope; a share of the brain's own signal lies on the border.
    above = roughly & (smooth > EDGE_SHARE * np.median(smooth[roughly]))
    depth = max(1, round(OPENING_MM / float(np.mean(np.asarray(voxel_size, dtype=np.float64)))))
    core = _largest_piece(np.asarray(ndimage.binary_erosion(above, _ball(), iterations=depth), dtype=bool))
    grown = ndimage.binary_dilation(core, _ball(), iterations=depth, mask=above)
    closed = ndimage.binary_closing(np.pad(grown, 4), _ball(), iterations=2)[4:-4, 4:-4, 4:-4]
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=bool)


def otsu(values: NDArray[np.floating]) -> float:
    """Threshold that separates two classes best (Otsu 1979, doi:10.1109/TSMC.1979.4310076)."""
    counts, edges = np.histogram(values, bins=N_BINS)
    centres = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = values.size - below
    sums = np.cumsum(counts * centres)
    means_apart = np.divide(sums[:-1], below, out=np.zeros_like(below), where=below > 0) - np.divide(
        sums[-1] - sums[:-1], above, out=np.zeros_like(below), where=above > 0
    )
    return float(edges[1 + int(np.argmax(below * above * means_apart**2))])


def _ball() -> NDArray[np.bool_]:
    """Neighbours that share a face or an edge."""
    from scipy import ndimage

    return ndimage.generate_binary_structure(3, 2)


def _largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Largest connected piece; an empty mask stays empty."""
    from scipy import ndimage

    found: Any = ndimage.label(mask)
    labels, n_pieces = found
    if n_pieces < 2:
        return mask
    return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
