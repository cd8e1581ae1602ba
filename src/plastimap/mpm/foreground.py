"""Which voxels of a multi-echo dataset hold signal at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.1
"""Share of the bright voxels' signal below which a voxel is air: above the mean of magnitude noise at SNR 12."""


def foreground(echoes: Mapping[str, Sequence[NDArray]]) -> NDArray[np.bool_]:
    """Voxels that are not air, found on the first echoes.

    A voxel counts when it and the mean over its 3 × 3 × 3 neighbourhood reach a tenth of what bright voxels have (98th
    percentile); of these the largest connected piece is kept, and its holes are filled. It saves time; it is no brain
    mask.

    Parameters
    ----------
    echoes : mapping of str to sequence of ndarray
        Images of shape (X, Y, Z) per contrast, shortest echo first.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
    """
    from scipy import ndimage

    total = np.zeros(next(iter(echoes.values()))[0].shape, dtype=np.float32)
    for images in echoes.values():
        first = np.nan_to_num(np.asarray(images[0], dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        bright = float(np.percentile(first, 98))
        if bright > 0:
            total += first / bright
    if not total.any():
        return np.zeros(total.shape, dtype=bool)
    mean = ndimage.uniform_filter(total, size=3, mode="nearest")
    threshold = THRESHOLD * np.percentile(mean, 98)
    # The mean keeps single bright voxels of noise out; the voxel itself keeps the rim of air around the head out.
    candidates = (mean > threshold) & (total > threshold)
    found: Any = ndimage.label(candidates)
    labels, n_pieces = found
    if n_pieces > 1:
        sizes = np.bincount(labels.ravel())
        candidates = labels == 1 + int(np.argmax(sizes[1:]))
    return np.asarray(ndimage.binary_fill_holes(candidates))
