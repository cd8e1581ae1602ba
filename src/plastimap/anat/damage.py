"""Lesions in a scan: which part of a mask that people have drawn lies in the brain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

LEAST_TOLD_ML = 0.5
"""Less of a lesion mask than this outside the brain is its ragged edge."""


def with_lesion(brain: Mask, lesion: Mask | None, distance: NDArray[np.floating], *, rim_mm: float) -> Mask:
    """Give back to a brain what a lesion took from its mask.

    A mask of metal, say, reaches into bone and air: the template tells what of it is brain.

    Parameters
    ----------
    brain : ndarray of bool, shape (X, Y, Z)
        As it was found or drawn.
    lesion : ndarray of bool, shape (X, Y, Z), or None
    distance : ndarray, shape (X, Y, Z)
        Millimetres from the warped template's brain, negative inside.
    rim_mm : float
        The brain's space goes so far beyond the template's brain.
    """
    return brain if lesion is None else brain | (lesion & (distance < rim_mm))


def lesion_notes(lesion: Mask | None, inside: Mask, voxel_volume_mm3: float) -> tuple[str, ...]:
    """Say how much of a lesion was left out of the tissues, and how much of its mask is no brain."""
    if lesion is None:
        return ()
    within, beyond = (float(part.sum()) * voxel_volume_mm3 / 1000 for part in (lesion & inside, lesion & ~inside))
    notes = (f"{within:.1f} ml of lesion were left out of the tissues",) if within else ()
    if beyond >= LEAST_TOLD_ML:
        notes += (f"{beyond:.1f} ml of the lesion mask lie outside the brain: they count for nothing",)
    return notes
