"""The study's pages: who was studied, what was found, how far to trust it, and which scans to leave out."""

from __future__ import annotations

from dataclasses import dataclass

from plastimap.report import study_figures as draw
from plastimap.report.brainage import build_brainage
from plastimap.report.cohort import cohort_tables
from plastimap.report.inputs import STAGE_NAMES, Page, StudyInputs
from plastimap.report.methods import Methods, methods_text
from plastimap.report.pages import file_name, render
from plastimap.report.paper_files import Paper, build_paper
from plastimap.report.rating import build_rating
from plastimap.report.regions import regions_picture, regions_table
from plastimap.report.results import Verdict, cluster_table, judge, preservation_table, safeguards, shape_table
from plastimap.report.style import within_budget
from plastimap.report.tables import Table, make_table
from plastimap.report.viewer import Viewer, viewer_page

FIGURE_BUDGET = 9_500_000
"""Bytes for the study's pictures; with the page itself and its viewers that stays below 15 MB."""

VIEWERS_SHOWN = 8
"""Result maps with an interactive viewer, half a megabyte each."""


@dataclass(frozen=True)
class StudyReport:
    """Everything that is written for the study.

    Attributes
    ----------
    page : Page
        ``index.html`` with its pictures.
    rating : str
        ``rating.html``.
    viewers : dict
        File name in ``viewer/`` → HTML.
    paper : Paper
        The folder ``paper/``.
    """

    page: Page
    rating: str
    viewers: dict[str, str]
    paper: Paper


def build_study(study: StudyInputs) -> StudyReport:
    """Build the study's pages and the files for a paper.

    Parameters
    ----------
    study : StudyInputs

    Returns
    -------
    StudyReport
    """
    verdict = _verdict(study)
    shown = None if verdict is None else verdict.survived if len(verdict.survived) else verdict.own_only
    single = {"timeline": draw.timeline(study), "availability": draw.availability(study),
              "design": draw.design(study), "trajectories": draw.trajectories(study, shown),
              "quality": draw.quality(study), "regions": regions_picture(study)}  # fmt: skip
    several = {"behaviour": draw.learning(study), "overlays": draw.overlays(study)}
    ages = build_brainage(study.brainage) if study.brainage else None
    drawn = [*(one for one in single.values() if one), *(one for group in several.values() for one in group)]
    drawn += ages.drawn if ages else ()
    methods = _methods(study)
    paper = build_paper(study, drawn, methods)
    viewers = _viewers(study)
    html = render(
        "study.html.j2",
        folder="study",
        study=study,
        stage_names=STAGE_NAMES,
        tiles=_tiles(study, verdict),
        headline=_headline(study, verdict),
        result=_result(study, verdict),
        cohort=cohort_tables(study),
        behaviour_tables=_behaviour_tables(study),
        models=_models(study),
        region_sizes=regions_table(study),
        verdict=verdict,
        cluster_tables=_cluster_tables(verdict),
        shape=None if shown is None else shape_table(shown, study.courses),
        preservation=preservation_table(study),
        overlays_left=max(0, len(study.results) - draw.OVERLAYS_SHOWN),
        families=_families(study),
        planted=_planted(study),
        safeguards=safeguards(study, verdict),
        ages=ages,
        methods=methods,
        versions=_versions(study),
        timing=_timing(study),
        paper=paper,
        viewers=[viewer for viewer, _ in viewers],
        **{name: one.picture if one else None for name, one in single.items()},
        **{name: [one.picture for one in group] for name, group in several.items()},
    )
    figures = {one.picture.file: one.on_page for one in drawn}
    return StudyReport(
        page=Page(html, within_budget(figures, FIGURE_BUDGET)),
        rating=build_rating(study),
        viewers={viewer.file: content for viewer, content in viewers},
        paper=paper,
    )


def _viewers(study: StudyInputs) -> list[tuple[Viewer, str]]:
    if study.background is None:
        return []
    made: list[tuple[Viewer, str]] = []
    for result in study.results[:VIEWERS_SHOWN]:
        title = f"{result.map} in {result.tissue}, {result.term}: {result.contrast}"
        file = file_name("view", result.map, result.tissue, result.contrast, result.term, ending="html")
        viewer = Viewer(file, title, result.peaks)
        made.append((viewer, viewer_page(result, study.background, title=title)))
    return made


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
    """One sentence at the top; where ages alone were asked for, it is about them."""
    if verdict is None and study.brainage is not None:
        people = study.brainage.ages["participant_id"].nunique()
        return f"Regional brain age of {people} {'person' if people == 1 else 'people'}."
    return _result(study, verdict)


def _result(study: StudyInputs, verdict: Verdict | None) -> str:
    """One sentence that says what came out of the group's maps."""
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
            "in their own search volume alone."
        )
    return "No cluster reached significance."


def _behaviour_tables(study: StudyInputs) -> list[Table]:
    tables: list[Table] = []
    for frame, caption in ((study.behaviour_tests, "Tests of behaviour"), (study.behaviour_sides, "Left against right"),
                           (study.training, "Training, and levels that broke the game's rule")):  # fmt: skip
        if frame is not None and len(frame):
            p_columns = [name for name in frame.columns if str(name).startswith("p_") or str(name).endswith("_p")]
            tables.append(make_table(frame, caption=caption, p_columns=p_columns))
    if study.behaviour_fits is not None and len(study.behaviour_fits):
        columns = {"participant_id": "person", "outcome": "outcome", "alpha": "α (plateau)", "delta": "δ",
                   "gamma": "γ (1/day)", "alpha_pooled": "α pooled", "delta_pooled": "δ pooled",
                   "gamma_pooled": "γ pooled", "improvement": "improvement", "days_to_95": "days to 95 %",
                   "flag": "flag"}  # fmt: skip
        tables.append(make_table(study.behaviour_fits, columns, caption="Fitted learning curves"))
    return tables


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


def _methods(study: StudyInputs) -> Methods | None:
    if not study.config:
        return None
    done = [stage.name for stage in study.stages if stage.done]
    contrast = str(study.provenance.get("structural contrast", ""))
    return methods_text(study.config, done, contrast=contrast, version=study.version, anatomy=study.anatomy)


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
