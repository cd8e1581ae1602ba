"""Models that a study may choose, by name: of people's coefficients, or of all scans at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.fits import Fit
from plastimap.stats.glm import fit_glm
from plastimap.stats.precision import fit_precision, person_weights, typical_noise
from plastimap.stats.problems import StatsProblem
from plastimap.stats.reml import (
    CovarianceEstimate,
    estimate_covariance,
    estimate_with_motion,
    group_components,
    noise_variances,
    person_components,
    pooled_products,
    visit_components,
)
from plastimap.stats.robust import fit_robust
from plastimap.stats.sandwich import fit_sandwich
from plastimap.stats.scandesign import ScanDesign

Method = Literal["summary", "robust", "pooled", "sandwich", "mixed"]
Weighting = Literal["equal", "visits", "groups", "motion", "errors"]


@dataclass(frozen=True)
class FitOptions:
    """What all models are told.

    Attributes
    ----------
    weighting : {"equal", "visits", "groups", "motion", "errors"}
    minimum_subjects, variance_floor : float
        See :func:`plastimap.stats.glm.fit_glm`.
    """

    weighting: Weighting = "visits"
    minimum_subjects: float = 1.0
    variance_floor: float = 0.0


@dataclass(frozen=True)
class Coefficients:
    """One term of everybody's time course.

    Attributes
    ----------
    data : ndarray, shape (n_people, n_voxels)
    matrix : ndarray, shape (n_people, p)
        Group design.
    variance : ndarray, shape (n_people,)
        Known variance factors, from people's visits.
    groups : tuple of str, length n_people
    pull : ndarray, shape (n_people, n_scans)
        Weights of scans in the coefficients.
    motion : ndarray, shape (n_scans,), or None
    noise : ndarray, shape (n_people, n_voxels), or None
        Known error variances of the coefficients.
    """

    data: NDArray[np.float64]
    matrix: NDArray[np.float64]
    variance: NDArray[np.float64]
    groups: tuple[str, ...]
    pull: NDArray[np.float64]
    motion: NDArray[np.float64] | None
    noise: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Scans:
    """All scans of a model; `motion` and `noise` as in :class:`Coefficients`, for the design's rows."""

    data: NDArray[np.floating]
    design: ScanDesign
    motion: NDArray[np.float64] | None
    noise: NDArray[np.floating] | None = None


