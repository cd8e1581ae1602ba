"""Restricted likelihood of a linear model with one or two random intercepts, from sums over rows and groups.

V = I + γ₁Z₁Z₁' + γ₂Z₂Z₂' in units of the residual variance: the intercept of the kind with the most groups (people) by
the sums of each group, the other (sites) by Woodbury's identity. Kinds may be nested or crossed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.intp]

LOWEST, HIGHEST = 1e-6, 1e4
"""Ratios τ²/σ² that are searched."""

STEP = 0.01
"""Of the logarithm of a ratio, for slopes and bends: truncation 1e-4, rounding 1e-6 of them."""


@dataclass(frozen=True)
class Sums:
    """What the likelihood needs of the data.

    Attributes
    ----------
    gram : ndarray, shape (c, c)
        Products of the columns: p of the design, y, and one per group of the second kind.
    of_groups : ndarray, shape (groups, c)
        Sums of the columns over every group of the first kind.
    size : ndarray of int, shape (groups,)
    rows, columns : int
        n and p.
    """

    gram: Array
    of_groups: Array
    size: NDArray[np.intp]
    rows: int
    columns: int


@dataclass(frozen=True)
class Parts:
    """The model at given ratios: β, (X'V⁻¹X)⁻¹, the sum of squares, log|V| + log|X'V⁻¹X|."""

    beta: Array
    inverse: Array
    square: float
    logs: float


def sums_of(y: Array, design: Array, kinds: Sequence[Numbers]) -> Sums:
    """Sum what the likelihood needs.

    Parameters
    ----------
    y : ndarray, shape (n,)
    design : ndarray, shape (n, p)
    kinds : sequence of ndarray of int, shape (n,)
        Number of each row's group, for one or two kinds; the one with more groups first.
    """
    others = [(kinds[1][:, None] == np.arange(kinds[1].max() + 1)).astype(np.float64)] if len(kinds) > 1 else []
    both = np.column_stack([design, y, *others])
    of_groups = np.stack([np.bincount(kinds[0], column) for column in both.T], axis=1).astype(np.float64)
    return Sums(both.T @ both, of_groups, np.bincount(kinds[0]), *design.shape)


def parts_at(ratios: Sequence[float], sums: Sums) -> Parts:
    """Fit the coefficients at given τ²/σ²."""
    p = sums.columns
    taken = ratios[0] / (1 + sums.size * ratios[0])
    # V⁻¹ takes a share of every group's sum off.
    inner = sums.gram - (sums.of_groups * taken[:, None]).T @ sums.of_groups
    logs = float(np.log1p(sums.size * ratios[0]).sum())
    if len(ratios) > 1:
        own, across = inner[p + 1 :, p + 1 :], inner[p + 1 :, : p + 1]
        middle = np.eye(len(own)) + ratios[1] * own
        logs += float(np.linalg.slogdet(middle)[1])
        inner = inner[: p + 1, : p + 1] - ratios[1] * across.T @ np.linalg.solve(middle, across)
    inverse = np.asarray(np.linalg.inv(inner[:p, :p]), dtype=np.float64)
    beta = inverse @ inner[:p, p]
    square = float(inner[p, p] - inner[:p, p] @ beta)
    return Parts(beta, inverse, square, logs + float(np.linalg.slogdet(inner[:p, :p])[1]))


def best_ratios(sums: Sums, kinds: int) -> Array:
    """τ²/σ² of every kind at the maximum; at `LOWEST` where groups do not differ."""
    from scipy.optimize import minimize

    dof = sums.rows - sums.columns

    def deviance(logs: Array) -> float:
        found = parts_at(np.exp(logs).tolist(), sums)
        return float(dof * np.log(found.square / dof) + found.logs)

    found = minimize(
        deviance, np.zeros(kinds), method="Nelder-Mead", bounds=[(np.log(LOWEST), np.log(HIGHEST))] * kinds,
        options={"xatol": 1e-5, "fatol": 1e-9, "maxiter": 2000},
    )  # fmt: skip
    return np.exp(np.asarray(found.x, dtype=np.float64))


def variance_slopes(ratios: Array, sums: Sums) -> tuple[Array, Array]:
    """How the coefficients' covariance depends on the variances, and how uncertain these are.

    What Satterthwaite's degrees of freedom need (Giesbrecht & Burns 1985, doi:10.2307/2530872), for the logarithms of
    σ² and of the ratios.

    Returns
    -------
    slopes : ndarray, shape (1 + kinds, p, p)
    uncertainty : ndarray, shape (1 + kinds, 1 + kinds)
        Inverse of the observed information.
    """
    logs, dof, kinds = np.log(ratios), sums.rows - sums.columns, len(ratios)
    centre = parts_at(ratios.tolist(), sums)
    within = centre.square / dof
    steps = STEP * np.eye(kinds)
    up, down = ([parts_at(np.exp(logs + sign * one).tolist(), sums) for one in steps] for sign in (1, -1))
    slopes = [(a.inverse - b.inverse) * within / (2 * STEP) for a, b in zip(up, down, strict=True)]
    bends = np.zeros((kinds + 1, kinds + 1))
    bends[0, 0] = dof
    for i, (a, b) in enumerate(zip(up, down, strict=True), 1):
        bends[0, i] = bends[i, 0] = -(a.square - b.square) / (2 * STEP * within)

    def deviance(shift: Array) -> float:
        found = parts_at(np.exp(logs + shift).tolist(), sums)
        return found.logs + found.square / within

    for i in range(kinds):
        for j in range(kinds):
            plus, minus = steps[i] + steps[j], steps[i] - steps[j]
            corners = deviance(plus) - deviance(minus) - deviance(-minus) + deviance(-plus)
            bends[i + 1, j + 1] = corners / (4 * STEP**2)
    uncertainty = np.asarray(2 * np.linalg.pinv(bends, hermitian=True), dtype=np.float64)
    return np.stack([centre.inverse * within, *slopes]), uncertainty
