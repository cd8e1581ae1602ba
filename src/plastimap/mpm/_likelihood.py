"""Compiled inner loops of the maximum-likelihood fit to multi-echo signals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from plastimap.mpm._kernels import OPTIONS

Array = Any

LIKELY_ROUNDS = 100
"""Steps of the maximum-likelihood fit at most; signals well above the noise take four or five."""

SETTLED = 1e-7
"""A step that changes no signal by more than this share is the last."""

SHARES_PER_SD = 10
"""Entries per σ in the table of the information that Rician echoes hold."""

LARGEST_STEP = 50.0
"""Change of a logarithm at which a fit is given up."""


@njit(**OPTIONS)
def fit_likely(
    signals: Array,
    times: Array,
    contrast: Array,
    noise: Array,
    shares: Array,
    line: Array,
    information: Array,
    lean: Array,
) -> int:
    """Maximum-likelihood fit of the signals themselves, by Gauss–Newton; count the voxels that do not settle.

    Rician signals are dealt with by expectation and maximisation: the part of a magnitude that lies along the true
    signal μ is m·I₁(mμ/σ²)/I₀(mμ/σ²), and these expectations are fitted as if they were normal.

    Parameters
    ----------
    signals : ndarray, shape (n_echoes, n_voxels)
        Positive and finite.
    times, contrast
        As of :func:`plastimap.mpm._kernels.fit_lines`.
    noise : ndarray, shape (n_voxels,)
        σ of the real and imaginary channels.
    shares : ndarray
        Information of a Rician echo relative to a normal one, at signals of 0, 1, 2 … times σ / :data:`SHARES_PER_SD`;
        empty for normal noise.
    line : ndarray, shape (n_voxels, n_contrasts + 1)
        Logarithms of the TE = 0 signals, and R2*: where to start from on entry, the fit on return.
    information : ndarray, shape (n_voxels, n_contrasts + 1, n_contrasts + 1)
        Filled: J'KJ at the fit, J the derivatives of the signals, K the shares.
    lean : ndarray, shape (n_voxels, n_contrasts + 1)
        Filled: J'K times the second-order lean of each prediction (Box 1971); −½ (J'KJ)⁻¹ of it times σ² is the bias.
    """
    n_echoes, n_voxels = signals.shape
    n = line.shape[1]
    design = np.zeros((n_echoes, n))
    for e in range(n_echoes):
        design[e, contrast[e]] = 1.0
        design[e, n - 1] = -times[e]
    predicted, gaps, weights = np.empty(n_echoes), np.empty(n_echoes), np.empty(n_echoes)
    unsettled = 0
    for v in range(n_voxels):
        settled = _climb(signals[:, v], design, noise[v] ** 2, len(shares) > 0, line[v], predicted, gaps)
        information[v] = np.eye(n)
        lean[v] = 0.0
        if not settled:
            unsettled += 1
            line[v] = np.nan
            continue
        for e in range(n_echoes):
            place = min(int(predicted[e] / noise[v] * SHARES_PER_SD), len(shares) - 1)
            weights[e] = predicted[e] ** 2 * (shares[place] if len(shares) > 0 else 1.0)
        information[v] = (design.T * weights) @ design
        inverse = np.linalg.inv(information[v])
        for e in range(n_echoes):
            lean[v] += design[e] * weights[e] * (design[e] @ inverse @ design[e])
    return unsettled


@njit(**OPTIONS)
def _climb(
    signals: Array, design: Array, variance: float, rician: bool, line: Array, predicted: Array, gaps: Array
) -> bool:
    """Steps towards the largest likelihood of one voxel; True when they have become small."""
    longest = -design[:, -1].min()
    for _ in range(LIKELY_ROUNDS):
        for e in range(len(signals)):
            predicted[e] = np.exp(design[e] @ line)
            m = np.float64(signals[e])
            gaps[e] = (m * _bessel_ratio(m * predicted[e] / variance) if rician else m) - predicted[e]
        squares = (design.T * (predicted * predicted)) @ design
        step = np.linalg.solve(squares, design.T @ (predicted * gaps))
        line += step
        # The rate counts by what it does over the echoes.
        step[-1] *= longest
        largest = np.abs(step).max()
        if largest < SETTLED:
            return True
        if not largest < LARGEST_STEP:
            return False
    return False


@njit(**OPTIONS)
def _bessel_ratio(z: float) -> float:
    """I₁(z)/I₀(z) for z ≥ 0 (Abramowitz & Stegun 9.8.1–9.8.4; good to 3e-7)."""
    if z < 3.75:
        t = (z / 3.75) ** 2
        i0 = 1.0 + t * (
            3.5156229 + t * (3.0899424 + t * (1.2067492 + t * (0.2659732 + t * (0.0360768 + t * 0.0045813))))
        )
        i1 = z * (
            0.5
            + t
            * (0.87890594 + t * (0.51498869 + t * (0.15084934 + t * (0.02658733 + t * (0.00301532 + t * 0.00032411)))))
        )
        return i1 / i0
    t = 3.75 / z
    i0 = 0.00916281 + t * (-0.02057706 + t * (0.02635537 + t * (-0.01647633 + t * 0.00392377)))
    i0 = 0.39894228 + t * (0.01328592 + t * (0.00225319 + t * (-0.00157565 + t * i0)))
    i1 = -0.01031555 + t * (0.02282967 + t * (-0.02895312 + t * (0.01787654 - t * 0.00420059)))
    i1 = 0.39894228 + t * (-0.03988024 + t * (-0.00362018 + t * (0.00163801 + t * i1)))
    return i1 / i0
