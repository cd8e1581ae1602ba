"""Figures of the study: each with the numbers behind it, for the page and for a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from plastimap.report.charts import OUTCOME_LABELS, learning_figure, quality_figure
from plastimap.report.cohort import quality_columns
from plastimap.report.inputs import StudyInputs
from plastimap.report.layout import tsv
from plastimap.report.matrices import availability_figure, design_figure
from plastimap.report.pages import Picture, file_name
from plastimap.report.pictures import clusters_figure
from plastimap.report.results import cluster_voxels, peaks_array, trajectory_panels
from plastimap.report.style import to_png, to_print_png, to_svg
from plastimap.report.timeline import timeline_figure, timeline_table
from plastimap.report.trajectories import numbers_of, trajectory_figure

if TYPE_CHECKING:
    import pandas as pd

OVERLAYS_SHOWN = 16
"""Result pictures on the page; further results are in the table."""

TRAJECTORIES_SHOWN = 12
"""Clusters whose trajectories are drawn."""

PRINT_DPI = 200
"""Of the PNG files for a paper."""


@dataclass(frozen=True)
class Drawn:
    """A figure, its numbers, and what the page says of it.

    Attributes
    ----------
    name : str
        File name without ending.
    figure : Figure
    numbers : DataFrame
        What the figure shows, for the TSV beside it.
    alt, caption : str
    raster : bool
        True = shown as PNG on the page: images of brains.
    """

    name: str
    figure: Figure
    numbers: pd.DataFrame
    alt: str
    caption: str
    raster: bool = False

    @property
    def picture(self) -> Picture:
        """What the page shows."""
        return Picture(f"{self.name}.{'png' if self.raster else 'svg'}", self.alt, self.caption)

    @property
    def on_page(self) -> bytes:
        """Content of the file that the page shows."""
        return to_png(self.figure) if self.raster else to_svg(self.figure)

    def for_paper(self) -> dict[str, bytes]:
        """The figure as SVG and PNG, and its numbers as TSV."""
        drawn = {"svg": to_svg(self.figure), "png": to_print_png(self.figure, dpi=PRINT_DPI)}
        return {f"figure_{self.name}.{ending}": content for ending, content in drawn.items()} | {
            f"figure_{self.name}.tsv": tsv(self.numbers).encode()
        }


def timeline(study: StudyInputs) -> Drawn | None:
    """Design over days (the published Fig. 1A)."""
    if study.scans is None or "day" not in study.scans or study.scans["day"].dropna().empty:
        return None
    end = study.days[0] if study.behaviour is not None and len(study.behaviour) else None
    table = timeline_table(study.scans, study.behaviour, end)
    caption = "Median days of the MRI visits, days of the assessments, and the time of training; n people."
    return Drawn("timeline", timeline_figure(table), table, "Timeline of visits, assessments and training", caption)


def availability(study: StudyInputs) -> Drawn | None:
    """Which data there are."""
    table = study.availability
    if table is None or table.empty:
        return None
    missing = int((~table["present"].astype(bool)).sum())
    return Drawn(
        "availability",
        availability_figure(table),
        table,
        f"Matrix of data by person and session; {missing} of {len(table)} cells are missing",
        f"Blue: there; cross: missing ({missing} of {len(table)}). One row per person, sessions inside each kind of "
        "data.",
    )


def learning(study: StudyInputs) -> list[Drawn]:
    """Learning curves, a figure per outcome (the published Fig. 1E and F)."""
    table = study.behaviour
    if table is None or table.empty:
        return []
    drawn: list[Drawn] = []
    groups = groups_of(study.participants)
    for outcome in dict.fromkeys(str(name) for name in table["outcome"]):
        figure = learning_figure(table, groups, outcome, fits=study.behaviour_fits)
        mine = table[table["outcome"] == outcome]
        numbers = mine.assign(group=[groups.get(str(person), "everybody") for person in mine["participant_id"]])
        label = OUTCOME_LABELS.get(outcome, outcome)
        caption = f"{label}. Points: assessments; thin lines: fitted curve of each person; black: median of the group."
        alt = f"Learning curves of {label}, one panel per group"
        drawn.append(Drawn(file_name("learning", outcome, ending="")[:-1], figure, numbers, alt, caption))
    return drawn


def groups_of(participants: pd.DataFrame | None) -> dict[str, str]:
    """Group of every participant who has one."""
    if participants is None or "group" not in participants:
        return {}
    known = participants.dropna(subset=["group"])
    return {str(person): str(group) for person, group in zip(known["participant_id"], known["group"], strict=True)}


def design(study: StudyInputs) -> Drawn | None:
    """Design matrix of the first model that has one."""
    import pandas as pd

    for model in study.models:
        names, matrix = _names_and_matrix(model.info)
        if matrix is None:
            continue
        numbers = pd.DataFrame(matrix, columns=names)
        people = model.info.get("people") or []
        if len(people) == len(numbers):
            numbers.insert(0, "participant_id", people)
        return Drawn(
            "design",
            design_figure(matrix, names),
            numbers,
            f"Design matrix with {matrix.shape[0]} people and the columns {', '.join(names)}",
            f"Design of {model.map} in {model.tissue}: one row per person, one column per regressor; each column is "
            "scaled to its own largest value.",
        )
    return None


def _names_and_matrix(info: Mapping[str, Any]) -> tuple[list[str], np.ndarray[Any, Any] | None]:
    names = info.get("columns")
    if not names or not info.get("matrix"):
        return [], None
    matrix = np.array(info["matrix"], dtype=np.float64)
    fits = matrix.ndim == 2 and matrix.shape[1] == len(names)
    return ([str(name) for name in names], matrix) if fits else ([], None)


def overlays(study: StudyInputs) -> list[Drawn]:
    """Significant clusters over the mean image (the published Figs 3 and 4)."""
    import pandas as pd

    if study.background is None:
        return []
    drawn: list[Drawn] = []
    for result in study.results[:OVERLAYS_SHOWN]:
        shown = cluster_voxels(result)
        if not shown.any():
            continue
        title = f"{result.map} in {result.tissue}, {result.term}: {result.contrast}"
        figure = clusters_figure(
            result.t_map, shown, study.background, title=title, threshold=result.threshold, peaks=peaks_array(result)
        )
        places = "; ".join(f"{x:.0f} {y:.0f} {z:.0f}" for x, y, z in result.peaks)
        table = study.clusters
        keys = {"map": result.map, "tissue": result.tissue, "contrast": result.contrast, "term": result.term}
        for key, value in keys.items():
            table = None if table is None else table[table[key].astype(str) == value]
        drawn.append(
            Drawn(
                file_name("clusters", result.map, result.tissue, result.contrast, result.term, ending="")[:-1],
                figure,
                pd.DataFrame([keys]) if table is None else table,
                f"t map of {title}, peaks at {places} mm",
                f"{title}. Peaks at {places} mm. Orange: larger, purple: smaller. Above: seen through the brain; "
                "below: axial cuts over the mean image.",
                raster=True,
            )
        )
    return drawn


def trajectories(study: StudyInputs, clusters: pd.DataFrame | None) -> Drawn | None:
    """Change over days inside clusters (the published Fig. 2)."""
    if clusters is None or clusters.empty or study.trajectories is None:
        return None
    panels = trajectory_panels(clusters, study.trajectories, limit=TRAJECTORIES_SHOWN)
    if not panels:
        return None
    rest = study.days[0]
    dashed = f" Dashed from day {rest:g}, when nobody trains any more."
    left = max(0, len(clusters) - len(panels))
    more = f" {left} further clusters are in the table." if left else ""
    return Drawn(
        "trajectories",
        trajectory_figure(panels, rest_from=rest),
        numbers_of(panels),
        f"Change of group means over days in {len(panels)} clusters",
        "Mean change of each group since its first visit, with its 95 % confidence band; black: the difference between "
        f"the groups that the contrast compares.{dashed} The clusters were selected by these data: look, do not test."
        + more,
    )


def quality(study: StudyInputs) -> Drawn | None:
    """Quality numbers of all scans."""
    if study.scans is None or len(study.scans) < 2:
        return None
    columns: Sequence[str] = quality_columns(study.scans)
    if not columns:
        return None
    return Drawn(
        "quality",
        quality_figure(study.scans, columns),
        study.scans[["scan", *columns]],
        f"Quality numbers of all scans: {', '.join(columns)}",
        "One point per scan; the line is the median. Orange points with a name lie more than five robust standard "
        "deviations from it: look at that person's page.",
    )
