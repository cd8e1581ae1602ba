"""Regression of values whose own errors are known, beside which people differ (random effects)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from plastimap.stats.fits import FMap, TMap
from plastimap.stats.glm import CHUNK, RANK_TOLERANCE, estimable, independent_rows, rank
from plastimap.stats.problems import StatsProblem

POOLED_VOXELS = 2000
"""Voxels, evenly spread over the list, that the share of the known errors is estimated from."""

LARGEST_SHARE = 0.999
"""The known errors are never all there is: a value said to be exact would else have an infinite weight."""


@dataclass(frozen=True)
class PrecisionFit:
    """A fitted model; interface of :class:`plastimap.stats.fits.Fit`.

    Attributes
    ----------
    matrix : ndarray, shape (n, p)
    beta : ndarray, shape (p, n_voxels)
    share : float
        Of the known errors in the variance of an average person: 0 = people count equally.
    variance : ndarray, shape (n_voxels,)
        Weighted residual variance: that of a person of average precision.
    dof : float
        Rows less the rank of the design.
    analysed : ndarray of bool, shape (n_voxels,)
    data : ndarray, shape (n, n_voxels)
    spread : ndarray, shape (n, n_voxels)
        Relative variance of every value; its mean in a voxel is 1.
    notes : tuple of str
    """

    matrix: NDArray[np.float64]
    beta: NDArray[np.float64]
    share: float
    variance: NDArray[np.float64]
    dof: float
    analysed: NDArray[np.bool_]
    data: NDArray[np.floating] = field(repr=False)
    spread: NDArray[np.floating] = field(repr=False)
    notes: tuple[str, ...] = ()

    def residual(self, row: int) -> NDArray[np.float64]:
        """One row's weighted residuals, 0 where not analysed."""
        error = (self.data[row].astype(np.float64) - self.matrix[row] @ self.beta) / np.sqrt(self.spread[row])
        return np.where(self.analysed & np.isfinite(error), error, 0.0)

    def t_map(self, vector: ArrayLike) -> TMap:
        """One contrast."""
        weights = np.asarray(vector, dtype=np.float64)
        effect = np.where(self.analysed, weights @ self.beta, np.nan)
        if not estimable(self.matrix, weights):
            effect = np.full(self.analysed.size, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.sqrt(self.variance * self._covariance(weights[None, :])[:, 0, 0])
            return TMap(effect / error, effect, error, self.dof)

    def f_map(self, vectors: ArrayLike) -> FMap:
        """Several contrasts together."""
        rows = independent_rows(np.atleast_2d(np.asarray(vectors, dtype=np.float64)))
        f = np.full(self.analysed.size, np.nan)
        if all(estimable(self.matrix, row) for row in rows):
            here = np.flatnonzero(self.analysed)
            effects = (rows @ self.beta[:, here]).T
            solved = np.linalg.solve(self._covariance(rows)[here], effects[:, :, None])[:, :, 0]
            f[here] = (effects * solved).sum(axis=1) / (len(rows) * self.variance[here])
        return FMap(f, (float(len(rows)), self.dof))

    def _covariance(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """C (X'WX)⁻ C' of every voxel, shape (n_voxels, r, r); NaN where not analysed."""
        found = np.full((self.analysed.size, len(rows), len(rows)), np.nan)
        where = np.flatnonzero(self.analysed)
        design, scale = _scaled(self.matrix)
        for start in range(0, where.size, CHUNK):
            part = where[start : start + CHUNK]
            inverse = np.linalg.pinv(_normal(design, self.spread[:, part]), rcond=RANK_TOLERANCE, hermitian=True)
            found[part] = (rows / scale) @ inverse @ (rows / scale).T
        return found


def fit_precision(
    data: NDArray[np.floating],
    matrix: NDArray[np.floating],
    noise: NDArray[np.floating],
    *,
    notes: tuple[str, ...] = (),
) -> PrecisionFit:
    """Least squares in which every value of every voxel has its own weight, from its known error.

    The variance of person i in voxel v is ``σ²(v) [(1 - h) + h d_i(v)]``, d being the known error variance over its
    mean in that voxel. How much of the variance the errors are, h, is one number for all voxels, by restricted
    maximum likelihood. Errors need to be known up to a factor only: smoothing, interpolation or physiology that
    change them everywhere alike change h, not the result. σ² is estimated in every voxel, as without weights.

    Parameters
    ----------
    data : ndarray, shape (n, n_voxels)
        One row per person; a voxel with a missing value (NaN) is not analysed.
    matrix : ndarray, shape (n, p)
        Design; may be rank deficient.
    noise : ndarray, shape (n, n_voxels)
        Known error variances of the data. Where one is missing (NaN), the mean of the others in this voxel stands
        for it; where all are, everybody counts equally.
    notes : tuple of str
        Carried along.

    Returns
    -------
    PrecisionFit

    Raises
    ------
    StatsProblem
        If shapes disagree, or no degrees of freedom are left.

    References
    ----------
    Random effects with known errors: DerSimonian R, Kacker R (2007), https://doi.org/10.1016/j.cct.2006.04.004.
    One ratio of variances for all voxels: Lutti A et al. (2022), https://doi.org/10.1002/hbm.25767.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if data.shape != noise.shape or data.ndim != 2 or len(data) != len(matrix):
        raise StatsProblem(f"data {data.shape}, errors {noise.shape} and a design {matrix.shape} do not go together")
    dof = len(matrix) - rank(matrix)
    if dof < 1:
        raise StatsProblem(f"{len(matrix)} people and a design of rank {rank(matrix)} leave no degrees of freedom")
    relative, filled = _relative(noise)
    scale = np.abs(np.nan_to_num(data)).max(axis=0)
    # As for the ordinary model: a voxel without any variance has no t.
    analysed = np.isfinite(data).all(axis=0) & (np.ptp(np.nan_to_num(data), axis=0) > 1e-12 * scale)
    where = np.flatnonzero(analysed)
    share = _share_of_errors(data, matrix, relative, where) if where.size else 0.0
    spread = (1 - share) + share * relative
    beta, variance = np.full((matrix.shape[1], data.shape[1]), np.nan), np.full(data.shape[1], np.nan)
    for start in range(0, where.size, CHUNK):
        part = where[start : start + CHUNK]
        beta[:, part], squares = _weighted(data[:, part].astype(np.float64), matrix, spread[:, part])
        variance[part] = squares / dof
    analysed &= np.nan_to_num(variance) > 0
    said = [f"Known errors are {share:.0%} of the variance of an average person."]
    if filled:
        said.append(f"{filled:.2%} of the values have no known error: the mean of the others there was taken.")
    return PrecisionFit(matrix, beta, share, variance, float(dof), analysed, data, spread, (*notes, *said))


def person_weights(
    data: NDArray[np.floating], matrix: NDArray[np.floating], noise: NDArray[np.floating]
) -> NDArray[np.float64]:
    """One weight per person, shape (n,): for typical errors, with the share that they have in :func:`fit_precision`."""
    relative, _ = _relative(noise)
    where = np.flatnonzero(np.isfinite(data).all(axis=0))
    if not where.size:
        return np.ones(len(data))
    share = _share_of_errors(data, np.asarray(matrix, dtype=np.float64), relative, where)
    return 1 / ((1 - share) + share * np.median(relative, axis=1))


def typical_noise(noise: NDArray[np.floating]) -> NDArray[np.float64]:
    """Known error variance of every row, shape (n,): over its mean in each voxel, the median over voxels."""
    return np.median(_relative(noise)[0], axis=1)


def _relative(noise: NDArray[np.floating]) -> tuple[NDArray[np.float64], float]:
    """Error variances over their mean in the voxel, 1 where unknown; and the share of values where they are."""
    there = np.isfinite(noise) & (noise >= 0)
    mean = np.where(there, noise, 0).sum(axis=0, dtype=np.float64) / np.maximum(there.sum(axis=0), 1)
    known = there & (mean > 0)
    return np.divide(noise, mean, out=np.ones(noise.shape), where=known), float(1 - known.mean())


def _share_of_errors(
    data: NDArray[np.floating], matrix: NDArray[np.float64], relative: NDArray[np.float64], where: NDArray[np.intp]
) -> float:
    """Share h of the known errors, by restricted maximum likelihood, σ² of every voxel profiled out."""
    some = where[:: max(1, where.size // POOLED_VOXELS)]
    values, errors = data[:, some].astype(np.float64), relative[:, some]
    columns = rank(matrix)

    def loss(share: float) -> float:
        spread = (1 - share) + share * errors
        squares = _weighted(values, matrix, spread)[1]
        normal = np.linalg.eigvalsh(_normal(_scaled(matrix)[0], spread))[:, -columns:]
        free = len(values) - columns
        return float(np.mean(np.log(spread).sum(axis=0) + np.log(normal).sum(axis=1) + free * np.log(squares)))

    found: Any = optimize.minimize_scalar(loss, bounds=(0, LARGEST_SHARE), method="bounded")
    best = float(found.x)
    return best if loss(best) < loss(0.0) else 0.0


def _scaled(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns of unit length, so that their units do not matter to rank; and their lengths."""
    scale = np.sqrt((matrix**2).sum(axis=0))
    scale[scale == 0] = 1.0
    return matrix / scale, scale


def _normal(design: NDArray[np.float64], spread: NDArray[np.floating]) -> NDArray[np.float64]:
    """X'WX of every voxel, shape (m, p, p), for variances of shape (n, m)."""
    n, p = design.shape
    return ((1 / spread).T @ np.einsum("ij,ik->ijk", design, design).reshape(n, -1)).reshape(-1, p, p)


def _weighted(
    values: NDArray[np.float64], matrix: NDArray[np.float64], spread: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients (p, m) and weighted sums of squared residuals (m,)."""
    design, scale = _scaled(matrix)
    inverse = np.linalg.pinv(_normal(design, spread), rcond=RANK_TOLERANCE, hermitian=True)
    beta = np.einsum("mjk,mk->jm", inverse, (design.T @ (values / spread)).T)
    return beta / scale[:, None], ((values - design @ beta) ** 2 / spread).sum(axis=0)
