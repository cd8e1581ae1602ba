"""One map in one tissue: from everybody's sessions to corrected clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.contrasts import Contrast, read_contrasts
from plastimap.stats.design import Design, design_problems, designs_for, group_labels
from plastimap.stats.glm import fit_glm
from plastimap.stats.inference import (
    Findings,
    FittedModel,
    Inference,
    Place,
    TestMaps,
    noise_smoothness,
    run_contrast,
    search_volumes,
)
from plastimap.stats.longitudinal import TimeModel, incomplete_people, reference_days, term_operator, time_model
from plastimap.stats.problems import StatsProblem, listed
from plastimap.stats.smoothness import ROUGH_FWHM
from plastimap.stats.timecoding import CODINGS, Coding, known_terms

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


@dataclass(frozen=True)
class _People:
    """Scans in a fixed order, and every person's rows among them."""

    ids: tuple[str, ...]
    rows: tuple[NDArray[np.intp], ...]
    days: tuple[NDArray[np.float64], ...]
    table: pd.DataFrame


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
    contrasts: str | Sequence[str | Mapping[str, str] | Contrast] = "auto",
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
    values = _checked(maps, scans, participants, mask, search_volumes, terms, coding, weighting)
    read = _checked_model(scans, participants, group, covariates, contrasts)
    people = _people(scans, participants)
    model = time_model(reference_days(scans), terms=terms, coding=coding, centre=centre_days)
    if len(model.basis.reference_days) == 1:
        people = _People(people.ids, people.rows, tuple(np.zeros(len(d)) for d in people.days), people.table)
    place = Place(map_name, tissue, mask, np.asarray(affine, dtype=np.float64), search_volumes)
    rule = Inference(cluster_forming_p, minimum_extent, maxima, maxima_distance_mm)
    findings = Findings.empty()
    tests: list[TestMaps] = []
    notes = [*model.notes, *_absent(participants, people)]
    operators = [term_operator(days, model.basis, (*model.terms, "baseline")) for days in people.days]
    notes += incomplete_people(dict(zip(people.ids, (op for op, _ in operators), strict=True)), model.terms)
    for row, term in enumerate(model.terms):
        inside = [i for i, (operator, _) in enumerate(operators) if not np.isnan(operator[row]).any()]
        asked = tuple(c for c in read if not (term in ("level", "baseline") and c.column is None and not c.right))
        if len(asked) < len(read):
            notes.append(f"{term}: comparing a value with 0 says nothing; such contrasts are left out.")
        for design in designs_for(people.table.iloc[inside], group=group, covariates=covariates, contrasts=asked):
            own = [inside[i] for i in design.rows]
            notes += [f"{term}: {text}" for text in (*design.notes, *design.problems)]
            if not design.contrasts:
                continue
            variance = np.array([operators[i][1][row] for i in own])
            notes += _precision(term, variance, weighting)
            fitted = _fit(
                design, term, values, people, own, operators, row, model, place,
                variance_floor, minimum_subjects, 1 / variance if weighting == "visits" else None, notes,
            )  # fmt: skip
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


def _fit(
    design: Design,
    term: str,
    values: NDArray[np.floating],
    people: _People,
    own: Sequence[int],
    operators: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    row: int,
    model: TimeModel,
    place: Place,
    variance_floor: float,
    minimum_subjects: float,
    weights: NDArray[np.float64] | None,
    notes: list[str],
) -> FittedModel | None:
    """Coefficient images of the design's people, the fit, its smoothness; None (and a note) where that fails."""
    data = np.empty((len(own), values.shape[1]))
    baseline = np.zeros(values.shape[1])
    based = 0
    for position, i in enumerate(own):
        operator = operators[i][0]
        told = not np.isnan(operator[-1]).any()
        both = operator[[row, -1]] @ values[people.rows[i]].astype(np.float64) if told else None
        data[position] = operator[row] @ values[people.rows[i]].astype(np.float64) if both is None else both[0]
        if both is not None:
            baseline += both[1]
            based += 1
    baseline /= max(based, 1)
    typical = float(np.nanmedian(np.abs(baseline))) if np.isfinite(baseline).any() else 0.0
    # Percent of next to nothing means nothing.
    baseline[~(np.abs(baseline) > 1e-3 * typical)] = np.nan
    try:
        fit = fit_glm(
            data, design.matrix, weights=weights, variance_floor=variance_floor, minimum_subjects=minimum_subjects
        )
        smoothness = noise_smoothness(fit, place.mask)
    except StatsProblem as problem:
        notes.append(f"{term}, {listed(c.name for c in design.contrasts)}: not tested, {problem}.")
        return None
    searches = search_volumes(fit, place, smoothness.fwhm)
    notes += _field_notes(term, fit.dof, smoothness.fwhm, smoothness.rough)
    notes += [f"No analysed voxel in the search volume {side}." for side, s in searches.items() if s.n_voxels == 0]
    return FittedModel(
        design=design,
        term=term,
        data=data,
        weights=weights,
        fit=fit,
        smoothness=smoothness,
        searches=searches,
        baseline=baseline,
        span=model.basis.span(term),
    )


def _field_notes(term: str, dof: float, fwhm: NDArray[np.float64], rough: bool) -> list[str]:
    """Name what random field theory assumes and these data do not quite give."""
    notes: list[str] = []
    if rough:
        widths = " × ".join(f"{width:.1f}" for width in fwhm)
        notes.append(
            f"{term}: noise is rough for its grid (FWHM {widths} voxels, below {ROUGH_FWHM:g}): the lattice assumption "
            "of random field theory is weak here."
        )
    if dof < FEW_DOF:
        notes.append(f"{term}: only {dof:g} degrees of freedom; random field p values are rough.")
    return notes


