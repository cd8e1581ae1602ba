"""Clusters above a threshold, and their table in the manner of SPM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.rft import cluster_p, peak_p, resel_counts
from plastimap.stats.tails import t_tail, z_from_t

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
    found: list[Cluster] = []
    for number in np.flatnonzero(np.bincount(label) >= max(minimum_extent, 1)):
        if number == 0:
            continue
        members = label == number
        candidates = np.flatnonzero(members & is_peak)
        candidates = candidates[np.argsort(-height[candidates], kind="stable")]
        peaks = _apart(hits[candidates], affine, maxima, distance_mm)
        found.append(Cluster(voxels=hits[members], peaks=peaks))
    return tuple(sorted(found, key=lambda cluster: -float(t_map[tuple(cluster.peaks[0])])))


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


def cluster_table(
    t_map: NDArray[np.floating],
    search: SearchVolume,
    *,
    affine: NDArray[np.float64],
    threshold: float,
    dof: float,
    fwhm: ArrayLike,
    minimum_extent: int = 1,
    maxima: int = 3,
    distance_mm: float = 8.0,
) -> tuple[pd.DataFrame, tuple[Cluster, ...]]:
    """Clusters and peaks with their p values, one row per peak.

    Parameters
    ----------
    t_map : ndarray, shape (X, Y, Z)
    search : SearchVolume
    affine : ndarray, shape (4, 4)
    threshold : float
        Cluster-forming t.
    dof : float
    fwhm : array-like, shape (3,)
        Smoothness in voxels.
    minimum_extent, maxima, distance_mm
        As in :func:`find_clusters`.

    Returns
    -------
    table : DataFrame
        ``cluster`` (1, 2, … by descending peak), ``peak`` (1 = the highest of its cluster), ``cluster_p_fwe``,
        ``cluster_p_unc``, ``k``, ``volume_mm3``, ``peak_p_fwe``, ``peak_p_unc``, ``peak_t``, ``peak_z``,
        ``x``, ``y``, ``z`` (mm).
    clusters : tuple of Cluster
        In the order of the table.
    """
    import pandas as pd

    clusters = find_clusters(
        t_map,
        search.mask,
        threshold=threshold,
        affine=affine,
        minimum_extent=minimum_extent,
        maxima=maxima,
        distance_mm=distance_mm,
    )
    number = np.array([i for i, c in enumerate(clusters) for _ in c.peaks], dtype=int)
    peaks = np.array([peak for c in clusters for peak in c.peaks], dtype=int).reshape(-1, 3)
    extent = np.array([c.extent for c in clusters], dtype=int)[number]
    p_fwe, p_unc = cluster_p(extent, threshold=threshold, dof=dof, resels=search.resels, fwhm=fwhm)
    t = np.asarray(t_map[tuple(peaks.T)], dtype=np.float64)
    # + 0.0: no "-0.0" in the printed coordinates.
    world = np.round(peaks @ affine[:3, :3].T + affine[:3, 3], 6) + 0.0
    table = pd.DataFrame(
        {
            "cluster": number + 1,
            "peak": [j + 1 for c in clusters for j in range(len(c.peaks))],
            "cluster_p_fwe": p_fwe,
            "cluster_p_unc": p_unc,
            "k": extent,
            "volume_mm3": np.round(extent * abs(float(np.linalg.det(affine[:3, :3]))), 6),
            "peak_p_fwe": peak_p(t, dof=dof, resels=search.resels, n_voxels=search.n_voxels),
            "peak_p_unc": t_tail(t, dof),
            "peak_t": t,
            "peak_z": z_from_t(t, dof),
            "x": world[:, 0],
            "y": world[:, 1],
            "z": world[:, 2],
        }
    )
    return table, clusters
