from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plastimap.stats.longitudinal import incomplete_people, reference_days, subject_terms, term_operator, time_model
from plastimap.stats.timecoding import POLYNOMIALS, time_basis

DAYS = np.array([0.0, 7.0, 14.0, 28.0, 84.0])
TERMS = ("baseline", "level", "linear", "quadratic")


def options(coding: str = "quadratic_after_linear") -> dict:
    return {"coding": coding, "centre": True, "terms": TERMS, "reference_days": DAYS}


@given(
    kept=st.sets(st.integers(0, 4), min_size=3),
    coding=st.sampled_from(POLYNOMIALS),
    curve=st.tuples(st.floats(-2, 2), st.floats(-0.1, 0.1), st.floats(-1e-3, 1e-3)),
)
def test_missing_visits_leave_a_quadratic_course_unchanged(
    kept: set[int], coding: str, curve: tuple[float, float, float]
) -> None:
    values = (curve[0] + curve[1] * DAYS + curve[2] * DAYS**2)[:, None]
    chosen = sorted(kept)
    full = subject_terms(values, DAYS, **options(coding)).coefficients
    part = subject_terms(values[chosen], DAYS[chosen], **options(coding)).coefficients
    np.testing.assert_allclose(part, full, rtol=1e-6, atol=1e-7)


def test_missing_visits_are_unbiased_under_noise(rng: np.random.Generator) -> None:
    truth = 1 + 0.01 * DAYS - 5e-5 * DAYS**2
    noisy = truth[:, None] + rng.normal(0, 0.05, (5, 40_000))
    expected = subject_terms(truth[:, None], DAYS, **options()).coefficients[:, 0]
    found = subject_terms(noisy[[0, 2, 4]], DAYS[[0, 2, 4]], **options())
    # Five standard errors of the mean over 40,000 voxels.
    margin = 5 * 0.05 * np.sqrt(found.variance / 40_000)
    assert (np.abs(found.coefficients.mean(axis=1) - expected) < margin).all()


def test_the_variance_factor_is_the_coefficients_variance(rng: np.random.Generator) -> None:
    found = subject_terms(rng.normal(0, 0.3, (4, 50_000)), DAYS[1:], **options())
    # The relative error of a variance from 50,000 samples is 0.6 %.
    np.testing.assert_allclose(found.coefficients.var(axis=1), found.variance * 0.09, rtol=0.04)


def test_terms_that_the_sessions_cannot_tell_are_nan() -> None:
    found = subject_terms(np.ones((2, 3)), [0.0, 84.0], **options())
    # Two days give the value at day 0, which is one of them, and nothing else of a curve with three parameters.
    assert np.isfinite(found.coefficients[0]).all()
    assert np.isnan(found.coefficients[1:]).all()
    assert np.isinf(found.variance[1:]).all()


@given(order=st.permutations(range(5)))
def test_order_of_sessions_does_not_matter(order: list[int]) -> None:
    values = np.sin(np.arange(10.0)).reshape(5, 2)
    one = subject_terms(values, DAYS, **options())
    other = subject_terms(values[order], DAYS[order], **options())
    np.testing.assert_allclose(other.coefficients, one.coefficients, rtol=1e-9, atol=1e-15)


def test_a_missing_value_stays_in_its_voxel() -> None:
    values = np.ones((5, 2))
    values[3, 1] = np.nan
    found = subject_terms(values, DAYS, **options()).coefficients
    assert np.isfinite(found[:, 0]).all()
    assert np.isnan(found[:, 1]).all()


def test_one_time_point_compares_levels() -> None:
    model = time_model([0.0], terms=("linear", "quadratic"), coding="raw", centre=True)
    assert model.terms == ("level",)
    assert any("1 time point" in note for note in model.notes)


def test_two_time_points_drop_the_quadratic_term() -> None:
    model = time_model([0.0, 28.0], terms=("linear", "quadratic"), coding="raw", centre=True)
    assert model.terms == ("linear",)
    assert model.basis.names == ("constant", "linear")


def test_only_what_is_asked_is_fitted() -> None:
    assert time_model(DAYS, terms=("linear",), coding="raw", centre=True).basis.names == ("constant", "linear")
    assert time_model(DAYS, terms=("level",), coding="raw", centre=True).basis.names == ("constant",)


def test_reference_days_are_medians_by_session() -> None:
    scans = pd.DataFrame({"session": ["01", "02", "01", "02", "02"], "day": [0, 27, 0, 28, 35]})
    np.testing.assert_array_equal(reference_days(scans), [0, 28])
    np.testing.assert_array_equal(reference_days(pd.DataFrame({"session": [None, None], "day": [5, 9]})), [0])


def test_people_with_too_few_sessions_are_named() -> None:
    basis = time_basis(DAYS, coding="raw", centre=True)
    operators = {who: term_operator(days, basis, ("linear",))[0] for who, days in {"07": DAYS, "09": DAYS[:2]}.items()}
    (note,) = incomplete_people(operators, ("linear",))
    assert "09 (2)" in note
    assert "1 of 2 people" in note
    assert "07" not in note


def test_input_is_not_changed() -> None:
    values = np.ones((5, 3), dtype=np.float32)
    values.setflags(write=False)
    assert subject_terms(values, DAYS, **options()).coefficients == pytest.approx(np.outer([1, 1, 0, 0], np.ones(3)))
