"""Expectation-maximisation of a population of learning curves; see :mod:`plastimap.behaviour.pooling`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from plastimap.behaviour.scales import Scale

Array = NDArray[np.float64]

NODES = 5
"""Quadrature nodes per parameter; seven move the estimates by less than a hundredth of their error."""

ITERATIONS = 400
LEAST_SD = 1e-4
"""Smallest residual standard deviation, as a share of the range of all values: nobody is measured better."""

NEWTON_STEPS, HALVINGS = 25, 8
RATE_SPREAD = 0.7
"""First guess of the standard deviation of log γ between people."""


@dataclass(frozen=True)
class Values:
    """Everybody's values in one rectangle; `there` is 0 where a person has no more."""

    days: Array
    values: Array
    there: Array
    scale: Scale

    @property
    def people(self) -> int:
        """How many."""
        return len(self.days)

    def without(self, person: int) -> Values:
        """The values of everybody else."""
        keep = np.arange(self.people) != person
        return Values(self.days[keep], self.values[keep], self.there[keep], self.scale)


@dataclass(frozen=True)
class Population:
    """Population and everybody's most probable parameters."""

    mean: Array
    covariance: Array
    variance: float
    modes: Array


@dataclass(frozen=True)
class Posterior:
    """Quadrature over everybody's posterior: nodes (n, q, 3), weights (n, q) that add up to 1."""

    nodes: Array
    weights: Array
    modes: Array

    @property
    def means(self) -> Array:
        """Posterior means on the free scales, shape (n, 3)."""
        return np.einsum("iq,iqk->ik", self.weights, self.nodes)

    def natural(self, scale: Scale) -> tuple[Array, Array]:
        """Posterior means and variances of α, δ, log γ, shape (n, 3) each."""
        plateau, first = scale.from_free(self.nodes[..., 0]), scale.from_free(self.nodes[..., 1])
        values = np.stack([plateau, plateau - first, self.nodes[..., 2]], axis=-1)
        means = np.einsum("iq,iqk->ik", self.weights, values)
        return means, np.einsum("iq,iqk->ik", self.weights, (values - means[:, None]) ** 2)

    def covariances(self) -> Array:
        """Posterior covariances on the free scales, shape (n, 3, 3)."""
        apart = self.nodes - self.means[:, None]
        return np.einsum("iq,iqk,iql->ikl", self.weights, apart, apart)


def converge(data: Values, state: Population, *, tolerance: float) -> tuple[Population, bool]:
    """Improve until no mean moves by `tolerance` standard deviations, and no variance by that share."""
    for _ in range(ITERATIONS):
        after = improve(data, state)
        moved = np.abs(after.mean - state.mean) / np.sqrt(np.diag(after.covariance))
        swelled = np.abs(np.diag(after.covariance) / np.diag(state.covariance) - 1)
        settled = max(moved.max(), swelled.max(), abs(after.variance / state.variance - 1)) < tolerance
        state = after
        if settled:
            return state, True
    return state, False


def start(data: Values) -> Population:
    """Guess from everybody's first and last values; the rate from the middle of the days."""
    order = np.where(data.there > 0, data.days, np.nan)
    rows = np.arange(data.people)
    start = data.values[rows, np.nanargmin(order, axis=1)]
    end = data.values[rows, np.nanargmax(order, axis=1)]
    inside = data.days[(data.there > 0) & (data.days > 0)]
    rate = np.full(data.people, -np.log(np.median(inside)))
    modes = np.column_stack([data.scale.to_free(end), data.scale.to_free(start), rate])
    spread = np.array([max(float(modes[:, k].var()), 1e-4) for k in range(2)] + [RATE_SPREAD**2])
    typical = float(np.ptp(data.values[data.there > 0])) or 1.0
    return Population(modes.mean(axis=0), np.diag(spread), (0.1 * typical) ** 2, modes)


def improve(data: Values, state: Population) -> Population:
    """One round of EM; Ω is divided by n − 1.

    That is the maximum under the prior of Chung et al. (2015,
    doi:10.3102/1076998615570945), which keeps Ω off the border where people
    would count as all alike.
    """
    posterior = posterior_of(data, state)
    mean = posterior.means.mean(axis=0)
    apart = posterior.nodes - mean
    between = np.einsum("iq,iqk,iql->kl", posterior.weights, apart, apart) / (data.people - 1)
    squares = float((posterior.weights * _squares(data, posterior.nodes)).sum())
    # The three means of the population are fitted too.
    variance = squares / max(float(data.there.sum()) - 3.0, 1.0)
    least = (LEAST_SD * float(np.ptp(data.values[data.there > 0])) + 1e-12) ** 2
    return Population(mean, between + 1e-8 * np.eye(3), max(variance, least), posterior.modes)


