"""Covariance of errors from variance components: which ones, and how large (restricted maximum likelihood).

Scans of one person depend on one another, later scans may be noisier, and moved ones are: each of these is a
symmetric matrix Q_k, and the covariance of the errors is V = Σ h_k Q_k, one for all voxels (Friston 2002,
doi:10.1006/nimg.2002.1091, in the form that SPM12 computes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.glm import CHUNK, fit_glm, rank
from plastimap.stats.problems import StatsProblem, listed

PRIOR_PRECISION = float(np.exp(-8))
"""Of each component's size about 0: next to nothing, but it keeps components apart that the data cannot tell."""

MOST_ROUNDS = 32

ENOUGH_GAIN = 0.1
"""Predicted gain of the log-likelihood at which the search ends, as in SPM."""

VOXEL_P = 0.05
"""Voxels whose F over all columns is less likely than this take part in the estimate, as in SPM."""

LEAST_NOISE = 0.1
"""Share of the median error variance below which no scan's is taken to be."""

MOTION_POWERS = (0, 1, 2, 3)
"""Powers of the motion index that span the noise's dependence on it."""


@dataclass(frozen=True)
class Components:
    """Covariance components.

    Attributes
    ----------
    matrices : ndarray, shape (m, n, n)
        Symmetric.
    names : tuple of str, length m
    """

    matrices: NDArray[np.float64]
    names: tuple[str, ...]

    def __add__(self, other: Components) -> Components:
        """Both sets together."""
        return Components(np.concatenate([self.matrices, other.matrices]), self.names + other.names)


@dataclass(frozen=True)
class CovarianceEstimate:
    """A covariance and what it is made of.

    Attributes
    ----------
    covariance : ndarray, shape (n, n)
        Scaled to trace n.
    sizes : ndarray, shape (m,)
        Of the components, before that scaling.
    names : tuple of str
    rounds : int
    converged : bool
    n_voxels : int
        Voxels that took part.
    notes : tuple of str
    """

    covariance: NDArray[np.float64]
    sizes: NDArray[np.float64]
    names: tuple[str, ...]
    rounds: int
    converged: bool
    n_voxels: int
    notes: tuple[str, ...]


def visit_components(people: Sequence[str], visits: Sequence[str]) -> Components:
    """Unequal variance of visits, and dependence between each pair of them within people.

    Parameters
    ----------
    people, visits : sequence of str, length n
        Whose scan each row is, and at which visit it was made.

    Returns
    -------
    Components
        One diagonal matrix per visit, then one symmetric matrix per pair of visits that somebody has both of.
    """
    who, when = np.asarray(people), np.asarray(visits)
    levels = sorted(set(when.tolist()))
    same = who[:, None] == who[None, :]
    at = {level: (when == level).astype(np.float64) for level in levels}
    matrices = [np.diag(at[level]) for level in levels]
    names = [f"variance {level}" for level in levels]
    for one, other in combinations(levels, 2):
        cross = np.outer(at[one], at[other]) * same
        if cross.any():
            matrices.append(cross + cross.T)
            names.append(f"covariance {one}, {other}")
    return Components(np.stack(matrices), tuple(names))


def group_components(groups: Sequence[str]) -> Components:
    """Unequal variance of groups: one diagonal matrix per group."""
    own = np.asarray(groups)
    levels = sorted(set(own.tolist()))
    return Components(
        np.stack([np.diag((own == level).astype(np.float64)) for level in levels]),
        tuple(f"variance {level}" for level in levels),
    )


