"""Two or more repetitions of a scan in one map: where one of them was disturbed, the other counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FERMI_WIDTH = 0.10
"""Relative difference of errors over which the weight passes from one repetition to the other."""


def combine_repetitions(
    maps: Sequence[NDArray[np.floating]], errors: Sequence[NDArray[np.floating]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Average repetitions, each weighted by a Fermi function of its error (Mohammadi 2022).

    A repetition with error e has the weight 1/(exp((e/ē − 1)/0.10) + 1), ē the geometric mean of the others' errors:
    equal errors give equal weights, and one that is a fifth larger gives next to none
    (doi:10.1016/j.neuroimage.2022.119529).

    Parameters
    ----------
    maps : sequence of ndarray
        The same map, once per repetition; NaN where a repetition has no value.
    errors : sequence of ndarray
        Its error maps.

    Returns
    -------
    combined : ndarray of float32
        NaN where no repetition has a value.
    error : ndarray of float32
        Standard error of the weighted mean.

    Raises
    ------
    ValueError
        When there are not as many errors as maps.
    """
    if len(maps) != len(errors) or not maps:
        raise ValueError(f"{len(maps)} maps and {len(errors)} error maps; one of each per repetition is wanted")
    values, spread = np.stack(maps).astype(np.float64), np.stack(errors).astype(np.float64)
    known = np.isfinite(values) & np.isfinite(spread) & (spread > 0)
    logs = np.where(known, np.log(np.where(known, spread, 1.0)), 0.0)
    others = known.sum(axis=0) - known
    rest = np.divide(logs.sum(axis=0) - logs, others, out=logs.copy(), where=others > 0)
    with np.errstate(over="ignore"):
        weights = np.where(known, 1 / (np.exp((np.exp(logs - rest) - 1) / FERMI_WIDTH) + 1), 0.0)
    total = weights.sum(axis=0)
    weights = np.divide(weights, total, out=np.full(weights.shape, np.nan), where=total > 0)
    filled = np.where(known, values, 0.0)
    combined = (weights * filled).sum(axis=0)
    error = np.sqrt((weights**2 * np.where(known, spread, 0.0) ** 2).sum(axis=0))
    return combined.astype(np.float32), error.astype(np.float32)
