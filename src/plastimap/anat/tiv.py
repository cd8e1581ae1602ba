"""Intracranial volume."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

MM3_PER_ML = 1000.0

JUMP_SHARE = 0.03
"""Sessions of one person differ by less than this when their masks are right."""


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


def tiv_jumps(volumes_ml: Mapping[str, float]) -> dict[str, str]:
    """Sessions of one person whose intracranial volume leaves that of the others.

    A skull does not change within a study: a difference comes from the brain mask, from a cut field of view, or from a
    mistaken identity.

    Parameters
    ----------
    volumes_ml : mapping of str to float
        Scan label to intracranial volume. What is not finite is left out.

    Returns
    -------
    dict of str to str
        Label to a sentence, for every scan further than :data:`JUMP_SHARE` from the median of the person's others.
    """
    finite = {label: value for label, value in volumes_ml.items() if np.isfinite(value)}
    flagged: dict[str, str] = {}
    for label, value in finite.items():
        others = [other for name, other in finite.items() if name != label]
        change = value / float(np.median(others)) - 1 if others else 0.0
        if abs(change) > JUMP_SHARE:
            flagged[label] = (
                f"intracranial volume {value:.0f} ml, {100 * change:+.1f} % from the median of the "
                "person's other scans; look at the brain mask"
            )
    return flagged
