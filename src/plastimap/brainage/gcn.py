"""Graph convolutional network: parcels are nodes, those that touch are joined, two layers pass messages, regions read.

h₁ = relu(Â x W₀), h₂ = h₁ + relu(Â h₁ W₁), Â the symmetrically normalised adjacency with loops (Kipf & Welling 2017,
arXiv:1609.02907); every region pools its own nodes and gives the mean and the variance of log age. Edges stay inside
regions, so Â is block-diagonal and a change in one region cannot reach another's age. All regions and all members of
the ensemble are trained at once. Each member leaves a tenth of the people out, and those left out calibrate it.

Training needs PyTorch (``plastimap[gcn]``), application does not: the same lines run on numpy's arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.parcels import Parcels
from plastimap.brainage.predicted import Predicted
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.regionwise import GLOBAL

Array = NDArray[np.float64]

MEMBERS = 10
"""Of the ensemble, each from a seed of its own, and each without a tenth of the people."""

WIDTH = 8
EPOCHS = 40
BATCH = 128
RATE = 0.01
DECAY = 0.02
INPUT_NOISE = 0.25
"""Standard deviation of noise added to standardised parcels in training."""


@dataclass(frozen=True)
class Layout:
    """Parcels in blocks of equal size, padded: blocks are regions, or the whole graph.

    Attributes
    ----------
    slots : ndarray of int, shape (b, m)
        Parcel of every place; −1 = none.
    adjacency : ndarray, shape (b, m, m)
        Normalised, with loops; 0 for padding.
    pooling : ndarray, shape (r, b, m)
        1 where a region reads a place.
    """

    slots: NDArray[np.int64]
    adjacency: Array
    pooling: Array


@dataclass(frozen=True)
class GraphNetwork:
    """A trained ensemble.

    Attributes
    ----------
    regions : tuple of (network, hemisphere)
    layout : Layout
    weights : mapping of str to ndarray
        First axis: members.
    centre, scale : ndarray, shape (p + q,)
        Of parcels and covariates.
    level, spread : float
        Of log age.
    """

    regions: tuple[tuple[str, str], ...]
    layout: Layout
    weights: Mapping[str, NDArray[np.float32]]
    centre: Array
    scale: Array
    level: float
    spread: float

    def predict(self, values: ArrayLike, covariates: ArrayLike) -> Predicted:
        """Ages of people: exp of the members' mean log age."""
        data = np.column_stack([np.asarray(values, dtype=np.float64), np.asarray(covariates, dtype=np.float64)])
        mean, log_variance = self._members(np.nan_to_num((data - self.centre) / self.scale))
        age, sd = self._years(mean.mean(axis=0), np.exp(log_variance).mean(axis=0))
        # Of people not seen. Where intervals are learnt, all members but one have seen the person and the site.
        members = self.spread * (mean - mean.mean(axis=0))
        gone = ~self._known(data)
        return Predicted(*(np.where(gone, np.nan, one) for one in (age, sd, members)))

    def left_out(self, standard: Array, fold: NDArray[np.intp]) -> tuple[Array, Array]:
        """Age and standard deviation by the member that did not see a person, each of shape (n, regions).

        Parameters
        ----------
        standard : ndarray, shape (n, p + q)
            Training data, standardised.
        fold : ndarray of int, shape (n,)
            Member that left a person out.
        """
        mean, log_variance = self._members(standard)
        rows = np.arange(len(fold))
        return self._years(mean[fold, rows], np.exp(log_variance[fold, rows]))

    def _members(self, standard: Array) -> tuple[Array, Array]:
        parts = self._blocks(standard)
        mean, log_variance = forward(np, self.weights, self.layout.adjacency, self.layout.pooling, *parts)
        return np.asarray(mean, dtype=np.float64), np.asarray(log_variance, dtype=np.float64)

    def _blocks(self, standard: Array) -> tuple[Array, Array]:
        parcels = self.centre.size - self.weights["covariates"].shape[2]
        return blocks(standard[:, :parcels], self.layout.slots), standard[:, parcels:]

    def _years(self, mean: Array, variance: Array) -> tuple[Array, Array]:
        age = np.exp(self.level + self.spread * mean)
        return age, age * self.spread * np.sqrt(variance)

    def _known(self, data: Array) -> NDArray[np.bool_]:
        """Whether everything that a region's age depends on is there, shape (n, regions)."""
        parcels = self.centre.size - self.weights["covariates"].shape[2]
        gone = np.asarray(~np.isfinite(data), dtype=np.float64)
        missing = blocks(gone[:, :parcels], self.layout.slots).sum(axis=2)
        read = (self.layout.pooling.sum(axis=2) > 0).astype(np.float64)
        reach = np.column_stack([missing @ read.T, missing.sum(axis=1)])
        return reach + gone[:, parcels:].sum(axis=1)[:, None] == 0

    @cached_property
    def restricted(self) -> bool:
        """Whether messages stay inside regions."""
        return len(self.layout.slots) > 1


