"""What can be no segmentation is refused; what deserves a look is said."""

from __future__ import annotations

import numpy as np
import pytest

from plastimap.anat.verdict import AnatomyProblem, dice_of, refuse_destroyed, refuse_failed, warnings_of

GOOD = {"GM": 0.8, "WM": 0.8, "CSF": 0.1}


def test_a_match_that_has_failed_is_refused_by_its_tissue() -> None:
    refuse_failed(GOOD)
    refuse_failed({**GOOD, "GM": 0.41})
    with pytest.raises(AnatomyProblem, match="WM as found"):
        refuse_failed({**GOOD, "WM": 0.39})


def test_half_a_brain_can_be_segmented_and_a_tenth_cannot() -> None:
    brain = np.ones(100, dtype=bool)
    refuse_destroyed(brain, np.arange(100) < 50)
    with pytest.raises(AnatomyProblem, match="leaves 10 %"):
        refuse_destroyed(brain, np.arange(100) < 10)


def test_doubts_are_told_one_by_one() -> None:
    assert warnings_of(GOOD, 1500.0, 0.95) == ()
    found = warnings_of({**GOOD, "GM": 0.5}, 2400.0, 0.8)
    assert [words in said for words, said in zip(("GM: warped", "mask and the", "2400 ml"), found, strict=True)] == [
        True,
        True,
        True,
    ]


def test_two_empty_masks_do_not_overlap() -> None:
    none = np.zeros(3, dtype=bool)
    assert dice_of(none, none) == 0
    assert dice_of(~none, ~none) == 1
