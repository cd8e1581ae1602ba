"""The study's page: who was studied, what was found, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from plastimap.report.charts import OUTCOME_LABELS, learning_figure, quality_figure, trajectory_figure
from plastimap.report.cohort import cohort_tables, quality_columns
from plastimap.report.inputs import STAGE_NAMES, StudyInputs, StudyPage
from plastimap.report.matrices import availability_figure, design_figure
from plastimap.report.methods import Methods, methods_text
from plastimap.report.pages import Picture, file_name, render
from plastimap.report.pictures import clusters_figure
from plastimap.report.results import (
    Verdict,
    cluster_table,
    cluster_voxels,
    judge,
    peaks_array,
    safeguards,
    trajectory_panels,
)
from plastimap.report.style import to_png, to_svg, within_budget
from plastimap.report.tables import Table, make_table

if TYPE_CHECKING:
    import pandas as pd

FIGURE_BUDGET = 13_500_000
"""Bytes for the study's pictures; with the page itself that stays below 15 MB."""

OVERLAYS_SHOWN = 16
"""Result pictures on the page; further results are in the table."""

TRAJECTORIES_SHOWN = 12
"""Clusters whose trajectories are drawn."""

Pictures = list[Picture]
Figures = dict[str, bytes]


def build_study(study: StudyInputs) -> StudyPage:
    """Build the study's page.

    Parameters
    ----------
    study : StudyInputs

    Returns
    -------
    StudyPage
        Figures belong in ``figures/study/`` beside the page.
    """
    figures: Figures = {}
    verdict = _verdict(study)
    shown = None if verdict is None else verdict.survived if len(verdict.survived) else verdict.own_only
    html = render(
        "study.html.j2",
        folder="study",
        study=study,
        stage_names=STAGE_NAMES,
        tiles=_tiles(study, verdict),
        headline=_headline(study, verdict),
        cohort=cohort_tables(study),
        availability=_availability(study, figures),
        behaviour=_behaviour(study, figures),
        behaviour_tables=_behaviour_tables(study),
        design=_design(study, figures),
        models=_models(study),
        verdict=verdict,
        cluster_tables=_cluster_tables(verdict),
        overlays=_overlays(study, figures),
        overlays_left=max(0, len(study.results) - OVERLAYS_SHOWN),
        trajectories=_trajectories(study, shown, figures),
        families=_families(study),
        planted=_planted(study),
        safeguards=safeguards(study, verdict),
        quality=_quality(study, figures),
        methods=_methods(study),
        versions=_versions(study),
        timing=_timing(study),
    )
    return StudyPage(html, within_budget(figures, FIGURE_BUDGET))


def _verdict(study: StudyInputs) -> Verdict | None:
    if study.clusters is None or "cluster_p_fwe" not in study.clusters:
        return None
    limit = float(study.config.get("inference", {}).get("cluster_p", 0.05))
    return judge(study.clusters, study.families, limit=limit)


def _tiles(study: StudyInputs, verdict: Verdict | None) -> list[tuple[str, str]]:
    """Choose the numbers at the top: (value, what)."""
    tiles: list[tuple[str, str]] = []
    if study.participants is not None:
        tiles.append((str(len(study.participants)), "people"))
        if "group" in study.participants:
            tiles.append((str(study.participants["group"].nunique()), "groups"))
    if study.scans is not None:
        tiles.append((str(len(study.scans)), "scans"))
    if study.models:
        tiles.append((str(len({model.map for model in study.models})), "maps analysed"))
    if verdict is not None:
        tiles.append((str(verdict.families), "families tested"))
        tiles.append((str(len(verdict.survived)), "significant clusters"))
    return tiles


def _headline(study: StudyInputs, verdict: Verdict | None) -> str:
    """One sentence that says what came out."""
    if verdict is None:
        reason = next((stage.why for stage in study.stages if stage.name == "glm" and not stage.done), "")
        return "No group statistics were made" + (f": {reason}." if reason else ".")
    if len(verdict.survived):
        maps = ", ".join(dict.fromkeys(str(name) for name in verdict.survived["map"]))
        count = len(verdict.survived)
        return f"{count} cluster{'s' if count > 1 else ''} survived correction across all families, in {maps}."
    if len(verdict.own_only):
        return (
            f"No cluster survived correction across all families; {len(verdict.own_only)} would be significant "
            "in their own "
            "search volume alone."
        )
    return "No cluster reached significance."


