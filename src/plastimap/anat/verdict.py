"""Whether a segmentation can be right: by the template's tissues, the template's brain, and usual volumes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plastimap.usual import PLAUSIBLE_TIV_ML

LOW_DICE = 0.7
"""Overlap of warped priors and result below which a match deserves a look."""

FAILED_DICE = 0.4
"""Overlap below which it has failed: a wrong mask or orientation, another contrast, no brain. Where all is
right it is .75 or more."""

LEAST_SOUND = 0.25
"""Share of the brain outside of lesions from which on it can be segmented: half of it where a hemisphere is lost."""

LOW_MASK_DICE = 0.9
"""Overlap of the brain mask and the warped template's brain, likewise; it is .95 and more where both are right."""


class AnatomyProblem(ValueError):
    """A scan that cannot be segmented; the message says why."""


def dice_of(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Overlap of two masks; 0 where both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2.0 * int((one & other).sum()) / total if total else 0.0


def refuse_destroyed(brain: NDArray[np.bool_], sound: NDArray[np.bool_]) -> None:
    """Raise `AnatomyProblem` where lesions leave too little of a brain."""
    share = float(sound[brain].mean())
    if share < LEAST_SOUND:
        raise AnatomyProblem(
            f"the lesion mask leaves {100 * share:.0f} % of the brain: too little to segment. Is it the wrong way "
            "round, or of another scan?"
        )


def refuse_failed(dice: dict[str, float]) -> None:
    """Raise `AnatomyProblem` where a tissue and its warped prior hardly overlap."""
    worst = min(("GM", "WM"), key=lambda name: dice[name])
    if dice[worst] < FAILED_DICE:
        raise AnatomyProblem(
            f"{worst} as found and as a brain has it overlap by {dice[worst]:.2f} (Dice) only: the segmentation has "
            "failed. Look at the image, its orientation and its masks; give a brain mask (desc-brain_mask), or leave "
            "the scan out (exclude)"
        )


def warnings_of(dice: dict[str, float], tiv_ml: float, mask_dice: float) -> tuple[str, ...]:
    """What of a segmentation deserves a look."""
    low, high = PLAUSIBLE_TIV_ML
    found = [
        f"{name}: warped prior and result overlap by only {dice[name]:.2f} (Dice); look at the picture"
        for name in ("GM", "WM")
        if dice[name] < LOW_DICE
    ]
    if mask_dice < LOW_MASK_DICE:
        found.append(
            f"the brain mask and the template's brain overlap by only {mask_dice:.2f} (Dice); look at the mask"
        )
    if not low <= tiv_ml <= high:
        found.append(f"intracranial volume {tiv_ml:.0f} ml, usual are {low:.0f}-{high:.0f}; look at the mask")
    return tuple(found)
