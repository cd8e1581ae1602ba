"""Checks of a finding that cost little and would have caught known mistakes.

The mean over a cluster must tell the same story as its t map, and must not
hang on one person.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.glm import fit_glm

AGREEMENT = 0.5
"""Least ratio of the t of cluster means to the mean t in the cluster."""

ONE_PERSON = 0.5
"""Share of an effect that may hang on one person before that person is named."""


class ClusterCheck(NamedTuple):
    """A cluster's mean values, tested once more.

    Attributes
    ----------
    t : ndarray, shape (n_clusters,)
        Of the people's cluster means, in the same model.
    influence : ndarray, shape (n_clusters,)
        Largest share of the effect that goes when one person is left out.
    person : ndarray of int, shape (n_clusters,)
        Row of that person.
    """

    t: NDArray[np.float64]
    influence: NDArray[np.float64]
    person: NDArray[np.intp]


def check_cluster_means(
    values: NDArray[np.float64],
    matrix: NDArray[np.float64],
    vector: NDArray[np.float64],
    *,
    weights: ArrayLike | None = None,
) -> ClusterCheck:
    """Fit the model to cluster means, and leave each person out in turn.

    Parameters
    ----------
    values : ndarray, shape (n, n_clusters)
        Mean over each cluster of every person's coefficient.
    matrix : ndarray, shape (n, p)
    vector : ndarray, shape (p,)
        The contrast.
    weights : array-like, shape (n,), optional

    Returns
    -------
    ClusterCheck
        Leaving out is done in closed form: β₍₋ᵢ₎ = β − (X'X)⁻ xᵢ eᵢ / (1 − hᵢ).
    """
    fit = fit_glm(values, matrix, weights=weights)
    t, effect, _, _ = fit.t_map(vector)
    root = np.ones(len(values)) if weights is None else np.sqrt(np.asarray(weights) / np.mean(np.asarray(weights)))
    weighted = matrix * root[:, None]
    inverse = np.linalg.pinv(weighted)
    leverage = np.einsum("ij,ji->i", weighted, inverse)
    residuals = np.stack([fit.residual(i) for i in range(len(values))])
    # A person who alone carries a column cannot be left out of it.
    free = leverage < 1 - 1e-9
    change = np.zeros_like(residuals)
    change[free] = (vector @ inverse)[free, None] * residuals[free] / (1 - leverage[free])[:, None]
    share = change / effect
    return ClusterCheck(t=t, influence=share.max(axis=0), person=share.argmax(axis=0))


def warnings_of(*, cluster_t: float, mean_t: float, influence: float, person: str) -> tuple[str, ...]:
    """List what a reader should know before believing a cluster.

    Parameters
    ----------
    cluster_t : float
        t of the cluster means.
    mean_t : float
        Mean t of the cluster's voxels, in the same direction.
    influence : float
    person : str
        As in :class:`ClusterCheck`.
    """
    found: list[str] = []
    if not cluster_t * np.sign(mean_t) >= AGREEMENT * abs(mean_t):
        found.append(f"cluster mean and t map disagree (t of the mean {cluster_t:.2f}, mean t {mean_t:.2f})")
    if influence >= ONE_PERSON:
        found.append(f"hangs on one person: without {person} {min(influence, 1.0):.0%} of the effect is gone")
    return tuple(found)