def _precision(term: str, variance: NDArray[np.float64], weighting: Weighting) -> list[str]:
    ratio = float(variance.max() / variance.min())
    if ratio < UNEQUAL_PRECISION:
        return []
    how = "weighted by it" if weighting == "visits" else "people count equally (unbiased, less efficient)"
    return [f"{term}: visits differ, and with them people's precision (variance ratio up to {ratio:.1f}); {how}."]


def _checked(
    maps: NDArray[np.floating],
    scans: pd.DataFrame,
    participants: pd.DataFrame,
    mask: NDArray[np.bool_],
    regions: Mapping[str, NDArray[np.bool_]],
    terms: Sequence[str],
    coding: str,
    weighting: str,
) -> NDArray[np.floating]:
    """Check that arrays and tables go together; return the maps as (n_scans, n_voxels)."""
    problems = known_terms(terms)
    if coding not in CODINGS:
        problems.append(f"unknown time coding {coding!r} (known: {', '.join(CODINGS)})")
    if weighting not in ("equal", "visits"):
        problems.append(f"unknown weighting {weighting!r} (known: equal, visits)")
    voxels = int(np.count_nonzero(mask))
    if mask.ndim != 3 or voxels == 0:
        problems.append("the analysis mask is empty or not three-dimensional")
    problems += [
        f"search volume {side!r} has shape {region.shape}, the mask {mask.shape}"
        for side, region in regions.items()
        if region.shape != mask.shape
    ]
    if not regions:
        problems.append("no search volume was given")
    if maps.shape not in ((len(scans), voxels), (len(scans), *mask.shape)):
        problems.append(f"maps of shape {maps.shape} do not fit {len(scans)} scans and a mask of {voxels} voxels")
    for name, table, needed in (("scans", scans, ("participant_id", "session", "day")),
                                ("participants", participants, ("participant_id",))):  # fmt: skip
        problems += [f"the table of {name} has no column {column!r}" for column in needed if column not in table]
    if problems:
        raise StatsProblem(problems)
    return maps if maps.ndim == 2 else maps[:, mask]


def _checked_model(
    scans: pd.DataFrame,
    participants: pd.DataFrame,
    group: str | None,
    covariates: Sequence[str],
    contrasts: str | Sequence[str | Mapping[str, str] | Contrast],
) -> tuple[Contrast, ...]:
    """Check that model and tables go together (people without a scan may lack covariates); return the contrasts."""
    scanned = scans["participant_id"].astype(str)
    strangers = sorted(set(scanned) - set(participants["participant_id"].astype(str)))
    problems = [f"scans of people who are not in the participants table: {listed(strangers)}"] if strangers else []
    twice = scans[scans.duplicated(subset=["participant_id", "session"])]
    problems += [f"two maps of {r.participant_id}, session {r.session}" for r in twice.itertuples()]
    if scans["session"].astype("string").fillna("").nunique() > 1 and scans["day"].isna().any():
        who = [f"{r.participant_id} {r.session}" for r in scans[scans["day"].isna()].itertuples()]
        problems.append(f"days since baseline are missing for {listed(who)}")
    present = participants[participants["participant_id"].astype(str).isin(set(scanned))]
    problems += design_problems(participants, group=group, covariates=(), contrasts=contrasts)
    problems += design_problems(present, group=None, covariates=covariates, contrasts=())
    for contrast in () if problems else read_contrasts(contrasts, _groups(participants, group))[0]:
        if contrast.column in covariates:
            problems.append(f"contrast {contrast.test!r}: {contrast.column!r} is also a covariate; name it only once")
    if problems:
        raise StatsProblem(dict.fromkeys(problems))
    return read_contrasts(contrasts, _groups(participants, group))[0]


def _groups(participants: pd.DataFrame, group: str | None) -> list[str]:
    return sorted({str(label) for label in group_labels(participants, group) if label})


def _people(scans: pd.DataFrame, participants: pd.DataFrame) -> _People:
    """People with scans in the order of their names, each one's scans in the order of days."""
    import pandas as pd

    plain = pd.DataFrame(
        {
            "who": scans["participant_id"].astype(str).to_numpy(),
            "day": scans["day"].to_numpy(dtype=np.float64),
            "session": scans["session"].astype("string").fillna("").to_numpy(),
        }
    )
    ordered = plain.sort_values(["who", "day", "session"], kind="stable")
    grouped = {str(who): part for who, part in ordered.groupby("who", sort=True)}
    table = participants.assign(participant_id=participants["participant_id"].astype(str))
    return _People(
        ids=tuple(grouped),
        rows=tuple(part.index.to_numpy(dtype=np.intp) for part in grouped.values()),
        days=tuple(part["day"].to_numpy(dtype=np.float64) for part in grouped.values()),
        table=table.set_index("participant_id", drop=False).loc[list(grouped)].reset_index(drop=True),
    )


def _absent(participants: pd.DataFrame, people: _People) -> list[str]:
    gone = [name for name in participants["participant_id"].astype(str) if name not in set(people.ids)]
    return [f"No scan of this map: {listed(gone, most=20)}."] if gone else []


def _cluster_scans(
    values: NDArray[np.floating],
    scans: pd.DataFrame,
    people: _People,
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
