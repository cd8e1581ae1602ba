from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from plastimap.stats.exchange import exchange, exchange_unequal, exchanged_images, permutation_scheme, sign_scheme
from plastimap.stats.glm import fit_glm
from plastimap.stats.problems import StatsProblem


def design(rng: np.random.Generator, n: int = 16) -> np.ndarray:
    first = np.arange(n) < n // 2
    return np.column_stack([first, ~first, 50 + 10 * rng.normal(size=n), 1500 + rng.normal(size=n)]).astype(float)


def freedman_lane(data, matrix, vectors, order, sign):
    """By the book: take out what nuisance explains, exchange the rest, put the explained part back, fit again."""
    rows = np.atleast_2d(vectors)
    nuisance = matrix @ np.linalg.svd(rows, full_matrices=True)[2][len(rows) :].T
    explained = nuisance @ np.linalg.pinv(nuisance) @ data
    fresh = explained + (data - explained)[order] * sign[:, None]
    return fit_glm(fresh, matrix)


@pytest.mark.parametrize("signed", [False, True])
def test_exchanged_models_are_those_fitted_by_the_book(rng: np.random.Generator, signed: bool) -> None:
    matrix, data = design(rng), rng.normal(size=(16, 12))
    scheme = (sign_scheme if signed else permutation_scheme)(16, 6, seed=3)
    for vector in ([1, -1, 0, 0], [0, 0, 1, 0]):
        engine = exchange(data, matrix, vector, kind="t", signed=signed)
        for image, order, sign in zip(engine.images(*scheme[:2]), *scheme[:2], strict=True):
            expected = freedman_lane(data, matrix, vector, order, sign).t_map(vector).t
            np.testing.assert_allclose(image, expected, rtol=1e-7, atol=1e-9)
    vectors = [[1, -1, 0, 0], [0, 0, 1, 0]]
    engine = exchange(data, matrix, vectors, kind="F", signed=signed)
    for image, order, sign in zip(engine.images(*scheme[:2]), *scheme[:2], strict=True):
        expected = freedman_lane(data, matrix, vectors, order, sign).f_map(vectors).f
        np.testing.assert_allclose(image, expected, rtol=1e-6)


def test_the_first_exchange_is_the_data_themselves(rng: np.random.Generator) -> None:
    matrix, data, weights = design(rng), rng.normal(size=(16, 12)), rng.uniform(0.5, 2, 16)
    scheme = permutation_scheme(16, 4, seed=1)
    engine = exchange(data, matrix, [1, -1, 0, 0], kind="t", signed=False, weights=weights)
    expected = fit_glm(data, matrix, weights=weights).t_map([1, -1, 0, 0]).t
    np.testing.assert_allclose(next(exchanged_images(engine, scheme))[0], expected, rtol=1e-9)


@pytest.mark.parametrize("signed", [False, True])
def test_two_groups_alone_are_students_test(rng: np.random.Generator, signed: bool) -> None:
    data = rng.normal(size=(14, 300))
    matrix = np.column_stack([np.arange(14) < 9, np.arange(14) >= 9]).astype(float)
    scheme = permutation_scheme(14, 3, seed=2)
    engine = exchange(data, matrix, [1, -1], kind="t", signed=signed)
    assert len(engine.nuisance) == int(signed)
    for image, order in zip(engine.images(scheme.orders, scheme.signs), scheme.orders, strict=True):
        np.testing.assert_allclose(image, stats.ttest_ind(data[order][:9], data[order][9:]).statistic, rtol=1e-9)


def test_unequal_variance_is_welchs_test(rng: np.random.Generator) -> None:
    data = rng.normal(size=(14, 9)) * np.repeat([1.0, 4.0], [9, 5])[:, None]
    matrix = np.column_stack([np.arange(14) < 9, np.arange(14) >= 9]).astype(float)
    scheme = permutation_scheme(14, 3, seed=2)
    engine = exchange_unequal(data, matrix, [1, -1], groups=["a"] * 9 + ["b"] * 5)
    for image, order in zip(engine.images(scheme.orders, scheme.signs), scheme.orders, strict=True):
        moved = data[order]
        np.testing.assert_allclose(image, stats.ttest_ind(moved[:9], moved[9:], equal_var=False).statistic, rtol=1e-9)


def test_all_exchanges_there_are_and_no_more() -> None:
    few = permutation_scheme(4, 100, seed=0)
    assert few.exhaustive
    assert len(np.unique(few.orders, axis=0)) == 24
    signs = sign_scheme(5, 100, seed=0)
    assert signs.exhaustive
    assert len(np.unique(signs.signs, axis=0)) == 32
    for scheme in (few, signs, permutation_scheme(9, 50, seed=0), sign_scheme(60, 50, seed=0)):
        np.testing.assert_array_equal(scheme.orders[0], np.arange(scheme.orders.shape[1]))
        assert (scheme.signs[0] == 1).all()
    many = permutation_scheme(9, 50, seed=0)
    assert (len(np.unique(many.orders, axis=0)), many.exhaustive) == (50, False)
    np.testing.assert_array_equal(many.orders, permutation_scheme(9, 50, seed=0).orders)
    assert (many.orders != permutation_scheme(9, 50, seed=1).orders).any()


def test_what_cannot_be_exchanged_is_refused() -> None:
    with pytest.raises(StatsProblem, match="no degrees of freedom"):
        exchange(np.zeros((2, 3)), np.eye(2), [1, -1], kind="t", signed=False)
