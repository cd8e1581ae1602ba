"""Linear mixed model at every voxel: each person's own level and own slope over time.

y_i = X_i β + Z_i b_i + e_i with Z_i = [1, t], b_i ~ N(0, D), e_i ~ N(0, σ²) (Laird & Ware 1982,
doi:10.2307/2529876; Bernal-Rusiel 2013, doi:10.1016/j.neuroimage.2012.10.065). D and σ² are those of the voxel,
found by restricted maximum likelihood. People with a single scan take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats._mixed import contrast_covariances, fit_voxels
from plastimap.stats.fits import FMap, TMap
from plastimap.stats.glm import estimable, independent_rows, rank
from plastimap.stats.problems import StatsProblem

CHUNK = 8192
"""Voxels at a time."""

START = (1.0, 0.0, 0.5)
"""Of Λ: standard deviations of level and slope about as large as the error's."""

FULL_RANK = 1e-9


class _Sums(NamedTuple):
    """What does not depend on the voxel; see :mod:`plastimap.stats._mixed`."""

    xx: NDArray[np.float64]
    gram: NDArray[np.float64]
    k: NDArray[np.float64]
    people: NDArray[np.float64]
    kind: NDArray[np.intp]
    c: NDArray[np.float64]


@dataclass(frozen=True)
class MixedFit:
    """A fitted model; interface of :class:`plastimap.stats.fits.Fit`.

    Attributes
    ----------
    matrix : ndarray, shape (n, p)
    beta : ndarray, shape (p, n_voxels)
    error_variance : ndarray, shape (n_voxels,)
        σ².
    random : ndarray, shape (n_voxels, 2, 2)
        D: covariance of people's own levels and slopes about the group's (slope per unit of the time given).
    variance : ndarray, shape (n_voxels,)
        Of the residuals from the fixed part.
    dof : float
        Rows less the rank of the design.
    analysed : ndarray of bool, shape (n_voxels,)
    notes : tuple of str
    """

    matrix: NDArray[np.float64]
    beta: NDArray[np.float64]
    error_variance: NDArray[np.float64]
    random: NDArray[np.float64]
    variance: NDArray[np.float64]
    dof: float
    analysed: NDArray[np.bool_]
    notes: tuple[str, ...]
    data: NDArray[np.floating] = field(repr=False)
    root: NDArray[np.float64] = field(repr=False)
    theta: NDArray[np.float64] = field(repr=False)
    sums: _Sums = field(repr=False)
    reduce: NDArray[np.float64] = field(repr=False)
    strata: tuple[tuple[NDArray[np.float64], int], ...] = field(repr=False)
    within: int = field(repr=False)

    def residual(self, row: int) -> NDArray[np.float64]:
        """What the fixed part leaves of one row; 0 where not analysed."""
        error = self.root[row] * (self.data[row].astype(np.float64) - self.matrix[row] @ self.beta)
        return np.where(np.isnan(error), 0.0, error)

    def t_map(self, vector: ArrayLike) -> TMap:
        """One contrast; degrees of freedom by rank, see :meth:`contrast_dof`."""
        weights = np.asarray(vector, dtype=np.float64)
        dof = self.contrast_dof(weights)
        if not estimable(self.matrix, weights):
            nothing = np.full(self.analysed.size, np.nan)
            return TMap(nothing, nothing, nothing, dof)
        with np.errstate(invalid="ignore", divide="ignore"):
            effect = weights @ self.beta
            error = np.sqrt(self._covariance(weights[None, :])[:, 0, 0])
            return TMap(effect / error, effect, error, dof)

    def f_map(self, vectors: ArrayLike) -> FMap:
        """Several contrasts together (Wald), at the least of their degrees of freedom."""
        rows = independent_rows(np.atleast_2d(np.asarray(vectors, dtype=np.float64)))
        dof = (float(len(rows)), min(self.contrast_dof(row) for row in rows))
        f = np.full(self.analysed.size, np.nan)
        if all(estimable(self.matrix, row) for row in rows):
            effects = (rows @ self.beta[:, self.analysed]).T
            covariance = self._covariance(rows)[self.analysed]
            solved = np.linalg.solve(covariance, effects[..., None])[..., 0]
            f[self.analysed] = (effects * solved).sum(axis=1) / len(rows)
        return FMap(f, dof)

    def contrast_dof(self, vector: ArrayLike) -> float:
        """Degrees of freedom of a contrast, by rank.

        What people's own levels could imitate is judged against the differences of levels between people, what their
        own slopes could imitate against those of slopes, anything else against the error.
        """
        given = np.asarray(vector, dtype=np.float64)
        found = [dof for own, dof in self.strata if not estimable(own, np.pad(given, (0, own.shape[1] - given.size)))]
        return float(min(found, default=self.within))

    def _covariance(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = contrast_covariances(self.theta[self.analysed], rows @ self.reduce, *self.sums[:3])
        out = np.full((self.analysed.size, len(rows), len(rows)), np.nan)
        out[self.analysed] = inside * self.error_variance[self.analysed, None, None]
        return out


def fit_mixed(
    data: NDArray[np.floating],
    matrix: NDArray[np.floating],
    *,
    people: Sequence[str],
    time: ArrayLike,
    weights: ArrayLike | None = None,
    notes: tuple[str, ...] = (),
) -> MixedFit:
    """Random intercept and slope at every voxel.

    Parameters
    ----------
    data : ndarray, shape (n, n_voxels)
        One row per scan; voxels with a missing value are not analysed.
    matrix : ndarray, shape (n, p)
        Fixed effects.
    people : sequence of str, length n
        Whose scan each row is.
    time : array-like, shape (n,)
        Time on which people have slopes of their own.
    weights : array-like, shape (n,), optional
        Inverse relative error variances of the scans.
    notes : tuple of str
        Carried along.

    Returns
    -------
    MixedFit

    Raises
    ------
    StatsProblem
        If nobody has more scans than levels and slopes take up, or no degrees of freedom are left.
    """
    design = np.asarray(matrix, dtype=np.float64)
    given = np.ones(len(design)) if weights is None else np.asarray(weights, dtype=np.float64)
    root = np.sqrt(given / given.mean())
    days = np.asarray(time, dtype=np.float64)
    unit = float(np.sqrt(np.mean((days - days.mean()) ** 2)))
    if unit == 0:
        raise StatsProblem("a mixed model with slopes needs more than one time point")
    own = np.column_stack([np.ones(len(days)), (days - days.mean()) / unit]) * root[:, None]
    who = np.unique(np.asarray(people), return_inverse=True)[1]
    strata, within = _strata(design * root[:, None], own, who)
    if within < 1 or min(dof for _, dof in strata) < 1:
        raise StatsProblem("a mixed model with own levels and slopes needs more scans than these people have")
    fixed, reduce = _full_rank(design * root[:, None])
    sums = _sums(fixed, own, who)
    dof = float(len(design) - fixed.shape[1])
    analysed = np.isfinite(data).all(axis=0) & (np.ptp(np.nan_to_num(data), axis=0) > 0)
    theta, beta, sigma2, variance, left = _fit(data, root, fixed, own, who, sums, dof, analysed)
    if left:
        notes = (*notes, f"Mixed model: the search has not settled at {left} of {int(analysed.sum())} voxels.")
    return MixedFit(
        matrix=design,
        beta=reduce @ beta,
        error_variance=sigma2,
        random=_random(theta, sigma2, float(days.mean()), unit),
        variance=variance,
        dof=dof,
        analysed=analysed,
        notes=notes,
        data=data,
        root=root,
        theta=theta,
        sums=sums,
        reduce=reduce,
        strata=strata,
        within=within,
    )


def _blocks(own: NDArray[np.float64], who: NDArray[np.intp]) -> NDArray[np.float64]:
    """Z: two columns for each person."""
    out = np.zeros((len(own), 2 * (int(who.max()) + 1)))
    rows = np.arange(len(own))
    out[rows, 2 * who], out[rows, 2 * who + 1] = own[:, 0], own[:, 1]
    return out


def _strata(
    design: NDArray[np.float64], own: NDArray[np.float64], who: NDArray[np.intp]
) -> tuple[tuple[tuple[NDArray[np.float64], int], ...], int]:
    """Design with everybody's level, or slope, taken out, and degrees of freedom of either; and those of the error."""
    blocks = _blocks(own, who)
    with_levels = np.column_stack([design, blocks[:, 0::2]])
    with_slopes = np.column_stack([design, blocks[:, 1::2]])
    whole = rank(np.column_stack([design, blocks]))
    strata = ((with_levels, whole - rank(with_slopes)), (with_slopes, whole - rank(with_levels)))
    return strata, len(design) - whole


def _full_rank(design: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns of full rank that span the design, and what turns their coefficients into minimum-norm ones."""
    scale = np.sqrt((design**2).sum(axis=0))
    scale[scale == 0] = 1.0
    left, values, right = np.linalg.svd(design / scale, full_matrices=False)
    kept = values > FULL_RANK * values[0]
    # Coefficients of the orthonormal columns: β = diag(1/scale) V diag(1/s) γ.
    return left[:, kept], (right[kept].T / values[kept]) / scale[:, None]


def _sums(fixed: NDArray[np.float64], own: NDArray[np.float64], who: NDArray[np.intp]) -> _Sums:
    people = int(who.max()) + 1
    members = [np.flatnonzero(who == i) for i in range(people)]
    c = np.stack([fixed[rows].T @ own[rows] for rows in members])
    zz = np.stack([own[rows].T @ own[rows] for rows in members])[:, [0, 0, 1], [0, 1, 1]]
    k, kind, count = np.unique(zz.round(12), axis=0, return_inverse=True, return_counts=True)
    gram = np.zeros((len(k), 3, fixed.shape[1], fixed.shape[1]))
    for person, pattern in enumerate(kind.ravel()):
        one, two = c[person, :, 0], c[person, :, 1]
        gram[pattern, 0] += np.outer(one, one)
        gram[pattern, 1] += np.outer(one, two) + np.outer(two, one)
        gram[pattern, 2] += np.outer(two, two)
    return _Sums(fixed.T @ fixed, gram, k, count.astype(np.float64), kind.ravel().astype(np.intp), c)


def _fit(
    data: NDArray[np.floating],
    root: NDArray[np.float64],
    fixed: NDArray[np.float64],
    own: NDArray[np.float64],
    who: NDArray[np.intp],
    sums: _Sums,
    dof: float,
    analysed: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]:
    """Λ (n_voxels, 3), coefficients of `fixed`, error variance, residual variance; and how many did not settle."""
    voxels = analysed.size
    theta = np.full((voxels, 3), np.nan)
    beta = np.full((fixed.shape[1], voxels), np.nan)
    sigma2, variance = np.full(voxels, np.nan), np.full(voxels, np.nan)
    blocks = _blocks(own, who)
    left = 0
    every = np.flatnonzero(analysed)
    for start in range(0, every.size, CHUNK):
        where = every[start : start + CHUNK]
        values = data[:, where].astype(np.float64) * root[:, None]
        # Around the least-squares fit numbers are small: y'Py is then no difference of large ones.
        rough = fixed.T @ values
        values -= fixed @ rough
        d = np.ascontiguousarray((blocks.T @ values).T.reshape(where.size, -1, 2))
        yy = (values**2).sum(axis=0)
        t = np.tile(np.array(START), (where.size, 1))
        b, square = np.empty((where.size, fixed.shape[1])), np.empty(where.size)
        settled = np.zeros(where.size, dtype=np.bool_)
        xy = np.ascontiguousarray((fixed.T @ values).T)
        fit_voxels(*sums, xy, d, yy, dof, t, b, square, settled)
        theta[where], beta[:, where], sigma2[where] = t, b.T + rough, square / dof
        variance[where] = ((values - fixed @ b.T) ** 2).sum(axis=0) / dof
        left += int((~settled).sum())
    return theta, beta, sigma2, variance, left


def _random(theta: NDArray[np.float64], sigma2: NDArray[np.float64], mean: float, unit: float) -> NDArray[np.float64]:
    """D in the units of the time given, from Λ in units of its spread about its mean."""
    root = np.zeros((len(theta), 2, 2))
    root[:, 0, 0], root[:, 1, 0], root[:, 1, 1] = theta.T
    back = np.array([[1.0, -mean / unit], [0.0, 1 / unit]])
    moved = back @ root
    return moved @ moved.transpose(0, 2, 1) * sigma2[:, None, None]
