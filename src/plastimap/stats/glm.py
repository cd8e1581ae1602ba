"""The general linear model at every voxel: ordinary, weighted, or with a covariance of the errors."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.fits import FMap, TMap
from plastimap.stats.problems import StatsProblem
from plastimap.stats.tails import f_at_dof, t_at_dof

CHUNK = 65536
"""Voxels at a time."""

RANK_TOLERANCE = 1e-9
"""Singular values below this share of the largest one count as zero, columns being scaled to unit length."""


@dataclass(frozen=True)
class Solver:
    """Least squares for one set of people: everything that does not depend on the voxel's values."""

    inverse: NDArray[np.float64]  # (p, n): whitened data -> coefficients
    covariance: NDArray[np.float64]  # (p, p)
    seen: NDArray[np.float64]  # (p, p): projector on what the design can tell
    rank: int
    n: int  # rows that were fitted

    @property
    def dof(self) -> int:
        """Rows less the rank of the design."""
        return self.n - self.rank


@dataclass(frozen=True)
class GlmFit:
    """A fitted model.

    Attributes
    ----------
    matrix : ndarray, shape (n, p)
        Design, not whitened.
    beta : ndarray, shape (p, n_voxels)
        Coefficients; NaN where a voxel was not analysed.
    resms : ndarray, shape (n_voxels,)
        Residual variance, with `variance_floor` added.
    variance : ndarray, shape (n_voxels,)
        Residual variance as it is: it standardises the residuals.
    dof : float
        Error degrees of freedom with everybody: people less the *rank* of the design.
    analysed : ndarray of bool, shape (n_voxels,)
        Voxels with values from enough people, and with any variance.
    n_people : ndarray of int, shape (n_voxels,)
        People with a value.
    data, root
        What was given, and what whitens it (roots of the weights, or a matrix): residuals are made of them on demand.
    solvers, pattern
        One solver per set of people (the first: everybody), and which of them served each voxel.
    notes : tuple of str
    """

    matrix: NDArray[np.float64]
    beta: NDArray[np.float64]
    resms: NDArray[np.float64]
    variance: NDArray[np.float64]
    dof: float
    analysed: NDArray[np.bool_]
    n_people: NDArray[np.intp]
    data: NDArray[np.floating] = field(repr=False)
    root: NDArray[np.float64] = field(repr=False)
    solvers: tuple[Solver, ...] = field(repr=False)
    pattern: NDArray[np.intp] = field(repr=False)
    notes: tuple[str, ...] = ()

    def residual(self, row: int) -> NDArray[np.float64]:
        """One row's whitened residuals, shape (n_voxels,); 0 where a value that they need is missing."""
        if self.root.ndim == 1:
            error = self.root[row] * (self.data[row].astype(np.float64) - self.matrix[row] @ self.beta)
        else:
            # In pieces: the product would otherwise make a float64 copy of all data.
            pieces = [self.root[row] @ self.data[:, i : i + CHUNK] for i in range(0, self.data.shape[1], CHUNK)]
            error = np.concatenate(pieces) - (self.root[row] @ self.matrix) @ self.beta
        return np.where(np.isnan(error), 0.0, error)

    def t_map(self, vector: ArrayLike) -> TMap:
        """One contrast; see :class:`plastimap.stats.fits.Fit`."""
        weights = np.asarray(vector, dtype=np.float64)
        factors = np.array([_variance_factor(solver, weights) for solver in self.solvers])
        effect = np.where(self.analysed, weights @ self.beta, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.sqrt(self.resms * factors[self.pattern])
            t = effect / error
        gaps = self._gaps()
        if gaps.any():
            t[gaps] = t_at_dof(t[gaps], self._dofs()[self.pattern[gaps]], self.dof)
            effect[gaps & np.isnan(t)] = np.nan
        return TMap(t=t, effect=effect, standard_error=np.where(self.analysed, error, np.nan), dof=self.dof)

    def f_map(self, vectors: ArrayLike) -> FMap:
        """Several contrasts together; see :class:`plastimap.stats.fits.Fit`."""
        rows = independent_rows(np.atleast_2d(np.asarray(vectors, dtype=np.float64)))
        effects = np.where(self.analysed, rows @ self.beta, np.nan)
        f = np.full(effects.shape[1], np.nan)
        for number, solver in enumerate(self.solvers):
            here = self.analysed & (self.pattern == number)
            if here.any() and all(np.isfinite(_variance_factor(solver, row)) for row in rows):
                inverse = np.linalg.inv(rows @ solver.covariance @ rows.T)
                quadratic = np.einsum("iv,ij,jv->v", effects[:, here], inverse, effects[:, here])
                f[here] = quadratic / (len(rows) * self.resms[here])
        gaps = self._gaps()
        if gaps.any():
            f[gaps] = f_at_dof(f[gaps], len(rows), self._dofs()[self.pattern[gaps]], self.dof)
        return FMap(f=f, dof=(float(len(rows)), self.dof))

    def _gaps(self) -> NDArray[np.bool_]:
        return self.analysed & (self.pattern > 0)

    def _dofs(self) -> NDArray[np.float64]:
        return np.array([solver.dof for solver in self.solvers], dtype=np.float64)


def fit_glm(
    data: NDArray[np.floating],
    matrix: NDArray[np.floating],
    *,
    weights: ArrayLike | None = None,
    covariance: NDArray[np.floating] | None = None,
    variance_floor: float = 0.0,
    minimum_subjects: float = 1.0,
    notes: tuple[str, ...] = (),
) -> GlmFit:
    """Least squares at every voxel.

    Parameters
    ----------
    data : ndarray, shape (n, n_voxels)
        One row per person; NaN = no value.
    matrix : ndarray, shape (n, p)
        Design; may be rank deficient (the minimum-norm solution is taken).
    weights : array-like, shape (n,), optional
        Inverse relative variances of the rows.
    covariance : ndarray, shape (n, n), optional
        Relative covariance of the rows, positive definite; in place of `weights`. Data and design are whitened by its
        symmetric inverse root, as SPM12 does.
    variance_floor : float
        This share of the largest residual variance is added to the residual
        variance everywhere. SPM12 does so with 1e-3 for every modality but
        fMRI. Default 0: one noisy voxel at the mask's edge would otherwise
        lower every t value, and constant voxels are left out here anyway.
    minimum_subjects : float
        Least share of people with a value, for a voxel to be analysed. Below
        1, voxels with gaps are fitted in the people who have them, and their
        t is brought to the common degrees of freedom at equal p.
    notes : tuple of str
        Carried along.

    Returns
    -------
    GlmFit

    Raises
    ------
    StatsProblem
        If shapes disagree, weights or covariance are no such thing, or no degrees of freedom are left.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if data.ndim != 2 or matrix.ndim != 2 or data.shape[0] != matrix.shape[0]:
        raise StatsProblem(f"data of shape {data.shape} and a design of shape {matrix.shape} do not go together")
    spread = _spread(weights, covariance, matrix.shape[0])
    root = _inverse_root(spread)
    n, voxels = data.shape
    everybody = _solver(matrix, root)
    dof = float(everybody.dof)
    if dof < 1:
        raise StatsProblem(f"{n} people and a design of rank {everybody.rank} leave no degrees of freedom")
    n_people = np.isfinite(data).sum(axis=0)
    # A share such as 0.8 of 10 people must not turn into 9 by rounding.
    analysed = n_people >= max(np.ceil(minimum_subjects * n - 1e-9), 1)
    complete = analysed & (n_people == n)
    pattern = np.where(analysed, 0, -1)
    beta = np.full((matrix.shape[1], voxels), np.nan)
    variance = np.full(voxels, np.nan)
    whole = bool(complete.all())
    for start in range(0, voxels, CHUNK):
        chunk = slice(start, start + CHUNK)
        where: slice | NDArray[np.intp] = chunk if whole else start + np.flatnonzero(complete[chunk])
        _solve_into(beta, variance, data, matrix, root, everybody, np.arange(n), where)
    solvers = [everybody]
    _fit_incomplete(beta, variance, data, matrix, spread, np.flatnonzero(analysed & ~complete), pattern, solvers)
    # Voxels that do not vary (SPM drops them too) have no t; rounding leaves them a trace of variance.
    scale = np.nanmax(np.abs(data), axis=0, initial=0.0, where=np.isfinite(data)).astype(np.float64)
    analysed &= np.isfinite(variance) & (np.nan_to_num(variance) > (1e-12 * scale) ** 2)
    floor = variance_floor * float(variance[analysed].max()) if variance_floor and analysed.any() else 0.0
    return GlmFit(
        matrix=matrix,
        beta=beta,
        resms=variance + floor,
        variance=variance,
        dof=dof,
        analysed=analysed,
        n_people=n_people,
        data=data,
        root=root,
        solvers=tuple(solvers),
        pattern=pattern,
        notes=notes,
    )


def estimable(matrix: NDArray[np.float64], vector: ArrayLike) -> bool:
    """Whether a contrast can be told from this design."""
    return bool(np.isfinite(_variance_factor(_solver(matrix, np.ones(matrix.shape[0])), np.asarray(vector, float))))


def effective_n(matrix: NDArray[np.float64], vector: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Compute 1 / c (X'WX)⁻ c': n for a mean, n1 n2 / (n1 + n2) for a difference of two; NaN if it cannot be told."""
    root = _inverse_root(_spread(weights, None, matrix.shape[0]))
    return 1 / _variance_factor(_solver(matrix, root), np.asarray(vector, dtype=np.float64))


def rank(matrix: NDArray[np.float64]) -> int:
    """Rank of a design, whatever the units of its columns."""
    return _solver(matrix, np.ones(matrix.shape[0])).rank


def independent_rows(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """As many orthonormal contrasts as are independent among those given; they span the same hypotheses."""
    size = np.abs(vectors).max(axis=1, keepdims=True)
    _, values, rows = np.linalg.svd(vectors / np.where(size > 0, size, 1.0), full_matrices=False)
    return rows[values > RANK_TOLERANCE * values.max(initial=0.0)]


def _spread(weights: ArrayLike | None, covariance: NDArray[np.floating] | None, n: int) -> NDArray[np.float64]:
    """Relative variances (n,), or covariance (n, n), of the rows."""
    if covariance is not None:
        given = np.asarray(covariance, dtype=np.float64)
        if weights is not None or given.shape != (n, n) or not np.isfinite(given).all():
            raise StatsProblem("give either weights, or one finite covariance between all rows")
        return given * (n / np.trace(given))
    if weights is None:
        return np.ones(n)
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (n,) or not (np.isfinite(given).all() and (given > 0).all()):
        raise StatsProblem("weights must be one positive number per person")
    return given.mean() / given


def _inverse_root(spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Whiten: roots of the weights, or the symmetric inverse root of a covariance."""
    if spread.ndim == 1:
        return 1 / np.sqrt(spread)
    values, vectors = np.linalg.eigh(spread)
    if values[0] <= RANK_TOLERANCE * values[-1]:
        raise StatsProblem("the covariance of the rows is not positive definite")
    return (vectors / np.sqrt(values)) @ vectors.T


def _whitened(root: NDArray[np.float64], values: NDArray[np.floating]) -> NDArray[np.float64]:
    values = values.astype(np.float64)
    return values * root[:, None] if root.ndim == 1 else root @ values


def _solver(matrix: NDArray[np.float64], root: NDArray[np.float64]) -> Solver:
    weighted = _whitened(root, matrix)
    scale = np.sqrt((weighted**2).sum(axis=0))
    scale[scale == 0] = 1.0
    scaled = weighted / scale
    inverse = np.linalg.pinv(scaled, rcond=RANK_TOLERANCE)
    seen = inverse @ scaled
    return Solver(
        inverse=inverse / scale[:, None],
        covariance=(inverse @ inverse.T) / np.outer(scale, scale),
        seen=seen * (scale[None, :] / scale[:, None]),
        rank=round(float(np.trace(seen))),
        n=matrix.shape[0],
    )


def _variance_factor(solver: Solver, vector: NDArray[np.float64]) -> float:
    """Return c (X'WX)⁻ c'; NaN where the contrast cannot be told."""
    if np.abs(vector @ solver.seen - vector).max() > 1e-6 * np.abs(vector).max():
        return float("nan")
    return float(vector @ solver.covariance @ vector)


def _solve_into(
    beta: NDArray[np.float64],
    variance: NDArray[np.float64],
    data: NDArray[np.floating],
    matrix: NDArray[np.float64],
    root: NDArray[np.float64],
    solver: Solver,
    people: NDArray[np.intp],
    where: slice | NDArray[np.intp],
) -> None:
    """Fit the voxels `where` in `people` and write the results in place."""
    values = data[:, where] if people.size == data.shape[0] else data[np.ix_(people, np.asarray(where))]
    weighted = _whitened(root, values)
    coefficients = solver.inverse @ weighted
    weighted -= _whitened(root, matrix[people]) @ coefficients
    beta[:, where] = coefficients
    variance[where] = np.einsum("ij,ij->j", weighted, weighted) / solver.dof


def _fit_incomplete(
    beta: NDArray[np.float64],
    variance: NDArray[np.float64],
    data: NDArray[np.floating],
    matrix: NDArray[np.float64],
    spread: NDArray[np.float64],
    voxels: NDArray[np.intp],
    pattern: NDArray[np.intp],
    solvers: list[Solver],
) -> None:
    """Fit voxels with gaps, those with the same people together; fills `pattern` and `solvers`."""
    if voxels.size == 0:
        return
    present, which = np.unique(np.isfinite(data[:, voxels]).T, axis=0, return_inverse=True)
    which = which.ravel()
    for index, row in enumerate(present):
        people = np.flatnonzero(row)
        root = _inverse_root(spread[people] if spread.ndim == 1 else spread[np.ix_(people, people)])
        solver = _solver(matrix[people], root)
        group = voxels[which == index]
        if solver.dof < 1:
            continue
        _solve_into(beta, variance, data, matrix, root, solver, people, group)
        pattern[group] = len(solvers)
        solvers.append(solver)
