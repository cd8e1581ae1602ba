"""Intervals: what they hold among people not seen, young and old, and how they are put together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plastimap.brainage.intervals import BANDS, FEWEST_IN_BAND, fit_bands, hull
from plastimap.brainage.tables import ADULT


def skewed(rng: np.random.Generator, count: int, pull: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ages of which a quarter is 40 or older, and predictions that are pulled towards 25 years."""
    old = rng.random(count) < 0.25
    age = np.where(old, rng.uniform(40, 85, count), rng.uniform(18, 40, count))
    predicted = 25 + (1 - pull) * (age - 25) + rng.normal(0, 4, count)
    return age, np.maximum(predicted, 12)[:, None], np.full((count, 1), 4.0)


@pytest.mark.parametrize("pull", [0.1, 0.5, 0.8])
def test_both_bands_are_held_among_people_not_seen(rng: np.random.Generator, pull: float) -> None:
    age, predicted, sd = skewed(rng, 2000, pull)
    lower, upper = fit_bands(age, predicted, sd, 0.9)
    age, predicted, sd = skewed(rng, 8000, pull)
    bottom, top = hull(predicted, sd, lower, upper)
    inside = (bottom[:, 0] <= age) & (age <= top[:, 0])
    # Learnt from 500 older people: the binomial SD is 1.3 %; three of them.
    assert inside[age >= 40].mean() > 0.86
    assert inside[age < 40].mean() > 0.86
    assert min(inside[age >= 40].mean(), inside[age < 40].mean()) < 0.94


@pytest.mark.parametrize("pull", [0.1, 0.3])
def test_either_band_is_held_by_as_much_as_was_asked_for(rng: np.random.Generator, pull: float) -> None:
    # Errors that grow with age: with tails in common, the older would be held by 2 to 3.5 % more than the younger.
    # (A stronger pull may leave either band no step to take without the other.)
    age, predicted, _ = skewed(rng, 4000, pull)
    bottom, top = hull(predicted, 0.2 * predicted, *fit_bands(age, predicted, 0.2 * predicted, 0.9))
    inside = (bottom[:, 0] <= age) & (age <= top[:, 0])
    # Tails are tried in steps of 0.25 %, and a step of one band may move people of the other.
    assert inside[age < 40].mean() == pytest.approx(0.905, abs=0.0055)
    assert inside[age >= 40].mean() == pytest.approx(0.905, abs=0.0055)


def test_one_set_of_quantiles_would_not_hold_the_old(rng: np.random.Generator) -> None:
    age, predicted, sd = skewed(rng, 4000, 0.8)
    z = (age - predicted[:, 0]) / sd[:, 0]
    low, high = np.quantile(z, [0.05, 0.95])
    assert ((low <= z) & (z <= high))[age >= 40].mean() < 0.85


def test_a_band_of_few_people_takes_the_errors_of_all(rng: np.random.Generator) -> None:
    age = np.concatenate([rng.uniform(18, 40, 300), rng.uniform(40, 80, FEWEST_IN_BAND - 1)])
    predicted = (age + rng.normal(0, 5, len(age)))[:, None]
    lower, upper = fit_bands(age, predicted, np.ones_like(predicted), 0.9)
    whole = np.quantile(age - predicted[:, 0], [0.05, 0.95])
    assert lower[1, 0] == pytest.approx(whole[0], abs=1.5)
    assert upper[1, 0] == pytest.approx(whole[1], abs=1.5)


def test_without_a_prediction_there_is_no_interval() -> None:
    bottom, top = hull([[np.nan, 50.0]], [[np.nan, 2.0]], np.full((2, 2), -1.0), np.full((2, 2), 1.0))
    assert np.isnan([bottom[0, 0], top[0, 0]]).all()
    assert (bottom[0, 1], top[0, 1]) == (48, 52)


def test_nobody_is_younger_or_older_than_adults_are() -> None:
    bottom, top = hull([[50.0]], [[40.0]], [[-3.0], [-3.0]], [[3.0], [3.0]])
    assert (bottom[0, 0], top[0, 0]) == ADULT


def test_a_prediction_that_nobody_has_gets_no_age_that_nobody_has() -> None:
    bottom, top = hull([[6570.0], [-900.0]], [[5.0], [5.0]], [[-3.0], [-3.0]], [[3.0], [3.0]])
    assert (bottom[0, 0], top[0, 0]) == (ADULT[1], ADULT[1])
    assert (bottom[1, 0], top[1, 0]) == (ADULT[0], ADULT[0])


def test_an_interval_over_both_bands_has_no_gap() -> None:
    # Of the young it accepts 30 to 35, of the old 45 to 60.
    bottom, top = hull([[30.0]], [[5.0]], [[0.0], [3.0]], [[1.0], [6.0]])
    assert (bottom[0, 0], top[0, 0]) == (30, 60)


@settings(max_examples=60, deadline=None)
@given(st.floats(10, 100), st.floats(0.5, 20), st.lists(st.floats(-4, 4), min_size=4, max_size=4))
def test_every_age_that_its_band_accepts_is_inside(age: float, sd: float, limits: list[float]) -> None:
    lower, upper = np.array([[min(limits[:2])], [min(limits[2:])]]), np.array([[max(limits[:2])], [max(limits[2:])]])
    bottom, top = hull([[age]], [[sd]], lower, upper)
    assert bottom[0, 0] <= top[0, 0]
    for number, (first, last) in enumerate(BANDS):
        for real in np.linspace(max(first, 15), min(last, 105), 40, endpoint=False):
            if lower[number, 0] <= (real - age) / sd <= upper[number, 0]:
                assert bottom[0, 0] - 1e-9 <= real <= top[0, 0] + 1e-9
