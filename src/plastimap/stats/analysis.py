"""One map in one tissue: from everybody's sessions to corrected clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.contrasts import Contrast
from plastimap.stats.design import Design, designs_for, group_labels
from plastimap.stats.fits import Fit
from plastimap.stats.fitted import (
    FittedModel,
    Inference,
    PeopleCheck,
    Place,
    TestMaps,
    noise_smoothness,
    search_volumes_of,
)
from plastimap.stats.inference import Findings, run_contrast
from plastimap.stats.longitudinal import TimeCoding, incomplete_people, reference_days, time_model, until
from plastimap.stats.models import (
    PEOPLE_MODELS,
    SCAN_MODELS,
    Coefficients,
    FitOptions,
    Method,
    Scans,
    Weighting,
    method_problems,
    people_weights,
)
from plastimap.stats.problems import StatsProblem, listed
from plastimap.stats.scandesign import scan_design
from plastimap.stats.smoothness import ROUGH_FWHM, Smoothness
from plastimap.stats.study import ContrastsOption, People, Study, check_arrays, check_model, make_study, order_people

if TYPE_CHECKING:
    import pandas as pd

UNEQUAL_PRECISION = 2.0
"""Ratio of people's variance factors from which the report says so."""

FEW_DOF = 10
"""Degrees of freedom below which random field p values are rough."""

RANDOM_FIELDS = ("random_field", "local_random_field")
"""Methods of inference that rest on random field theory."""

NO_ERRORS = "This map has no error maps in every scan: scans count equally, not by their errors."

DEFAULT_TIME, DEFAULT_FIT, DEFAULT_INFERENCE = TimeCoding(), FitOptions(), Inference()


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
    nulls : ndarray of float32, shape (n_families, n_resamples)
        Largest cluster statistic of every resample, in the order of `families`; no columns for random fields.
    cluster_scans : DataFrame
        ``cluster``, ``participant_id``, ``group``, ``session``, ``day``, ``value``: the map's mean over each
        cluster in every scan. To look at, not to test: the clusters were chosen by these very data.
    mask : ndarray of bool, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)
    time_coding : str
        One sentence for the report.
    method : str
        Of the model.
    notes : tuple of str
    """

    map_name: str
    tissue: str
    tests: tuple[TestMaps, ...]
    clusters: pd.DataFrame
    maxima: pd.DataFrame
    families: pd.DataFrame
    nulls: NDArray[np.float32]
    cluster_scans: pd.DataFrame
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    time_coding: str
    method: str
    notes: tuple[str, ...]

    def volume(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Values of the mask's voxels (such as ``result.tests[0].values``) on the grid, NaN outside."""
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
    time: TimeCoding = DEFAULT_TIME,
    group: str | None = None,
    covariates: Sequence[str] = (),
    covariates_over_time: bool = True,
    contrasts: ContrastsOption = "auto",
    method: Method = "summary",
    options: FitOptions = DEFAULT_FIT,
    inference: Inference = DEFAULT_INFERENCE,
    errors: NDArray[np.floating] | None = None,
    remarks: Sequence[str] = (),
) -> AnalysisResult:
    """Longitudinal statistics of one map in one tissue.

    Parameters
    ----------
    maps : ndarray, shape (n_scans, n_voxels) or (n_scans, X, Y, Z)
        Smoothed maps, in the voxels of `mask` (C order) or on the grid; NaN = no value.
    scans : DataFrame
        One row per map: ``participant_id``, ``session``, ``day`` (since baseline); ``motion_index`` for weighting by
        motion. Row order does not matter.
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
        Of :data:`plastimap.stats.timecoding.TERMS`.
    time : TimeCoding
        Coding, centring, knots, last day.
    group, covariates, contrasts
        See :func:`plastimap.stats.design.design_matrix`.
    covariates_over_time : bool
        In models of scans: whether covariates may go with change over time too, or with the level alone.
    method : {"summary", "robust", "pooled", "sandwich", "mixed"}
        See :mod:`plastimap.stats.models`.
    options : FitOptions
        Weighting, least number of people, variance floor.
    inference : Inference
    errors : ndarray, same shape as `maps`, optional
        Standard errors of the maps, for weighting by errors; without them scans count equally, and a note says so.
    remarks : sequence of str
        Of what was done to the maps before; they come first among the notes.

    Returns
    -------
    AnalysisResult

    Raises
    ------
    StatsProblem
        With every problem of the tables and the model at once.
    """
    mask = np.asarray(mask, dtype=bool)
    problems = method_problems(method, options.weighting, tuple(terms))
    if options.weighting == "motion" and "motion_index" not in scans:
        problems.append("weighting by motion needs a motion index for every scan (group/mpm_qa.tsv)")
    blind = options.weighting == "errors" and errors is None
    options = replace(options, weighting="equal") if blind else options
    if errors is not None and errors.shape != maps.shape:
        problems.append(f"errors of shape {errors.shape} beside maps of shape {maps.shape}")
    values = check_arrays(maps, scans, participants, mask, search_volumes, terms, time.coding, problems)
    read = check_model(scans, participants, group, covariates, contrasts)
    kept = until(scans, time.last_day)
    noise = _noise(errors, mask, kept) if options.weighting == "errors" else None
    values, scans = (values, scans) if kept.all() else (values[kept], scans.iloc[np.flatnonzero(kept)])
    people = order_people(scans, participants)
    model = time_model(reference_days(scans), terms=terms, coding=time.coding, centre=time.centre, knots=time.knots)
    motion = scans["motion_index"].to_numpy(dtype=np.float64) if options.weighting == "motion" else None
    study = make_study(values, people, model, motion=motion, noise=noise)
    ask = _Ask(read, group, tuple(covariates), covariates_over_time, method, options, inference)
    place = Place(map_name, tissue, mask, np.asarray(affine, dtype=np.float64), search_volumes)
    notes = [
        *remarks,
        *([NO_ERRORS] if blind else []),
        *model.notes,
        *_dropped(kept, time.last_day),
        *_absent(participants, people),
    ]
    findings = Findings.empty()
    tests: list[TestMaps] = []
    fitted = _models_of_people if method in PEOPLE_MODELS else _models_of_scans
    for one in fitted(study, ask, place, notes):
        for index in range(len(one.design.contrasts)):
            try:
                found, said = run_contrast(one, index, place, inference, findings)
            except StatsProblem as problem:
                notes.append(f"{one.term}, {one.design.contrasts[index].name}: not tested, {problem}.")
                continue
            tests.append(found)
            notes += said
    clusters, peaks, families = findings.tables()
    return AnalysisResult(
        map_name=map_name,
        tissue=tissue,
        tests=tuple(tests),
        clusters=clusters,
        maxima=peaks,
        families=families,
        nulls=_stacked_nulls(findings.nulls),
        cluster_scans=_cluster_scans(values, scans, people, findings.members, group),
        mask=mask,
        affine=place.affine,
        time_coding=model.basis.describe(),
        method=method,
        notes=tuple(dict.fromkeys(notes)),
    )


