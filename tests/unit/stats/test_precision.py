"""Random effects with known errors: recovered variance, level, power, invariance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from plastimap.stats.glm import fit_glm
from plastimap.stats.precision import fit_precision
from plastimap.stats.problems import StatsProblem

TWO_GROUPS = np.repeat(np.eye(2), (9, 12), axis=0)
DIFFERENCE = np.array([1.0, -1.0])


def sample(seed, *, between, spread, voxels=4000, effect=0.0):
    """Two groups; errors differ from person to person by the factor `spread` at most."""
    rng = np.random.default_rng(seed)
    n = len(TWO_GROUPS)
    noise = np.exp(rng.uniform(0, np.log(spread), (n, 1))) * rng.uniform(0.8, 1.25, (n, voxels))
    truth = effect * TWO_GROUPS[:, :1] + np.sqrt(between) * rng.standard_normal((n, voxels))
    return truth + np.sqrt(noise) * rng.standard_normal((n, voxels)), noise


def test_equal_errors_give_the_ordinary_model():
    data, _ = sample(1, between=1.0, spread=1.0, voxels=50)
    ours = fit_precision(data, TWO_GROUPS, np.full_like(data, 0.3)).t_map(DIFFERENCE)
    plain = fit_glm(data, TWO_GROUPS).t_map(DIFFERENCE)
    np.testing.assert_allclose(ours.t, plain.t, rtol=1e-9)
    np.testing.assert_allclose(ours.standard_error, plain.standard_error, rtol=1e-9)


def test_one_voxel_as_by_hand():
    """With the weights that were found, the textbook's formulas."""
    data, noise = sample(2, between=0.5, spread=20.0, voxels=1)
    fit = fit_precision(data, TWO_GROUPS, noise)
    assert 0.1 < fit.share < 1
    w = np.diag(1 / ((1 - fit.share) + fit.share * noise[:, 0] / noise.mean()))
    covariance = np.linalg.inv(TWO_GROUPS.T @ w @ TWO_GROUPS)
    beta = covariance @ TWO_GROUPS.T @ w @ data[:, 0]
    left = data[:, 0] - TWO_GROUPS @ beta
    expected = DIFFERENCE @ beta / np.sqrt(left @ w @ left / (len(left) - 2) * DIFFERENCE @ covariance @ DIFFERENCE)
    assert fit.t_map(DIFFERENCE).t[0] == pytest.approx(expected, rel=1e-9)
    assert fit.f_map(DIFFERENCE).f[0] == pytest.approx(expected**2, rel=1e-9)


def test_share_is_where_the_likelihood_of_the_contrasts_of_residuals_is_largest():
    """One voxel against the density of A'y, A spanning what is orthogonal to the design: ReML by its definition."""
    from scipy.linalg import null_space

    data, noise = sample(12, between=0.5, spread=20.0, voxels=1)
    free = null_space(TWO_GROUPS.T)

    def loss(share):
        covariance = free.T @ np.diag((1 - share) + share * noise[:, 0] / noise.mean()) @ free
        y = free.T @ data[:, 0]
        return np.linalg.slogdet(covariance)[1] + len(y) * np.log(y @ np.linalg.solve(covariance, y))

    grid = np.linspace(0, 0.999, 2000)
    best = grid[np.argmin([loss(share) for share in grid])]
    assert fit_precision(data, TWO_GROUPS, noise).share == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("wrong", [1.0, 4.0, 0.25])
@pytest.mark.parametrize("between", [0.0, 1.0])
def test_level_holds_even_where_errors_are_known_up_to_a_factor(between, wrong):
    """4,000 voxels: 5 % ± .7 % (two standard errors); twice that is allowed for the estimated share."""
    data, noise = sample(3, between=between, spread=30.0)
    found = fit_precision(data, TWO_GROUPS, wrong * noise).t_map(DIFFERENCE)
    share = np.mean(2 * stats.t.sf(np.abs(found.t), found.dof) < 0.05)
    assert 0.036 <= share <= 0.064


