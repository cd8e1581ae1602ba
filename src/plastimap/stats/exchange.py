"""Exchanging people: permutations and sign flips of them, and models that are fitted to exchanged data.

Freedman & Lane (1983, doi:10.2307/1391660) in the form of Winkler 2014 (doi:10.1016/j.neuroimage.2014.01.060):
what the nuisance columns leave of the data is exchanged between people, and the model fitted anew. A person's scans
stay together, because what is exchanged are people's coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import permutations, product
from math import factorial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats._fields import f_images, t_images
from plastimap.stats.glm import independent_rows
from plastimap.stats.problems import StatsProblem

BATCH_BYTES = 96e6
"""Room for the images of one batch of resamples."""


class Scheme(NamedTuple):
    """Exchanges of people.

    Attributes
    ----------
    orders : ndarray of int, shape (k, n)
        Who takes whose place.
    signs : ndarray, shape (k, n)
        With which sign.
    exhaustive : bool
        Whether these are all there are. The first leaves everything as it is.
    """

    orders: NDArray[np.intp]
    signs: NDArray[np.float64]
    exhaustive: bool


def permutation_scheme(n: int, count: int, *, seed: int) -> Scheme:
    """Distinct permutations of n people: all of them, or `count` at random."""
    if n <= 12 and factorial(n) <= count:
        orders = np.array(list(permutations(range(n))), dtype=np.intp)
        return Scheme(orders, np.ones(orders.shape), True)
    rng = np.random.default_rng(seed)
    drawn = _distinct(np.arange(n), lambda: rng.permutation(n), count)
    return Scheme(drawn.astype(np.intp), np.ones(drawn.shape), False)


def sign_scheme(n: int, count: int, *, seed: int) -> Scheme:
    """Distinct sign flips of n people: all of them, or `count` at random."""
    if n < 40 and 2**n <= count:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
        return Scheme(np.tile(np.arange(n), (len(signs), 1)), signs, True)
    rng = np.random.default_rng(seed)
    signs = _distinct(np.ones(n), lambda: rng.choice(np.array([1.0, -1.0]), n), count)
    return Scheme(np.tile(np.arange(n), (len(signs), 1)), signs, False)


def _distinct(first: NDArray[Any], draw: Callable[[], NDArray[Any]], count: int) -> NDArray[np.float64]:
    """`count` different draws, `first` in front."""
    found = {first.astype(np.float64).tobytes(): first.astype(np.float64)}
    while len(found) < count:
        fresh = draw().astype(np.float64)
        found.setdefault(fresh.tobytes(), fresh)
    return np.stack(list(found.values()))


Turned = tuple[NDArray[np.floating], NDArray[np.floating]]


@dataclass(frozen=True)
class Exchange:
    """A model ready to be fitted to exchanged data.

    Attributes
    ----------
    residuals : ndarray, shape (n, n_voxels)
        What nuisance leaves of the (whitened) data.
    kind : {"t", "F"}
    effect : ndarray, shape (r, n)
        Orthonormal directions of interest; one for t, with the sign of the contrast.
    nuisance : ndarray, shape (q, n)
        Orthonormal directions of nuisance that exchanged residuals can lie in.
    dof : float
    squares : ndarray, shape (n_voxels,)
        Sums of squares of `residuals`.
    """

    residuals: NDArray[np.floating]
    kind: Literal["t", "F"]
    effect: NDArray[np.float64]
    nuisance: NDArray[np.float64]
    dof: float
    squares: NDArray[np.floating]

    def images(self, orders: NDArray[np.intp], signs: NDArray[np.float64]) -> NDArray[np.floating]:
        """Compute t or F after exchanges, shape (k, n_voxels)."""
        return self.images_along(self.turned(orders, signs))

    def turned(self, orders: NDArray[np.intp], signs: NDArray[np.float64]) -> Turned:
        """Directions of effect and nuisance, exchanged the other way round in place of the data: (k, rows, n) each."""
        kind = self.residuals.dtype
        return _turned(self.effect, orders, signs, kind), _turned(self.nuisance, orders, signs, kind)

    def images_along(self, turned: Turned) -> NDArray[np.floating]:
        """Compute t or F from exchanged directions, shape (k, n_voxels)."""
        effects, nuisance = (self._along(directions) for directions in turned)
        out = np.empty((len(effects), self.residuals.shape[1]), dtype=self.residuals.dtype)
        if self.kind == "t":
            t_images(effects[:, 0], nuisance, self.squares, self.dof, out)
        else:
            f_images(effects, nuisance, self.squares, self.dof, out)
        return out

    def part(self, columns: NDArray[np.intp]) -> Exchange:
        """The same for some of the voxels."""
        return replace(self, residuals=self.residuals[:, columns], squares=self.squares[columns])

    def _along(self, directions: NDArray[np.floating]) -> NDArray[np.floating]:
        k, rows, n = directions.shape
        return (directions.reshape(k * rows, n) @ self.residuals).reshape(k, rows, self.residuals.shape[1])


def _turned(
    directions: NDArray[np.float64], orders: NDArray[np.intp], signs: NDArray[np.float64], kind: np.dtype[Any]
) -> NDArray[np.floating]:
    found = np.zeros((len(orders), *directions.shape), dtype=kind)
    places = np.broadcast_to(orders[:, None, :], found.shape)
    np.put_along_axis(found, places, directions[None] * signs[:, None, :], axis=2)
    return found


@dataclass(frozen=True)
class UnequalExchange:
    """As :class:`Exchange`, with a variance for every group (Welch's statistic).

    Attributes
    ----------
    residuals : ndarray, shape (n, n_voxels)
    pull : ndarray, shape (n,)
        Weights of people in the contrast.
    leave : ndarray, shape (n, n)
        What the whole model leaves of data.
    groups : tuple of ndarray of int
        People of each group that counts in the contrast.
    """

    residuals: NDArray[np.float64]
    pull: NDArray[np.float64]
    leave: NDArray[np.float64]
    groups: tuple[NDArray[np.intp], ...]

    def images(self, orders: NDArray[np.intp], signs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Welch's v after exchanges, shape (k, n_voxels)."""
        out = np.empty((len(orders), self.residuals.shape[1]))
        for row, (order, sign) in enumerate(zip(orders, signs, strict=True)):
            moved = self.residuals[order] * sign[:, None]
            variance = np.zeros(moved.shape[1])
            for members in self.groups:
                left = self.leave[members] @ moved
                share = (self.pull[members] ** 2).sum() / self.leave[members, members].sum()
                variance += share * np.einsum("ij,ij->j", left, left)
            out[row] = np.where(variance > 0, self.pull @ moved / np.sqrt(np.where(variance > 0, variance, 1.0)), 0.0)
        return out


def exchange(
    data: NDArray[np.floating],
    matrix: NDArray[np.floating],
    vectors: ArrayLike,
    *,
    kind: Literal["t", "F"],
    signed: bool,
    weights: ArrayLike | None = None,
) -> Exchange:
    """Prepare contrasts for exchange.

    Parameters
    ----------
    data : ndarray, shape (n, n_voxels)
        Without missing values.
    matrix : ndarray, shape (n, p)
    vectors : array-like, shape (r, p)
        Contrasts, tested together.
    kind : {"t", "F"}
    signed : bool
        Whether signs will be flipped, and not only people permuted.
    weights : array-like, shape (n,), optional
        Inverse relative variances.

    Returns
    -------
    Exchange

    Raises
    ------
    StatsProblem
        If no degrees of freedom are left, or the contrast cannot be told.
    """
    values, design = _whitened(data, matrix, weights)
    nuisance, effect = split_design(design, vectors)
    residuals = values - nuisance.T @ (nuisance @ values)
    dof = float(len(design) - len(nuisance) - len(effect))
    if dof < 1:
        raise StatsProblem(f"{len(design)} people leave no degrees of freedom")
    return Exchange(
        residuals=residuals,
        kind=kind,
        effect=effect,
        nuisance=nuisance if signed else _without_constant(nuisance),
        dof=dof,
        squares=np.einsum("ij,ij->j", residuals, residuals),
    )


def exchange_unequal(
    data: NDArray[np.floating],
    matrix: NDArray[np.floating],
    vector: ArrayLike,
    *,
    groups: ArrayLike,
    weights: ArrayLike | None = None,
) -> UnequalExchange:
    """Prepare one contrast for exchange where groups vary unequally.

    Parameters
    ----------
    data, matrix, weights
        See :func:`exchange`.
    vector : array-like, shape (p,)
    groups : array-like, shape (n,)

    Returns
    -------
    UnequalExchange
    """
    values, design = _whitened(data, matrix, weights)
    row = np.asarray(vector, dtype=np.float64)
    nuisance, _ = split_design(design, row[None, :])
    pull = row @ np.linalg.pinv(design)
    labels = np.asarray(groups)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return UnequalExchange(
        residuals=values - nuisance.T @ (nuisance @ values),
        pull=pull,
        leave=np.eye(len(design)) - design @ np.linalg.pinv(design),
        groups=tuple(rows for rows in members if np.abs(pull[rows]).max() > 1e-12 * np.abs(pull).max()),
    )


def _whitened(
    data: NDArray[np.floating], matrix: NDArray[np.floating], weights: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    root = np.ones(len(data)) if weights is None else np.sqrt(np.asarray(weights, dtype=np.float64))
    return data.astype(np.float64) * root[:, None], np.asarray(matrix, dtype=np.float64) * root[:, None]


def split_design(design: NDArray[np.float64], vectors: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orthonormal rows that span nuisance, and those that contrasts add to it.

    Nuisance is everything the design says when the contrasts are 0. A single direction of interest points the way
    of its contrast.
    """
    from scipy.linalg import null_space

    rows = np.atleast_2d(np.asarray(vectors, dtype=np.float64))
    scale = np.sqrt((design**2).sum(axis=0))
    scale[scale == 0] = 1.0
    # In columns of unit length, β = γ / scale: numerically all columns are of one size.
    scaled = design / scale
    nuisance = _basis(scaled @ null_space(independent_rows(rows / scale)))
    pulls = rows / scale @ np.linalg.pinv(scaled)
    effect = _basis((pulls - pulls @ nuisance.T @ nuisance).T)
    if len(effect) == 1 and effect[0] @ pulls[0] < 0:
        effect = -effect
    return nuisance, effect


def _basis(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal rows that span some columns."""
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return left.T[values > 1e-9 * values.max(initial=0.0)] if values.size else np.zeros((0, len(columns)))


def _without_constant(nuisance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out the constant direction, where nuisance spans it: permuted residuals still sum to 0."""
    n = nuisance.shape[1]
    constant = np.full(n, 1 / np.sqrt(n))
    shares = nuisance @ constant
    if (shares**2).sum() < 1 - 1e-9:
        return nuisance
    # Of orthonormal rows less one direction, singular values are 1, and 0 for the one that is gone.
    _, values, rows = np.linalg.svd(nuisance - np.outer(shares, constant), full_matrices=False)
    return rows[values > 0.5]


def exchanged_images(model: Exchange | UnequalExchange, scheme: Scheme) -> Iterator[NDArray[np.floating]]:
    """Statistic images of a scheme's exchanges, in batches."""
    batch = max(int(BATCH_BYTES / (8 * model.residuals.shape[1])), 1)
    for start in range(0, len(scheme.orders), batch):
        yield model.images(scheme.orders[start : start + batch], scheme.signs[start : start + batch])
