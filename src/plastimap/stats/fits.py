"""What every fitted model gives, whatever the model: maps of contrasts, residuals, degrees of freedom."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray


class TMap(NamedTuple):
    """One contrast at every voxel; NaN where not analysed or not estimable.

    Attributes
    ----------
    t : ndarray, shape (n_voxels,)
        At `dof` degrees of freedom everywhere: where a voxel has its own, t is brought to `dof` at equal p.
    effect : ndarray, shape (n_voxels,)
        Weighted sum of coefficients, in units of the data per unit of the design.
    standard_error : ndarray, shape (n_voxels,)
        Of the effect.
    dof : float
    """

    t: NDArray[np.float64]
    effect: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    dof: float


class FMap(NamedTuple):
    """Several contrasts tested together at every voxel; NaN where not analysed or not estimable.

    Attributes
    ----------
    f : ndarray, shape (n_voxels,)
    dof : tuple of float
        Rank of the contrasts, and error degrees of freedom.
    """

    f: NDArray[np.float64]
    dof: tuple[float, float]


class Fit(Protocol):
    """A fitted model."""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Design, shape (n, p)."""
        ...

    @property
    def analysed(self) -> NDArray[np.bool_]:
        """Voxels that were fitted, shape (n_voxels,)."""
        ...

    @property
    def variance(self) -> NDArray[np.float64]:
        """Residual variance that standardises the residuals, shape (n_voxels,)."""
        ...

    @property
    def dof(self) -> float:
        """Error degrees of freedom of the residuals."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the fit."""
        ...

    def residual(self, row: int) -> NDArray[np.float64]:
        """Residuals of one row, shape (n_voxels,); 0 where it has no value."""
        ...

    def t_map(self, vector: ArrayLike) -> TMap:
        """One contrast, weights of shape (p,)."""
        ...

    def f_map(self, vectors: ArrayLike) -> FMap:
        """Several contrasts together, weights of shape (r, p)."""
        ...
