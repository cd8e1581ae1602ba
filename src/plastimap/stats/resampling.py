"""What noise alone would give: the largest statistics of all resamples of the data, and p values by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats._fields import extremes, gather, largest_clusters, neighbours, tfce
from plastimap.stats.clusters import Cluster, ClusterP, PeakP
from plastimap.stats.exchange import Exchange, Scheme

CACHE_BYTES = 2e6
"""Room for all exchanges of one chunk of voxels, where no images are kept."""


@dataclass(frozen=True)
class SearchLattice:
    """Voxels of a search volume as positions in the analysis mask, with their neighbours.

    Attributes
    ----------
    columns : ndarray of int, shape (n,)
    faces : ndarray of int32, shape (n, 6)
    edges : ndarray of int32, shape (n, 18)
    """

    columns: NDArray[np.intp]
    faces: NDArray[np.int32]
    edges: NDArray[np.int32]


def search_lattice(search: NDArray[np.bool_], mask: NDArray[np.bool_]) -> SearchLattice:
    """Neighbours inside a search volume, which lies in the mask."""
    columns = np.searchsorted(np.flatnonzero(mask), np.flatnonzero(search))
    return SearchLattice(columns, neighbours(search, reach=1), neighbours(search, reach=2))


class Search(NamedTuple):
    """One search: where, and in which direction (-1 turns the map round)."""

    lattice: SearchLattice
    sign: float


class Nulls(NamedTuple):
    """What each resample gives, for one search; the first is the data themselves.

    Attributes
    ----------
    height : ndarray, shape (n_resamples,)
        Largest statistic.
    cluster : ndarray, shape (n_resamples,)
        Largest of what clusters are compared by.
    """

    height: NDArray[np.float64]
    cluster: NDArray[np.float64]


Largest = Callable[[NDArray[np.float64], SearchLattice, float], float]

LARGEST: Mapping[str, Largest] = {
    "extent": lambda values, lattice, threshold: largest_clusters(values, lattice.edges, threshold)[0],
    "mass": lambda values, lattice, threshold: largest_clusters(values, lattice.edges, threshold)[1],
    "tfce": lambda values, lattice, _: tfce(values, lattice.faces).max(),
    "height": lambda values, _lattice, _threshold: values.max(),
}
"""What clusters are compared by: voxels, excess over the threshold, enhancement, peak."""

SIZE: Mapping[str, Callable[[NDArray[np.float64], float], float]] = {
    "extent": lambda values, _: values.size,
    "mass": lambda values, threshold: (values - threshold).sum(),
    "tfce": lambda values, _: values.max(),
    "height": lambda values, _: values.max(),
}
"""The same of one cluster, from its voxels' values (for ``tfce``: enhanced ones)."""


def null_distributions(
    images: Iterable[NDArray[np.floating]],
    searches: Mapping[tuple[str, str], Search],
    *,
    statistic: str,
    threshold: float,
) -> dict[tuple[str, str], Nulls]:
    """Largest statistics of every resample, in every search.

    Parameters
    ----------
    images : iterable of ndarray, shape (k, n_voxels)
        Batches of statistic images.
    searches : mapping
    statistic : {"extent", "mass", "tfce", "height"}
    threshold : float
        Cluster-forming.

    Returns
    -------
    dict
        For the same keys.
    """
    largest = LARGEST[statistic]
    room = {key: np.empty(search.lattice.columns.size) for key, search in searches.items()}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in searches}
    for batch in images:
        for image in batch:
            for key, (lattice, sign) in searches.items():
                height = float(gather(image, lattice.columns, sign, room[key]))
                found[key].append((height, float(largest(room[key], lattice, threshold))))
    return {key: Nulls(*np.array(rows).T) for key, rows in found.items()}


def height_distributions(
    model: Exchange, scheme: Scheme, searches: Mapping[tuple[str, str], Search]
) -> dict[tuple[str, str], Nulls]:
    """As :func:`null_distributions` for peaks alone: all exchanges of few voxels at a time, no image is ever kept.

    Exchanged data are fitted in single precision (t to about 1e-6).
    """
    count = len(scheme.orders)
    chunk = max(int(CACHE_BYTES / (4 * count)), 16)
    single = replace(model, residuals=model.residuals.astype(np.float32), squares=model.squares.astype(np.float32))
    turned = single.turned(scheme.orders, scheme.signs)
    found: dict[tuple[str, str], Nulls] = {}
    for side in dict.fromkeys(side for side, _ in searches):
        directions = {key: search.sign for key, search in searches.items() if key[0] == side}
        columns = searches[next(iter(directions))].lattice.columns
        high, low = np.full(count, -np.inf), np.full(count, np.inf)
        for start in range(0, columns.size, chunk):
            extremes(single.part(columns[start : start + chunk]).images_along(turned), high, low)
        # The data themselves once more, in double precision.
        first = model.part(columns).images(scheme.orders[:1], scheme.signs[:1])
        high[0], low[0] = first.max(), first.min()
        for key, sign in directions.items():
            found[key] = Nulls(*((high, high) if sign > 0 else (-low, -low)))
    return found


def p_of(values: ArrayLike, null: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of resamples that give at least so much; the data themselves are one of them, so p is never 0."""
    ordered = np.sort(null)
    # A value that was computed twice may differ from itself by rounding.
    given = np.asarray(values, dtype=np.float64)
    below = np.searchsorted(ordered, given - 1e-9 * np.abs(given), side="left")
    return np.maximum(null.size - below, 1) / null.size


@dataclass(frozen=True)
class Resampled:
    """Judge by resampling; see :class:`plastimap.stats.clusters.Judge`.

    Attributes
    ----------
    nulls : Nulls
    statistic : {"extent", "mass", "tfce", "height"}
    threshold : float
        Cluster-forming.
    search : ndarray of bool, shape (X, Y, Z)
    """

    nulls: Nulls
    statistic: str
    threshold: float
    search: NDArray[np.bool_]

    @property
    def null(self) -> NDArray[np.float64]:
        """Largest cluster of every resample."""
        return self.nulls.cluster

    def clusters(self, found: Sequence[Cluster], values: NDArray[np.floating]) -> ClusterP:
        """By the chosen statistic. A cluster's enhancement, or height, is that of its best voxel."""
        image = np.asarray(values, dtype=np.float64)
        if self.statistic == "tfce":
            image = np.zeros(values.shape)
            image[self.search] = tfce(values[self.search].astype(np.float64), neighbours(self.search, reach=1))
        size = SIZE[self.statistic]
        sizes = [size(image[tuple(cluster.voxels.T)], self.threshold) for cluster in found]
        return ClusterP(corrected=p_of(sizes, self.nulls.cluster), uncorrected=np.full(len(found), np.nan))

    def peaks(self, places: NDArray[np.intp], values: NDArray[np.floating]) -> PeakP:
        """By height."""
        heights = np.asarray(values[tuple(places.T)], dtype=np.float64)
        return PeakP(corrected=p_of(heights, self.nulls.height), above=np.full(len(places), np.nan))