def test_errors_that_say_nothing_take_no_part():
    """Errors drawn without regard to the data: their share is small, and the level holds."""
    data, noise = sample(13, between=1.0, spread=1.0)
    other = np.random.default_rng(0).permutation(np.exp(np.linspace(0, 4, len(data))))[:, None] * noise
    fit = fit_precision(data, TWO_GROUPS, other)
    assert fit.share < 0.02
    found = fit.t_map(DIFFERENCE)
    assert 0.036 <= np.mean(2 * stats.t.sf(np.abs(found.t), found.dof) < 0.05) <= 0.064


def test_more_power_than_equal_weights_where_errors_differ():
    data, noise = sample(4, between=0.2, spread=50.0, effect=4.0)
    ours = fit_precision(data, TWO_GROUPS, noise).t_map(DIFFERENCE)
    plain = fit_glm(data, TWO_GROUPS).t_map(DIFFERENCE)
    power = [np.mean(stats.t.sf(found.t, found.dof) < 0.001) for found in (ours, plain)]
    assert power[0] > power[1] + 0.1
    # Unbiased: 4,000 voxels leave a standard error of about .02.
    assert ours.effect.mean() == pytest.approx(4.0, abs=0.08)


def test_share_of_errors_is_recovered():
    """Between 2, errors of mean m: m / (m + 2). Voxels differ in m by 10 %, hence the tolerance."""
    data, noise = sample(5, between=2.0, spread=20.0)
    expected = noise.mean() / (noise.mean() + 2)
    assert fit_precision(data, TWO_GROUPS, noise).share == pytest.approx(expected, abs=0.03)


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_units_and_order_do_not_matter(factor, seed):
    data, noise = sample(seed, between=1.0, spread=10.0, voxels=5)
    order = np.random.default_rng(seed).permutation(len(data))
    first = fit_precision(data, TWO_GROUPS, noise).t_map(DIFFERENCE).t
    other = fit_precision(factor * data[order], TWO_GROUPS[order], factor**2 * noise[order]).t_map(DIFFERENCE).t
    np.testing.assert_allclose(other, first, rtol=1e-6)


def test_gaps():
    data, noise = sample(6, between=1.0, spread=3.0, voxels=4)
    data[3, 1] = np.nan
    noise[5, 2] = np.nan
    noise[:, 3] = np.nan
    fit = fit_precision(data, TWO_GROUPS, noise)
    assert fit.analysed.tolist() == [True, False, True, True]
    assert fit.spread[5, 2] == pytest.approx(1.0)
    np.testing.assert_allclose(fit.spread[:, 3], 1.0)
    assert any("no known error" in note for note in fit.notes)
    assert np.isnan(fit.t_map(DIFFERENCE).t[1])
    assert fit.residual(0)[1] == 0


def test_perfect_knowledge_of_some_is_no_infinite_weight():
    data, noise = sample(7, between=1.0, spread=3.0, voxels=3)
    noise[::2] = 0.0
    assert np.isfinite(fit_precision(data, TWO_GROUPS, noise).t_map(DIFFERENCE).t).all()


def test_what_cannot_be_told():
    data, noise = sample(8, between=1.0, spread=3.0, voxels=3)
    redundant = np.column_stack([TWO_GROUPS, np.ones(len(data))])
    fit = fit_precision(data, redundant, noise)
    np.testing.assert_allclose(
        fit.t_map([1.0, -1.0, 0.0]).t, fit_precision(data, TWO_GROUPS, noise).t_map(DIFFERENCE).t, rtol=1e-6
    )
    assert np.isnan(fit.t_map([1.0, 0.0, 0.0]).t).all()
    assert np.isnan(fit.f_map(np.eye(3)[:2]).f).all()


def test_problems():
    data, noise = sample(9, between=1.0, spread=3.0, voxels=3)
    with pytest.raises(StatsProblem, match="do not go together"):
        fit_precision(data, TWO_GROUPS, noise[:-1])
    with pytest.raises(StatsProblem, match="no degrees of freedom"):
        fit_precision(data, np.eye(len(data)), noise)
