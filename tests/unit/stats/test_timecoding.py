from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plastimap.stats.problems import StatsProblem
from plastimap.stats.timecoding import CODINGS, time_basis, time_terms

DAYS = np.array([0.0, 7.0, 14.0, 28.0, 84.0])
CURVE = 1 - np.exp(-0.1 * DAYS)


def fitted(coding: str, *, centre: bool) -> np.ndarray:
    return np.linalg.lstsq(time_terms(DAYS, coding=coding, centre=centre), CURVE, rcond=None)[0]


@pytest.mark.parametrize(
    ("coding", "centre", "linear", "quadratic"),
    [
        ("raw", True, 0.0443, -4.03e-4),
        ("quadratic_after_linear", True, 0.00865, -4.03e-4),
        ("linear_after_quadratic", True, 0.0443, 7.5e-5),
        ("quadratic_after_linear", False, 0.0135, -4.03e-4),
        ("linear_after_quadratic", False, 0.0443, 1.4e-4),
    ],
)
def test_a_saturating_curve_gives_the_known_coefficients(
    coding: str, centre: bool, linear: float, quadratic: float
) -> None:
    _, first, second = fitted(coding, centre=centre)
    # The reference numbers are printed with two or three digits.
    assert first == pytest.approx(linear, rel=6e-3)
    assert second == pytest.approx(quadratic, rel=3e-2)


def test_reference_design_is_reproduced() -> None:
    terms = time_terms(DAYS, coding="quadratic_after_linear", centre=True)
    np.testing.assert_allclose(terms[:, 1], DAYS - 26.6)
    expected = [738.5905172413795, 167.69827586206918, -305.19396551724117, -956.9784482758618, 355.88362068965534]
    np.testing.assert_allclose(terms[:, 2], expected, rtol=1e-10)


distinct_days = st.lists(st.integers(0, 400), min_size=3, max_size=8, unique=True)


@given(days=distinct_days, coding=st.sampled_from(CODINGS), centre=st.booleans())
def test_every_coding_spans_the_same_curves(days: list[int], coding: str, centre: bool) -> None:
    days_ = np.array(days, dtype=float)
    basis = time_basis(days_, coding=coding, centre=centre)
    values = 0.3 - 0.02 * days_ + 1e-4 * days_**2
    coefficients = np.linalg.lstsq(basis.at(days_), values, rcond=None)[0]
    assert basis.vector("baseline") @ coefficients == pytest.approx(0.3, abs=1e-6)
    assert basis.vector("level") @ coefficients == pytest.approx(values.mean(), abs=1e-6)


@given(days=distinct_days)
def test_orthogonalised_terms_are_orthogonal(days: list[int]) -> None:
    for coding in ("quadratic_after_linear", "linear_after_quadratic"):
        terms = time_terms(days, coding=coding, centre=True)
        scaled = terms / np.maximum(np.sqrt((terms**2).sum(axis=0)), 1e-300)
        np.testing.assert_allclose(scaled.T @ scaled, np.eye(3), atol=1e-6)


@given(days=distinct_days, coding=st.sampled_from(CODINGS))
def test_order_and_repetition_of_days_change_nothing(days: list[int], coding: str) -> None:
    one = time_basis(days, coding=coding, centre=True).powers
    other = time_basis([*reversed(days), days[0]], coding=coding, centre=True).powers
    np.testing.assert_array_equal(one, other)


def test_fewer_days_lower_the_degree() -> None:
    assert time_basis([0, 30], coding="raw", centre=True).names == ("constant", "linear")
    single = time_basis([12], coding="quadratic_after_linear", centre=True)
    assert single.names == ("constant",)
    assert single.vector("linear") is None
    assert single.vector("baseline") == pytest.approx(1)


def test_span_turns_a_slope_into_total_change() -> None:
    basis = time_basis(DAYS, coding="quadratic_after_linear", centre=True)
    assert basis.span("linear") == pytest.approx(84)
    assert basis.span("level") == 1


def test_unknown_coding_and_missing_days_are_named() -> None:
    with pytest.raises(StatsProblem, match="quadratic_after_linear"):
        time_basis(DAYS, coding="quadratic_after_liner", centre=True)  # type: ignore[arg-type]
    with pytest.raises(StatsProblem, match="days since baseline"):
        time_basis([0, np.nan], coding="raw", centre=True)