def people_weights(
    coefficients: Coefficients, weighting: Weighting
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Inverse relative variances of people's coefficients (None = equal), and what to say about them."""
    return _PEOPLE_WEIGHTS[weighting](coefficients)


def _equal(coefficients: Coefficients) -> tuple[None, tuple[str, ...]]:  # noqa: ARG001
    return None, ()


def _by_visits(coefficients: Coefficients) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    if np.ptp(coefficients.variance) <= 1e-9 * coefficients.variance.max():
        return None, ()
    # What visits do not explain, people's own differences, weighs everybody alike: how much that is, the data tell.
    noise = np.broadcast_to(coefficients.variance[:, None], coefficients.data.shape)
    weights = person_weights(coefficients.data, coefficients.matrix, noise)
    return weights, (f"People's weights by their visits: {weights.min() / weights.max():.2f} to 1.",)


def _by_groups(coefficients: Coefficients) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    components = group_components(coefficients.groups)
    products, n_voxels = pooled_products(coefficients.data, coefficients.matrix)
    found = estimate_covariance(products, coefficients.matrix, components, n_voxels=n_voxels)
    return 1 / np.diag(found.covariance), (*found.notes, _told(found))


def _by_motion(coefficients: Coefficients) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    # Differences between people do not grow with motion; the noise of their scans does.
    n = len(coefficients.data)
    base = person_components([str(i) for i in range(n)])
    found = estimate_with_motion(
        coefficients.data, coefficients.matrix, base, _motion(coefficients.motion), pull=coefficients.pull
    )
    return 1 / np.diag(found.covariance), (*found.notes, _told(found))


def _by_errors(coefficients: Coefficients) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    # One number per person, for what cannot weigh voxel by voxel: robust regression, the clusters' means.
    return person_weights(coefficients.data, coefficients.matrix, _known(coefficients.noise)), ()


_PEOPLE_WEIGHTS: Mapping[Weighting, Callable[[Coefficients], tuple[NDArray[np.float64] | None, tuple[str, ...]]]] = {
    "equal": _equal,
    "visits": _by_visits,
    "groups": _by_groups,
    "motion": _by_motion,
    "errors": _by_errors,
}


def fit_summary(
    coefficients: Coefficients, weights: NDArray[np.float64] | None, options: FitOptions, notes: tuple[str, ...]
) -> Fit:
    """Compare people's coefficients by least squares; with known errors, weighted in every voxel of its own."""
    if options.weighting == "errors":
        noise = _known(coefficients.noise)
        return fit_precision(coefficients.data, coefficients.matrix, noise, notes=(*notes, *_whole(options)))
    return fit_glm(
        coefficients.data,
        coefficients.matrix,
        weights=weights,
        variance_floor=options.variance_floor,
        minimum_subjects=options.minimum_subjects,
        notes=notes,
    )


def fit_people_robustly(
    coefficients: Coefficients, weights: NDArray[np.float64] | None, options: FitOptions, notes: tuple[str, ...]
) -> Fit:
    """Compare people's coefficients by Huber's regression."""
    return fit_robust(coefficients.data, coefficients.matrix, weights=weights, notes=(*notes, *_whole(options)))


def fit_pooled(scans: Scans, options: FitOptions) -> Fit:
    """One covariance of the errors for all voxels, by restricted maximum likelihood, as SPM12 does.

    Each visit has its own variance, each pair of visits its own covariance; weighted by motion or by known errors,
    noise also grows with the index of motion or the typical error of a scan, and with its powers.
    """
    design = scans.design
    components = visit_components(design.people, design.visits)
    index = _noise_index(scans, options)
    if index is not None:
        found = estimate_with_motion(scans.data, design.matrix, components, index, powers=_POWERS[options.weighting])
    else:
        products, n_voxels = pooled_products(scans.data, design.matrix)
        found = estimate_covariance(products, design.matrix, components, n_voxels=n_voxels)
    return fit_glm(
        scans.data,
        design.matrix,
        covariance=found.covariance,
        variance_floor=options.variance_floor,
        minimum_subjects=options.minimum_subjects,
        notes=_named((*found.notes, _told(found)), options),
    )


def fit_scans_by_sandwich(scans: Scans, options: FitOptions) -> Fit:
    """Least squares with the sandwich covariance, one covariance over visits per group."""
    design = scans.design
    # Visits are taken as independent here, so weights follow the whole variance of a scan: by noise alone, scans
    # of unequal weight would let people's levels leak into their slopes.
    weights, notes = _scan_weights(scans, options, whole=True)
    return fit_sandwich(
        scans.data,
        design.matrix,
        people=design.people,
        visits=design.visits,
        groups=design.groups,
        between=design.between,
        weights=weights,
        notes=(*notes, *_whole(options)),
    )


def fit_scans_by_mixed_model(scans: Scans, options: FitOptions) -> Fit:
    """Own level and own slope of every person, at every voxel."""
    from plastimap.stats.mixed import fit_mixed

    design = scans.design
    weights, notes = _scan_weights(scans, options, whole=False)
    return fit_mixed(
        scans.data,
        design.matrix,
        people=design.people,
        time=design.days,
        weights=weights,
        notes=(*notes, *_whole(options)),
    )


PEOPLE_MODELS: Mapping[str, Callable[[Coefficients, NDArray[np.float64] | None, FitOptions, tuple[str, ...]], Fit]] = {
    "summary": fit_summary,
    "robust": fit_people_robustly,
}
"""Models of people's coefficients: each term on its own."""

SCAN_MODELS: Mapping[str, Callable[[Scans, FitOptions], Fit]] = {
    "pooled": fit_pooled,
    "sandwich": fit_scans_by_sandwich,
    "mixed": fit_scans_by_mixed_model,
}
"""Models of all scans: one fit for all terms."""

METHODS: tuple[str, ...] = (*PEOPLE_MODELS, *SCAN_MODELS)

WEIGHTINGS: tuple[Weighting, ...] = tuple(_PEOPLE_WEIGHTS)

SCAN_WEIGHTINGS: tuple[Weighting, ...] = ("equal", "visits", "motion", "errors")
"""Weightings of models of scans: missing visits are already in their covariance."""


_POWERS: Mapping[Weighting, int] = {"motion": 3, "errors": 1}
"""How noise may grow with the index of a scan: a known error variance is one already."""


def method_problems(method: str, weighting: str, terms: tuple[str, ...]) -> list[str]:
    """What does not go together; empty if nothing is wrong."""
    problems: list[str] = []
    if method not in METHODS:
        problems.append(f"unknown method {method!r} (known: {', '.join(METHODS)})")
    if weighting not in WEIGHTINGS:
        problems.append(f"unknown weighting {weighting!r} (known: {', '.join(WEIGHTINGS)})")
    elif method in SCAN_MODELS and weighting not in SCAN_WEIGHTINGS:
        problems.append(
            f"weighting {weighting!r} goes with people's coefficients (method summary or robust), not with the model "
            f"{method!r} of scans (known: {', '.join(SCAN_WEIGHTINGS)})"
        )
    if "change" in terms and method in PEOPLE_MODELS:
        problems.append(f"the term 'change' needs a model of scans (method {', '.join(SCAN_MODELS)})")
    return problems


def _scan_weights(
    scans: Scans, options: FitOptions, *, whole: bool
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Inverse variances of scans, of their noise or of the whole, which people's levels add to; None = all alike."""
    index = _noise_index(scans, options)
    if index is None:
        return None, ()
    base = person_components(scans.design.people)
    found = estimate_with_motion(scans.data, scans.design.matrix, base, index, powers=_POWERS[options.weighting])
    variances, said = (np.diag(found.covariance), ()) if whole else noise_variances(found, index)
    return 1 / variances, _named((*found.notes, *said, _told(found)), options)


def _named(notes: tuple[str, ...], options: FitOptions) -> tuple[str, ...]:
    """Name what the noise grows with: the machinery was made for motion."""
    if options.weighting != "errors":
        return notes
    return tuple(note.replace("motion index", "typical error").replace("motion", "errors") for note in notes)


def _noise_index(scans: Scans, options: FitOptions) -> NDArray[np.float64] | None:
    """What the noise of scans grows with: their motion, or their typical known error; None = all alike."""
    if options.weighting == "errors":
        return typical_noise(_known(scans.noise))
    return _motion(scans.motion) if options.weighting == "motion" else None


def _known(noise: NDArray[np.floating] | None) -> NDArray[np.floating]:
    if noise is None:
        raise StatsProblem("weighting by errors needs the error maps of every scan (desc-stderr)")
    return noise


def _motion(index: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if index is None:
        raise StatsProblem("weighting by motion needs a motion index for every scan (group/mpm_qa.tsv)")
    return index


def _whole(options: FitOptions) -> tuple[str, ...]:
    """Say that a model needs every value."""
    if options.minimum_subjects >= 1:
        return ()
    return ("This model analyses only voxels with a value in every scan, whatever masks.minimum_subjects says.",)


def _told(estimate: CovarianceEstimate) -> str:
    parts = ", ".join(f"{name} {size:.3g}" for name, size in zip(estimate.names, estimate.sizes, strict=True))
    return f"Variance components from {estimate.n_voxels} voxels: {parts}."
