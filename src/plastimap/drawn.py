"""Masks that somebody gave: labels, shares or probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

INSIDE = 0.5
"""Share of a voxel, or probability, from which it is inside a mask."""

NO_SHARE = 2.0
"""A mask that reaches this is in per cent or in grey values: splines make 1.2 of 1, but not 2."""


def inside_drawn(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell where a mask that somebody gave is inside.

    Labels count above 0: whole numbers, or one value alone, however it is scaled. Shares and probabilities, as a
    smoothed or resampled mask holds them, count above one half, of the largest where they are per cent. NaN is outside.
    """
    values = np.nan_to_num(np.asarray(data, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    above = values > 0
    largest = float(values.max(initial=0))
    if (values == np.rint(values)).all() or (values[above] == largest).all():
        return above
    return values > INSIDE * (largest if largest >= NO_SHARE else 1)
