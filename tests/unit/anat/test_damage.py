"""What a lesion mask covers belongs to the brain only where the template says so."""

from __future__ import annotations

from typing import Any

import numpy as np

from plastimap.anat.damage import lesion_notes, with_lesion


def row(*values: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array(values, dtype=bool)


def test_a_lesion_is_joined_as_far_as_the_rim() -> None:
    brain, lesion = row(1, 1, 0, 0, 0), row(0, 1, 1, 1, 1)
    distance = np.array([-4.0, -2.0, 0.5, 1.5, 80.0])
    assert with_lesion(brain, lesion, distance, rim_mm=1.5).tolist() == [True, True, True, False, False]
    assert with_lesion(brain, None, distance, rim_mm=1.5) is brain
    assert brain.tolist() == [True, True, False, False, False]


def test_both_parts_of_a_lesion_are_told() -> None:
    inside = row(1, 1, 1, 0)
    assert lesion_notes(None, inside, 500.0) == ()
    assert lesion_notes(row(0, 0, 0, 0), inside, 500.0) == ()
    assert len(lesion_notes(row(0, 1, 1, 1), inside, 400.0)) == 1
    within, beyond = lesion_notes(row(0, 1, 1, 1), inside, 500.0)
    assert within.startswith("1.0 ml of lesion")
    assert beyond.startswith("0.5 ml of the lesion mask lie outside the brain")
