"""Clusters above a threshold, and their table in the manner of SPM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.fdr import benjamini_hochberg
from plastimap.stats.rft import Field, cluster_p, peak_p, peak_p_above, resel_counts, resels_inside

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Cluster:
    """One cluster.

    Attributes
    ----------
    voxels : ndarray, shape (k, 3)
        0-based indices.
    peaks : ndarray, shape (n_peaks, 3)
        Local maxima, highest first, far enough from one another.
    """

    voxels: NDArray[np.intp]
    peaks: NDArray[np.intp]

    @property
    def extent(self) -> int:
        """Number of voxels."""
        return int(self.voxels.shape[0])


def find_clusters(
    t_map: NDArray[np.floating],
    search: NDArray[np.bool_],
    *,
    threshold: float,
    affine: NDArray[np.float64],
    minimum_extent: int = 1,
    maxima: int = 3,
    distance_mm: float = 8.0,
) -> tuple[Cluster, ...]:
    """18-connected clusters of `t_map` above `threshold`, cut to the search volume.

    Parameters
    ----------
    t_map : ndarray, shape (X, Y, Z)
        NaN outside the analysis mask.
    search : ndarray of bool, shape (X, Y, Z)
    threshold : float
        Cluster-forming t; a voxel must lie above it.
    affine : ndarray, shape (4, 4)
        Voxel indices to millimetres.
    minimum_extent : int
        Voxels; smaller clusters are left out.
    maxima, distance_mm
        Peaks reported per cluster at most, and their least distance.

    Returns
    -------
    tuple of Cluster
        By descending peak.
    """
    every = every_cluster(t_map, search, threshold=threshold)
    return _listed(every, affine=affine, minimum_extent=minimum_extent, maxima=maxima, distance_mm=distance_mm)


def every_cluster(t_map: NDArray[np.floating], search: NDArray[np.bool_], *, threshold: float) -> tuple[Cluster, ...]:
    """All clusters with all their local maxima (18 neighbours); parameters as in :func:`find_clusters`."""
    from scipy import ndimage

    with np.errstate(invalid="ignore"):
        above = (t_map > threshold) & search
    hits = np.argwhere(above)
    if hits.size == 0:
        return ()
    # One voxel of margin, so that a box edge is never taken for a neighbour.
    low = hits.min(axis=0) - 1
    values = np.full((hits.max(axis=0) - low + 2).tolist(), -np.inf)
    values[tuple((hits - low).T)] = t_map[tuple(hits.T)]
    neighbours = ndimage.generate_binary_structure(3, 2)
    labels = np.zeros(values.shape, dtype=np.int32)
    ndimage.label(values > -np.inf, structure=neighbours, output=labels)
    at = tuple((hits - low).T)
    label, height = labels[at], values[at]
    is_peak = height >= ndimage.maximum_filter(values, footprint=neighbours, mode="nearest")[at]
    order = np.argsort(label, kind="stable")
    bounds = np.searchsorted(label[order], np.arange(1, int(label.max()) + 2))
    found: list[Cluster] = []
    for start, end in pairwise(bounds):
        members = order[start:end]
        peaks = members[is_peak[members]]
        found.append(Cluster(voxels=hits[members], peaks=hits[peaks[np.argsort(-height[peaks], kind="stable")]]))
    return tuple(sorted(found, key=lambda cluster: -float(t_map[tuple(cluster.peaks[0])])))


def _listed(
    clusters: Sequence[Cluster], *, affine: NDArray[np.float64], minimum_extent: int, maxima: int, distance_mm: float
) -> tuple[Cluster, ...]:
    """Clusters that are large enough, with those of their peaks that a table lists."""
    return tuple(
        Cluster(voxels=cluster.voxels, peaks=_apart(cluster.peaks, affine, maxima, distance_mm))
        for cluster in clusters
        if cluster.extent >= minimum_extent
    )


def _apart(points: NDArray[np.intp], affine: NDArray[np.float64], most: int, distance_mm: float) -> NDArray[np.intp]:
    """Keep points, in their order, that lie further than `distance_mm` from all points kept before."""
    world = points @ affine[:3, :3].T
    kept = [0]
    for index in range(1, len(points)):
        if len(kept) >= most:
            break
        if (((world[kept] - world[index]) ** 2).sum(axis=1) > distance_mm**2).all():
            kept.append(index)
    return points[kept]


@dataclass(frozen=True)
class SearchVolume:
    """Where clusters are looked for.

    Attributes
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Analysed voxels inside the region.
    resels : ndarray, shape (4,)
        Of the whole region, as SPM counts them for a small volume given as an image.
    n_voxels : int
        Of `mask`.
    """

    mask: NDArray[np.bool_]
    resels: NDArray[np.float64]
    n_voxels: int


def search_volume(region: NDArray[np.bool_], analysed: NDArray[np.bool_], fwhm: ArrayLike) -> SearchVolume:
    """Cut a region to the analysed voxels; its resels are those of the whole region."""
    mask = np.asarray(region, dtype=bool) & analysed
    return SearchVolume(mask=mask, resels=resel_counts(region, fwhm), n_voxels=int(np.count_nonzero(mask)))


class ClusterP(NamedTuple):
    """p values of clusters, each of shape (n_clusters,); NaN in `uncorrected` where a method gives none."""

    corrected: NDArray[np.float64]
    uncorrected: NDArray[np.float64]


class PeakP(NamedTuple):
    """p values of peaks, each of shape (n_peaks,); `above`: given that the peak lies above the threshold, or NaN."""

    corrected: NDArray[np.float64]
    above: NDArray[np.float64]


class Judge(Protocol):
    """How likely clusters and peaks are under noise alone, in one search volume."""

    @property
    def null(self) -> NDArray[np.float64]:
        """What clusters are compared with, shape (n_resamples,); empty where nothing was resampled."""
        ...

    def clusters(self, found: Sequence[Cluster], values: NDArray[np.floating]) -> ClusterP:
        """Give p of clusters of the map `values`, shape (X, Y, Z)."""
        ...

    def peaks(self, places: NDArray[np.intp], values: NDArray[np.floating]) -> PeakP:
        """Give p of the voxels at `places`, shape (n_peaks, 3)."""
        ...


@dataclass(frozen=True)
class RandomField:
    """Judge by random field theory.

    Attributes
    ----------
    field : TField or FField
    search : SearchVolume
    threshold : float
        Cluster-forming.
    fwhm : ndarray, shape (3,)
        Smoothness in voxels.
    rpv : ndarray, shape (X, Y, Z), or None
        Resels per voxel; None = noise is taken to be equally smooth everywhere.
    """

    field: Field
    search: SearchVolume
    threshold: float
    fwhm: NDArray[np.float64]
    rpv: NDArray[np.float64] | None = None

    @property
    def null(self) -> NDArray[np.float64]:
        """Nothing is resampled."""
        return np.zeros(0)

    def clusters(self, found: Sequence[Cluster], values: NDArray[np.floating]) -> ClusterP:  # noqa: ARG002
        """By extent."""
        rpv = self.rpv
        own = None if rpv is None else [resels_inside(rpv[tuple(c.voxels.T)], self.fwhm) for c in found]
        return ClusterP(
            *cluster_p(
                [cluster.extent for cluster in found],
                threshold=self.threshold,
                field=self.field,
                resels=self.search.resels,
                fwhm=self.fwhm,
                own_resels=own,
            )
        )

    def peaks(self, places: NDArray[np.intp], values: NDArray[np.floating]) -> PeakP:
        """By height."""
        heights = np.asarray(values[tuple(places.T)], dtype=np.float64)
        resels = self.search.resels
        return PeakP(
            corrected=peak_p(heights, field=self.field, resels=resels, n_voxels=self.search.n_voxels),
            above=peak_p_above(heights, threshold=self.threshold, field=self.field, resels=resels),
        )


def cluster_table(
    values: NDArray[np.floating],
    search: SearchVolume,
    *,
    judge: Judge,
    field: Field,
    affine: NDArray[np.float64],
    threshold: float,
    minimum_extent: int = 1,
    maxima: int = 3,
    distance_mm: float = 8.0,
) -> tuple[pd.DataFrame, tuple[Cluster, ...]]:
    """Clusters and peaks with their p values, one row per peak.

    Parameters
    ----------
    values : ndarray, shape (X, Y, Z)
        t or F.
    search : SearchVolume
    judge : Judge
        Gives the corrected p values.
    field : TField or FField
        Gives uncorrected p and Z.
    affine : ndarray, shape (4, 4)
    threshold : float
        Cluster-forming t or F.
    minimum_extent, maxima, distance_mm
        As in :func:`find_clusters`.

    Returns
    -------
    table : DataFrame
        ``cluster`` (1, 2, … by descending peak), ``peak`` (1 = the highest of its cluster), ``cluster_p_fwe``,
        ``cluster_p_unc``, ``cluster_q``, ``k``, ``volume_mm3``, ``peak_p_fwe``, ``peak_q``, ``peak_p_unc``,
        ``peak_t``, ``peak_z``, ``x``, ``y``, ``z`` (mm). q: topological false discovery rate over all clusters,
        whatever their extent, and over all peaks above the threshold (Chumbley 2010,
        doi:10.1016/j.neuroimage.2009.10.090).
    clusters : tuple of Cluster
        In the order of the table.
    """
    import pandas as pd

    every = every_cluster(values, search.mask, threshold=threshold)
    peak_q = _peak_q(every, judge, values)
    p = judge.clusters(every, values)
    kept = np.array([i for i, cluster in enumerate(every) if cluster.extent >= minimum_extent], dtype=int)
    clusters = _listed(every, affine=affine, minimum_extent=minimum_extent, maxima=maxima, distance_mm=distance_mm)
    number = np.array([i for i, c in enumerate(clusters) for _ in c.peaks], dtype=int)
    of_all = kept[number]
    peaks = np.array([peak for c in clusters for peak in c.peaks], dtype=int).reshape(-1, 3)
    extent = np.array([c.extent for c in clusters], dtype=int)[number]
    heights = np.asarray(values[tuple(peaks.T)], dtype=np.float64)
    # + 0.0: no "-0.0" in the printed coordinates.
    world = np.round(peaks @ affine[:3, :3].T + affine[:3, 3], 6) + 0.0
    table = pd.DataFrame(
        {
            "cluster": number + 1,
            "peak": [j + 1 for c in clusters for j in range(len(c.peaks))],
            "cluster_p_fwe": p.corrected[of_all],
            "cluster_p_unc": p.uncorrected[of_all],
            "cluster_q": benjamini_hochberg(p.uncorrected)[of_all],
            "k": extent,
            "volume_mm3": np.round(extent * abs(float(np.linalg.det(affine[:3, :3]))), 6),
            "peak_p_fwe": judge.peaks(peaks, values).corrected,
            "peak_q": [peak_q[tuple(peak)] for peak in peaks.tolist()],
            "peak_p_unc": field.tail(heights),
            "peak_t": heights,
            "peak_z": field.z(heights),
            "x": world[:, 0],
            "y": world[:, 1],
            "z": world[:, 2],
        }
    )
    return table, clusters


def _peak_q(clusters: Sequence[Cluster], judge: Judge, values: NDArray[np.floating]) -> dict[tuple[int, ...], float]:
    """False discovery rate of every peak of every cluster, by place."""
    places = np.array([peak for c in clusters for peak in c.peaks], dtype=np.intp).reshape(-1, 3)
    q = benjamini_hochberg(judge.peaks(places, values).above)
    return {tuple(place): float(each) for place, each in zip(places.tolist(), q, strict=True)}
