"""Gaussian process regression of age on a region's parcels.

k(x, x') = a exp(−|x − x'|² / (2 l² p)) + b x·x' / p, with noise; a, l, b and the noise by maximum marginal likelihood
(Rasmussen & Williams 2006, ch. 2 and 5, ISBN 026218253X). What is left out, be it a person or a site, is predicted
from the rest in closed form (ch. 5.4.2, for blocks), so calibration needs no second fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

START = (0.5, 0.8, 0.2, 0.1)
"""Amplitude, length, linear part and noise that the search starts from, for standardised data."""

BOUNDS = ((-9.0, 3.0), (-0.5, 4.0), (-9.0, 3.0), (-6.0, 2.0))
"""Of their logarithms. Two people differ by √2 per parcel: a length far below would make everybody their own kind."""

MOST_FOR_SEARCH = 300
"""People by whom the four numbers are found; the cost grows with the cube, and four numbers need no more."""

MOST_STEPS = 30
JITTER = 1e-8


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process.

    Attributes
    ----------
    inputs : ndarray, shape (n, p)
        Training data, of variance about 1.
    target : ndarray, shape (n,)
        Standardised.
    level, spread : float
        Of the target.
    kernel : ndarray, shape (4,)
        a, l, b and the noise's variance.
    """

    inputs: Array
    target: Array
    level: float
    spread: float
    kernel: Array

    @cached_property
    def precision(self) -> Array:
        """Inverse of the covariance of the training data, shape (n, n)."""
        covariance = _covariance(self.inputs, self.inputs, self.kernel)
        covariance[np.diag_indices_from(covariance)] += self.kernel[3] + JITTER
        return np.asarray(np.linalg.inv(covariance), dtype=np.float64)

    @cached_property
    def weights(self) -> Array:
        """Precision times target, shape (n,)."""
        return self.precision @ self.target

    def predict(self, data: ArrayLike) -> tuple[Array, Array]:
        """Mean and standard deviation of new targets, each of shape (m,).

        Parameters
        ----------
        data : array-like, shape (m, p)
        """
        new = np.asarray(data, dtype=np.float64)
        across = _covariance(new, self.inputs, self.kernel)
        variance = np.maximum(self._variance(new, across), JITTER)
        return self.level + self.spread * (across @ self.weights), self.spread * np.sqrt(variance)

    def _variance(self, new: Array, across: Array) -> Array:
        """Of new targets, standardised, given their covariance with the training data."""
        prior = self.kernel[0] + self.kernel[2] * (new**2).mean(axis=1) + self.kernel[3]
        return prior - np.einsum("ij,ij->i", across @ self.precision, across)

    def left_out(self, groups: ArrayLike, data: ArrayLike | None = None) -> tuple[Array, Array]:
        """Mean and standard deviation of each training target, predicted without its own group.

        Parameters
        ----------
        groups : array-like, shape (n,)
            Sites, say; all different = leave one person out.
        data : array-like, shape (n, p), optional
            What is predicted from; default: what was trained on.
        """
        mean, variance = np.empty_like(self.target), np.empty_like(self.target)
        for rows in group_rows(groups):
            block = np.linalg.inv(self.precision[np.ix_(rows, rows)])
            gone = block @ self.weights[rows]
            if data is None:
                mean[rows], variance[rows] = self.target[rows] - gone, np.diag(block)
                continue
            # Precision and weights without the group are those with it, less what the group explains of them.
            new, across_groups = np.asarray(data, dtype=np.float64)[rows], self.precision[:, rows]
            across = _covariance(new, self.inputs, self.kernel)
            mean[rows] = across @ (self.weights - across_groups @ gone)
            explained = across @ across_groups
            variance[rows] = self._variance(new, across) + np.einsum("ij,jk,ik->i", explained, block, explained)
        return self.level + self.spread * mean, self.spread * np.sqrt(np.maximum(variance, JITTER))


def group_rows(groups: ArrayLike) -> list[NDArray[np.intp]]:
    """Rows of every group."""
    labels = np.unique(np.asarray(groups), return_inverse=True)[1]
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def fit_gaussian_process(data: ArrayLike, target: ArrayLike, *, seed: int = 0) -> GaussianProcess:
    """Fit a process.

    Parameters
    ----------
    data : array-like, shape (n, p)
        Standardised, or of columns whose mean variance is 1.
    target : array-like, shape (n,)
    seed : int
        Which people the search for the kernel sees, where there are more than :data:`MOST_FOR_SEARCH`.
    """
    inputs, wanted = np.asarray(data, dtype=np.float64), np.asarray(target, dtype=np.float64)
    level, spread = float(wanted.mean()), float(wanted.std()) or 1.0
    standard = (wanted - level) / spread
    chosen = np.arange(len(inputs))
    if len(inputs) > MOST_FOR_SEARCH:
        # Evenly over the target's order: a skewed sample keeps its rare ages.
        order = np.lexsort((np.random.default_rng(seed).random(len(standard)), standard))
        chosen = order[np.linspace(0, len(order) - 1, MOST_FOR_SEARCH).astype(int)]
    kernel = _best_kernel(inputs[chosen], standard[chosen])
    return GaussianProcess(inputs, standard, level, spread, kernel)


def _best_kernel(inputs: Array, target: Array) -> Array:
    from scipy.optimize import minimize

    squared = _squared_distances(inputs, inputs)
    linear = inputs @ inputs.T / inputs.shape[1]
    found = minimize(
        _negative_evidence,
        np.log(START),
        args=(squared, linear, target),
        jac=True,
        method="L-BFGS-B",
        bounds=BOUNDS,
        options={"maxiter": MOST_STEPS},
    )
    return np.exp(found.x)


def _negative_evidence(logs: Array, squared: Array, linear: Array, target: Array) -> tuple[float, Array]:
    """−log marginal likelihood (up to a constant) and its gradient by the logarithms of the kernel's numbers."""
    from scipy.linalg import cho_factor, cho_solve

    amplitude, length, slope, noise = np.exp(logs)
    radial = amplitude * np.exp(-0.5 * squared / length**2)
    covariance = radial + slope * linear
    covariance[np.diag_indices_from(covariance)] += noise + JITTER
    factor = cho_factor(covariance, lower=True)
    inverse = cho_solve(factor, np.eye(len(target)))
    weights = inverse @ target
    value = 0.5 * target @ weights + np.log(np.diag(factor[0])).sum()
    # d/dθ = ½ tr((K⁻¹ − αα') ∂K/∂θ), eq. 5.9
    inner = inverse - np.outer(weights, weights)
    parts = [radial, radial * squared / length**2, slope * linear]
    gradient = [0.5 * float((inner * part).sum()) for part in parts] + [0.5 * noise * float(np.trace(inner))]
    return float(value), np.array(gradient)


def _squared_distances(one: Array, other: Array) -> Array:
    """Mean squared difference per parcel."""
    squares = (one**2).mean(axis=1)[:, None] + (other**2).mean(axis=1)[None] - 2 * one @ other.T / one.shape[1]
    return np.maximum(squares, 0.0)


def _covariance(one: Array, other: Array, kernel: Array) -> Array:
    radial = kernel[0] * np.exp(-0.5 * _squared_distances(one, other) / kernel[1] ** 2)
    return radial + kernel[2] * (one @ other.T) / one.shape[1]
