"""Random field theory: how often noise alone makes a peak or a cluster.

Stationary Gaussian-derived fields (Worsley 1996, doi:10.1002/(SICI)1097-0193(1996)4:1<58::AID-HBM4>3.0.CO;2-O;
Friston 1994, doi:10.1002/hbm.460010306), in the form that SPM12 computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gamma, pi

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.tails import f_tail, f_threshold, t_tail, t_threshold, z_from_f, z_from_t

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


@dataclass(frozen=True)
class TField:
    """What a t value means: its tails, its Euler characteristic densities.

    Attributes
    ----------
    dof : float
    """

    dof: float

    @property
    def error_dof(self) -> float:
        """Degrees of freedom of the error."""
        return self.dof

    def densities(self, t: ArrayLike) -> NDArray[np.float64]:
        """See :func:`ec_densities_t`."""
        return ec_densities_t(t, self.dof)

    def tail(self, t: ArrayLike) -> NDArray[np.float64]:
        """Probability of a value at least as large."""
        return t_tail(t, self.dof)

    def threshold(self, p: float) -> float:
        """Value of this tail probability."""
        return t_threshold(p, self.dof)

    def z(self, t: ArrayLike) -> NDArray[np.float64]:
        """Normal deviate of the same tail probability."""
        return z_from_t(t, self.dof)


@dataclass(frozen=True)
class FField:
    """What an F value means; methods as in :class:`TField`.

    Attributes
    ----------
    dof : tuple of float
        Of the numerator and the denominator.
    """

    dof: tuple[float, float]

    @property
    def error_dof(self) -> float:
        """Degrees of freedom of the denominator."""
        return self.dof[1]

    def densities(self, f: ArrayLike) -> NDArray[np.float64]:
        """See :func:`ec_densities_f`."""
        return ec_densities_f(f, self.dof)

    def tail(self, f: ArrayLike) -> NDArray[np.float64]:
        """Probability of a value at least as large."""
        return f_tail(f, self.dof)

    def threshold(self, p: float) -> float:
        """Value of this tail probability."""
        return f_threshold(p, self.dof)

    def z(self, f: ArrayLike) -> NDArray[np.float64]:
        """Normal deviate of the same tail probability."""
        return z_from_f(f, self.dof)


Field = TField | FField


def cluster_p(
    extent: ArrayLike,
    *,
    threshold: float,
    field: Field,
    resels: NDArray[np.float64],
    fwhm: ArrayLike,
    own_resels: ArrayLike | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute p values of clusters from their extent.

    Parameters
    ----------
    extent : array-like
        Voxels in each cluster.
    threshold : float
        Cluster-forming t or F.
    field : TField or FField
    resels : ndarray, shape (4,)
        Of the search volume (:func:`resel_counts`).
    fwhm : array-like, shape (3,)
        Smoothness in voxels.
    own_resels : array-like, optional
        Size of each cluster by the smoothness inside it (:func:`resels_inside`), where noise is not equally smooth
        everywhere (Hayasaka 2004, doi:10.1016/j.neuroimage.2004.01.041). Default: `extent` by the mean smoothness.

    Returns
    -------
    p_fwe, p_uncorrected : ndarray
        Of at least one cluster this large in the search volume; of a single cluster being this large.
    """
    densities = field.densities(threshold)
    # A search volume without a single full cube of voxels is judged in the dimensions that it has.
    dimension = int(np.flatnonzero(resels > 0)[-1]) if (resels[1:] > 0).any() else 3
    expected_clusters = float(np.dot(resels, densities))
    expected_extent = float(densities[0] / densities[dimension])
    voxels = np.asarray(extent, dtype=np.float64)
    # Voxels in a resel: everywhere the same, or each cluster's own.
    resel = np.prod(np.asarray(fwhm, dtype=np.float64))
    if own_resels is not None:
        resel = voxels / np.asarray(own_resels, dtype=np.float64)
    size = voxels / resel ** (dimension / 3)
    power = 2.0 / dimension
    p_uncorrected = np.exp(-((gamma(dimension / 2 + 1) * size / expected_extent) ** power))
    return -np.expm1(-(expected_clusters + _EPS) * p_uncorrected), p_uncorrected


def resels_inside(rpv: NDArray[np.float64], fwhm: ArrayLike) -> float:
    """Size of a cluster in resels, from the resels per voxel inside it.

    Voxels at the mask's edge have no estimate of their own: they count with the mean of the others, or with the mean
    smoothness `fwhm` where the cluster has no others.
    """
    known = rpv[np.isfinite(rpv)]
    mean = float(known.mean()) if known.size else float(1 / np.prod(np.asarray(fwhm, dtype=np.float64)))
    return mean * rpv.size


def peak_p(values: ArrayLike, *, field: Field, resels: NDArray[np.float64], n_voxels: int) -> NDArray[np.float64]:
    """Family-wise p of peaks: the smaller of random field theory and Bonferroni over `n_voxels`."""
    values = np.asarray(values, dtype=np.float64)
    expected = np.tensordot(resels, field.densities(values), axes=1)
    return np.minimum(-np.expm1(-(expected + _EPS)), np.minimum(n_voxels * field.tail(values), 1.0))


def peak_p_above(
    values: ArrayLike, *, threshold: float, field: Field, resels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Chance that a peak above `threshold` is at least this high (Chumbley 2010): what topological FDR ranks."""
    expected = np.tensordot(resels, field.densities(np.asarray(values, dtype=np.float64)), axes=1)
    at_threshold = float(np.dot(resels, field.densities(threshold)))
    return np.minimum(expected / at_threshold, 1.0)
