"""Everything for a paper in one folder: tables, figures with their numbers, the methods section."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plastimap.report.inputs import StudyInputs
from plastimap.report.layout import PaperTable
from plastimap.report.methods import Methods
from plastimap.report.paper import Results, cluster_tables
from plastimap.report.paper_people import behaviour_table, people_table
from plastimap.report.study_figures import Drawn


@dataclass(frozen=True)
class Paper:
    """The folder ``report/paper``.

    Attributes
    ----------
    files : dict
        File name → content.
    tables : tuple of (name, title)
        To be linked from the study's page.
    figures : tuple of (name, what)
        Names without ending.
    methods : bool
        Whether there is a methods section.
    """

    files: dict[str, bytes]
    tables: tuple[tuple[str, str], ...]
    figures: tuple[tuple[str, str], ...]
    methods: bool


def build_paper(study: StudyInputs, drawn: Iterable[Drawn], methods: Methods | None) -> Paper:
    """Make the files of a paper.

    Parameters
    ----------
    study : StudyInputs
    drawn : iterable of Drawn
        Figures of the study's page.
    methods : Methods or None
    """
    files: dict[str, bytes] = {}
    tables = paper_tables(study)
    figures = list(drawn)
    for table in tables:
        files |= table.files()
    for figure in figures:
        files |= figure.for_paper()
    if methods is not None:
        files |= methods.files()
    return Paper(
        files=files,
        tables=tuple((table.name, table.title) for table in tables),
        figures=tuple((f"figure_{figure.name}", figure.alt) for figure in figures),
        methods=methods is not None,
    )


def paper_tables(study: StudyInputs) -> list[PaperTable]:
    """Make the tables that the study has data for, in the order of their numbers."""
    tables: list[PaperTable] = []
    if study.participants is not None and len(study.participants):
        tables.append(people_table(study.participants))
    if study.clusters is not None and "cluster_p_fwe" in study.clusters:
        report = study.config.get("report") or {}
        results = Results(
            clusters=study.clusters,
            trajectories=study.trajectories,
            model=study.config.get("model") or {},
            posthoc=report.get("posthoc"),
            equivalence_sd=float(report.get("equivalence_sd", 0.5)),
            matched=report.get("matched") or (),
            days=study.days,
            limit=float(study.config.get("inference", {}).get("cluster_p", 0.05)),
        )
        tables += cluster_tables(results)
    if study.behaviour_tests is not None and len(study.behaviour_tests):
        tables.append(behaviour_table(study.behaviour_tests, study.behaviour_sides))
    return sorted(tables, key=lambda table: (table.name.startswith("table_S"), table.name))