@dataclass(frozen=True)
class _Ask:
    """What a study asks of its model."""

    contrasts: tuple[Contrast, ...]
    group: str | None
    covariates: tuple[str, ...]
    covariates_over_time: bool
    method: Method
    options: FitOptions
    inference: Inference

    def designs(self, table: pd.DataFrame, contrasts: Sequence[Contrast]) -> tuple[Design, ...]:
        """Designs of the people in a table."""
        return designs_for(table, group=self.group, covariates=self.covariates, contrasts=contrasts)


def _models_of_people(study: Study, ask: _Ask, place: Place, notes: list[str]) -> Iterator[FittedModel]:
    """One model per term and design, of everybody's coefficients; `notes` grows on the way."""
    notes += incomplete_people(dict(zip(study.people.ids, study.operators, strict=True)), study.model.terms)
    for row, term in enumerate(study.model.terms):
        inside = study.able(row)
        asked = _askable(ask.contrasts, term, notes) if inside else []
        for design in ask.designs(study.people.table.iloc[inside], asked):
            notes += [f"{term}: {text}" for text in (*design.notes, *design.problems)]
            if not design.contrasts:
                continue
            who = [inside[i] for i in design.rows]
            data, baseline = study.coefficients(who, row)
            coefficients = _coefficients(study, design, who, row, data)
            label = f"{term}, {listed(c.name for c in design.contrasts)}"
            try:
                weights, said = people_weights(coefficients, ask.options.weighting)
                fit = PEOPLE_MODELS[ask.method](coefficients, weights, ask.options, said)
                smoothness = noise_smoothness(fit, place.mask)
            except StatsProblem as problem:
                notes.append(f"{label}: not tested, {problem}.")
                continue
            notes += _precision(term, coefficients.variance, ask.options.weighting)
            searches = search_volumes_of(fit, place, smoothness.fwhm)
            unsearched = [side for side in place.regions if side not in searches]
            notes += _fit_notes(label, fit, smoothness, unsearched, ask.inference)
            check = PeopleCheck(data, design.matrix, weights, design.people)
            span = study.model.basis.span(term)
            yield FittedModel(design, term, fit, design.vectors, check, smoothness, searches, baseline, span)


def _coefficients(
    study: Study, design: Design, who: Sequence[int], row: int, data: NDArray[np.float64]
) -> Coefficients:
    pull, rows = study.pull(who, row)
    return Coefficients(
        data=data,
        matrix=design.matrix,
        variance=study.variance[list(who), row],
        groups=design.groups,
        pull=pull,
        motion=None if study.motion is None else study.motion[rows],
        noise=study.coefficient_noise(who, row),
    )