def _curves(data: Values, parameters: Array) -> Array:
    """Values of curves, shape (n, q, t), for parameters of shape (n, q, 3)."""
    plateau, start = data.scale.from_free(parameters[..., 0]), data.scale.from_free(parameters[..., 1])
    decay = np.exp(-np.exp(np.clip(parameters[..., 2], -30, 10))[..., None] * data.days[:, None])
    return plateau[..., None] - (plateau - start)[..., None] * decay


def _squares(data: Values, parameters: Array) -> Array:
    return (((data.values[:, None] - _curves(data, parameters)) ** 2) * data.there[:, None]).sum(axis=-1)


def _jacobian(data: Values, modes: Array) -> Array:
    """Derivatives of the curves, shape (n, t, 3); 0 where there is no value."""
    plateau, start = (data.scale.from_free(modes[:, k]) for k in range(2))
    rate = np.exp(np.clip(modes[:, 2], -30, 10))[:, None]
    decay = np.exp(-rate * data.days)
    columns = (
        (1 - decay) * data.scale.slope(modes[:, 0])[:, None],
        decay * data.scale.slope(modes[:, 1])[:, None],
        (plateau - start)[:, None] * decay * rate * data.days,
    )
    return np.stack(columns, axis=-1) * data.there[..., None]


def _information(data: Values, state: Population, modes: Array) -> Array:
    """Curvature that everybody's own values give, shape (n, 3, 3)."""
    jacobian = _jacobian(data, modes)
    return np.einsum("itk,itl->ikl", jacobian, jacobian) / state.variance


def _cost(data: Values, state: Population, precision: Array, modes: Array) -> Array:
    apart = modes - state.mean
    prior = np.einsum("ik,kl,il->i", apart, precision, apart)
    return 0.5 * (_squares(data, modes[:, None])[:, 0] / state.variance + prior)


def _modes(data: Values, state: Population, precision: Array) -> Array:
    """Everybody's most probable parameters, by Gauss–Newton steps halved until the fit improves."""
    modes = state.modes
    cost = _cost(data, state, precision, modes)
    for _ in range(NEWTON_STEPS):
        residual = (data.values - _curves(data, modes[:, None])[:, 0]) * data.there
        downhill = np.einsum("itk,it->ik", _jacobian(data, modes), residual) / state.variance
        downhill -= (modes - state.mean) @ precision
        step = np.linalg.solve(_information(data, state, modes) + precision, downhill[..., None])[..., 0]
        tried, after = _improved(data, state, precision, modes, step, cost)
        better = after <= cost
        gain = float((cost - after)[better].max(initial=0.0))
        modes, cost = np.where(better[:, None], tried, modes), np.where(better, after, cost)
        if gain < 1e-9:
            break
    return modes


def _improved(
    data: Values, state: Population, precision: Array, modes: Array, step: Array, cost: Array
) -> tuple[Array, Array]:
    """Go everybody's step, or half, a quarter … of it where the fit gets worse."""
    length = np.ones(data.people)
    tried, after = modes + step, _cost(data, state, precision, modes + step)
    for _ in range(HALVINGS):
        worse = ~(after <= cost)
        if not worse.any():
            break
        length = np.where(worse, length / 2, length)
        tried = modes + length[:, None] * step
        after = _cost(data, state, precision, tried)
    return tried, after


@cache
def _hermite(count: int) -> tuple[Array, Array]:
    """Nodes, shape (count³, 3), and log weights of the standard normal in three dimensions."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    grid = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    logs = np.log(weights / np.sqrt(2 * np.pi))
    total = (logs[:, None, None] + logs[None, :, None] + logs[None, None, :]).ravel()
    return grid, total


def posterior_of(data: Values, state: Population) -> Posterior:
    precision = inverse(state.covariance)
    modes = _modes(data, state, precision)
    root = np.linalg.cholesky(np.linalg.inv(_information(data, state, modes) + precision))
    grid, logs = _hermite(NODES)
    nodes = modes[:, None] + np.einsum("ikl,ql->iqk", root, grid)
    apart = nodes - state.mean
    height = -0.5 * np.einsum("iqk,kl,iql->iq", apart, precision, apart)
    height -= 0.5 * _squares(data, nodes) / state.variance
    # Weight of a node: posterior density over the normal density that the node was drawn for.
    height += logs + 0.5 * (grid**2).sum(axis=-1)
    weights = np.exp(height - height.max(axis=1, keepdims=True))
    return Posterior(nodes, weights / weights.sum(axis=1, keepdims=True), modes)


def told_by_values(data: Values, state: Population, posterior: Posterior) -> float:
    """Parameters that the values themselves could tell, of the three of everybody."""
    return float(np.einsum("ikl,ikl->", _information(data, state, posterior.modes), posterior.covariances()))


def inverse(matrix: Array) -> Array:
    """Inverse, with a type."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)
