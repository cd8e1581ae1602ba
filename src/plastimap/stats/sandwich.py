"""Repeated measures without a model of their dependence: the sandwich estimator.

Least squares for the coefficients; their covariance from the residuals themselves, person by person
(Guillaume 2014, doi:10.1016/j.neuroimage.2014.03.029). It holds whatever the dependence between a person's scans,
also with missing visits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.fits import FMap, TMap
from plastimap.stats.glm import GlmFit, fit_glm, independent_rows, rank
from plastimap.stats.problems import StatsProblem, listed
from plastimap.stats.tails import f_at_dof, t_at_dof

CHUNK = 8192
"""Voxels at a time: a chunk holds every person's residuals at every visit."""

FEWEST_PEOPLE = 2
"""Of a group, for a covariance of its own."""


@dataclass(frozen=True)
class Slots:
    """Rows laid out as people × visits.

    Attributes
    ----------
    place : ndarray of int, shape (n_people, n_visits)
        Row of each person's visit; -1 where there is none.
    group : ndarray of int, shape (n_people,)
    counts : ndarray, shape (n_groups, n_visits, n_visits)
        People of each group with both visits.
    own : ndarray, shape (n_groups,)
        Degrees of freedom of each group's covariance; over groups they sum to people less rank.
    """

    place: NDArray[np.intp]
    group: NDArray[np.intp]
    counts: NDArray[np.float64]
    own: NDArray[np.float64]

    @property
    def incomplete(self) -> bool:
        """Whether somebody misses a visit."""
        return bool((self.place < 0).any())


