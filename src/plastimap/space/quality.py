"""How well a scan lies in the target space: numbers that show a failed match before the group model does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.space.mni import LEAST_DICE, Standard, averaged, overlap
from plastimap.transforms import Grid, folding_share

SESSION_RANGE = (0.67, 1.5)
"""Local volume against the person's midpoint outside of which a session is named: brains do not change by half."""


def scan_quality(
    tissues: Mapping[str, NDArray[np.floating]],
    standard: Standard,
    grid: Grid,
    *,
    session_jacobian: NDArray[np.floating],
    brain: NDArray[np.bool_],
) -> dict[str, Any]:
    """Overlap with the target's tissues, and the range of the session's own deformation.

    Parameters
    ----------
    tissues : mapping of str to ndarray, shape of `grid`
        The scan's probabilities of ``GM`` and ``WM`` in the target space.
    standard : Standard
        Tissues of the target.
    grid : (shape, affine)
        Of the target.
    session_jacobian : ndarray
        Determinant of the pull map midpoint → session.
    brain : ndarray of bool, shape of `session_jacobian`
        The person's brain in the midpoint space.

    Returns
    -------
    dict
        ``dice_GM``, ``dice_WM``, ``session_jacobian_1st`` and ``_99th`` (percentiles), ``session_folding_share``,
        ``notes`` (what is out of range, in words).
    """
    dice = {name: overlap(averaged(getattr(standard, name.lower()), grid).data, tissues[name]) for name in ("GM", "WM")}
    inside = session_jacobian[brain] if brain.any() else np.ones(1)
    low, high = (float(value) for value in np.percentile(inside, (1, 99)))
    folding = folding_share(session_jacobian, brain) if brain.any() else 0.0
    notes = [
        f"{name} overlaps the target's by Dice {value:.2f} only" for name, value in dice.items() if value < LEAST_DICE
    ]
    if low < SESSION_RANGE[0] or high > SESSION_RANGE[1]:
        notes.append(f"the session's local volume is {low:.2f} to {high:.2f} times that of the person's midpoint")
    if folding > 0:
        notes.append(f"the session's deformation folds at {100 * folding:.2f} % of the brain")
    return {
        **{f"dice_{name}": value for name, value in dice.items()},
        "session_jacobian_1st": low,
        "session_jacobian_99th": high,
        "session_folding_share": folding,
        "notes": notes,
    }
