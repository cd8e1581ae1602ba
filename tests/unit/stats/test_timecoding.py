from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plastimap.stats.problems import StatsProblem
from plastimap.stats.timecoding import POLYNOMIALS, time_basis, time_terms

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


@given(days=distinct_days, coding=st.sampled_from(POLYNOMIALS), centre=st.booleans())
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


@given(days=distinct_days, coding=st.sampled_from(POLYNOMIALS))
def test_order_and_repetition_of_days_change_nothing(days: list[int], coding: str) -> None:
    one = time_basis(days, coding=coding, centre=True).mix
    other = time_basis([*reversed(days), days[0]], coding=coding, centre=True).mix
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


def test_pieces_are_slopes_between_knots() -> None:
    basis = time_basis(DAYS, coding="piecewise", centre=True, knots=(14, 28))
    assert basis.names == ("constant", "piece1", "piece2", "piece3")
    # Falls by 2 a day for two weeks, rises by 3 for two, keeps: known coefficients.
    course = np.interp(DAYS, [0, 14, 28, 84], [100, 72, 114, 114])
    np.testing.assert_allclose(np.linalg.lstsq(basis.at(DAYS), course, rcond=None)[0], [100, -2, 3, 0], atol=1e-9)
    np.testing.assert_allclose(basis.at([35.0]), [[1, 14, 14, 7]])
    assert basis.span("piece3") == 56
    assert "piece1 from day 0 to 14, piece2 from day 14 to 28, piece3 from day 28 to 84" in basis.describe()
    np.testing.assert_allclose(basis.vector("baseline"), [1, 0, 0, 0])


@pytest.mark.parametrize("knots", [(), (0,), (84,), (28, 14), (7, 7), (3, 5)])
def test_knots_that_do_not_fit_the_days_are_refused(knots: tuple[float, ...]) -> None:
    with pytest.raises(StatsProblem, match=r"knot"):
        time_basis(DAYS, coding="piecewise", centre=True, knots=knots)


def test_all_change_is_every_growth_term() -> None:
    basis = time_basis(DAYS, coding="raw", centre=True)
    np.testing.assert_array_equal(basis.vectors("change"), [[0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(basis.vectors("linear"), [[0, 1, 0]])
    assert basis.vectors("piece1").shape == (0, 3)
    assert time_basis([0], coding="piecewise", centre=True).vectors("change").shape == (0, 1)
