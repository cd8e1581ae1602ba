from __future__ import annotations

import numpy as np
import pytest

from plastimap.behaviour import BehaviourProblem, score


def test_scores_by_hand() -> None:
    cues = [1.0, 2.0, 3.0, 4.0]
    answers = [1.09, 1.955, 3.2, np.nan]
    csr, rt, points = score(cues, answers)
    assert csr == 50
    assert rt == pytest.approx((90 + 45 + 200) / 3)
    # 1 + 2 + 0 + 0 of 8 points.
    assert points == pytest.approx(100 * 3 / 8)


def test_the_window_includes_its_border_and_nothing_beyond() -> None:
    assert score([0.5], [0.59]).csr_percent == 100
    assert score([0.5, 0.5], [0.545, 0.4549]).points_percent == 75
    assert score([0.5], [0.5901]).csr_percent == 0


def test_nothing_answered() -> None:
    result = score([1.0, 2.0], [np.nan, np.nan])
    assert result.csr_percent == 0
    assert np.isnan(result.rt_ms)


@pytest.mark.parametrize(("cues", "answers"), [([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0])])
def test_impossible_input(cues: list[float], answers: list[float]) -> None:
    with pytest.raises(BehaviourProblem):
        score(cues, answers)
