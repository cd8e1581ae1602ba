"""The general linear model at every voxel, and t contrasts of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.problems import StatsProblem
from plastimap.stats.tails import t_at_dof

CHUNK = 65536
"""Voxels at a time."""

RANK_TOLERANCE = 1e-9
"""Singular values below this share of the largest one count as zero, columns being scaled to unit length."""


@dataclass(frozen=True)
class Solver:
    """Least squares for one set of people: everything that does not depend on the voxel's values."""

    inverse: NDArray[np.float64]  # (p, n): weighted data -> coefficients
    covariance: NDArray[np.float64]  # (p, p)
    seen: NDArray[np.float64]  # (p, p): projector on what the design can tell
    rank: int


@dataclass(frozen=True)
class GlmFit:
    """A fitted model.

    Attributes
    ----------
    matrix : ndarray, shape (n, p)
        Design, unweighted.
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
        What was given, and the roots of the weights: residuals are made of them on demand.
    solvers, pattern
        One solver per set of people (the first: everybody), and which of them served each voxel.
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

    def residual(self, person: int) -> NDArray[np.float64]:
        """One person's (weighted) residuals, shape (n_voxels,); 0 where that person has no value."""
        error = self.root[person] * (self.data[person].astype(np.float64) - self.matrix[person] @ self.beta)
        return np.where(np.isnan(error), 0.0, error)


def fit_glm(
    data: NDArray[np.floating],
    matrix: NDArray[np.floating],
    *,
    weights: ArrayLike | None = None,
    variance_floor: float = 0.0,
    minimum_subjects: float = 1.0,
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
    variance_floor : float
        This share of the largest residual variance is added to the residual
        variance everywhere. SPM12 does so with 1e-3 for every modality but
        fMRI. Default 0: one noisy voxel at the mask's edge would otherwise
        lower every t value, and constant voxels are left out here anyway.
    minimum_subjects : float
        Least share of people with a value, for a voxel to be analysed. Below
        1, voxels with gaps are fitted in the people who have them, and their
        t is brought to the common degrees of freedom at equal p.

    Returns
    -------
    GlmFit

    Raises
    ------
    StatsProblem
        If shapes disagree or no degrees of freedom are left.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if data.ndim != 2 or matrix.ndim != 2 or data.shape[0] != matrix.shape[0]:
        raise StatsProblem(f"data of shape {data.shape} and a design of shape {matrix.shape} do not go together")
    root = _root_weights(weights, matrix.shape[0])
    n, voxels = data.shape
    everybody = _solver(matrix, root)
    dof = float(n - everybody.rank)
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
    _fit_incomplete(beta, variance, data, matrix, root, np.flatnonzero(analysed & ~complete), pattern, solvers)
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
    )


def t_contrast(fit: GlmFit, vector: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute t and effect of a contrast.

    Parameters
    ----------
    fit : GlmFit
    vector : array-like, shape (p,)
        Contrast weights on the coefficients.

    Returns
    -------
    t : ndarray, shape (n_voxels,)
        At `fit.dof` degrees of freedom; NaN where not analysed or not estimable.
    effect : ndarray, shape (n_voxels,)
        Weighted sum of coefficients, in units of the data per unit of the design.
    """
    vector = np.asarray(vector, dtype=np.float64)
    factors = np.array([_variance_factor(solver, vector) for solver in fit.solvers])
    dofs = np.array([float((~np.isnan(solver.inverse[0])).sum() - solver.rank) for solver in fit.solvers])
    effect = np.where(fit.analysed, vector @ fit.beta, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = effect / np.sqrt(fit.resms * factors[fit.pattern])
    gaps = fit.analysed & (fit.pattern > 0)
    if gaps.any():
        t[gaps] = t_at_dof(t[gaps], dofs[fit.pattern[gaps]], fit.dof)
        effect[gaps & np.isnan(t)] = np.nan
    return t, effect


def estimable(matrix: NDArray[np.float64], vector: ArrayLike) -> bool:
    """Whether a contrast can be told from this design."""
    return bool(np.isfinite(_variance_factor(_solver(matrix, np.ones(matrix.shape[0])), np.asarray(vector, float))))


def rank(matrix: NDArray[np.float64]) -> int:
    """Rank of a design, whatever the units of its columns."""
    return _solver(matrix, np.ones(matrix.shape[0])).rank


def _root_weights(weights: ArrayLike | None, n: int) -> NDArray[np.float64]:
    if weights is None:
        return np.ones(n)
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (n,) or not (np.isfinite(given).all() and (given > 0).all()):
        raise StatsProblem("weights must be one positive number per person")
    return np.sqrt(given / given.mean())


def _solver(matrix: NDArray[np.float64], root: NDArray[np.float64]) -> Solver:
    weighted = matrix * root[:, None]
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
    weighted = values.astype(np.float64) * root[people, None]
    coefficients = solver.inverse @ weighted
    weighted -= (matrix[people] * root[people, None]) @ coefficients
    beta[:, where] = coefficients
    variance[where] = np.einsum("ij,ij->j", weighted, weighted) / (people.size - solver.rank)


def _fit_incomplete(
    beta: NDArray[np.float64],
    variance: NDArray[np.float64],
    data: NDArray[np.floating],
    matrix: NDArray[np.float64],
    root: NDArray[np.float64],
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
        solver = _solver(matrix[people], root[people])
        group = voxels[which == index]
        if people.size - solver.rank < 1:
            continue
        _solve_into(beta, variance, data, matrix, root, solver, people, group)
        pattern[group] = len(solvers)
        solvers.append(solver)
