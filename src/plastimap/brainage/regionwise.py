"""One age model per region, each fed with its own parcels alone: Gaussian processes (the default) or ridge.

Ages of adults are skewed and errors grow with them, so processes predict log age: exp of the mean is the median, which
is what the mean absolute error asks for. A region's age is the geometric mean of two, one on the parcels and one on
their partly whitened principal components: what they share is kept, what each gets wrong averages out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.gaussian_process import GaussianProcess, fit_gaussian_process
from plastimap.brainage.parcels import Parcels
from plastimap.brainage.predicted import Predicted
from plastimap.brainage.ridge import Ridge, fit_ridge

Array = NDArray[np.float64]
Scale = Literal["years", "log"]
Regressor = GaussianProcess | Ridge

YOUNGEST = 10.0
"""Years: no prediction is younger, since its logarithm is taken."""

COMPONENTS = 30
"""Principal components of the members that see those alone; regions of fewer parcels keep all."""

WHITENING = 0.5
"""Components are divided by this power of their standard deviation: 0 = as they are, 1 = all alike."""

GLOBAL = ("whole brain", "B")
"""The region that has all parcels; it is not local, and says so by its name."""


MEMBERS: tuple[tuple[Scale, bool], ...] = (("log", False), ("log", True))
"""Target and whether components are seen, of each process of a region."""


@dataclass(frozen=True)
class Member:
    """One regression of a region.

    Attributes
    ----------
    scale : {"years", "log"}
        Of the target.
    centre : ndarray, shape (p,)
    rotation : ndarray, shape (p, k)
        What it sees is ``(data − centre) @ rotation``.
    regressor : GaussianProcess or Ridge
    """

    scale: Scale
    centre: Array
    rotation: Array
    regressor: Regressor

    def seen(self, data: Array) -> Array:
        """What the regression is fed with."""
        return (data - self.centre) @ self.rotation


@dataclass(frozen=True)
class RegionModel:
    """The regressions of one region; their geometric mean is its age."""

    members: tuple[Member, ...]

    def predict(self, data: Array) -> tuple[Array, Array]:
        """Age (years) and its standard deviation, each of shape (n,)."""
        return _joined([(one.scale, *one.regressor.predict(one.seen(data))) for one in self.members])

    def left_out(self, groups: ArrayLike, data: Array | None = None) -> tuple[Array, Array]:
        """The same for the training people, each group without itself; data as trained on, unless given."""
        seen = [None if data is None else one.seen(data) for one in self.members]
        return _joined(
            [(one.scale, *one.regressor.left_out(groups, new)) for one, new in zip(self.members, seen, strict=True)]
        )


@dataclass(frozen=True)
class Regionwise:
    """Models of all regions.

    Attributes
    ----------
    regions : tuple of (network, hemisphere)
    columns : tuple of ndarray of int
        Columns of (parcels, covariates) that each region sees.
    models : tuple of RegionModel
    """

    regions: tuple[tuple[str, str], ...]
    columns: tuple[NDArray[np.intp], ...]
    models: tuple[RegionModel, ...]

    def predict(self, values: ArrayLike, covariates: ArrayLike) -> Predicted:
        """Ages of people, by the mean of a region's processes, which people left out are predicted by, too."""
        data = np.column_stack([np.asarray(values, dtype=np.float64), np.asarray(covariates, dtype=np.float64)])
        age, sd = (np.full((len(data), len(self.regions)), np.nan) for _ in range(2))
        for number, (columns, model) in enumerate(zip(self.columns, self.models, strict=True)):
            known = np.isfinite(data[:, columns]).all(axis=1)
            if known.any():
                age[known, number], sd[known, number] = model.predict(data[np.ix_(known, columns)])
        return Predicted(age, sd, np.zeros_like(sd)[None])

    def left_out(self, groups: ArrayLike, data: Array | None = None) -> tuple[Array, Array]:
        """Age and standard deviation of the training people, each group without itself, of shape (n, regions).

        Parameters
        ----------
        groups : array-like, shape (n,)
        data : ndarray, shape (n, p + q), optional
            Parcels and covariates that are predicted from; default: what was trained on.
        """
        parts = [None if data is None else data[:, columns] for columns in self.columns]
        both = [model.left_out(groups, part) for model, part in zip(self.models, parts, strict=True)]
        return np.column_stack([age for age, _ in both]), np.column_stack([sd for _, sd in both])


