"""Wild bootstrap of the sandwich estimator: whole people's residuals with random signs.

Guillaume & Nichols 2015. Residuals are those of the model in which the contrast is 0, corrected for their leverage;
each person's are taken with one sign for all visits, and t is computed anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.exchange import BATCH_BYTES, split_design
from plastimap.stats.sandwich import SandwichFit, correct_residuals, effective_dof, leverage_roots
from plastimap.stats.tails import t_at_dof_fast

CHUNK = 2048
"""Voxels at a time within a batch of bootstrap samples."""


@dataclass(frozen=True)
class WildBootstrap:
    """A sandwich fit ready to be bootstrapped under one contrast's null hypothesis.

    Attributes
    ----------
    fit : SandwichFit
    pull : ndarray, shape (n_people, n_visits)
        Weights of scans in the contrast.
    restricted : ndarray, shape (n, n)
        What the model without the contrast leaves of (whitened) data.
    adjust : ndarray, shape (n_people, n_visits, n_visits)
        Correction of its residuals.
    roots : tuple of ndarray, shape (rank, n_visits)
        Per person: factors L of the weights of that person's products of residuals in the variance, which is
        Σ_i |L_i e_i|².
    """

    fit: SandwichFit
    pull: NDArray[np.float64]
    restricted: NDArray[np.float64]
    adjust: NDArray[np.float64]
    roots: tuple[NDArray[np.float64], ...]

    def images(self, signs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute t images of bootstrap samples, at the fit's degrees of freedom.

        Parameters
        ----------
        signs : ndarray, shape (k, n_people)

        Returns
        -------
        ndarray, shape (k, n_voxels)
            0 where not analysed.
        """
        out = np.zeros((len(signs), self.fit.analysed.size))
        voxels = np.flatnonzero(self.fit.analysed)
        for start in range(0, voxels.size, CHUNK):
            where = voxels[start : start + CHUNK]
            out[:, where] = self._chunk(signs, where)
        return out

    def _chunk(self, signs: NDArray[np.float64], voxels: NDArray[np.intp]) -> NDArray[np.float64]:
        fit, slots = self.fit, self.fit.slots
        values = fit.glm.data[:, voxels].astype(np.float64) * fit.glm.root[:, None]
        residuals = correct_residuals(self.restricted @ values, slots.place, self.adjust)
        effect = signs @ np.einsum("iv,ivm->im", self.pull, residuals)
        there = slots.place >= 0
        solver = np.where(there, fit.glm.solvers[0].inverse[:, slots.place], 0.0)
        design = np.where(there[..., None], (fit.glm.matrix * fit.glm.root[:, None])[slots.place], 0.0)
        # Coefficients of each sample: people's own contributions, with their signs.
        own = np.einsum("piv,ivm->ipm", solver, residuals)
        people, columns, m = own.shape
        beta = (signs @ own.reshape(people, -1)).reshape(len(signs), columns, m)
        parts = np.zeros((len(slots.own), len(signs), m))
        for i, roots in enumerate(self.roots):
            towards = roots @ fit.adjust[i]
            left = (towards @ residuals[i])[None] * signs[:, i, None, None]
            left = left - np.einsum("rp,kpm->krm", towards @ design[i], beta)
            parts[slots.group[i]] += (left**2).sum(axis=1)
        variance = parts.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where(variance > 0, effect / np.sqrt(variance), 0.0)
        own = fit.part_dofs(self.pull[None])
        dof = effective_dof(parts.reshape(len(slots.own), -1, 1, 1), own).reshape(t.shape)
        return t_at_dof_fast(t, np.nan_to_num(dof, nan=fit.dof), fit.dof)


def wild_bootstrap(fit: SandwichFit, vector: ArrayLike) -> WildBootstrap:
    """Prepare one contrast.

    Parameters
    ----------
    fit : SandwichFit
    vector : array-like, shape (p,)

    Returns
    -------
    WildBootstrap
    """
    design = fit.glm.matrix * fit.glm.root[:, None]
    row = np.asarray(vector, dtype=np.float64)
    nuisance, _ = split_design(design, row[None, :])
    hat = nuisance.T @ nuisance
    adjust, _ = leverage_roots(hat, fit.slots.place)
    pull = fit.pulls(row[None, :])[0]
    return WildBootstrap(fit, pull, np.eye(len(design)) - hat, adjust, _roots(fit, pull))


def _roots(fit: SandwichFit, pull: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Everybody's own pull, or factors of the mean over the group."""
    if not fit.shared:
        return tuple(row[None, :] for row in pull)
    shared: list[NDArray[np.float64]] = []
    for group, counts in enumerate(fit.slots.counts):
        mine = pull[fit.slots.group == group]
        values, directions = np.linalg.eigh(mine.T @ mine / np.maximum(counts, 1))
        kept = values > 1e-12 * max(float(values.max()), np.finfo(np.float64).tiny)
        shared.append((directions[:, kept] * np.sqrt(values[kept])).T)
    return tuple(shared[group] for group in fit.slots.group)


def bootstrap_images(model: WildBootstrap, signs: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Compute t images of samples, in batches."""
    batch = max(int(BATCH_BYTES / (8 * model.fit.analysed.size)), 1)
    for start in range(0, len(signs), batch):
        yield model.images(signs[start : start + batch])