@dataclass(frozen=True)
class SandwichFit:
    """A fitted model; interface of :class:`plastimap.stats.fits.Fit`.

    Attributes
    ----------
    glm : GlmFit
        The least-squares fit.
    dof : float
        People less the rank of the between-people design.
    shared : bool
        Whether people of a group share one covariance over visits; not with weights, which make each person's another.
    slots : Slots
    adjust : ndarray, shape (n_people, n_visits, n_visits)
        (I − H_ii)^(−1/2): what residuals are multiplied with, because least squares makes them too small.
    notes : tuple of str
    """

    glm: GlmFit
    dof: float
    shared: bool
    slots: Slots = field(repr=False)
    adjust: NDArray[np.float64] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Design."""
        return self.glm.matrix

    @property
    def analysed(self) -> NDArray[np.bool_]:
        """Voxels that were fitted."""
        return self.glm.analysed

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of the least-squares residuals, as their smoothness needs it: sum of squares by `dof`."""
        return self.glm.variance * (self.glm.dof / self.dof)

    def residual(self, row: int) -> NDArray[np.float64]:
        """Least-squares residuals of one row."""
        return self.glm.residual(row)

    def t_map(self, vector: ArrayLike) -> TMap:
        """One contrast, brought from each voxel's effective degrees of freedom to `dof` at equal p."""
        weights = np.asarray(vector, dtype=np.float64)
        plain = self.glm.t_map(weights)
        parts = self.contrast_covariance(weights[None, :])[:, :, 0, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.sqrt(parts.sum(axis=0))
            raw = plain.effect / error
        own = effective_dof(parts[:, :, None, None], self.part_dofs(self.pulls(weights[None, :])))
        return TMap(t_at_dof(raw, own, self.dof), plain.effect, error, self.dof)

    def f_map(self, vectors: ArrayLike) -> FMap:
        """Several contrasts together: Hotelling's scaling of the Wald statistic at the effective dof."""
        rows = independent_rows(np.atleast_2d(np.asarray(vectors, dtype=np.float64)))
        r = float(len(rows))
        effects = rows @ self.glm.beta
        parts = self.contrast_covariance(rows)
        covariance = parts.sum(axis=0)
        f = np.full(effects.shape[1], np.nan)
        here = self.analysed & (np.linalg.cond(np.nan_to_num(covariance)) < 1e12)
        solved = np.linalg.solve(covariance[here], effects[:, here].T[..., None])[..., 0]
        wald = np.einsum("rv,vr->v", effects[:, here], solved)
        own = effective_dof(parts[:, here], self.part_dofs(self.pulls(rows)))
        f[here] = f_at_dof(wald * (own - r + 1) / (own * r), r, own - r + 1, self.dof - r + 1)
        return FMap(f=f, dof=(r, self.dof - r + 1))

    def contrast_covariance(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each group's part of the covariance of contrasts.

        Parameters
        ----------
        rows : ndarray, shape (r, p)

        Returns
        -------
        ndarray, shape (n_groups, n_voxels, r, r)
            NaN where not analysed; their sum over groups is the covariance.
        """
        pull = self.pulls(rows)
        out = np.full((len(self.slots.own), self.analysed.size, len(rows), len(rows)), np.nan)
        voxels = np.flatnonzero(self.analysed)
        for start in range(0, voxels.size, CHUNK):
            where = voxels[start : start + CHUNK]
            out[:, where] = group_parts(self.slots, pull, self.adjusted(where), shared=self.shared)
        return out

    def part_dofs(self, pull: NDArray[np.float64]) -> NDArray[np.float64]:
        """Degrees of freedom of each group's part, shape (n_groups,).

        Where people do not share a covariance, a group counts as many people as pull equally: (Σ q)² / Σ q² of them,
        q = a_i a_i'.
        """
        if self.shared:
            return self.slots.own
        q = (pull**2).sum(axis=(0, 2))
        shares = [q[self.slots.group == k] for k in range(len(self.slots.own))]
        pulling = [float(each.sum() ** 2 / (each.size * (each**2).sum())) if each.any() else 1.0 for each in shares]
        return self.slots.own * np.array(pulling)

    def pulls(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """How each scan pulls at the contrasts, shape (r, n_people, n_visits); 0 where there is no scan."""
        by_row = rows @ self.glm.solvers[0].inverse
        return np.where(self.slots.place >= 0, by_row[:, self.slots.place], 0.0)

    def adjusted(self, voxels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Corrected residuals, shape (n_people, n_visits, len(voxels)); 0 where there is no scan."""
        root = self.glm.root[:, None]
        error = root * (self.glm.data[:, voxels].astype(np.float64) - self.matrix @ self.glm.beta[:, voxels])
        return correct_residuals(error, self.slots.place, self.adjust)


def fit_sandwich(
    data: NDArray[np.floating],
    matrix: NDArray[np.floating],
    *,
    people: Sequence[str],
    visits: Sequence[str],
    groups: Sequence[str],
    between: NDArray[np.floating],
    weights: ArrayLike | None = None,
    notes: tuple[str, ...] = (),
) -> SandwichFit:
    """Least squares over all scans, with the sandwich covariance.

    Parameters
    ----------
    data : ndarray, shape (n, n_voxels)
        One row per scan; voxels with a missing value are not analysed.
    matrix : ndarray, shape (n, p)
    people, visits : sequence of str, length n
        Whose scan each row is, and at which visit.
    groups : sequence of str, length n
        People of a group share one covariance over visits (the "modified" estimator), unless there are weights.
    between : ndarray, shape (n_people, q)
        Design of people, in the sorted order of their names: for degrees of freedom.
    weights : array-like, shape (n,), optional
        Inverse relative variances; the covariance holds also where they are wrong.
    notes : tuple of str
        Carried along.

    Returns
    -------
    SandwichFit

    Raises
    ------
    StatsProblem
        If a group has a single person, or no degrees of freedom are left.
    """
    glm = fit_glm(data, matrix, weights=weights)
    slots = _slots(people, visits, groups, np.asarray(between, dtype=np.float64))
    dof = float(slots.own.sum())
    if dof < 1:
        raise StatsProblem(f"{len(slots.group)} people leave no degrees of freedom between them")
    hat = glm.matrix * glm.root[:, None] @ glm.solvers[0].inverse
    adjust, alone = leverage_roots(hat, slots.place)
    if alone:
        names = sorted(set(people))
        told = listed(names[i] for i in alone)
        notes = (*notes, f"Some scans of {told} are fitted without residual; they do not add to the sandwich.")
    return SandwichFit(glm=glm, dof=round(dof, 9), shared=weights is None, slots=slots, adjust=adjust, notes=notes)


def _slots(people: Sequence[str], visits: Sequence[str], groups: Sequence[str], between: NDArray[np.float64]) -> Slots:
    names, who = np.unique(np.asarray(people), return_inverse=True)
    levels, when = np.unique(np.asarray(visits), return_inverse=True)
    kinds, kind = np.unique(np.asarray(groups), return_inverse=True)
    place = np.full((len(names), len(levels)), -1, dtype=np.intp)
    place[who, when] = np.arange(len(who))
    group = np.zeros(len(names), dtype=np.intp)
    group[who] = kind
    few = [str(kinds[k]) for k, count in enumerate(np.bincount(group)) if count < FEWEST_PEOPLE]
    if few:
        raise StatsProblem(f"the sandwich estimator needs two people in every group; there is one in {listed(few)}")
    there = (place >= 0).astype(np.float64)
    counts = np.stack([there[group == k].T @ there[group == k] for k in range(len(kinds))])
    leverage = np.diag(between @ np.linalg.pinv(between))
    own = np.array([float((1 - leverage[group == k]).sum()) for k in range(len(kinds))])
    return Slots(place=place, group=group, counts=counts, own=own * (len(names) - rank(between)) / own.sum())


def leverage_roots(hat: NDArray[np.float64], place: NDArray[np.intp]) -> tuple[NDArray[np.float64], list[int]]:
    """(I − H_ii)^(−1/2) for every person, and who has scans that are fitted without residual."""
    people, visits = place.shape
    adjust = np.zeros((people, visits, visits))
    alone: list[int] = []
    for i in range(people):
        slots = np.flatnonzero(place[i] >= 0)
        rows = place[i, slots]
        values, vectors = np.linalg.eigh(np.eye(rows.size) - hat[np.ix_(rows, rows)])
        free = values > 1e-8
        if not free.all():
            alone.append(i)
        roots = np.where(free, 1 / np.sqrt(np.where(free, values, 1.0)), 0.0)
        adjust[i][np.ix_(slots, slots)] = (vectors * roots) @ vectors.T
    return adjust, alone


def correct_residuals(
    error: NDArray[np.float64], place: NDArray[np.intp], adjust: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Residuals (n, m) laid out by people and visits and corrected, shape (n_people, n_visits, m)."""
    laid = np.where((place >= 0)[..., None], error[place], 0.0)
    return adjust @ laid


def group_parts(
    slots: Slots, pull: NDArray[np.float64], residuals: NDArray[np.float64], *, shared: bool
) -> NDArray[np.float64]:
    """Σ_i a_i V_i a_i' for each group, V_i being a person's own products of residuals, or their mean over the group.

    Parameters
    ----------
    slots : Slots
    pull : ndarray, shape (r, n_people, n_visits)
    residuals : ndarray, shape (n_people, n_visits, m)
    shared : bool

    Returns
    -------
    ndarray, shape (n_groups, m, r, r)
    """
    if not shared:
        moved = np.einsum("aiv,ivm->iam", pull, residuals)
        groups = [moved[slots.group == k] for k in range(len(slots.own))]
        return np.stack([np.einsum("iam,ibm->mab", own, own) for own in groups])
    parts: list[NDArray[np.float64]] = []
    for k, counts in enumerate(slots.counts):
        mine = slots.group == k
        own = residuals[mine]
        covariance = np.einsum("ivm,iwm->mvw", own, own, optimize=True) / np.maximum(counts, 1)
        if (slots.place[mine] < 0).any():
            covariance = _positive(covariance)
        weights = np.einsum("aiv,biw->abvw", pull[:, mine], pull[:, mine])
        parts.append(np.einsum("abvw,mvw->mab", weights, covariance, optimize=True))
    return np.stack(parts)


def _positive(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Set negative eigenvalues to 0: means over different people need not make a covariance."""
    values, vectors = np.linalg.eigh(covariance)
    if (values >= 0).all():
        return covariance
    return np.einsum("mik,mk,mjk->mij", vectors, np.maximum(values, 0), vectors)


def effective_dof(parts: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees of freedom of a sum of independent covariances (Welch–Satterthwaite; Nel & van der Merwe 1986).

    Parameters
    ----------
    parts : ndarray, shape (n_groups, n_voxels, r, r)
    own : ndarray, shape (n_groups,)
        Degrees of freedom of each part.

    Returns
    -------
    ndarray, shape (n_voxels,)
    """

    def size(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
        trace = np.trace(covariance, axis1=-2, axis2=-1)
        return (covariance**2).sum(axis=(-2, -1)) + trace**2

    uncertain = sum(size(part) / dof for part, dof in zip(parts, own, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(size(parts.sum(axis=0)) / uncertain)
