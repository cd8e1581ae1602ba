"""Modulation: tissue probabilities times Jacobian determinants, so that volumes are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.transforms import Chain, Grid, Warp, as_steps, compose, grid_of, jacobian, resample

UNKNOWN_SHARE = 0.5
"""Share of unknown tissue under the interpolation kernel above which a voxel has no volume."""


def modulate(tissue: NDArray[np.floating], determinant: NDArray[np.floating]) -> NDArray[np.float32]:
    """Tissue volume per voxel: probability times the determinant of the pull map (folds count as 0).

    Parameters
    ----------
    tissue : ndarray
        Probability, pulled to the grid of `determinant`; non-finite counts as 0.
    determinant : ndarray
        Of the pull map, from :func:`plastimap.transforms.jacobian`.
    """
    if tissue.shape != determinant.shape:
        raise ValueError(f"a tissue map of shape {tissue.shape} beside a Jacobian of shape {determinant.shape}")
    product = np.nan_to_num(tissue) * np.maximum(np.nan_to_num(determinant), 0)
    return product.astype(np.float32)


def modulated(
    tissue: Volume,
    transform: Chain,
    grid: Volume | Warp | Grid,
    *,
    session_jacobian: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Bring a session's tissue to the target space and keep its volume.

    The value at x is ``tissue(f(x)) * J(f(x)) * det Df(x)`` with f the pull
    map target → template and J the session's determinant in the template:
    the sum times the voxel volume is the tissue volume of the session.

    Parameters
    ----------
    tissue : Volume
        Probability in template space; NaN where it is not known.
    transform : Warp, ndarray (4, 4) or a sequence of them
        Pull map target → template.
    grid : Volume, Warp or (shape, affine)
        Of the target.
    session_jacobian : ndarray, shape of `tissue`, optional
        Of the pull map template → session; 1 everywhere when not given.

    Returns
    -------
    ndarray of float32, shape of `grid`
        NaN where the tissue is not known; 0 outside of its image.
    """
    data = tissue.data if session_jacobian is None else modulate(tissue.data, session_jacobian)
    steps = as_steps(transform)
    determinant = jacobian(compose(steps, grid_of(grid)))
    unknown = np.isnan(tissue.data)
    if not unknown.any():
        return modulate(resample(Volume(data, tissue.affine), grid, steps, validity=False), determinant)
    known = Volume(np.where(unknown, np.nan, data).astype(np.float32), tissue.affine)
    gap = resample(Volume(unknown.astype(np.float32), tissue.affine), grid, steps, validity=False) > UNKNOWN_SHARE
    volume = modulate(resample(known, grid, steps), determinant)
    return np.where(gap, np.float32(np.nan), volume)