def _noise(
    errors: NDArray[np.floating] | None, mask: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> NDArray[np.floating] | None:
    """Error variances of the scans that are kept, in the voxels of the mask."""
    if errors is None:
        return None
    return (errors if errors.ndim == 2 else errors[:, mask])[kept] ** 2


def _models_of_scans(study: Study, ask: _Ask, place: Place, notes: list[str]) -> Iterator[FittedModel]:
    """One fit per design, of all scans, for all terms; `notes` grows on the way."""
    basis = study.model.basis
    for design in ask.designs(study.people.table, ask.contrasts):
        notes += [*design.notes, *design.problems]
        if not design.contrasts:
            continue
        who = design.rows.tolist()
        spread = scan_design(design, study.people, who, basis, covariates_over_time=ask.covariates_over_time)
        motion = None if study.motion is None else study.motion[spread.rows]
        noise = None if study.noise is None else study.noise[spread.rows]
        label = listed(c.name for c in design.contrasts)
        try:
            fit = SCAN_MODELS[ask.method](Scans(study.maps[spread.rows], spread, motion, noise), ask.options)
            smoothness = noise_smoothness(fit, place.mask)
        except StatsProblem as problem:
            notes.append(f"{label}: not tested, {problem}.")
            continue
        searches = search_volumes_of(fit, place, smoothness.fwhm)
        unsearched = [side for side in place.regions if side not in searches]
        notes += _fit_notes(label, fit, smoothness, unsearched, ask.inference)
        for row, term in enumerate(study.model.terms):
            asked = _askable(design.contrasts, term, notes)
            own = replace(
                design,
                contrasts=tuple(asked),
                vectors=tuple(design.vectors[design.contrasts.index(contrast)] for contrast in asked),
            )
            vectors = tuple(spread.vectors(rows, basis.vectors(term)) for rows in own.vectors)
            check, baseline = _check(study, own, who, row)
            yield FittedModel(own, term, fit, vectors, check, smoothness, searches, baseline, basis.span(term))


def _check(
    study: Study, design: Design, who: Sequence[int], row: int
) -> tuple[PeopleCheck | None, NDArray[np.float64]]:
    """Coefficients of those who can tell the term, to check clusters with; and the mean baseline."""
    able = set(study.able(row))
    told = [position for position, i in enumerate(who) if i in able]
    if not told:
        based = set(study.able(-1))
        return None, study.coefficients([i for i in who if i in based], -1)[1]
    data, baseline = study.coefficients([who[position] for position in told], row)
    return PeopleCheck(data, design.matrix[told], None, tuple(design.people[p] for p in told)), baseline


def _fit_notes(
    label: str, fit: Fit, smoothness: Smoothness, unsearched: Sequence[str], inference: Inference
) -> list[str]:
    # What random field theory assumes matters where it judges.
    fields = _field_notes(label, fit.dof, smoothness) if inference.method in RANDOM_FIELDS else []
    return [
        *(f"{label}: {text}" for text in fit.notes),
        *fields,
        *(f"No analysed voxel in search volume {side}: not searched." for side in unsearched),
    ]


def _dropped(kept: NDArray[np.bool_], last_day: float | None) -> list[str]:
    gone = int((~kept).sum())
    return [f"{gone} scans of sessions after day {last_day:g} are not in the model."] if gone else []


def _askable(contrasts: Sequence[Contrast], term: str, notes: list[str]) -> list[Contrast]:
    """Leave out comparisons of a plain value with 0: a brain always has one."""
    if term not in ("level", "baseline"):
        return list(contrasts)
    kept = [contrast for contrast in contrasts if contrast.column is not None or contrast.right]
    if len(kept) < len(contrasts):
        notes.append(f"{term}: comparing a value with 0 says nothing; such contrasts are left out.")
    return kept


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


def _precision(term: str, variance: NDArray[np.float64], weighting: Weighting) -> list[str]:
    ratio = float(variance.max() / variance.min())
    if ratio < UNEQUAL_PRECISION or weighting in ("groups", "motion", "errors"):
        return []
    how = "weighted by it" if weighting == "visits" else "people count equally (unbiased, less efficient)"
    return [f"{term}: visits differ, and with them people's precision (variance ratio up to {ratio:.1f}); {how}."]


def _stacked_nulls(nulls: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
    """One row per family; shorter ones (all exchanges there are) are repeated in turn to the length of the longest."""
    length = max((null.size for null in nulls), default=0)
    return np.array([np.resize(null, length) for null in nulls], dtype=np.float32).reshape(len(nulls), length)


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