def motion_components(
    index: ArrayLike, *, powers: Sequence[int] = MOTION_POWERS, pull: NDArray[np.floating] | None = None
) -> Components:
    """Noise that grows with motion: diagonal matrices of powers of a motion index (QUIQI).

    Lutti 2022 (doi:10.1002/hbm.25767). The index is scaled to mean 1, and each matrix to mean diagonal 1.

    Parameters
    ----------
    index : array-like, shape (n_scans,)
        One number per scan, not negative; larger = worse.
    powers : sequence of int
    pull : ndarray, shape (n, n_scans), optional
        Rows of the model as sums of scans (such as people's slopes); default: the scans themselves.

    Returns
    -------
    Components

    Raises
    ------
    StatsProblem
        If a number is missing or negative, or all are 0.
    """
    values = np.asarray(index, dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise StatsProblem("every scan needs a motion index: a finite number, 0 or more, not 0 for all")
    shares = np.eye(values.size) if pull is None else np.asarray(pull, dtype=np.float64) ** 2
    diagonals = [shares @ (values / values.mean()) ** power for power in powers]
    return Components(
        np.stack([np.diag(diagonal / diagonal.mean()) for diagonal in diagonals]),
        tuple(f"motion^{power}" for power in powers),
    )


def person_components(people: Sequence[str]) -> Components:
    """Dependence between a person's scans, the same for every pair: one matrix."""
    who = np.asarray(people)
    return Components((who[:, None] == who[None, :]).astype(np.float64)[None], ("people",))


def pooled_products(
    data: NDArray[np.floating], matrix: NDArray[np.floating], *, p: float = VOXEL_P
) -> tuple[NDArray[np.float64], int]:
    """Mean over voxels of y y', each voxel scaled by its residual variance.

    Parameters
    ----------
    data : ndarray, shape (n, n_voxels)
        Voxels with a missing value do not take part.
    matrix : ndarray, shape (n, p)
        Design.
    p : float
        Voxels whose F over all columns has a smaller p take part.

    Returns
    -------
    products : ndarray, shape (n, n)
    n_voxels : int

    Raises
    ------
    StatsProblem
        If no voxel passes.
    """
    from scipy.special import fdtri

    fit = fit_glm(data, matrix)
    columns = rank(np.asarray(matrix, dtype=np.float64))
    threshold = float(fdtri(columns, fit.dof, 1 - p))
    usable = fit.analysed
    total, count = np.zeros((data.shape[0],) * 2), 0
    for start in range(0, data.shape[1], CHUNK):
        chunk = slice(start, start + CHUNK)
        inside = usable[chunk]
        values = data[:, chunk][:, inside].astype(np.float64)
        residual_variance = fit.variance[chunk][inside]
        explained = np.einsum("ij,ij->j", values, values) - residual_variance * fit.dof
        passing = explained / columns > threshold * residual_variance
        scaled = values[:, passing] / np.sqrt(residual_variance[passing])
        total += scaled @ scaled.T
        count += int(passing.sum())
    if count == 0:
        raise StatsProblem("no voxel shows any effect of the design: the covariance of errors cannot be estimated")
    return total / count, count


def estimate_covariance(
    products: NDArray[np.float64], matrix: NDArray[np.floating], components: Components, *, n_voxels: int
) -> CovarianceEstimate:
    """Sizes of covariance components by restricted maximum likelihood.

    Fisher scoring on the restricted likelihood of `products`, taken as one sample, with the step tempered as in a
    Levenberg scheme until it succeeds. It stops at SPM's criterion, short of full convergence by about 3e-4 in h.

    Parameters
    ----------
    products : ndarray, shape (n, n)
        See :func:`pooled_products`.
    matrix : ndarray, shape (n, p)
        Design.
    components : Components
    n_voxels : int
        Voxels behind `products`; for the record.

    Returns
    -------
    CovarianceEstimate

    Raises
    ------
    StatsProblem
        If the estimate is not positive definite.
    """
    n = products.shape[0]
    space = _orthonormal(np.asarray(matrix, dtype=np.float64))
    sizes = _start(components.matrices)
    caution, before, rounds, gain = 4.0, np.inf, 0, np.inf
    while rounds < MOST_ROUNDS and gain >= ENOUGH_GAIN:
        gradient, information = _score(products, space, components.matrices, sizes)
        step = _tempered(gradient, information, caution)
        sizes = sizes + step
        gain = float(gradient @ step)
        caution += -1.0 if gain > before else 0.25
        before, rounds = gain, rounds + 1
    covariance = np.tensordot(sizes, components.matrices, axes=1)
    covariance *= n / np.trace(covariance)
    if np.linalg.eigvalsh(covariance)[0] <= 0:
        raise StatsProblem("the estimated covariance of errors is not positive definite; use fewer components")
    converged = gain < ENOUGH_GAIN
    notes = () if converged else (f"Variance components: not settled after {MOST_ROUNDS} rounds.",)
    return CovarianceEstimate(covariance, sizes, components.names, rounds, converged, n_voxels, notes)


def estimate_with_motion(
    data: NDArray[np.floating],
    matrix: NDArray[np.floating],
    base: Components,
    index: ArrayLike,
    *,
    pull: NDArray[np.floating] | None = None,
    powers: int = max(MOTION_POWERS),
) -> CovarianceEstimate:
    """Covariance from `base` and from powers of a motion index.

    Powers 0 to `powers` are tried first. Where that gives no covariance, the highest is left out, and a note says so.

    Parameters
    ----------
    data : ndarray, shape (n, n_voxels)
    matrix : ndarray, shape (n, p)
    base : Components
        Of the rows; what does not depend on motion.
    index, pull
        See :func:`motion_components`.
    powers : int
        Highest power; 1 for an index that is a variance itself.

    Returns
    -------
    CovarianceEstimate

    Raises
    ------
    StatsProblem
        If the index is unfit, no voxel shows an effect, or `base` alone gives no covariance.
    """
    products, n_voxels = pooled_products(data, matrix)
    for highest in range(powers, 0, -1):
        motion = motion_components(index, powers=range(highest + 1), pull=pull)
        try:
            found = estimate_covariance(products, matrix, motion + base, n_voxels=n_voxels)
        except StatsProblem:
            continue
        left = [f"motion^{power}" for power in MOTION_POWERS if highest < power <= powers]
        said = (f"Noise and motion: {listed(left)} left out, they gave no covariance.",) if left else ()
        return replace(found, notes=(*found.notes, *said))
    alone = motion_components(index, powers=(0,), pull=pull)
    found = estimate_covariance(products, matrix, alone + base, n_voxels=n_voxels)
    return replace(found, notes=(*found.notes, "Noise does not grow with the motion index: weights do not follow it."))


def noise_variances(estimate: CovarianceEstimate, index: ArrayLike) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Relative error variance of every scan by the motion components alone, shape (n,), and what to say of it.

    Variances below a tenth of their median (a polynomial may turn negative) are raised to that.
    """
    powers = [power for power in MOTION_POWERS if f"motion^{power}" in estimate.names]
    matrices = motion_components(index, powers=powers).matrices
    sizes = np.array([estimate.sizes[estimate.names.index(f"motion^{power}")] for power in powers])
    variances = np.einsum("k,kii->i", sizes, matrices)
    floor = LEAST_NOISE * float(np.median(np.abs(variances)))
    low = int((variances < floor).sum())
    notes = (f"Noise and motion: {low} scans' variances raised to a tenth of the median.",) if low else ()
    return np.maximum(variances, floor), notes


def _start(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Size 1 for the first components that together cover the diagonal, 0 for the others."""
    diagonals = np.einsum("kii->ki", matrices) != 0
    covered_before = np.vstack([np.zeros_like(diagonals[:1]), np.logical_or.accumulate(diagonals)[:-1]])
    return (diagonals & ~covered_before).any(axis=1).astype(np.float64)


def _score(
    products: NDArray[np.float64],
    space: NDArray[np.float64],
    matrices: NDArray[np.float64],
    sizes: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradient and expected information of the restricted log-likelihood, with the prior."""
    precision = np.linalg.inv(np.tensordot(sizes, matrices, axes=1))
    reduced = precision @ space
    projector = precision - reduced @ np.linalg.inv(space.T @ reduced) @ reduced.T
    unexplained = np.eye(len(products)) - projector @ products
    moved = projector @ matrices
    flat = moved.reshape(len(matrices), -1)
    gradient = -0.5 * np.einsum("kij,ji->k", moved, unexplained) - PRIOR_PRECISION * sizes
    turned = moved.transpose(0, 2, 1).reshape(len(matrices), -1)
    return gradient, 0.5 * flat @ turned.T + PRIOR_PRECISION * np.eye(len(matrices))


def _tempered(gradient: NDArray[np.float64], information: NDArray[np.float64], caution: float) -> NDArray[np.float64]:
    """Newton's step in each principal direction, cut short where the information is weak.

    It is the way that gradient flow goes in the time t = exp(caution − log|I| / m): (1 − exp(−λ t)) / λ along the
    direction of eigenvalue λ.
    """
    values, vectors = np.linalg.eigh(information)
    values = np.maximum(values, np.finfo(np.float64).tiny)
    time = np.exp(caution - np.log(values).mean())
    return vectors @ (-np.expm1(-values * time) / values * (vectors.T @ gradient))


def _orthonormal(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal basis of the design's columns."""
    scale = np.sqrt((matrix**2).sum(axis=0))
    scale[scale == 0] = 1.0
    left, _, _ = np.linalg.svd(matrix / scale, full_matrices=False)
    return left[:, : rank(matrix)]
