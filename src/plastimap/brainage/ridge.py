"""Ridge regression: the baseline that a better model has to beat (Hoerl & Kennard 1970, doi:10.2307/1267351)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.gaussian_process import group_rows

Array = NDArray[np.float64]

PENALTIES = np.logspace(-1, 5, 25)
"""Searched over, by the error of leaving one person out."""


@dataclass(frozen=True)
class Ridge:
    """A fitted regression.

    Attributes
    ----------
    inputs : ndarray, shape (n, p)
        Training data, standardised.
    target : ndarray, shape (n,)
        Less its mean.
    level : float
        Mean of the target.
    slopes : ndarray, shape (p,)
    penalty, spread : float
        Spread is the standard deviation of the residuals of leaving one person out.
    """

    inputs: Array
    target: Array
    level: float
    slopes: Array
    penalty: float
    spread: float

    def predict(self, data: ArrayLike) -> tuple[Array, Array]:
        """Mean and standard deviation of new targets, each of shape (m,)."""
        new = np.asarray(data, dtype=np.float64)
        return self.level + new @ self.slopes, np.full(len(new), self.spread)

    def left_out(self, groups: ArrayLike, data: ArrayLike | None = None) -> tuple[Array, Array]:
        """Mean and standard deviation of each training target, predicted without its own group.

        With H the hat matrix, a group's residual without itself is (I − H_gg)⁻¹ times its residual, and the slopes
        without the group are the slopes less (XᵀX + penalty)⁻¹ X_gᵀ times that.

        Parameters
        ----------
        groups : array-like, shape (n,)
        data : array-like, shape (n, p), optional
            What is predicted from; default: what was trained on.
        """
        seen = self.inputs if data is None else np.asarray(data, dtype=np.float64)
        gram = self.inputs.T @ self.inputs
        gram[np.diag_indices_from(gram)] += self.penalty
        half = np.linalg.solve(gram, self.inputs.T)
        residual, out = self.target - self.inputs @ self.slopes, np.empty_like(self.target)
        for rows in group_rows(groups):
            hat = self.inputs[rows] @ half[:, rows]
            gone = np.linalg.solve(np.eye(len(rows)) - hat, residual[rows])
            out[rows] = self.level + seen[rows] @ (self.slopes - half[:, rows] @ gone)
        return out, np.full(len(out), self.spread)


def fit_ridge(data: ArrayLike, target: ArrayLike, *, seed: int = 0) -> Ridge:  # noqa: ARG001 (all fits take one)
    """Fit a regression; the penalty by leaving one person out.

    Parameters
    ----------
    data : array-like, shape (n, p)
        Standardised.
    target : array-like, shape (n,)
    seed : int
        Not used: nothing is drawn.
    """
    from sklearn.linear_model import RidgeCV

    inputs, wanted = np.asarray(data, dtype=np.float64), np.asarray(target, dtype=np.float64)
    level = float(wanted.mean())
    found = RidgeCV(PENALTIES, fit_intercept=False).fit(inputs, wanted - level)
    spread = float(np.sqrt(-float(found.best_score_ or 0.0)))
    slopes = np.asarray(found.coef_, dtype=np.float64)
    return Ridge(inputs, wanted - level, level, slopes, float(np.asarray(found.alpha_)), spread)
