from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from plastimap.stats.bayes import (
    SENSITIVITY_SCALES,
    bf10_contrast,
    bf10_one_sample,
    bf10_two_sample,
    largest_bf01,
    log_bf10_map,
)
from plastimap.stats.glm import effective_n


def by_quadrature(t: float, size: float, dof: int, scale: float) -> float:
    def integrand(g: float) -> float:
        spread = 1 + size * g * scale**2
        likelihood = spread**-0.5 * (1 + t**2 / (spread * dof)) ** (-(dof + 1) / 2)
        return likelihood * (2 * np.pi) ** -0.5 * g**-1.5 * np.exp(-1 / (2 * g))

    return quad(integrand, 0, np.inf, epsabs=0)[0] / (1 + t**2 / dof) ** (-(dof + 1) / 2)


@pytest.mark.parametrize("scale", SENSITIVITY_SCALES)
def test_the_integral_is_rouders(scale: float) -> None:
    t = np.array([0.0, 1.5, -2.0, 5.0])
    expected = [by_quadrature(value, 17, 16, scale) for value in t]
    np.testing.assert_allclose(bf10_one_sample(t, 17, scale=scale), expected, rtol=1e-7)
    expected = [by_quadrature(value, 17 * 18 / 35, 33, scale) for value in t]
    np.testing.assert_allclose(bf10_two_sample(t, 17, 18, scale=scale), expected, rtol=1e-7)


def test_the_most_that_can_be_said_for_no_effect() -> None:
    assert largest_bf01(17, 18) == pytest.approx(3.075, abs=1e-3)
    assert largest_bf01(30) > largest_bf01(10)


def test_printed_values_of_the_example_study() -> None:
    # Means ± SD (17 vs 18 people) and the BF01 printed for them.
    for mean1, sd1, mean2, sd2, printed in (
        (267.918, 1034.34, -16.753, 64.388, 1.818),
        (312.139, 1083.22, -10.738, 77.424, 1.663),
        (55.418, 276.519, 3.267, 31.266, 2.404),
        (0.402, 1.084, -0.006, 0.092, 1.168),
    ):
        pooled = (16 * sd1**2 + 17 * sd2**2) / 33
        t = (mean1 - mean2) / np.sqrt(pooled * (1 / 17 + 1 / 18))
        assert 1 / bf10_two_sample(t, 17, 18) == pytest.approx(printed, abs=2e-3)


def test_too_few_people_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two people"):
        bf10_one_sample(1.0, 1)
    with pytest.raises(ValueError, match="at least two people"):
        bf10_two_sample(1.0, 5, 0)


def test_a_contrast_of_groups_is_the_two_sample_test() -> None:
    groups = np.column_stack([np.arange(16) < 7, np.arange(16) >= 7]).astype(float)
    size = effective_n(groups, [1, -1])
    assert size == pytest.approx(7 * 9 / 16)
    np.testing.assert_allclose(bf10_contrast([0.3, 2.5], size, 14), bf10_two_sample([0.3, 2.5], 7, 9))
    assert effective_n(groups, [1, 0]) == pytest.approx(7)
    assert effective_n(groups, [1, 0], np.full(16, 3.0)) == pytest.approx(7)


def test_maps_are_interpolated_closely(rng: np.random.Generator) -> None:
    t = rng.normal(scale=4, size=500)
    t[7] = np.nan
    found = log_bf10_map(t, 4.0, 15)
    assert np.isnan(found[7])
    np.testing.assert_allclose(np.delete(found, 7), np.log(bf10_contrast(np.delete(t, 7), 4.0, 15)), atol=1e-4)
    np.testing.assert_allclose(log_bf10_map(np.zeros(2), 4.0, 15), np.log(bf10_contrast(0.0, 4.0, 15)))