def forward(xp: Any, weights: Mapping[str, Any], adjacency: Any, pooling: Any, data: Any, covariates: Any) -> Any:
    """Mean and log variance of standardised log age, each of shape (members, n, regions + 1).

    Parameters
    ----------
    xp : module
        numpy or torch.
    weights : mapping
        ``nodes``, ``nodes_bias`` (k, b, m, d); ``hidden`` (k, d, d), ``hidden_bias`` (k, d); ``pool`` (k, b, m, d),
        in the whole graph (k, r, m, d); ``covariates`` (k, r, q, d); ``head``, ``brain`` (k, r, d, 2); ``bias``
        (k, r + 1, 2).
    adjacency : array, shape (b, m, m)
    pooling : array, shape (r, b, m)
    data : array, shape (n, b, m)
    covariates : array, shape (n, q)
    """
    first = data[None, ..., None] * weights["nodes"][:, None] + weights["nodes_bias"][:, None]
    first = xp.einsum("bij,knbjd->knbid", adjacency, first).clip(min=0)
    second = xp.einsum("bij,knbjd->knbid", adjacency, first)
    second = xp.einsum("knbid,kde->knbie", second, weights["hidden"]) + weights["hidden_bias"][:, None, None, None]
    nodes = first + second.clip(min=0)
    if len(adjacency) > 1:
        # One block per region: each reads its own, and no product goes over others.
        pooled = xp.einsum("knbid,kbid->knbd", nodes, weights["pool"] * pooling.sum(1)[None, ..., None])
    else:
        pooled = xp.einsum("knbid,krid->knrd", nodes, weights["pool"] * pooling[:, 0][None, ..., None])
    pooled = (pooled + xp.einsum("nq,krqd->knrd", covariates, weights["covariates"])).clip(min=0)
    own = xp.einsum("knrd,krdv->knrv", pooled, weights["head"])
    brain = xp.einsum("knrd,krdv->knv", pooled, weights["brain"])[:, :, None]
    out = (xp.concatenate if xp is np else xp.cat)([own, brain], 2) + weights["bias"][:, None]
    return out[..., 0], out[..., 1].clip(-6, 3)


def layout_of(parcels: Parcels, *, whole_graph: bool = False) -> Layout:
    """Blocks of parcels and their normalised adjacency.

    Parameters
    ----------
    parcels : Parcels
    whole_graph : bool
        One block with every edge; otherwise a block per region, with the edges inside it.
    """
    region, p = parcels.region_of, len(parcels.names)
    groups = [np.arange(p)] if whole_graph else [np.flatnonzero(region == r) for r in range(len(parcels.regions))]
    edges = parcels.edges if whole_graph else parcels.inner_edges
    joined = np.eye(p)
    joined[edges[:, 0], edges[:, 1]] = joined[edges[:, 1], edges[:, 0]] = 1.0
    root = 1 / np.sqrt(joined.sum(axis=1))
    normalised = root[:, None] * joined * root
    size = max(map(len, groups))
    slots = np.full((len(groups), size), -1)
    adjacency = np.zeros((len(groups), size, size))
    for block, rows in enumerate(groups):
        slots[block, : len(rows)] = rows
        adjacency[block, : len(rows), : len(rows)] = normalised[np.ix_(rows, rows)]
    inside = np.where(slots >= 0, region[slots], -1)
    pooling = (inside[None] == np.arange(len(parcels.regions))[:, None, None]).astype(np.float64)
    return Layout(slots, adjacency, pooling)


