"""Regression that a few outlying people cannot carry away (Huber 1973, doi:10.1214/aos/1176342503)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.fits import FMap, TMap
from plastimap.stats.glm import CHUNK, estimable, independent_rows, rank
from plastimap.stats.problems import StatsProblem

TUNING = 1.345
"""Residuals beyond so many robust standard deviations lose weight: 95 % efficiency where there are no outliers."""

MOST_ROUNDS = 100

HOLD_SCALE = 40
"""Rounds after which a voxel keeps its scale: with a median in it the search may go in circles."""

SETTLED = 1e-8
"""Largest change of a coefficient, in its standard errors, at which a voxel is done."""

_MAD_OF_NORMAL = 0.6744897501960817


@dataclass(frozen=True)
class RobustFit:
    """A fitted model; interface of :class:`plastimap.stats.fits.Fit`.

    Attributes
    ----------
    matrix : ndarray, shape (n, p)
    beta : ndarray, shape (p, n_voxels)
    scale : ndarray, shape (n_voxels,)
        Variance that stands for σ² in the covariance of the coefficients, σ² (X'X)⁻.
    variance : ndarray, shape (n_voxels,)
        Of the residuals.
    dof : float
        Rows less the rank of the design.
    analysed : ndarray of bool, shape (n_voxels,)
    notes : tuple of str
    """

    matrix: NDArray[np.float64]
    beta: NDArray[np.float64]
    scale: NDArray[np.float64]
    variance: NDArray[np.float64]
    dof: float
    analysed: NDArray[np.bool_]
    data: NDArray[np.floating] = field(repr=False)
    root: NDArray[np.float64] = field(repr=False)
    notes: tuple[str, ...] = ()

    def residual(self, row: int) -> NDArray[np.float64]:
        """One row's residuals, 0 where not analysed."""
        error = self.root[row] * (self.data[row].astype(np.float64) - self.matrix[row] @ self.beta)
        return np.where(np.isnan(error), 0.0, error)

    def t_map(self, vector: ArrayLike) -> TMap:
        """One contrast."""
        weights = np.asarray(vector, dtype=np.float64)
        if not estimable(self.matrix, weights):
            nothing = np.full(self.analysed.size, np.nan)
            return TMap(nothing, nothing, nothing, self.dof)
        effect = weights @ self.beta
        factor = float(weights @ self._inverse() @ weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.sqrt(self.scale * factor)
            return TMap(effect / error, effect, error, self.dof)

    def f_map(self, vectors: ArrayLike) -> FMap:
        """Several contrasts together."""
        rows = independent_rows(np.atleast_2d(np.asarray(vectors, dtype=np.float64)))
        shape = (float(len(rows)), self.dof)
        if not all(estimable(self.matrix, row) for row in rows):
            return FMap(np.full(self.analysed.size, np.nan), shape)
        effects = rows @ self.beta
        inverse = np.linalg.inv(rows @ self._inverse() @ rows.T)
        with np.errstate(invalid="ignore", divide="ignore"):
            return FMap(np.einsum("iv,ij,jv->v", effects, inverse, effects) / (len(rows) * self.scale), shape)

    def _inverse(self) -> NDArray[np.float64]:
        weighted = self.matrix * self.root[:, None]
        return np.asarray(np.linalg.pinv(weighted.T @ weighted, hermitian=True), dtype=np.float64)


def fit_robust(
    data: NDArray[np.floating],
    matrix: NDArray[np.floating],
    *,
    weights: ArrayLike | None = None,
    tuning: float = TUNING,
    notes: tuple[str, ...] = (),
) -> RobustFit:
    """Huber's regression at every voxel, by reweighted least squares.

    Parameters
    ----------
    data : ndarray, shape (n, n_voxels)
        Voxels with a missing value are not analysed.
    matrix : ndarray, shape (n, p)
        Full column rank, or the contrasts must be estimable.
    weights : array-like, shape (n,), optional
        Inverse relative variances of the rows.
    tuning : float
        In robust standard deviations (1.4826 × median absolute residual).
    notes : tuple of str
        Carried along.

    Returns
    -------
    RobustFit
        With Huber's covariance (his first small-sample correction).

    Raises
    ------
    StatsProblem
        If no degrees of freedom are left.
    """
    design = np.asarray(matrix, dtype=np.float64)
    n, voxels = data.shape
    dof = float(n - rank(design))
    if dof < 1:
        raise StatsProblem(f"{n} people and a design of rank {n - dof:g} leave no degrees of freedom")
    given = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    root = np.sqrt(given / given.mean())
    beta = np.full((design.shape[1], voxels), np.nan)
    scale, variance = np.full(voxels, np.nan), np.full(voxels, np.nan)
    analysed = np.isfinite(data).all(axis=0) & (np.ptp(np.nan_to_num(data), axis=0) > 0)
    unsettled = 0
    for start in range(0, voxels, CHUNK):
        where = start + np.flatnonzero(analysed[start : start + CHUNK])
        values = data[:, where].astype(np.float64) * root[:, None]
        coefficients, left = _reweighted(values, design * root[:, None], tuning)
        unsettled += left
        residuals = values - design * root[:, None] @ coefficients
        beta[:, where] = coefficients
        scale[where] = _huber_variance(residuals, rank(design), tuning)
        variance[where] = (residuals**2).sum(axis=0) / dof
    if unsettled:
        notes = (*notes, f"Robust fit: {unsettled} voxels not settled after {MOST_ROUNDS} rounds.")
    analysed &= np.isfinite(scale) & (np.nan_to_num(scale) > 0)
    return RobustFit(design, beta, scale, variance, dof, analysed, data, root, notes)


def _reweighted(
    values: NDArray[np.float64], design: NDArray[np.float64], tuning: float
) -> tuple[NDArray[np.float64], int]:
    """Coefficients (p, m), and how many voxels have not settled."""
    inverse = np.linalg.pinv(design)
    spread = np.sqrt(np.diag(inverse @ inverse.T))[:, None]
    products = np.einsum("ij,ik->ijk", design, design).reshape(len(design), -1)
    p = design.shape[1]
    beta = inverse @ values
    active = np.arange(values.shape[1])
    scale = np.zeros(values.shape[1])
    for number in range(MOST_ROUNDS):
        y = values[:, active]
        residuals = y - design @ beta[:, active]
        if number < HOLD_SCALE:
            scale[active] = _mad(residuals)
        sigma = scale[active]
        ratio = np.abs(residuals) / np.where(sigma > 0, sigma, np.inf)
        weights = np.minimum(1.0, tuning / np.maximum(ratio, tuning / 2))
        normal = (weights.T @ products).reshape(-1, p, p)
        right = (design.T @ (weights * y)).T
        fresh = np.einsum("mjk,mk->jm", np.linalg.pinv(normal, hermitian=True), right)
        change = np.abs(fresh - beta[:, active]) / (np.where(sigma > 0, sigma, 1.0) * spread)
        beta[:, active] = fresh
        active = active[change.max(axis=0) > SETTLED]
        if active.size == 0:
            break
    return beta, int(active.size)


def _mad(residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Robust standard deviation about 0."""
    return np.median(np.abs(residuals), axis=0) / _MAD_OF_NORMAL


def _huber_variance(residuals: NDArray[np.float64], columns: int, tuning: float) -> NDArray[np.float64]:
    """σ² of the coefficients' covariance: K² Σψ² / (n − p) / (mean ψ')² (Huber 1981, section 7.6)."""
    n = residuals.shape[0]
    sigma = _mad(residuals)
    with np.errstate(invalid="ignore", divide="ignore"):
        standard = residuals / sigma
        psi = np.clip(standard, -tuning, tuning)
        slope = (np.abs(standard) <= tuning).astype(np.float64)
        mean = slope.mean(axis=0)
        correction = 1 + columns / n * slope.var(axis=0) / mean**2
        return correction**2 * (psi**2).sum(axis=0) / (n - columns) / mean**2 * sigma**2
