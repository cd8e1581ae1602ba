"""Drift of the scanner's gain over a series, seen in its b = 0 volumes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST_SPAN = 0.5
"""Share of the series that the b = 0 volumes must span: beyond them the line is only a guess."""

LEAST_FOR_CURVE = 5
"""b = 0 volumes from which on the drift may bend."""


def drift_gains(levels: NDArray[np.floating], b0: NDArray[np.bool_]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Factors that bring every volume to the gain of the first b = 0 volume (Vos 2017, doi:10.1002/mrm.26124).

    Parameters
    ----------
    levels : ndarray, shape (n_b0,)
        Mean signal of the brain in each b = 0 volume.
    b0 : ndarray of bool, shape (N,)
        Which volumes these are.

    Returns
    -------
    gains : ndarray, shape (N,)
        All 1 where the b = 0 volumes cannot tell.
    notes : tuple of str
    """
    places = np.flatnonzero(b0)
    if places.size < 2 or places[-1] - places[0] < LEAST_SPAN * (b0.size - 1):
        return np.ones(b0.size), ("signal drift cannot be seen: the b = 0 volumes do not span half of the series",)
    degree = 2 if places.size >= LEAST_FOR_CURVE else 1
    curve = np.polynomial.Polynomial.fit(places, levels, degree)
    course = np.asarray(curve(np.arange(b0.size)), dtype=np.float64)
    return course[places[0]] / course, ()
