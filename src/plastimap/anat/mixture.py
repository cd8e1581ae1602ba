"""The mixture of tissues and of voxels that two tissues share, fitted by expectation–maximisation.

The model and its sources are told in :mod:`plastimap.anat.segment`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.anat.priors import TISSUES

MIXES = ((0, 1), (0, 2))
"""Which tissues (by their place in TISSUES) share voxels: GM with WM, GM with CSF."""

PROPORTIONS = (0.2, 0.4, 0.6, 0.8)
"""Shares of the first tissue in the mixed voxels that are told apart."""

CONVERGED = 5e-4
"""Largest change of a mean, relative to the distance between the tissues, that ends the iteration."""

CHUNK = 200_000
"""Voxels that are classified at a time."""


class SegmentationProblem(ValueError):
    """The image does not let tissues be told apart; the message says why."""


@dataclass(frozen=True)
class Mixture:
    """Parameters of the model: per pure tissue and per component (pure ones first, then mixes)."""

    means: NDArray[np.float64]
    variances: NDArray[np.float64]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class Hold:
    """What pure CSF was seen to look like, and how much that counts."""

    mean: float
    share: float


def fit_mixture(
    values: NDArray[np.float64],
    spatial: NDArray[np.float64],
    trust: NDArray[np.float64],
    hold: Hold,
    iterations: int,
) -> tuple[Mixture, int]:
    """Learn what the tissues look like.

    Parameters
    ----------
    values : ndarray, shape (voxels,)
        Intensities, finite.
    spatial : ndarray, shape (tissues, voxels)
        Priors; they sum to 1 and are nowhere 0.
    trust : ndarray, shape (voxels,)
        How much each voxel counts, 0–1.
    hold : Hold
    iterations : int
        At most.

    Returns
    -------
    mixture : Mixture
    iterations : int
        Number of iterations done.

    Raises
    ------
    SegmentationProblem
        When the tissues have the same intensity.
    """
    mixture = _start(values, spatial, hold.mean)
    component_priors = _component_priors(spatial)
    done = 0
    moved = np.inf
    while done < iterations and moved > CONVERGED:
        parts = _responsibilities(values, component_priors, mixture) * trust
        updated = _maximise(values, parts, component_priors, mixture, hold)
        moved = float(np.abs(updated.means - mixture.means).max() / np.ptp(mixture.means))
        mixture = updated
        done += 1
    return mixture, done


def _start(values: NDArray[np.float64], spatial: NDArray[np.float64], csf: float) -> Mixture:
    means = np.array([*(_weighted_median(values, weight**4) for weight in spatial[:2]), csf])
    spread = float(np.ptp(means))
    if not spread > 0:
        raise SegmentationProblem("the tissues have the same intensity where the priors expect them; is it a brain?")
    ordered = np.sort(means)
    gap = float(np.diff(ordered).min())
    sd = max(gap / 3, spread / 20)
    count = len(TISSUES) + len(MIXES) * len(PROPORTIONS)
    return Mixture(means, np.full(len(TISSUES), sd**2), np.ones(count))


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])


def _share_table() -> NDArray[np.float64]:
    """Tissue shares of all components, shape (components, tissues): pure tissues, then mixes."""
    shares = [np.eye(len(TISSUES))]
    for a, b in MIXES:
        rows = np.zeros((len(PROPORTIONS), len(TISSUES)))
        rows[:, a] = PROPORTIONS
        rows[:, b] = 1.0 - rows[:, a]
        shares.append(rows)
    return np.concatenate(shares)


def _component_priors(spatial: NDArray[np.float64]) -> NDArray[np.float64]:
    """Prior of each component, shape (components, voxels): the geometric mean of its tissues' priors by their shares.

    Where both tissues are equally likely all proportions are; elsewhere those near the likelier tissue win.
    """
    table = _share_table()
    log_priors = np.log(spatial)
    weights = np.exp(table @ log_priors)
    weights[len(TISSUES) :] /= len(PROPORTIONS)
    return weights


def _responsibilities(
    values: NDArray[np.float64], component_priors: NDArray[np.float64], mixture: Mixture
) -> NDArray[np.float64]:
    table = _share_table()
    means, variances = table @ mixture.means, table @ mixture.variances
    distance = (values - means[:, None]) ** 2 / variances[:, None]
    # Subtracting the least distance per voxel keeps the exponentials of outliers from all vanishing.
    distance -= distance.min(axis=0)
    parts = np.exp(-0.5 * distance)
    parts *= component_priors * (mixture.weights / np.sqrt(variances))[:, None]
    return parts / parts.sum(axis=0)


def _maximise(
    values: NDArray[np.float64],
    parts: NDArray[np.float64],
    component_priors: NDArray[np.float64],
    mixture: Mixture,
    hold: Hold,
) -> Mixture:
    table = _share_table()
    counts, sums = parts.sum(axis=1), parts @ values
    precision = 1.0 / (table @ mixture.variances)
    # Weighted least squares: every component's mean is a mix of the tissues' means.
    normal = (table * (counts * precision)[:, None]).T @ table
    wanted = table.T @ (sums * precision)
    surest = hold.share * counts[2] * precision[2]
    normal[2, 2] += surest
    wanted[2] += surest * hold.mean
    # The small term keeps the equations solvable for any data.
    means = np.linalg.solve(normal + 1e-9 * np.trace(normal) * np.eye(len(TISSUES)), wanted)
    centre = values.mean()
    squares = parts[: len(TISSUES)] @ (values - centre) ** 2
    total = np.maximum(counts[: len(TISSUES)], 1e-9)
    found = sums[: len(TISSUES)] / total
    # Around the means of the model, which need not be those of the parts.
    variances = squares / total - (found - centre) ** 2 + (found - means) ** 2
    least = (np.ptp(means) / 50) ** 2
    # How common a component is beside what its prior says; all proportions of one mix count together.
    expected = component_priors @ (parts.sum(axis=0) / (mixture.weights @ component_priors))
    weights = counts / expected
    for first in range(len(TISSUES), len(weights), len(PROPORTIONS)):
        weights[first : first + len(PROPORTIONS)] = weights[first : first + len(PROPORTIONS)].mean()
    return Mixture(means, np.maximum(variances, least), weights / weights.mean())


def expected_shares(values: NDArray[np.float64], spatial: NDArray[np.float64], mixture: Mixture) -> NDArray[np.float64]:
    """Expected share of each tissue in each voxel, shape (tissues, voxels); parameters as in :func:`fit_mixture`."""
    table = _share_table()
    shares = np.empty_like(spatial)
    for first in range(0, values.size, CHUNK):
        some = slice(first, first + CHUNK)
        parts = _responsibilities(values[some], _component_priors(spatial[:, some]), mixture)
        shares[:, some] = table.T @ parts
    return shares
