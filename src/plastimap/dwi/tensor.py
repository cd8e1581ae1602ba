"""Diffusion tensor: fit and scalar maps.

Signals are worked on in single precision, in compiled code; what has to be exact, the solution of
each voxel's equations, runs in double precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.dwi._eigen import fill_maps
from plastimap.dwi._tensor import FLOORED, INVALID, equations_of, fit_rows
from plastimap.dwi.gradients import LEAST_DIRECTIONS, count_directions, normalised

Method = Literal["ols", "wls", "iwls", "robust"]
"""Least squares of the logarithms: plain, reweighted once by the squared predicted signal, reweighted until it stays,
and the latter without volumes that do not fit the voxel's others."""

CHUNK = 1 << 11
"""Voxels per step: their signals and weights stay in the processor's cache."""

IWLS_ROUNDS = 5
"""Reweightings; by then coefficients move by less than single precision shows."""

_ROUNDS: dict[Method, int] = {"ols": 0, "wls": 1, "iwls": IWLS_ROUNDS, "robust": IWLS_ROUNDS}


Image = NDArray[np.float32]
Rows = NDArray[np.float32]


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
    tensor : ndarray, shape (X, Y, Z, 6)
        xx, yy, zz, xy, xz, yz in µm²/ms.
    residual : ndarray
        Standard deviation of the residuals in signal units; NaN where seven volumes leave none.
    qa : dict
        Counts, the shells used, and `noise_sd`: the median of `residual`.
    notes : tuple of str
    """

    fa: Image
    md: Image
    ad: Image
    rd: Image
    s0: Image
    direction: Image
    tensor: Image
    residual: Image
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

    Weights: Veraart 2013, doi:10.1016/j.neuroimage.2013.05.028. Outliers: Collier 2015, doi:10.1002/mrm.25351.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z, N)
    bvals : array_like, shape (N,)
        s/mm².
    bvecs : array_like, shape (N, 3)
        In any orthogonal axes; `direction` and `tensor` come out in the same.
    mask : ndarray of bool, shape (X, Y, Z)
    method : {"ols", "wls", "iwls", "robust"}
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
    n_voxels = int(np.count_nonzero(where))
    # Six tensor elements, ln S0 and the residuals' standard deviation.
    fitted, states = np.empty((n_voxels, 8)), np.empty(n_voxels, dtype=np.int8)
    equations = equations_of(design)
    # Near one, logarithms are near zero, where single precision is fine.
    level = (is_b0 if is_b0.any() else np.ones_like(is_b0)).astype(np.float32)
    level /= level.sum()
    n_outliers = 0
    for rows, signals in chunks(data, where, used):
        n_outliers += fit_rows(
            signals, level, equations, _ROUNDS[method], method == "robust", fitted[rows], states[rows]
        )
    maps, n_negative = _maps(fitted, where)
    known = fitted[np.isfinite(fitted[:, 7]), 7]
    qa: dict[str, Any] = {
        "n_negative_eigenvalue": n_negative,
        "n_voxels": n_voxels,
        "n_invalid_signal": int(np.count_nonzero(states == INVALID)),
        "n_floored_signal": int(np.count_nonzero(states == FLOORED)),
        "n_volumes_used": len(design),
        "shells_used": sorted({int(value) for value in np.round(b[used], -2)}),
        "noise_sd": float(np.median(known)) if known.size else float("nan"),
    }
    if method == "robust":
        qa["tensor_outlier_share"] = n_outliers / max(n_voxels * len(design), 1)
    return TensorMaps(**maps, qa=qa, notes=notes)


def fractional_anisotropy(eigenvalues: NDArray[np.floating]) -> NDArray[np.float64]:
    """Fractional anisotropy, √(3/2) |λ − λ̄| / |λ|, of eigenvalues (..., 3); 0 where all are 0 (Basser 1996)."""
    values = np.asarray(eigenvalues, dtype=np.float64)
    spread = np.sqrt(1.5 * ((values - values.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))
    length = np.sqrt((values**2).sum(axis=-1))
    return np.divide(spread, length, out=np.zeros_like(spread), where=length != 0)


def colour_fa(maps: TensorMaps) -> Image:
    """Colours (X, Y, Z, 3) from |direction| × FA: along x red, y green, z blue; 0 outside the mask."""
    return np.nan_to_num(np.abs(maps.direction) * np.clip(maps.fa, 0, 1)[..., None])


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


def chunks(data: NDArray, where: NDArray[np.bool_], used: NDArray[np.bool_]) -> Iterator[tuple[slice, Rows]]:
    """Signals (N, n) of the mask's voxels in the order of `where`, some at a time, with their rows in the result."""
    volumes = np.flatnonzero(used)
    every = volumes.size == data.shape[3]
    # As NIfTI stores it, whole volumes one after the other: each is read along its own voxels.
    by_volume = data.flags.f_contiguous and not data.flags.c_contiguous
    if by_volume:
        places = np.ravel_multi_index(np.nonzero(where), where.shape, order="F")
        series = data.reshape(-1, data.shape[3], order="F").T
        series = series if every else series[volumes]
    else:
        places = np.flatnonzero(where)
        series = np.ascontiguousarray(data).reshape(-1, data.shape[3])
    for start in range(0, places.size, CHUNK):
        own = places[start : start + CHUNK]
        part = series[:, own] if by_volume else series[own].T
        part = part if every or by_volume else part[volumes]
        yield slice(start, start + own.size), np.ascontiguousarray(part, dtype=np.float32)


def _maps(fitted: NDArray[np.float64], where: NDArray[np.bool_]) -> tuple[dict[str, Image], int]:
    """Make maps from what was fitted (n, 8) in the voxels of `where`; how many have a negative eigenvalue."""
    maps = {name: np.full(where.size, np.nan, dtype=np.float32) for name in ("fa", "md", "ad", "rd", "s0", "residual")}
    maps |= {name: np.full((where.size, n), np.nan, dtype=np.float32) for name, n in (("direction", 3), ("tensor", 6))}
    n_negative = fill_maps(fitted, np.flatnonzero(where), tuple(maps.values()))
    return {name: image.reshape(where.shape + image.shape[1:]) for name, image in maps.items()}, n_negative
