"""A fitted group model on its way to tables: where it lies, how it is judged, what its contrasts are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.clusters import SearchVolume, search_volume
from plastimap.stats.contrasts import Contrast, Direction
from plastimap.stats.design import Design
from plastimap.stats.fits import Fit
from plastimap.stats.rft import Field
from plastimap.stats.smoothness import Smoothness, estimate

InferenceMethod = Literal["random_field", "local_random_field", "permutation", "wild_bootstrap"]
ClusterStatistic = Literal["extent", "mass", "tfce", "height"]


@dataclass(frozen=True)
class Inference:
    """How clusters are judged.

    Attributes
    ----------
    method : {"random_field", "local_random_field", "permutation", "wild_bootstrap"}
    cluster_forming_p : float
        Uncorrected.
    minimum_extent : int
        Voxels.
    maxima, maxima_distance_mm
        Peaks listed per cluster, and their least distance.
    statistic : {"extent", "mass", "tfce", "height"}
        What resampling compares clusters by.
    resamples : int
        Permutations or bootstrap samples, the data themselves among them.
    seed : int
    unequal_variance : bool
        Whether permutation of groups allows for groups of unequal variance.
    """

    method: InferenceMethod = "random_field"
    cluster_forming_p: float = 0.001
    minimum_extent: int = 20
    maxima: int = 3
    maxima_distance_mm: float = 8.0
    statistic: ClusterStatistic = "mass"
    resamples: int = 5000
    seed: int = 1
    unequal_variance: bool = False


@dataclass(frozen=True)
class TestMaps:
    """One contrast of one term.

    Attributes
    ----------
    contrast : Contrast
    term : str
    statistic : {"t", "F"}
    values : ndarray, shape (n_voxels,)
        t or F in the voxels of the result's mask; NaN where not analysed.
    effect, standard_error : ndarray of float32, shape (n_voxels,)
        Contrast of coefficients: unit of the map, per day or day² for growth terms, per unit of a slope's regressor.
        NaN for F: it has no single effect.
    effect_percent : ndarray of float32, shape (n_voxels,)
        Effect times the term's span over the study's days (and times one SD of a slope's regressor), in percent of
        the model's mean baseline.
    field : TField or FField
        Degrees of freedom and tails.
    threshold : float
        Cluster-forming t or F.
    smoothness : Smoothness
    design : Design
    effective_n : float
        1 / c (X'X)⁻ c' of the contrast in people's coefficients (:func:`plastimap.stats.glm.effective_n`); NaN for F.
    n : int
        People in the groups that the contrast names.
    n_by_group : str
        Such as ``"SCI 9, CON 8"``.
    """

    # pytest would otherwise take the class for a test case because of its name.
    __test__ = False

    contrast: Contrast
    term: str
    statistic: Literal["t", "F"]
    values: NDArray[np.float64]
    effect: NDArray[np.float32]
    standard_error: NDArray[np.float32]
    effect_percent: NDArray[np.float32]
    field: Field
    threshold: float
    smoothness: Smoothness
    design: Design
    effective_n: float
    n: int
    n_by_group: str

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Directions that are searched; F has none."""
        return ("!=",) if self.statistic == "F" else self.contrast.directions

    @property
    def dof(self) -> float:
        """Error degrees of freedom."""
        return self.field.error_dof


@dataclass(frozen=True)
class Place:
    """Where an analysis happens: the grid, its mask, its search volumes."""

    map_name: str
    tissue: str
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    regions: Mapping[str, NDArray[np.bool_]]

    def volume(self, values: NDArray[Any], *, dtype: Any = np.float64) -> NDArray[Any]:
        """Values of the mask's voxels on the grid, NaN elsewhere."""
        full = np.full(self.mask.shape, np.nan, dtype=dtype)
        full[self.mask] = values
        return full


@dataclass(frozen=True)
class PeopleCheck:
    """One coefficient per person, to check clusters with whatever the model was.

    Attributes
    ----------
    data : ndarray, shape (n_people, n_voxels)
    matrix : ndarray, shape (n_people, p)
        Rows of the people's design.
    weights : ndarray, shape (n_people,), or None
    names : tuple of str
    """

    data: NDArray[np.float64]
    matrix: NDArray[np.float64]
    weights: NDArray[np.float64] | None
    names: tuple[str, ...]


@dataclass(frozen=True)
class FittedModel:
    """A group model fitted for one term.

    Attributes
    ----------
    design : Design
        Of people.
    term : str
    fit : Fit
    vectors : tuple of ndarray, shape (r, p)
        The design's contrasts of this term, on the columns of `fit`.
    check : PeopleCheck or None
        None where the term is not one coefficient.
    smoothness : Smoothness
    searches : mapping of str to SearchVolume
    baseline : ndarray, shape (n_voxels,)
        Mean baseline; NaN where it is next to nothing.
    span : float
        How far the term runs over the study's days.
    """

    design: Design
    term: str
    fit: Fit
    vectors: tuple[NDArray[np.float64], ...]
    check: PeopleCheck | None
    smoothness: Smoothness
    searches: Mapping[str, SearchVolume]
    baseline: NDArray[np.float64]
    span: float


def noise_smoothness(fit: Fit, mask: NDArray[np.bool_]) -> Smoothness:
    """Smoothness of a fit's residuals in its analysed voxels."""
    inside = np.zeros(mask.shape, dtype=bool)
    inside[mask] = fit.analysed
    columns = np.flatnonzero(fit.analysed)
    every = columns.size == fit.analysed.size
    return estimate(
        lambda row: fit.residual(row) if every else fit.residual(row)[columns],
        inside,
        dof=fit.dof,
        sd=np.sqrt(fit.variance[columns]),
        n_images=fit.matrix.shape[0],
    )


def search_volumes_of(fit: Fit, place: Place, fwhm: NDArray[np.float64]) -> dict[str, SearchVolume]:
    """Cut every region of the place to the analysed voxels; those without any are left out."""
    inside = np.zeros(place.mask.shape, dtype=bool)
    inside[place.mask] = fit.analysed
    searches = {side: search_volume(region, inside, fwhm) for side, region in place.regions.items()}
    return {side: search for side, search in searches.items() if search.n_voxels > 0}