def _availability(study: StudyInputs, figures: Figures) -> Picture | None:
    table = study.availability
    if table is None or table.empty:
        return None
    missing = int((~table["present"].astype(bool)).sum())
    figures["availability.svg"] = to_svg(availability_figure(table))
    return Picture(
        "availability.svg",
        f"Matrix of data by person and session; {missing} of {len(table)} cells are missing",
        f"Blue: there; cross: missing ({missing} of {len(table)}). One row per person, sessions inside each "
        "kind of data.",
    )


def _behaviour(study: StudyInputs, figures: Figures) -> Pictures:
    table = study.behaviour
    if table is None or table.empty:
        return []
    pictures: Pictures = []
    for outcome in dict.fromkeys(str(name) for name in table["outcome"]):
        file = file_name("learning", outcome, ending="svg")
        figures[file] = to_svg(learning_figure(table, _groups(study.participants), outcome, fits=study.behaviour_fits))
        label = OUTCOME_LABELS.get(outcome, outcome)
        caption = "Points: assessments; thin lines: fitted curve of each person; black: median of the group."
        pictures.append(Picture(file, f"Learning curves of {label}, one panel per group", f"{label}. {caption}"))
    return pictures


def _groups(participants: pd.DataFrame | None) -> dict[str, str]:
    if participants is None or "group" not in participants:
        return {}
    known = participants.dropna(subset=["group"])
    return {str(person): str(group) for person, group in zip(known["participant_id"], known["group"], strict=True)}


def _behaviour_tables(study: StudyInputs) -> list[Table]:
    tables: list[Table] = []
    if study.behaviour_tests is not None and len(study.behaviour_tests):
        p_columns = [name for name in study.behaviour_tests.columns if str(name) == "p" or str(name).startswith("p_")]
        tables.append(make_table(study.behaviour_tests, caption="Tests of behaviour", p_columns=p_columns))
    if study.behaviour_fits is not None and len(study.behaviour_fits):
        columns = {"participant_id": "person", "outcome": "outcome", "alpha": "α (plateau)", "delta": "δ",
                   "gamma": "γ (1/day)", "improvement": "improvement", "days_to_95": "days to 95 %",
                   "flag": "flag"}  # fmt: skip
        tables.append(make_table(study.behaviour_fits, columns, caption="Fitted learning curves"))
    return tables


def _design(study: StudyInputs, figures: Figures) -> Picture | None:
    for model in study.models:
        names, matrix = _names_and_matrix(model.info)
        if matrix is not None:
            figures["design.svg"] = to_svg(design_figure(matrix, names))
            return Picture(
                "design.svg",
                f"Design matrix with {matrix.shape[0]} people and the columns {', '.join(names)}",
                f"Design of {model.map} in {model.tissue}: one row per person, one column per regressor; each "
                "column is scaled "
                "to its own largest value.",
            )
    return None


def _names_and_matrix(info: Mapping[str, Any]) -> tuple[list[str], np.ndarray[Any, Any] | None]:
    """Columns and matrix of a ``model.json``, at its top or in the first entry of its ``tests`` or ``designs``."""
    inner = [
        entry for key in ("tests", "designs", "models") for entry in info.get(key, []) if isinstance(entry, Mapping)
    ]
    for place in (info, *inner):
        names = place.get("names") or place.get("columns")
        if names and place.get("matrix"):
            matrix = np.array(place["matrix"], dtype=np.float64)
            if matrix.ndim == 2 and matrix.shape[1] == len(names):
                return [str(name) for name in names], matrix
    return [], None


def _models(study: StudyInputs) -> list[tuple[str, list[str]]]:
    """Gather notes of the models, the same note once with all the models it is true of."""
    places: dict[str, list[str]] = {}
    for model in study.models:
        for note in model.info.get("notes", []):
            places.setdefault(str(note), []).append(f"{model.map} {model.tissue}")
    return list(places.items())


def _cluster_tables(verdict: Verdict | None) -> list[Table]:
    if verdict is None:
        return []
    tables: list[Table] = []
    if len(verdict.survived):
        tables.append(cluster_table(verdict.survived, f"Clusters with p < {verdict.limit:g} across all families"))
    if len(verdict.own_only):
        caption = (
            f"Clusters with p < {verdict.limit:g} in their own search volume only (not corrected for the number of "
            "families)"
        )
        tables.append(cluster_table(verdict.own_only, caption))
    return tables


