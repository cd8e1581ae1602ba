"""Diffusion tensor: fit and scalar maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from dipy.reconst.dti import axial_diffusivity, fractional_anisotropy, mean_diffusivity, radial_diffusivity
from numpy.typing import ArrayLike, NDArray

from plastimap.dwi.gradients import LEAST_DIRECTIONS, count_directions, normalised

Method = Literal["ols", "wls"]
"""Ordinary least squares of the logarithms, or reweighted once by the squared predicted signal."""

SIGNAL_FLOOR = 1e-3
"""Share of the voxel's b = 0 signal to which signals of zero or less are raised before the logarithm."""

CHUNK = 1 << 13
"""Voxels per step; their weighted normal equations then stay small."""

Image = NDArray[np.float32]


@dataclass(frozen=True)
class TensorMaps:
    """Result of :func:`fit_tensor`: float32 maps of shape (X, Y, Z), NaN outside the mask and where nothing was fitted.

    Attributes
    ----------
    fa : ndarray
        Fractional anisotropy, 0–1.
    md, ad, rd : ndarray
        Mean, axial and radial diffusivity in µm²/ms (10⁻³ mm²/s).
    s0 : ndarray
        Fitted signal at b = 0.
    direction : ndarray, shape (X, Y, Z, 3)
        Unit vector of the largest diffusivity, in the axes of the b-vectors.
    qa : dict
        Counts, the shells used, and `noise_sd`: the median standard deviation of the residuals in signal units.
    notes : tuple of str
    """

    fa: Image
    md: Image
    ad: Image
    rd: Image
    s0: Image
    direction: Image
    qa: dict[str, Any]
    notes: tuple[str, ...]


def fit_tensor(
    data: NDArray,
    bvals: ArrayLike,
    bvecs: ArrayLike,
    *,
    mask: NDArray,
    method: Method = "wls",
    b0_threshold: float = 50,
    max_bval: float = 1500,
) -> TensorMaps:
    """Fit ln S = ln S0 − b gᵀDg in every voxel of the mask.

    Weights: Veraart 2013, doi:10.1016/j.neuroimage.2013.05.028.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z, N)
    bvals : array_like, shape (N,)
        s/mm².
    bvecs : array_like, shape (N, 3)
        In any orthogonal axes; `direction` comes out in the same.
    mask : ndarray of bool, shape (X, Y, Z)
    method : {"ols", "wls"}
    b0_threshold : float
        s/mm²; at or below it a volume counts as b = 0.
    max_bval : float
        s/mm²; volumes above it are left out, if a b = 0 volume and six directions remain below.

    Returns
    -------
    TensorMaps

    Raises
    ------
    ValueError
        When shapes do not go together, or the volumes do not determine a tensor.
    """
    b, g = np.asarray(bvals, dtype=np.float64), normalised(bvecs)
    where = np.asarray(mask, dtype=bool)
    if data.ndim != 4 or data.shape[3] != b.size or g.shape != (b.size, 3) or where.shape != data.shape[:3]:
        raise ValueError(
            f"data {data.shape}, {b.size} b-values, b-vectors {g.shape}, mask {where.shape} do not go together"
        )
    if method not in get_args(Method):
        raise ValueError(f"unknown tensor fit {method!r}; use one of {', '.join(get_args(Method))}")
    used, notes = chosen_volumes(b, g, b0_threshold=b0_threshold, max_bval=max_bval)
    is_b0 = b[used] <= b0_threshold
    # b-values in ms/µm² give diffusivities in µm²/ms, and equations of numbers near one.
    design = tensor_design(b[used] * 1e-3, g[used])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(
            f"{np.count_nonzero(~is_b0)} diffusion-weighted volumes in {count_directions(g[used][~is_b0])} directions "
            "do not determine a tensor; six directions and a b = 0 volume are needed"
        )
    voxels = np.argwhere(where)
    coefficients = np.full((len(voxels), 7), np.nan)
    noise = np.full(len(voxels), np.nan)
    n_floored = 0
    for start in range(0, len(voxels), CHUNK):
        signals = data[tuple(voxels[start : start + CHUNK].T)][:, used].astype(np.float64)
        floor = SIGNAL_FLOOR * (signals[:, is_b0].mean(axis=1) if is_b0.any() else signals.max(axis=1))
        valid = np.isfinite(signals).all(axis=1) & (floor > 0)
        signals, floor = signals[valid], floor[valid, None]
        n_floored += int(np.count_nonzero((signals < floor).any(axis=1)))
        signals = np.maximum(signals, floor)
        rows = start + np.flatnonzero(valid)
        coefficients[rows] = _solve(signals, design, method)
        residuals = signals - np.exp(coefficients[rows] @ design.T)
        if len(design) > 7:
            noise[rows] = np.sqrt((residuals**2).sum(axis=1) / (len(design) - 7))
    maps, qa = _scalars(coefficients, where)
    fitted = noise[np.isfinite(noise)]
    qa |= {
        "n_voxels": len(voxels),
        "n_invalid_signal": int(np.count_nonzero(np.isnan(coefficients[:, 0]))),
        "n_floored_signal": n_floored,
        "n_volumes_used": len(design),
        "shells_used": sorted({int(value) for value in np.round(b[used], -2)}),
        "noise_sd": float(np.median(fitted)) if fitted.size else float("nan"),
    }
    return TensorMaps(**maps, qa=qa, notes=notes)


