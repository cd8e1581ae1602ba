from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plastimap.behaviour import BehaviourProblem, curve, fit_curve

DAYS = np.array([0.0, 7, 14, 28, 84])
CSR = {"better": "higher", "minimum": 0, "maximum": 100}


@settings(max_examples=40, deadline=None)
@given(st.floats(55, 95), st.floats(10, 50), st.floats(0.03, 0.5))
def test_exact_curves_come_back(alpha: float, delta: float, gamma: float) -> None:
    fit = fit_curve(DAYS, curve(DAYS, alpha=alpha, delta=delta, gamma=gamma), better="higher", minimum=0, maximum=100)
    # Convergence at a relative step of 1e-10; γ loses digits where few values carry it.
    assert (fit.alpha, fit.delta, fit.gamma) == pytest.approx((alpha, delta, gamma), rel=1e-3)
    assert fit.improvement == fit.delta
    assert fit.days_to_95 == pytest.approx(3 / gamma, rel=1e-3)


def test_reaction_time_improves_with_a_negative_delta() -> None:
    fit = fit_curve(DAYS, curve(DAYS, alpha=40, delta=-16, gamma=0.08), better="lower", minimum=0)
    assert fit.delta == pytest.approx(-16, rel=1e-4)
    assert fit.improvement == pytest.approx(16, rel=1e-4)
    assert fit.flag == ""


def test_standard_errors_are_those_of_repeated_experiments(rng: np.random.Generator) -> None:
    days = np.repeat(DAYS, 4)
    truth = curve(days, alpha=70, delta=35, gamma=0.1)
    fits = [
        fit_curve(days, truth + rng.normal(0, 1, days.size), better="higher", minimum=0, maximum=100)
        for _ in range(150)
    ]
    spread = np.std([[fit.alpha, fit.delta, fit.gamma] for fit in fits], axis=0)
    told = np.sqrt(np.mean([np.square(fit.se) for fit in fits], axis=0))
    # 150 repetitions: the spread itself is known to 6 %; three of these.
    assert told == pytest.approx(spread, rel=0.18)
    covered = np.mean([abs(fit.delta - 35) < 2.11 * fit.se[1] for fit in fits])
    assert 0.88 <= covered <= 0.99


def test_limits_are_kept_and_said() -> None:
    fit = fit_curve(DAYS, [40.0, 80, 95, 99, 100], better="higher", minimum=0, maximum=100)
    assert fit.alpha <= 100
    rising = fit_curve(DAYS, [10.0, 30, 50, 90, 100], better="higher", minimum=0, maximum=100)
    assert rising.alpha == pytest.approx(100, abs=0.1)
    assert "limit of the outcome" in rising.flag
    assert math.isnan(rising.se[0])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([10.0, 12, 14, 18, 34], "plateau not reached"),
        ([10.0, 50, 50, 50, 50], "plateau reached before the second day"),
        ([60.0, 50, 46, 45, 45], "got worse"),
    ],
)
def test_doubtful_fits_are_flagged(values: list[float], words: str) -> None:
    assert words in fit_curve(DAYS, values, better="higher", minimum=0, maximum=100).flag


def test_a_flat_line_is_no_error() -> None:
    fit = fit_curve(DAYS, np.full(5, 50.0), better="higher", minimum=0, maximum=100)
    assert fit.delta == pytest.approx(0, abs=1e-3)
    assert all(math.isnan(error) or error < 1e-2 for error in fit.se[:2])


def test_few_days() -> None:
    three = fit_curve([0, 28, 84], [30.0, 60, 65], better="higher", minimum=0, maximum=100)
    assert three.alpha - three.delta == pytest.approx(30, abs=1e-3)
    assert all(math.isnan(error) for error in three.se)
    assert "no standard errors" in three.flag
    two = fit_curve([0, 0, 28], [30.0, 34, 60], better="lower")
    assert (two.alpha, two.delta, two.improvement) == (60, 28, -28)
    assert math.isnan(two.gamma)
    assert "no rate" in two.flag
    one = fit_curve([0], [30.0], better="higher")
    assert math.isnan(one.delta)
    assert "no change" in one.flag


def test_missing_values_are_left_out() -> None:
    full = fit_curve(DAYS, curve(DAYS, alpha=70, delta=30, gamma=0.1), **CSR)
    gap = np.append(curve(DAYS, alpha=70, delta=30, gamma=0.1), np.nan)
    with_gap = fit_curve(np.append(DAYS, 100), gap, **CSR)
    assert (with_gap.n, with_gap.alpha) == (5, full.alpha)


@pytest.mark.parametrize(
    ("days", "values", "words"),
    [
        ([0, 1], [1.0], "differ in shape"),
        ([0], [np.nan], "no value"),
        ([-1, 0], [1.0, 2.0], "negative"),
        ([0, 1], [1.0, 101.0], "beyond the outcome's limit 100"),
    ],
)
def test_impossible_input(days: list[float], values: list[float], words: str) -> None:
    with pytest.raises(BehaviourProblem, match=words):
        fit_curve(days, values, **CSR)