def _overlays(study: StudyInputs, figures: Figures) -> Pictures:
    if study.background is None:
        return []
    pictures: Pictures = []
    for result in study.results[:OVERLAYS_SHOWN]:
        shown = cluster_voxels(result)
        if not shown.any():
            continue
        title = f"{result.map} in {result.tissue}, {result.term}: {result.contrast}"
        file = file_name("clusters", result.map, result.tissue, result.contrast, result.term, ending="png")
        figure = clusters_figure(
            result.t_map, shown, study.background, title=title, threshold=result.threshold, peaks=peaks_array(result)
        )
        figures[file] = to_png(figure)
        places = "; ".join(f"{x:.0f} {y:.0f} {z:.0f}" for x, y, z in result.peaks)
        caption = (
            f"{title}. Peaks at {places} mm. Above: seen through the brain; below: axial cuts over the mean image."
        )
        pictures.append(Picture(file, f"t map of {title}, peaks at {places} mm", caption))
    return pictures


def _trajectories(study: StudyInputs, clusters: pd.DataFrame | None, figures: Figures) -> Picture | None:
    if clusters is None or clusters.empty or study.trajectories is None:
        return None
    panels = trajectory_panels(clusters, study.trajectories, limit=TRAJECTORIES_SHOWN)
    if not panels:
        return None
    figures["trajectories.svg"] = to_svg(trajectory_figure(panels))
    left = max(0, len(clusters) - len(panels))
    more = f" {left} further clusters are in the table." if left else ""
    return Picture(
        "trajectories.svg",
        f"Group means over days in {len(panels)} clusters",
        "Mean of each group with its 95 % confidence band; thin lines are single people. The clusters were "
        "selected by these "
        "data: look, do not test." + more,
    )


def _families(study: StudyInputs) -> Table | None:
    if study.families is None or study.families.empty:
        return None
    columns = {"contrast": "contrast", "map": "map", "tissue": "tissue", "hemisphere": "side", "term": "term",
               "direction": "direction", "n_clusters": "clusters", "min_p": "least p", "min_p_corrected": "corrected",
               "n": "people", "dof": "d.o.f.", "n_voxels": "voxels", "resels": "resels",
               "fwhm_mm": "FWHM (mm)"}  # fmt: skip
    ordered = study.families.sort_values("min_p", kind="stable") if "min_p" in study.families else study.families
    return make_table(
        ordered, columns, caption="All families, smallest p first", p_columns=("min_p", "min_p_corrected"), limit=400
    )


def _planted(study: StudyInputs) -> list[Table]:
    tables: list[Table] = []
    for frame, caption in (
        (study.found, "Planted against found"),
        (study.control, "Control contrast: nothing was planted"),
    ):
        if frame is not None:
            p_columns = [
                name for name in frame.columns if str(name) == "p" or "_p" in str(name) or str(name).startswith("p_")
            ]
            tables.append(make_table(frame, caption=caption, p_columns=p_columns))
    return tables


def _quality(study: StudyInputs, figures: Figures) -> Picture | None:
    if study.scans is None or len(study.scans) < 2:
        return None
    columns = quality_columns(study.scans)
    if not columns:
        return None
    figures["quality.svg"] = to_svg(quality_figure(study.scans, columns))
    return Picture(
        "quality.svg",
        f"Quality numbers of all scans: {', '.join(columns)}",
        "One point per scan; the line is the median. Orange points with a name lie more than five robust "
        "standard deviations "
        "from it: look at that person's page.",
    )


def _methods(study: StudyInputs) -> Methods | None:
    if not study.config:
        return None
    done = [stage.name for stage in study.stages if stage.done]
    contrast = str(study.provenance.get("structural contrast", ""))
    return methods_text(study.config, done, contrast=contrast, version=study.version)


def _versions(study: StudyInputs) -> Table | None:
    if not study.versions:
        return None
    rows = tuple((name, version) for name, version in study.versions.items())
    return Table("Software", ("package", "version"), rows, (False, False))


def _timing(study: StudyInputs) -> Table | None:
    if study.timing is None or study.timing.empty:
        return None
    columns = {
        "step": "step",
        "jobs": "jobs",
        "minutes": "minutes in all",
        "median_s": "seconds per job",
        "peak_mb": "most memory (MB)",
    }
    return make_table(study.timing, columns, caption="Time and memory of the heavy steps")
