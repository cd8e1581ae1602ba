"""How well a scan lies in the target space: numbers that show a failed match before the group model does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.registration import MOST_FOLDING
from plastimap.space.mni import LEAST_DICE, Standard, averaged, overlap
from plastimap.space.tissues import LEAST_TOLD_ML
from plastimap.transforms import Grid, folding_share

SESSION_RANGE = (0.67, 1.5)
"""Local volume against the person's midpoint outside of which a session is named: brains do not change by half."""

FAILED_DICE = 0.4
"""Overlap of a tissue with the target's below which a match has failed. The standard brain shares more than this with
itself moved by 15 mm (GM .53, WM .52); turned upside down it is .46 and .36."""


class MisplacedProblem(ValueError):
    """A scan or person that does not lie where the target space has it; the message says what to do."""


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
        The scan's probabilities of ``GM`` and ``WM`` in the target space; NaN outside of its field of view and in its
        lesions, which count neither for nor against it.
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
        ``dice_GM``, ``dice_WM``, ``not_shown_ml`` (of the target's brain, outside of the field of view or in a
        lesion), ``session_jacobian_1st`` and ``_99th`` (percentiles), ``session_folding_share``,
        ``notes`` (what is out of range, in words).
    """
    wanted = {name: averaged(getattr(standard, name.lower()), grid).data for name in ("GM", "WM")}
    known = {name: np.isfinite(tissues[name]) for name in wanted}
    dice = {name: overlap(data * known[name], np.nan_to_num(tissues[name])) for name, data in wanted.items()}
    hidden = (wanted["GM"] + wanted["WM"] > 0.5) & ~known["GM"]
    not_shown = float(hidden.sum()) * float(abs(np.linalg.det(grid[1][:3, :3]))) / 1000
    inside = session_jacobian[brain] if brain.any() else np.ones(1)
    low, high = (float(value) for value in np.percentile(inside, (1, 99)))
    folding = folding_share(session_jacobian, brain) if brain.any() else 0.0
    notes = [
        f"{name} overlaps the target's by Dice {value:.2f} only" for name, value in dice.items() if value < LEAST_DICE
    ]
    if not_shown >= LEAST_TOLD_ML:
        notes.append(
            f"{not_shown:.0f} ml of the brain have no values, outside of the field of view or in a lesion: "
            "models leave the person out there, or the voxels"
        )
    if low < SESSION_RANGE[0] or high > SESSION_RANGE[1]:
        notes.append(f"the session's local volume is {low:.2f} to {high:.2f} times that of the person's midpoint")
    if folding > 0:
        notes.append(f"the session's deformation folds at {100 * folding:.2f} % of the brain")
    return {
        **{f"dice_{name}": value for name, value in dice.items()},
        "not_shown_ml": not_shown,
        "session_jacobian_1st": low,
        "session_jacobian_99th": high,
        "session_folding_share": folding,
        "notes": notes,
    }


def refuse_misplaced(dice: Mapping[str, float], folding: float, what: str) -> None:
    """Stop what would be passed on wrong: a failed match, or a deformation that folds.

    Parameters
    ----------
    dice : mapping of str to float
        Tissue → overlap with the target's.
    folding : float
        Share of the brain at which the deformation folds.
    what : str
        What the message calls it.

    Raises
    ------
    MisplacedProblem
        When an overlap is below .4, or more than 1 % of the brain folds.
    """
    bad = [f"its {name} overlaps the target's by Dice {value:.2f} only" for name, value in dice.items()
           if value < FAILED_DICE]  # fmt: skip
    bad += [f"its deformation folds at {100 * folding:.1f} % of the brain"] if folding > MOST_FOLDING else []
    if bad:
        raise MisplacedProblem(
            f"{what} is not where the target space has it: {' and '.join(bad)}; look at its brain mask and tissues, "
            "give a better brain mask (desc-brain_mask), or leave the scan out (`exclude` of the configuration)"
        )