def chosen_volumes(
    bvals: NDArray[np.float64], bvecs: NDArray[np.float64], *, b0_threshold: float, max_bval: float
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Which volumes enter the tensor fit, and what there is to say about it.

    Returns
    -------
    used : ndarray of bool, shape (N,)
    notes : tuple of str
    """
    low = bvals <= max_bval
    if low.all():
        return low, ()
    weighted = low & (bvals > b0_threshold)
    highest = f"{bvals.max():g}"
    if (bvals <= b0_threshold).any() and count_directions(bvecs[weighted]) >= LEAST_DIRECTIONS:
        return low, (f"{np.count_nonzero(~low)} volumes above b = {max_bval:g} s/mm² are left out of the tensor fit",)
    note = (
        f"volumes up to b = {highest} s/mm² are all used in the tensor fit: below {max_bval:g} there are too few "
        "directions; the signal is not mono-exponential there, so diffusivities come out lower than at b = 1000"
    )
    return np.ones_like(low), (note,)


def tensor_design(bvals: NDArray[np.float64], bvecs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix whose product with (Dxx, Dyy, Dzz, Dxy, Dxz, Dyz, ln S0) is ln S; shape (N, 7)."""
    x, y, z = bvecs.T
    quadratic = np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], axis=1)
    return np.column_stack([-bvals[:, None] * quadratic, np.ones_like(bvals)])


def _solve(signals: NDArray[np.float64], design: NDArray[np.float64], method: Method) -> NDArray[np.float64]:
    """Coefficients (n_voxels, 7) of positive signals (n_voxels, N)."""
    logs = np.log(signals)
    coefficients = np.asarray(logs @ np.linalg.pinv(design).T, dtype=np.float64)
    if method == "ols":
        return coefficients
    weights = np.exp(2 * (coefficients @ design.T))
    # A common factor of a voxel's weights changes nothing; the largest is made 1 to keep the equations near one.
    weights /= weights.max(axis=1, keepdims=True)
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    left = (weights @ products).reshape(-1, 7, 7)
    right = (weights * logs) @ design
    # Voxels of pure noise can make the equations singular; a ridge of a rounding error keeps them solvable.
    left[:, range(7), range(7)] *= 1 + 1e-12
    return np.linalg.solve(left, right[..., None])[..., 0]


def _scalars(coefficients: NDArray[np.float64], where: NDArray[np.bool_]) -> tuple[dict[str, Image], dict[str, int]]:
    """Make maps and counts from the coefficients of the voxels of `where`."""
    fitted = np.isfinite(coefficients).all(axis=1)
    xx, yy, zz, xy, xz, yz = coefficients[fitted, :6].T
    tensors = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=-1).reshape(-1, 3, 3)
    values, vectors = np.linalg.eigh(tensors)
    n_negative = int(np.count_nonzero(values[:, 0] < 0))
    # DIPY wants the largest first.
    values = np.maximum(values, 0)[:, ::-1]
    scalars = {
        "fa": fractional_anisotropy(values),
        "md": mean_diffusivity(values),
        "ad": axial_diffusivity(values),
        "rd": radial_diffusivity(values),
        "s0": np.exp(coefficients[fitted, 6]),
        "direction": vectors[:, :, 2],
    }
    place = np.zeros_like(where)
    place[where] = fitted
    maps: dict[str, Image] = {}
    for name, content in scalars.items():
        maps[name] = np.full(where.shape + content.shape[1:], np.nan, dtype=np.float32)
        maps[name][place] = content
    return maps, {"n_negative_eigenvalue": n_negative}
