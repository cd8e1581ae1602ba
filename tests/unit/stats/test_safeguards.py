from __future__ import annotations

import numpy as np
import pytest

from plastimap.stats.glm import fit_glm
from plastimap.stats.safeguards import check_cluster_means, warnings_of


def design(n: int) -> np.ndarray:
    group = np.arange(n) < n // 2
    age = np.linspace(-3, 3, n)[np.random.default_rng(2).permutation(n)]
    return np.column_stack([group, ~group, age]).astype(float)


def test_leaving_out_in_closed_form_is_leaving_out(rng: np.random.Generator) -> None:
    matrix, vector = design(14), np.array([1.0, -1.0, 0.0])
    values = rng.normal(size=(14, 3)) + 2 * matrix[:, :1]
    check = check_cluster_means(values, matrix, vector)
    t, effect, *_ = fit_glm(values, matrix).t_map(vector)
    np.testing.assert_allclose(check.t, t)
    without = np.stack(
        [fit_glm(np.delete(values, i, 0), np.delete(matrix, i, 0)).t_map(vector).effect for i in range(14)]
    )
    share = 1 - without / effect
    np.testing.assert_allclose(check.influence, share.max(axis=0), rtol=1e-9)
    np.testing.assert_array_equal(check.person, share.argmax(axis=0))


def test_an_effect_of_one_person_is_found() -> None:
    values = np.zeros((17, 1))
    values[5] = 300.0
    check = check_cluster_means(values, np.ones((17, 1)), np.ones(1))
    # The signature of one outlier among zeros: SD / |mean| = √n, so t = 1, and nothing is left without that person.
    assert check.t[0] == pytest.approx(1)
    assert (check.influence[0], check.person[0]) == (pytest.approx(1), 5)
    told = warnings_of(cluster_t=1.0, mean_t=4.5, influence=check.influence[0], person="06")
    assert len(told) == 2
    assert "without 06" in told[1]


def test_a_sound_cluster_gets_no_warning() -> None:
    assert warnings_of(cluster_t=5.0, mean_t=4.0, influence=0.1, person="01") == ()
    assert warnings_of(cluster_t=-5.0, mean_t=-4.0, influence=0.1, person="01") == ()


def test_opposite_signs_disagree() -> None:
    assert "disagree" in warnings_of(cluster_t=-3.0, mean_t=4.0, influence=0.1, person="01")[0]
    assert "disagree" in warnings_of(cluster_t=float("nan"), mean_t=4.0, influence=0.1, person="01")[0]


def test_a_person_who_alone_carries_a_column_is_not_left_out() -> None:
    matrix = np.column_stack([np.ones(8), np.arange(8) == 3]).astype(float)
    check = check_cluster_means(np.arange(8.0)[:, None] + 5, matrix, np.array([1.0, 0.0]))
    assert np.isfinite(check.influence).all()
