"""Whether a scan's maps can be believed: motion, outliers, implausible values, tissue medians."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.usual import USUAL, is_unusual

PURE = 0.95
"""Tissue probability from which a voxel counts as pure."""

LEAST_VOXELS = 50
"""Fewer pure voxels than this tell nothing."""

OUTLIER = 4.0
"""Robust standard deviations from the tissue's median beyond which a voxel is an outlier."""

_SD_PER_MAD = 1.4826


def motion_index(
    contrast_r2s: Mapping[str, NDArray[np.floating]],
    r2s: NDArray[np.floating],
    white_matter: NDArray[np.bool_],
) -> dict[str, float]:
    """Spread of each contrast's own R2* about the common one over white matter, in 1/s.

    Motion during an acquisition disturbs its echoes and with them its R2*; in white matter R2* is even enough for that
    to show (Lutti 2022, doi:10.1002/hbm.25767).

    Parameters
    ----------
    contrast_r2s : mapping of str to ndarray
        R2* of every contrast alone.
    r2s : ndarray
        R2* of all together.
    white_matter : ndarray of bool
        Eroded, or of high probability.

    Returns
    -------
    dict of str to float
        Robust standard deviation per contrast; NaN where there are too few voxels. With one contrast: that of R2*.
    """
    if len(contrast_r2s) == 1:
        return {name: _robust_sd(image[white_matter]) for name, image in contrast_r2s.items()}
    return {name: _robust_sd((image - r2s)[white_matter]) for name, image in contrast_r2s.items()}


def assess_maps(
    maps: Mapping[str, NDArray[np.floating]],
    contrast_r2s: Mapping[str, NDArray[np.floating]],
    tissues: Mapping[str, NDArray[np.floating]],
    *,
    voxel_size: NDArray[np.float64],
) -> dict[str, Any]:
    """Assess the maps of a scan.

    Parameters
    ----------
    maps : mapping of str to ndarray, shape (X, Y, Z)
        ``R1``, ``R2s``, … NaN where a value was implausible.
    contrast_r2s : mapping of str to ndarray
        R2* of every contrast alone.
    tissues : mapping of str to ndarray
        Probabilities of ``GM``, ``WM``, ``CSF`` on the same grid.
    voxel_size : ndarray, shape (3,)
        In mm.

    Returns
    -------
    dict
        ``motion_index`` per contrast and ``motion_index_mean`` (1/s); per map and tissue ``median``,
        ``outlier_share`` and ``missing_share``; ``flags``: one sentence for everything unusual.
    """
    pure = {name: tissue >= PURE for name, tissue in tissues.items() if name in ("GM", "WM")}
    found: dict[str, Any] = {}
    flags: list[str] = []
    white = _eroded(pure["WM"], voxel_size)
    found["motion_index"] = motion_index(contrast_r2s, maps["R2s"], white)
    known = [value for value in found["motion_index"].values() if np.isfinite(value)]
    found["motion_index_mean"] = float(np.sqrt(np.mean(np.square(known)))) if known else float("nan")
    for name, image in maps.items():
        for tissue, where in pure.items():
            values = image[where]
            finite = values[np.isfinite(values)].astype(np.float64)
            if finite.size < LEAST_VOXELS:
                continue
            median, spread = float(np.median(finite)), _robust_sd(finite)
            found[f"median_{name}_{tissue}"] = median
            found[f"missing_share_{name}_{tissue}"] = 1 - finite.size / values.size
            far = np.abs(finite - median) > OUTLIER * spread
            found[f"outlier_share_{name}_{tissue}"] = float(far.mean()) if spread > 0 else 0.0
            flags += _unusual(name, tissue, median)
    return found | {"flags": flags}


def _unusual(name: str, tissue: str, median: float) -> list[str]:
    if not is_unusual(name, tissue, median):
        return []
    low, high = USUAL[name][tissue]
    return [f"median {name} of {tissue} is {median:.3g}; {low:g} to {high:g} is usual in adults at 3 T"]


def _eroded(mask: NDArray[np.bool_], voxel_size: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Without its outermost voxels, where that leaves enough: coarse voxels of pure tissue lie inside anyway."""
    from scipy import ndimage

    inner = np.asarray(ndimage.binary_erosion(mask), dtype=bool) if voxel_size.min() < 2 else mask
    return inner if np.count_nonzero(inner) >= LEAST_VOXELS else mask


def _robust_sd(values: NDArray[np.floating]) -> float:
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size < LEAST_VOXELS:
        return float("nan")
    return float(_SD_PER_MAD * np.median(np.abs(finite - np.median(finite))))
