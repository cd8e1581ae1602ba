from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plastimap.behaviour import BehaviourProblem, curve, fit_curve, fit_together
from plastimap.behaviour.scales import Scale

DAYS = np.array([0.0, 7, 14, 28, 84])
PERCENT = {"minimum": 0.0, "maximum": 100.0}


def learners(
    rng: np.random.Generator, count: int, noise: float
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """α, δ, log γ of everybody, and their values."""
    alpha, delta = rng.normal(78, 7, count), rng.normal(32, 7, count)
    gamma = 0.1 * np.exp(0.35 * rng.standard_normal(count))
    curves = [
        (DAYS, np.clip(curve(DAYS, alpha=a, delta=d, gamma=g) + rng.normal(0, noise, 5), 0, 100))
        for a, d, g in zip(alpha, delta, gamma, strict=True)
    ]
    return np.column_stack([alpha, delta, np.log(gamma)]), curves


def test_pooling_errs_less_and_its_intervals_hold(rng: np.random.Generator) -> None:
    # Assessments that scatter by 5 %, so that five of them tell little about one person.
    truth, curves = learners(rng, 40, noise=5.0)
    fit = fit_together(curves, **PERCENT)
    own = [fit_curve(*one, better="higher", minimum=0, maximum=100) for one in curves]
    alone = np.array([[one.alpha, one.delta, np.log(one.gamma)] for one in own])
    together = np.column_stack([fit.alpha, fit.delta, np.log(fit.gamma)])
    # Errors of the three parameters together, in units of their spread between people: one parameter of one study of
    # 40 may go either way by chance (bench/behaviour_recovery.py has many studies).
    errors = [(((estimate - truth) / [7, 7, 0.35]) ** 2).mean() for estimate in (together, alone)]
    assert errors[0] < errors[1]
    assert fit.converged
    # 40 people × 5 values, some 110 of which are free: σ to about 7 %; three of these.
    assert fit.residual_sd == pytest.approx(5.0, rel=0.2)
    assert fit.covariance[2, 2] ** 0.5 == pytest.approx(0.35, rel=0.5)
    half = 1.96 * fit.se / np.column_stack([np.ones((40, 2)), fit.gamma])
    covered = (np.abs(together - truth) < half).mean()
    # The three intervals of a person hang together, so 120 of them tell no more than 40: 95 % to 3.4 %; three of these.
    assert covered > 0.85


def test_values_without_noise_come_back(rng: np.random.Generator) -> None:
    truth, curves = learners(rng, 12, noise=0.0)
    fit = fit_together(curves, **PERCENT)
    assert fit.alpha == pytest.approx(truth[:, 0], abs=0.2)
    assert fit.delta == pytest.approx(truth[:, 1], abs=0.3)
    assert np.log(fit.gamma) == pytest.approx(truth[:, 2], abs=0.05)


def test_estimates_are_posterior_means(rng: np.random.Generator) -> None:
    _, curves = learners(rng, 15, noise=3.0)
    fit = fit_together(curves, **PERCENT)
    # The definition, by brute force: people drawn from the population that was found, weighted by their likelihood.
    draws = rng.multivariate_normal(fit.mean, fit.covariance, 200_000)
    plateau, start = (100 / (1 + np.exp(-draws[:, k])) for k in range(2))
    decay = np.exp(-np.exp(draws[:, 2])[:, None] * DAYS)
    drawn = plateau[:, None] - (plateau - start)[:, None] * decay
    for i in range(5):
        distance = ((curves[i][1] - drawn) ** 2).sum(axis=1) / fit.residual_sd**2
        weights = np.exp(-0.5 * (distance - distance.min()))
        weights /= weights.sum()
        # Half a percent of 200 000 draws count, so the sampling error is a thirtieth of the posterior's spread; a
        # tenth leaves room for five nodes per parameter.
        assert weights @ plateau == pytest.approx(fit.alpha[i], abs=0.1 * fit.se[i, 0])
        assert weights @ (plateau - start) == pytest.approx(fit.delta[i], abs=0.1 * fit.se[i, 1])
        assert weights @ draws[:, 2] == pytest.approx(np.log(fit.gamma[i]), abs=0.1 * fit.se[i, 2] / fit.gamma[i])


def test_somebody_with_two_days_gets_the_rate_of_the_others(rng: np.random.Generator) -> None:
    _, curves = learners(rng, 20, noise=2.0)
    curves[0] = (DAYS[[0, 4]], curves[0][1][[0, 4]])
    curves[1] = (DAYS, np.where(DAYS > 7, np.nan, curves[1][1]))
    fit = fit_together(curves, **PERCENT)
    assert np.log(fit.gamma[0]) == pytest.approx(fit.mean[2], abs=0.25)
    # Log γ spreads by 0.35 between people: who says nothing about it is as uncertain as that.
    assert fit.se[0, 2] / fit.gamma[0] > 0.9 * (fit.se[2:, 2] / fit.gamma[2:]).max()


def test_estimates_do_not_depend_on_the_order_or_the_unit(rng: np.random.Generator) -> None:
    _, curves = learners(rng, 10, noise=3.0)
    fit = fit_together(curves)
    turned = fit_together(curves[::-1])
    assert turned.alpha[::-1] == pytest.approx(fit.alpha, rel=1e-6)
    scaled = fit_together([(days, 10 * values) for days, values in curves])
    assert scaled.delta == pytest.approx(10 * fit.delta, rel=5e-3)
    assert scaled.gamma == pytest.approx(fit.gamma, rel=2e-2)


def test_people_all_alike_do_not_break_it(rng: np.random.Generator) -> None:
    values = curve(DAYS, alpha=70, delta=30, gamma=0.1)
    fit = fit_together([(DAYS, values + rng.normal(0, 2, 5)) for _ in range(10)], **PERCENT)
    assert np.isfinite(fit.se).all()
    assert fit.alpha.std() < 1.5


def test_impossible_input() -> None:
    three = [(DAYS, np.ones(5))] * 3
    with pytest.raises(BehaviourProblem, match="at least 4 people"):
        fit_together(three)
    with pytest.raises(BehaviourProblem, match="without a value"):
        fit_together([*three, (DAYS, np.full(5, np.nan))])
    with pytest.raises(BehaviourProblem, match="three days"):
        fit_together([([0.0, 7.0], [1.0, 2.0])] * 4)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([(0.0, 100.0), (0.0, None), (None, 5.0), (None, None)]), st.lists(st.floats(-4, 4), min_size=1))
def test_scales_go_there_and_back(limits: tuple[float | None, float | None], free: list[float]) -> None:
    scale, values = Scale(*limits), np.array(free)
    natural = scale.from_free(values)
    low, high = limits
    assert low is None or (natural >= low).all()
    assert high is None or (natural <= high).all()
    assert scale.to_free(natural, margin=1e-6) == pytest.approx(values, abs=1e-6)
    step = 1e-6
    slope = (scale.from_free(values + step) - scale.from_free(values - step)) / (2 * step)
    assert scale.slope(values) == pytest.approx(slope, rel=1e-4, abs=1e-6)