def _joined(parts: Sequence[tuple[Scale, Array, Array]]) -> tuple[Array, Array]:
    """Geometric mean of ages, and the mean of the variances, on the scale of years."""
    logs, deviations = list[Array](), list[Array]()
    for scale, mean, sd in parts:
        years = np.exp(mean) if scale == "log" else np.maximum(mean, YOUNGEST)
        logs.append(np.log(np.maximum(years, YOUNGEST)))
        deviations.append(sd * years if scale == "log" else sd)
    return np.exp(np.mean(logs, axis=0)), np.sqrt(np.mean(np.square(deviations), axis=0))


def fit_regionwise(
    values: ArrayLike,
    covariates: ArrayLike,
    age: ArrayLike,
    parcels: Parcels,
    *,
    method: Literal["gaussian_process", "ridge"] = "gaussian_process",
    whole_brain: bool = True,
    regions: bool = True,
    seed: int = 0,
) -> Regionwise:
    """Fit every region, and the whole brain.

    Parameters
    ----------
    values : array-like, shape (n, p)
        Complete.
    covariates : array-like, shape (n, q)
        What is no parcel and every region may see, such as sex.
    age : array-like, shape (n,)
        Years.
    parcels : Parcels
    method : {"gaussian_process", "ridge"}
    whole_brain, regions : bool
        Which of them to fit.
    seed : int
    """
    data = np.column_stack([np.asarray(values, dtype=np.float64), np.asarray(covariates, dtype=np.float64)])
    extra = np.arange(len(parcels.names), data.shape[1])
    found = parcels.regions if regions else ()
    columns = [np.concatenate([parcels.members(region), extra]) for region in found]
    if whole_brain:
        found, columns = (*found, GLOBAL), [*columns, np.arange(data.shape[1])]
    years = np.asarray(age, dtype=np.float64)
    fit = _fit_processes if method == "gaussian_process" else _fit_baseline
    return Regionwise(found, tuple(columns), tuple(fit(data[:, one], years, seed) for one in columns))


def _fit_baseline(data: Array, age: Array, seed: int) -> RegionModel:
    centre, rotation = data.mean(axis=0), _standardising(data)
    return RegionModel((Member("years", centre, rotation, fit_ridge((data - centre) @ rotation, age, seed=seed)),))


def _fit_processes(data: Array, age: Array, seed: int) -> RegionModel:
    centre, members = data.mean(axis=0), list[Member]()
    for scale, components in MEMBERS:
        rotation = _components(data) if components else _standardising(data)
        target = np.log(age) if scale == "log" else age
        process = fit_gaussian_process((data - centre) @ rotation, target, seed=seed)
        members.append(Member(scale, centre, rotation, process))
    return RegionModel(tuple(members))


def _standardising(data: Array) -> Array:
    spread = data.std(axis=0)
    return np.diag(1 / np.where(spread > 0, spread, 1.0))


def _components(data: Array) -> Array:
    """Partly whitened principal directions of the standardised data, their mean variance made 1; shape (p, k)."""
    standard = _standardising(data)
    _, singular, right = np.linalg.svd((data - data.mean(axis=0)) @ standard, full_matrices=False)
    kept = min(COMPONENTS, int((singular > 1e-9 * singular[0]).sum()))
    sd = singular[:kept] / np.sqrt(len(data))
    mean_variance = np.mean(sd ** (2 - 2 * WHITENING))
    return standard @ right[:kept].T / sd**WHITENING / np.sqrt(mean_variance)
