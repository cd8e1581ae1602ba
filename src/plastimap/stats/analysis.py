"""One map in one tissue: from everybody's sessions to corrected clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.contrasts import Contrast
from plastimap.stats.design import Design, designs_for, group_labels
from plastimap.stats.glm import fit_glm
from plastimap.stats.inference import (
    Findings,
    FittedModel,
    Inference,
    Place,
    TestMaps,
    noise_smoothness,
    run_contrast,
    search_volumes_of,
)
from plastimap.stats.longitudinal import incomplete_people, reference_days, time_model
from plastimap.stats.problems import StatsProblem, listed
from plastimap.stats.smoothness import ROUGH_FWHM, Smoothness
from plastimap.stats.study import ContrastsOption, People, Study, check_arrays, check_model, make_study, order_people
from plastimap.stats.timecoding import Coding

if TYPE_CHECKING:
    import pandas as pd

UNEQUAL_PRECISION = 2.0
"""Ratio of people's variance factors from which the report says so."""

FEW_DOF = 10
"""Degrees of freedom below which random field p values are rough."""

Weighting = Literal["equal", "visits"]


@dataclass(frozen=True)
class AnalysisResult:
    """Everything found in one map and tissue.

    Attributes
    ----------
    map_name, tissue : str
    tests : tuple of TestMaps
        One per contrast and term; values in the voxels of `mask`, see :meth:`volume`.
    clusters : DataFrame
        One row per cluster (``plastimap.stats.inference.CLUSTER_COLUMNS``): ``cluster`` numbers them within this
        result, ``effect`` is in map units (per day, per day²), ``effect_percent`` the total change over the study
        in percent of the mean baseline, ``x y z`` mm, ``n`` people in the contrast, ``cluster_t`` the t of the
        cluster means, ``influence`` the largest share of the effect that one person carries (``influential``).
    maxima : DataFrame
        One row per peak, up to three per cluster.
    families : DataFrame
        One row per contrast × term × direction × hemisphere, with or without clusters; ``min_p`` is 1 without.
    cluster_scans : DataFrame
        ``cluster``, ``participant_id``, ``group``, ``session``, ``day``, ``value``: the map's mean over each
        cluster in every scan. To look at, not to test: the clusters were chosen by these very data.
    mask : ndarray of bool, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)
    time_coding : str
        One sentence for the report.
    notes : tuple of str
    """

    map_name: str
    tissue: str
    tests: tuple[TestMaps, ...]
    clusters: pd.DataFrame
    maxima: pd.DataFrame
    families: pd.DataFrame
    cluster_scans: pd.DataFrame
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    time_coding: str
    notes: tuple[str, ...]

    def volume(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Values of the mask's voxels (such as ``result.tests[0].t``) on the grid, NaN outside."""
        full = np.full(self.mask.shape, np.nan, dtype=np.float32)
        full[self.mask] = values
        return full


def analyse(
    maps: NDArray[np.floating],
    scans: pd.DataFrame,
    participants: pd.DataFrame,
    *,
    map_name: str,
    tissue: str,
    mask: NDArray[np.bool_],
    search_volumes: Mapping[str, NDArray[np.bool_]],
    affine: NDArray[np.floating],
    terms: Sequence[str] = ("linear", "quadratic"),
    coding: Coding = "quadratic_after_linear",
    centre_days: bool = True,
    group: str | None = None,
    covariates: Sequence[str] = (),
    contrasts: ContrastsOption = "auto",
    cluster_forming_p: float = 0.001,
    minimum_extent: int = 20,
    minimum_subjects: float = 1.0,
    variance_floor: float = 0.0,
    weighting: Weighting = "equal",
    maxima: int = 3,
    maxima_distance_mm: float = 8.0,
) -> AnalysisResult:
    """Longitudinal statistics of one map in one tissue.

    Parameters
    ----------
    maps : ndarray, shape (n_scans, n_voxels) or (n_scans, X, Y, Z)
        Smoothed maps, in the voxels of `mask` (C order) or on the grid; NaN = no value.
    scans : DataFrame
        One row per map: ``participant_id``, ``session``, ``day`` (since baseline). Row order does not matter.
    participants : DataFrame
        One row per person: ``participant_id``, the group column, covariates, regressors of slopes.
    map_name, tissue : str
        For the tables.
    mask : ndarray of bool, shape (X, Y, Z)
        Analysis mask of the tissue.
    search_volumes : mapping of str to ndarray of bool, shape (X, Y, Z)
        By hemisphere. Resels are those of the whole volume given, clusters are cut to it and to the mask.
    affine : ndarray, shape (4, 4)
    terms : sequence of str
        Of ``baseline``, ``level``, ``linear``, ``quadratic``.
    coding, centre_days
        See :func:`plastimap.stats.timecoding.time_basis`.
    group, covariates, contrasts
        See :func:`plastimap.stats.design.design_matrix`.
    cluster_forming_p : float
        Uncorrected.
    minimum_extent : int
        Voxels.
    minimum_subjects, variance_floor
        See :func:`plastimap.stats.glm.fit_glm`.
    weighting : {"equal", "visits"}
        Equal weights, or weights by the known variance factor of each person's visits (right where noise within
        people outweighs the differences between them). Either is unbiased.
    maxima, maxima_distance_mm
        Peaks listed per cluster at most, and their least distance.

    Returns
    -------
    AnalysisResult

    Raises
    ------
    StatsProblem
        With every problem of the tables and the model at once.
    """
    mask = np.asarray(mask, dtype=bool)
    values = check_arrays(maps, scans, participants, mask, search_volumes, terms, coding, weighting)
    read = check_model(scans, participants, group, covariates, contrasts)
    people = order_people(scans, participants)
    model = time_model(reference_days(scans), terms=terms, coding=coding, centre=centre_days)
    study = make_study(values, people, model)
    place = Place(map_name, tissue, mask, np.asarray(affine, dtype=np.float64), search_volumes)
    rule = Inference(
        cluster_forming_p=cluster_forming_p,
        minimum_extent=minimum_extent,
        maxima=maxima,
        maxima_distance_mm=maxima_distance_mm,
        minimum_subjects=minimum_subjects,
        variance_floor=variance_floor,
        by_visits=weighting == "visits",
    )
    findings = Findings.empty()
    tests: list[TestMaps] = []
    notes = [*model.notes, *_absent(participants, people)]
    notes += incomplete_people(dict(zip(people.ids, study.operators, strict=True)), model.terms)
    for row, term in enumerate(model.terms):
        inside = study.able(row)
        asked = _askable(read, term, notes) if inside else []
        for design in designs_for(people.table.iloc[inside], group=group, covariates=covariates, contrasts=asked):
            notes += [f"{term}: {text}" for text in (*design.notes, *design.problems)]
            fitted = _fit(study, design, row, [inside[i] for i in design.rows], place, rule, notes)
            if fitted is not None:
                tests += [run_contrast(fitted, i, place, rule, findings) for i in range(len(design.contrasts))]
    clusters, peaks, families = findings.tables()
    return AnalysisResult(
        map_name=map_name,
        tissue=tissue,
        tests=tuple(tests),
        clusters=clusters,
        maxima=peaks,
        families=families,
        cluster_scans=_cluster_scans(values, scans, people, findings.members, group),
        mask=mask,
        affine=place.affine,
        time_coding=model.basis.describe(),
        notes=tuple(dict.fromkeys(notes)),
    )


def _askable(contrasts: Sequence[Contrast], term: str, notes: list[str]) -> list[Contrast]:
    """Leave out comparisons of a plain value with 0: a brain always has one."""
    if term not in ("level", "baseline"):
        return list(contrasts)
    kept = [contrast for contrast in contrasts if contrast.column is not None or contrast.right]
    if len(kept) < len(contrasts):
        notes.append(f"{term}: comparing a value with 0 says nothing; such contrasts are left out.")
    return kept


def _fit(
    study: Study, design: Design, row: int, who: Sequence[int], place: Place, rule: Inference, notes: list[str]
) -> FittedModel | None:
    """Fit a design to one term of its people; None (and a note) where that cannot be done."""
    if not design.contrasts:
        return None
    term = study.model.terms[row]
    variance = study.variance[list(who), row]
    weights = 1 / variance if rule.by_visits else None
    data, baseline = study.coefficients(who, row)
    try:
        fit = fit_glm(
            data,
            design.matrix,
            weights=weights,
            variance_floor=rule.variance_floor,
            minimum_subjects=rule.minimum_subjects,
        )
        smoothness = noise_smoothness(fit, place.mask)
    except StatsProblem as problem:
        notes.append(f"{term}, {listed(c.name for c in design.contrasts)}: not tested, {problem}.")
        return None
    searches = search_volumes_of(fit, place, smoothness.fwhm)
    notes += _precision(term, variance, by_visits=rule.by_visits)
    notes += _field_notes(f"{term}, {listed(c.name for c in design.contrasts)}", fit.dof, smoothness)
    notes += [
        f"No analysed voxel in search volume {side}: not searched." for side in place.regions if side not in searches
    ]
    return FittedModel(
        design=design,
        term=term,
        data=data,
        weights=weights,
        fit=fit,
        smoothness=smoothness,
        searches=searches,
        baseline=baseline,
        span=study.model.basis.span(term),
    )


def _field_notes(what: str, dof: float, smoothness: Smoothness) -> list[str]:
    """Name what random field theory assumes and these data do not quite give."""
    notes: list[str] = []
    if smoothness.rough:
        widths = " × ".join(f"{width:.1f}" for width in smoothness.fwhm)
        notes.append(
            f"{what}: noise is rough for its grid (FWHM {widths} voxels, below {ROUGH_FWHM:g}): the lattice assumption "
            "of random field theory is weak here (p values tend to be too large)."
        )
    if dof < FEW_DOF:
        notes.append(f"{what}: only {dof:g} degrees of freedom; random field p values are rough.")
    return notes


def _precision(term: str, variance: NDArray[np.float64], *, by_visits: bool) -> list[str]:
    ratio = float(variance.max() / variance.min())
    if ratio < UNEQUAL_PRECISION:
        return []
    how = "weighted by it" if by_visits else "people count equally (unbiased, less efficient)"
    return [f"{term}: visits differ, and with them people's precision (variance ratio up to {ratio:.1f}); {how}."]


def _absent(participants: pd.DataFrame, people: People) -> list[str]:
    gone = [name for name in participants["participant_id"].astype(str) if name not in set(people.ids)]
    return [f"No scan of this map: {listed(gone, most=20)}."] if gone else []


def _cluster_scans(
    values: NDArray[np.floating],
    scans: pd.DataFrame,
    people: People,
    members: Sequence[NDArray[np.intp]],
    group: str | None,
) -> pd.DataFrame:
    """Average the map over every cluster in every scan."""
    import pandas as pd

    labels = dict(zip(people.ids, group_labels(people.table, group), strict=True))
    order = np.concatenate(people.rows)
    inside = scans.iloc[order]
    who = inside["participant_id"].astype(str).to_numpy()
    columns = ["cluster", "participant_id", "group", "session", "day", "value"]
    parts = [
        pd.DataFrame(
            {
                "cluster": number,
                "participant_id": who,
                "group": [labels[name] for name in who],
                "session": inside["session"].to_numpy(),
                "day": inside["day"].to_numpy(),
                "value": values[:, voxels].astype(np.float64).mean(axis=1)[order],
            }
        )
        for number, voxels in enumerate(members, start=1)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
