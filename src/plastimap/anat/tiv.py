"""Intracranial volume."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

MM3_PER_ML = 1000.0


def intracranial_volume(probabilities: Mapping[str, NDArray[np.floating]], voxel_volume_mm3: float) -> float:
    """Total intracranial volume: grey matter + white matter + CSF.

    Parameters
    ----------
    probabilities : mapping of str to ndarray
        Tissue name to probability per voxel (0..1).
    voxel_volume_mm3 : float
        Volume of a voxel in cubic millimetres.

    Returns
    -------
    float
        Millilitres.
    """
    return float(sum(tissue_volumes(probabilities, voxel_volume_mm3).values()))


def tissue_volumes(probabilities: Mapping[str, NDArray[np.floating]], voxel_volume_mm3: float) -> dict[str, float]:
    """Volume of each tissue in millilitres; parameters as in :func:`intracranial_volume`."""
    if not probabilities:
        raise ValueError("there are no tissue probabilities to add up")
    return {
        name: float(np.sum(values, dtype=np.float64)) * voxel_volume_mm3 / MM3_PER_ML
        for name, values in probabilities.items()
    }
