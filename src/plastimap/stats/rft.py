"""Random field theory: how often noise alone makes a peak or a cluster.

Stationary Gaussian-derived fields (Worsley 1996, doi:10.1002/(SICI)1097-0193(1996)4:1<58::AID-HBM4>3.0.CO;2-O;
Friston 1994, doi:10.1002/hbm.460010306), in the form that SPM12 computes.
"""

from __future__ import annotations

from math import gamma, pi

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.tails import t_tail

_EPS = float(np.finfo(np.float64).eps)
_A = 4.0 * np.log(2.0)
"""Variance of the derivatives of a unit field of FWHM 1."""


def ec_densities_t(t: ArrayLike, dof: float) -> NDArray[np.float64]:
    """Euler characteristic densities of a t field, per resel of dimension 0 to 3.

    Parameters
    ----------
    t : array-like
        Thresholds, of any shape.
    dof : float
        Degrees of freedom.

    Returns
    -------
    ndarray, shape (4, ...)
        Floored at machine precision, as SPM does.
    """
    from scipy.special import gammaln

    t = np.asarray(t, dtype=np.float64)
    g = np.exp((1 - dof) / 2 * np.log1p(t**2 / dof))
    ratio = np.exp(gammaln((dof + 1) / 2) - gammaln(dof / 2))
    densities = np.stack(
        [
            t_tail(t, dof),
            _A**0.5 * g / (2 * pi),
            _A * g * t * ratio / ((2 * pi) ** 1.5 * (dof / 2) ** 0.5),
            _A**1.5 * g * ((dof - 1) * t**2 / dof - 1) / (2 * pi) ** 2,
        ]
    )
    return np.maximum(densities, _EPS)


def ec_densities_f(f: ArrayLike, dof: tuple[float, float]) -> NDArray[np.float64]:
    """Euler characteristic densities of an F field (Worsley 1994, doi:10.2307/1427576), shape (4, ...)."""
    from scipy.special import fdtrc, gammaln

    k, v = dof
    f = np.asarray(f, dtype=np.float64)
    a = _A / (2 * pi)
    b = gammaln(v / 2) + gammaln(k / 2)
    r = k * f / v
    tail = (1 + r) ** (-(v + k - 2) / 2)
    second = (v - 1) * (v - 2) * r**2 - (2 * v * k - v - k - 1) * r + (k - 1) * (k - 2)
    densities = np.stack(
        [
            np.asarray(fdtrc(k, v, f)),
            (2 * a) ** 0.5 * np.exp(gammaln((v + k - 1) / 2) - b) * r ** ((k - 1) / 2) * tail,
            a * np.exp(gammaln((v + k - 2) / 2) - b) * r ** ((k - 2) / 2) * tail * ((v - 1) * r - (k - 1)),
            a**1.5 / 2**0.5 * np.exp(gammaln((v + k - 3) / 2) - b) * r ** ((k - 3) / 2) * tail * second,
        ]
    )
    return np.maximum(densities, _EPS)


def resel_counts(mask: NDArray[np.bool_], fwhm: ArrayLike) -> NDArray[np.float64]:
    """Resolution elements of a search volume, by dimension.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        The search volume.
    fwhm : array-like, shape (3,)
        Smoothness in voxels.

    Returns
    -------
    ndarray, shape (4,)
        Euler characteristic, then length, area and volume terms in resels, from the counts of
        points, edges, faces and cubes of the voxel lattice.
    """
    mask = np.asarray(mask, dtype=bool)
    r = 1.0 / np.asarray(fwhm, dtype=np.float64)
    edges = [_pairs(mask, axis) for axis in range(3)]
    e = [float(np.count_nonzero(edge)) for edge in edges]
    xy, xz, yz = _pairs(edges[0], 1), _pairs(edges[0], 2), _pairs(edges[1], 2)
    f_xy, f_xz, f_yz = (float(np.count_nonzero(face)) for face in (xy, xz, yz))
    cubes = float(np.count_nonzero(_pairs(xy, 2)))
    points = float(np.count_nonzero(mask))
    return np.array(
        [
            points - sum(e) + f_xy + f_xz + f_yz - cubes,
            (e[0] - f_xy - f_xz + cubes) * r[0]
            + (e[1] - f_xy - f_yz + cubes) * r[1]
            + (e[2] - f_xz - f_yz + cubes) * r[2],
            (f_xy - cubes) * r[0] * r[1] + (f_xz - cubes) * r[0] * r[2] + (f_yz - cubes) * r[1] * r[2],
            cubes * r[0] * r[1] * r[2],
        ]
    )


def _pairs(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Mark voxels that are in the mask together with their next neighbour along `axis`."""
    low = [slice(None)] * 3
    high = [slice(None)] * 3
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return mask[tuple(low)] & mask[tuple(high)]


def cluster_p(
    extent: ArrayLike, *, threshold: float, dof: float, resels: NDArray[np.float64], fwhm: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute p values of clusters from their extent.

    Parameters
    ----------
    extent : array-like
        Voxels in each cluster.
    threshold : float
        Cluster-forming t.
    dof : float
        Degrees of freedom.
    resels : ndarray, shape (4,)
        Of the search volume (:func:`resel_counts`).
    fwhm : array-like, shape (3,)
        Smoothness in voxels.

    Returns
    -------
    p_fwe, p_uncorrected : ndarray
        Of at least one cluster this large in the search volume; of a single cluster being this large.
    """
    densities = ec_densities_t(threshold, dof)
    # A search volume without a single full cube of voxels is judged in the dimensions that it has.
    dimension = int(np.flatnonzero(resels > 0)[-1]) if (resels[1:] > 0).any() else 3
    expected_clusters = float(np.dot(resels, densities))
    expected_extent = float(densities[0] / densities[dimension])
    size = np.asarray(extent, dtype=np.float64) / np.prod(np.asarray(fwhm, dtype=np.float64)) ** (dimension / 3)
    power = 2.0 / dimension
    p_uncorrected = np.exp(-((gamma(dimension / 2 + 1) * size / expected_extent) ** power))
    return -np.expm1(-(expected_clusters + _EPS) * p_uncorrected), p_uncorrected


def peak_p(t: ArrayLike, *, dof: float, resels: NDArray[np.float64], n_voxels: int) -> NDArray[np.float64]:
    """Family-wise p of peaks: the smaller of random field theory and Bonferroni over `n_voxels`."""
    t = np.asarray(t, dtype=np.float64)
    expected = np.tensordot(resels, ec_densities_t(t, dof), axes=1)
    return np.minimum(-np.expm1(-(expected + _EPS)), np.minimum(n_voxels * t_tail(t, dof), 1.0))