def blocks(values: Array, slots: NDArray[np.int64]) -> Array:
    """Parcels in their places, shape (n, b, m); 0 for padding."""
    return np.where(slots >= 0, values[:, slots], 0.0)


def fit_gcn(
    values: ArrayLike,
    covariates: ArrayLike,
    age: ArrayLike,
    parcels: Parcels,
    *,
    groups: ArrayLike,
    whole_graph: bool = False,
    seed: int = 1,
    epochs: int = EPOCHS,
) -> tuple[GraphNetwork, Callable[[ArrayLike, Array | None], tuple[Array, Array]]]:
    """Train an ensemble.

    Parameters
    ----------
    values : array-like, shape (n, p)
    covariates : array-like, shape (n, q)
    age : array-like, shape (n,)
        Years.
    parcels : Parcels
        With edges.
    groups : array-like, shape (n,)
        Who is left out together: each member leaves about a tenth of the people out.
    whole_graph : bool
        Messages across regions: better for healthy people, and wrong for lesioned ones, since a change in one region
        leaks into others.
    seed, epochs : int

    Returns
    -------
    GraphNetwork
    left_out : callable
        Who is left out together, shape (n,), and parcels of the training people, shape (n, p), or None for those
        trained on → age and standard deviation by the member that left a person out, each of shape (n, regions). For
        other groups than `groups` another ensemble is trained, which says nothing but that.

    Raises
    ------
    BrainageProblem
        If PyTorch is missing, or the parcels have no edges.
    """
    if not len(parcels.edges):
        raise BrainageProblem("the graph network needs edges between parcels; name the table of edges (edges:)")
    data = np.column_stack([np.asarray(values, dtype=np.float64), np.asarray(covariates, dtype=np.float64)])
    centre, scale = data.mean(axis=0), data.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    logs = np.log(np.asarray(age, dtype=np.float64))
    level, spread = float(logs.mean()), float(logs.std())
    layout = layout_of(parcels, whole_graph=whole_graph)
    standard, p = (data - centre) / scale, len(parcels.names)
    from plastimap.brainage.gcn_training import trained_weights

    def trained(fold: NDArray[np.intp]) -> GraphNetwork:
        weights = trained_weights(
            layout, blocks(standard[:, :p], layout.slots), standard[:, p:], (logs - level) / spread, fold,
            seed=seed, epochs=epochs,
        )  # fmt: skip
        return GraphNetwork((*parcels.regions, GLOBAL), layout, weights, centre, scale, level, spread)

    own = _folds(groups, seed)
    network = trained(own)

    def left_out(together: ArrayLike, seen: Array | None) -> tuple[Array, Array]:
        fold = _folds(together, seed)
        new = standard if seen is None else (np.column_stack([seen, data[:, p:]]) - centre) / scale
        return (network if np.array_equal(fold, own) else trained(fold)).left_out(new, fold)

    return network, left_out


def _folds(groups: ArrayLike, seed: int) -> NDArray[np.intp]:
    """Which member leaves each row out: groups dealt by size, so that folds are of about equal size."""
    names, number, count = np.unique(np.asarray(groups).astype(str), return_inverse=True, return_counts=True)
    order = np.lexsort((np.random.default_rng(seed).random(len(names)), -count))
    load, member = np.zeros(MEMBERS), np.zeros(len(names), dtype=np.intp)
    for group in order:
        member[group] = int(np.argmin(load))
        load[member[group]] += count[group]
    return member[number]
