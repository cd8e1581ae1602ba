"""False discovery rate: of what is called a finding, how much is expected to be none."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Smallest false discovery rate at which each p would be called a finding.

    Benjamini & Hochberg 1995 (doi:10.1111/j.2517-6161.1995.tb02031.x); valid where tests are independent or depend
    on one another positively.

    Parameters
    ----------
    p : array-like, shape (m,)

    Returns
    -------
    ndarray, shape (m,)
        q values, at most 1.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    q = np.empty(p.size)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q
