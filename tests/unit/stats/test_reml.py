from __future__ import annotations

import numpy as np
import pytest

from plastimap.stats.problems import StatsProblem
from plastimap.stats.reml import (
    Components,
    estimate_covariance,
    estimate_with_motion,
    group_components,
    motion_components,
    noise_variances,
    person_components,
    pooled_products,
    visit_components,
)

PEOPLE = [f"{person:02d}" for person in range(30) for _ in range(3)]
VISITS = ["a", "b", "c"] * 30


def repeated(rng: np.random.Generator, sd: np.ndarray, voxels: int = 3000) -> np.ndarray:
    """Scans with a mean of 4, a person's own level of variance 1, and noise of the given sd."""
    levels = np.repeat(rng.normal(size=(30, voxels)), 3, axis=0)
    return 4 + levels + sd[:, None] * rng.normal(size=(90, voxels))


def test_known_components_are_found(rng: np.random.Generator) -> None:
    sd = np.tile([0.5, 1.0, 2.0], 30)
    data, matrix = repeated(rng, sd), np.ones((90, 1))
    products, n_voxels = pooled_products(data, matrix)
    found = estimate_covariance(products, matrix, visit_components(PEOPLE, VISITS), n_voxels=n_voxels)
    truth = np.ones((3, 3)) + np.diag([0.25, 1, 4])
    block = found.covariance[:3, :3]
    np.testing.assert_allclose(block / block[0, 0], truth / truth[0, 0], rtol=0.06)
    assert np.trace(found.covariance) == pytest.approx(90)
    assert (found.covariance[0, 3:] == 0).all()
    assert found.names[:4] == ("variance a", "variance b", "variance c", "covariance a, b")
    assert (found.converged, found.n_voxels) == (True, 3000)


def test_a_pair_of_visits_that_nobody_has_is_no_component() -> None:
    found = visit_components(["1", "1", "2", "2"], ["a", "b", "a", "c"])
    assert found.names == ("variance a", "variance b", "variance c", "covariance a, b", "covariance a, c")
    np.testing.assert_array_equal(found.matrices.sum(axis=0)[0], [1, 1, 0, 0])


def test_groups_of_unequal_variance(rng: np.random.Generator) -> None:
    groups = ["x"] * 20 + ["y"] * 20
    matrix = np.column_stack([np.arange(40) < 20, np.arange(40) >= 20]).astype(float)
    data = 3 + np.repeat([1.0, 3.0], 20)[:, None] * rng.normal(size=(40, 4000))
    products, n_voxels = pooled_products(data, matrix)
    found = estimate_covariance(products, matrix, group_components(groups), n_voxels=n_voxels)
    assert found.covariance[-1, -1] / found.covariance[0, 0] == pytest.approx(9, rel=0.1)


def test_only_voxels_with_an_effect_take_part(rng: np.random.Generator) -> None:
    data = rng.normal(size=(20, 500))
    data[:, :50] += 5
    data[3, 60] = np.nan
    _, n_voxels = pooled_products(data, np.ones((20, 1)))
    assert 50 <= n_voxels <= 90
    with pytest.raises(StatsProblem, match="no voxel shows"):
        pooled_products(np.array([[1.0, -1.0] * 2, [-1.0, 1.0] * 2]), np.ones((2, 1)))


def test_noise_that_grows_with_motion_is_seen(rng: np.random.Generator) -> None:
    index = rng.gamma(2, 1, 90)
    variance = 0.2 + 0.3 * (index / index.mean()) ** 2
    data, matrix = repeated(rng, np.sqrt(variance)), np.ones((90, 1))
    found = estimate_with_motion(data, matrix, person_components(PEOPLE), index)
    noise, notes = noise_variances(found, index)
    assert notes == ()
    middle = (index > np.quantile(index, 0.1)) & (index < np.quantile(index, 0.9))
    np.testing.assert_allclose((noise / noise.mean())[middle], (variance / variance.mean())[middle], rtol=0.2)


def test_motion_reaches_coefficients_through_their_scans() -> None:
    pull = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    found = motion_components([1, 2, 3], powers=(0, 1), pull=pull)
    # Variances of the two rows in units of a scan's: 1 and 1/2; weighted by motion: 1/2 and (2 + 3) / 8.
    diagonals = np.einsum("kii->ki", found.matrices)
    np.testing.assert_allclose(diagonals[0], np.array([1, 0.5]) / 0.75)
    np.testing.assert_allclose(diagonals[1], np.array([0.5, 0.625]) / 0.5625)


def test_powers_that_give_no_covariance_are_left_out() -> None:
    # Noise that falls with motion in so few people and voxels: high powers would make it negative.
    rng = np.random.default_rng(0)
    index = rng.gamma(1, 1, 12)
    data = 5 + rng.normal(size=(12, 3)) * np.where(index > np.median(index), 0.02, 1)[:, None]
    found = estimate_with_motion(data, np.ones((12, 1)), person_components([str(i) for i in range(12)]), index)
    assert np.linalg.eigvalsh(found.covariance)[0] > 0
    assert any("left out" in note or "does not grow" in note for note in found.notes)


def test_noise_is_never_negative(rng: np.random.Generator) -> None:
    index = np.linspace(0.5, 2, 90)
    found = estimate_with_motion(repeated(rng, 2 - 0.9 * index), np.ones((90, 1)), person_components(PEOPLE), index)
    assert (noise_variances(found, index)[0] > 0).all()


@pytest.mark.parametrize("index", [[1, 2, np.nan], [1, -1, 2], [0, 0, 0]])
def test_an_unfit_motion_index_is_refused(index: list[float]) -> None:
    with pytest.raises(StatsProblem, match="motion index"):
        motion_components(index)


def test_what_is_no_covariance_is_refused() -> None:
    wrong = Components(np.stack([np.diag([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]])]), ("a", "b"))
    with pytest.raises((StatsProblem, np.linalg.LinAlgError)):
        estimate_covariance(np.eye(2), np.zeros((2, 0)), wrong, n_voxels=1)
