from __future__ import annotations

import numpy as np
import pytest

from plastimap.behaviour.pooling import between_variance, shrunken


def test_shrinkage_follows_the_normal_model(rng: np.random.Generator) -> None:
    true = rng.normal(30, 5, 400)
    errors = rng.uniform(2, 8, 400)
    measured = true + errors * rng.standard_normal(400)
    # DerSimonian-Laird with 400 people: τ² = 25 to about 15 %.
    assert between_variance(measured, errors**2) == pytest.approx(25, rel=0.3)
    better = shrunken(measured, errors)
    assert np.mean((better - true) ** 2) < 0.65 * np.mean((measured - true) ** 2)


def test_precise_values_stay_and_alike_values_meet() -> None:
    assert shrunken(np.array([1.0, 5.0, 9.0]), np.full(3, 1e-3)) == pytest.approx([1, 5, 9], abs=1e-4)
    assert shrunken(np.array([4.9, 5.0, 5.1]), np.full(3, 2.0)) == pytest.approx([5, 5, 5])


def test_missing_errors_give_no_pooled_value() -> None:
    found = shrunken(np.array([1.0, 2.0, 3.0, 9.0]), np.array([1.0, 1.0, 1.0, np.nan]))
    assert np.isnan(found[3])
    assert np.isfinite(found[:3]).all()
    # Two people are no population.
    assert shrunken(np.array([1.0, 2.0]), np.array([1.0, 1.0])) == pytest.approx([1, 2])
