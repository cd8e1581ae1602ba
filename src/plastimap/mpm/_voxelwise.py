"""Compiled loops over voxels one at a time: the robust fit of lines, and what noise does to a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from plastimap.mpm._kernels import OPTIONS

Array = Any

ROBUST_ROUNDS = 15
"""Reweightings of the robust fit; Tukey's weights settle sooner."""

TUKEY = 4.685
"""Residuals beyond so many standard deviations have no weight (95 % efficiency without outliers)."""

SD_PER_MAD = 1.4826


@njit(**OPTIONS)
def refit_robustly(signals: Array, times: Array, contrast: Array, rate: Array, intercepts: Array, rms: Array) -> None:
    """Let outlying echoes lose their weight, starting from a weighted fit, which is replaced.

    The weight of an echo is its squared prediction times Tukey's biweight of its residual in signal units.

    Parameters
    ----------
    signals : ndarray of float32, shape (n_echoes, n_voxels)
    times, contrast
        As of :func:`plastimap.mpm._kernels.fit_lines`.
    rate, intercepts, rms : ndarray, shapes (n_voxels,), (n_contrasts, n_voxels) twice
        R2*, signal at TE = 0, root mean square residual. NaN where nothing was fitted, and stays so.
    """
    n_contrasts, n_voxels = intercepts.shape
    predicted, weights = np.empty(len(times)), np.empty(len(times))
    first, line, counts = np.empty(n_contrasts + 1), np.empty(n_contrasts + 1), np.zeros(n_contrasts)
    for c in contrast:
        counts[c] += 1.0
    for v in range(n_voxels):
        if np.isnan(rate[v]):
            continue
        first[:n_contrasts] = np.log(intercepts[:, v])
        first[n_contrasts] = rate[v]
        line[:] = first
        for _ in range(ROBUST_ROUNDS):
            _predict(line, times, contrast, predicted)
            _biweights(signals[:, v], predicted, n_contrasts + 1, weights)
            if not _line_through(signals[:, v], times, contrast, weights, line):
                line[:] = first
                break
        _predict(line, times, contrast, predicted)
        rate[v] = line[n_contrasts]
        intercepts[:, v] = np.exp(line[:n_contrasts])
        rms[:, v] = 0.0
        for e in range(len(times)):
            rms[contrast[e], v] += (signals[e, v] - predicted[e]) ** 2
        rms[:, v] = np.sqrt(rms[:, v] / counts)


@njit(**OPTIONS)
def _biweights(signals: Array, predicted: Array, n_parameters: int, weights: Array) -> None:
    gaps = np.abs(signals - predicted)
    # Residuals of a fit are smaller than the noise: degrees of freedom were spent on it.
    loss = np.sqrt(len(gaps) / max(len(gaps) - n_parameters, 1))
    limit = TUKEY * SD_PER_MAD * np.median(gaps) * loss
    for e in range(len(gaps)):
        # A perfect fit has no outliers.
        share = gaps[e] / limit if limit > 0 else 0.0
        weights[e] = predicted[e] ** 2 * (1.0 - share * share) ** 2 if share < 1.0 else 0.0


@njit(**OPTIONS)
def _predict(line: Array, times: Array, contrast: Array, predicted: Array) -> None:
    for e in range(len(times)):
        predicted[e] = np.exp(line[contrast[e]] - line[-1] * times[e])


@njit(**OPTIONS)
def _line_through(signals: Array, times: Array, contrast: Array, weights: Array, line: Array) -> bool:
    """Weighted fit of one voxel; False, and nothing changed, where the weights leave too little to fit."""
    n_contrasts = len(line) - 1
    total, mean_time, mean_log = np.zeros(n_contrasts), np.zeros(n_contrasts), np.zeros(n_contrasts)
    logs = np.log(signals.astype(np.float64))
    for e in range(len(times)):
        total[contrast[e]] += weights[e]
        mean_time[contrast[e]] += weights[e] * times[e]
        mean_log[contrast[e]] += weights[e] * logs[e]
    if total.min() <= 0.0:
        return False
    mean_time /= total
    mean_log /= total
    squares = 0.0
    product = 0.0
    for e in range(len(times)):
        t = times[e] - mean_time[contrast[e]]
        squares += weights[e] * t * t
        product += weights[e] * t * logs[e]
    if squares <= 0.0:
        return False
    line[n_contrasts] = -product / squares
    line[:n_contrasts] = mean_log + line[n_contrasts] * mean_time
    return True


@njit(**OPTIONS)
def line_covariance(
    rate: Array, intercepts: Array, times: Array, contrast: Array, weighted: bool, covariance: Array
) -> None:
    """Covariance of (ln intercepts, rate) for unit noise in every echo.

    A fitted value is a weighted sum of the logarithms, and the noise of a logarithm is that of the signal over the
    signal (first order); so the covariance is the sum over echoes of products of such factors.

    Parameters
    ----------
    rate, intercepts : ndarray, shapes (n_voxels,) and (n_contrasts, n_voxels)
    times, contrast
        As of :func:`plastimap.mpm._kernels.fit_lines`.
    weighted : bool
        Whether the fit weighted by squared predictions.
    covariance : ndarray, shape (n_voxels, n_contrasts + 1, n_contrasts + 1)
        Filled.
    """
    n_contrasts, n_voxels = intercepts.shape
    n_echoes, n = len(times), n_contrasts + 1
    predicted, weights = np.empty(n_echoes), np.empty(n_echoes)
    total, mean = np.empty(n_contrasts), np.empty(n_contrasts)
    factors = np.empty(n)
    for v in range(n_voxels):
        total[:] = 0.0
        mean[:] = 0.0
        for e in range(n_echoes):
            c = contrast[e]
            predicted[e] = intercepts[c, v] * np.exp(-rate[v] * times[e])
            weights[e] = predicted[e] ** 2 if weighted else 1.0
            total[c] += weights[e]
            mean[c] += weights[e] * times[e]
        mean /= total
        squares = 0.0
        for e in range(n_echoes):
            squares += weights[e] * (times[e] - mean[contrast[e]]) ** 2
        covariance[v] = 0.0
        for e in range(n_echoes):
            own = contrast[e]
            slope = -weights[e] * (times[e] - mean[own]) / squares
            for c in range(n_contrasts):
                factors[c] = mean[c] * slope
            factors[own] += weights[e] / total[own]
            factors[n_contrasts] = slope
            for i in range(n):
                for j in range(n):
                    covariance[v, i, j] += factors[i] * factors[j] / predicted[e] ** 2
