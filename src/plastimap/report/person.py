"""The page of one person: what every stage made of each session, to be judged by eye."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from plastimap.anat.tiv import tiv_jumps
from plastimap.images import Volume
from plastimap.report.charts import motion_figure
from plastimap.report.checks import (
    MOTION_LIMIT_MM,
    Check,
    checks_of,
    displacement_of,
    notes_of,
    parameters_of,
)
from plastimap.report.flicker import flicker_figure, views_of
from plastimap.report.inputs import STAGE_NAMES, PersonInputs, PersonPage, ScanInputs
from plastimap.report.pages import Picture, file_name, render
from plastimap.report.pictures import colour_figure, maps_figure, outlines_figure
from plastimap.report.style import to_png, to_svg, within_budget
from plastimap.report.tables import number
from plastimap.usual import MARGIN

FIGURE_BUDGET = 4_500_000
"""Bytes for a person's pictures; with the page itself that stays below 5 MB."""

MPM = ("R1", "R2s", "MTsat", "PD")
DWI = ("FA", "MD", "AD", "RD")


def build_person(person: PersonInputs) -> PersonPage:
    """Build the page of one person.

    Parameters
    ----------
    person : PersonInputs

    Returns
    -------
    PersonPage
        Figures belong in ``figures/<participant_id>/`` beside the page.
    """
    figures: dict[str, bytes] = {}
    sessions = [_session(scan, person, figures) for scan in person.scans]
    flickers = _flickers(person, figures)
    checks = {scan.session: checks_of(scan) for scan in person.scans}
    html = render(
        "person.html.j2",
        folder=person.participant_id,
        person=person,
        facts={key: number(value) for key, value in person.facts.items() if number(value) != "–"},
        sessions=sessions,
        flickers=flickers,
        expected=[row for row in _by_name(checks) if row[1]],
        others=_by_stage([row for row in _by_name(checks) if not row[1]]),
        margin=round(100 * MARGIN),
        flags=[(session, check) for session, found in checks.items() for check in found if check.flag],
        left_out=[(STAGE_NAMES.get(stage.name, stage.name), stage.why) for stage in person.stages if not stage.done],
    )
    return PersonPage(html, within_budget(figures, FIGURE_BUDGET))


def _by_name(checks: Mapping[str, list[Check]]) -> list[_Row]:
    """Rows of the quality table: name, expectation, one cell per session."""
    names = dict.fromkeys(check.name for found in checks.values() for check in found)
    rows: list[_Row] = []
    for name in names:
        cells = [next((check for check in found if check.name == name), None) for found in checks.values()]
        expected = next((cell.expected for cell in cells if cell is not None and cell.expected), "")
        rows.append((name, expected, cells))
    return rows


_Row = tuple[str, str, list[Check | None]]


def _by_stage(rows: list[_Row]) -> dict[str, list[_Row]]:
    """Rows by what stands before the colon of their names, which is the stage."""
    stages: dict[str, list[_Row]] = {}
    for name, expected, cells in rows:
        stage, _, rest = name.rpartition(": ")
        stages.setdefault(stage or "maps", []).append((rest, expected, cells))
    return stages


def _flickers(person: PersonInputs, figures: dict[str, bytes]) -> dict[str, tuple[Picture, Picture]]:
    """Session → pictures of the first session and of this one, before and after registration, to be alternated."""
    views = views_of([(scan.structural, scan.warped) for scan in person.scans])
    if views is None:
        return {}
    pairs: dict[str, tuple[Picture, Picture]] = {}
    first: Picture | None = None
    for scan in person.scans:
        if scan.structural is None or scan.warped is None:
            continue
        figure = flicker_figure(scan.structural, scan.warped, views, target=person.target_name)
        alt = f"{scan.structural_name} as scanned, and {scan.warped_name} in {person.target_name}, of {scan.label}"
        picture = Picture(file_name("flicker", scan.session, ending="png"), alt, "")
        figures[picture.file] = to_png(figure)
        first = first or picture
        if picture is not first:
            pairs[scan.session] = (first, picture)
    if not pairs and first is not None:
        del figures[first.file]
    return pairs


def _session(scan: ScanInputs, person: PersonInputs, figures: dict[str, bytes]) -> dict[str, object]:
    """Figures of one session (added to `figures`) and what the template says about it."""
    pictures: list[Picture] = []
    missing: list[str] = []
    steps = (_structural, _mpm_maps, _dwi_maps, _directions, _motion)
    for drawn in (*(draw(scan) for draw in steps), _warped(scan, person)):
        if isinstance(drawn, str):
            missing.append(drawn)
        elif drawn is not None:
            picture, content = drawn
            figures[picture.file] = content
            pictures.append(picture)
    return {
        "scan": scan,
        "day": number(scan.day),
        "pictures": pictures,
        "missing": missing,
        "notes": [*_jump(scan, person), *notes_of(scan)],
    }


def _jump(scan: ScanInputs, person: PersonInputs) -> list[str]:
    """Say where the intracranial volume of a session leaves that of the person's others."""
    volumes = {one.label: float(one.qa.get("anat", {}).get("tiv_ml", "nan")) for one in person.scans}
    return [sentence for label, sentence in tiv_jumps(volumes).items() if label == scan.label]


_Drawn = tuple[Picture, bytes] | str | None


def _structural(scan: ScanInputs) -> _Drawn:
    if scan.structural is None:
        return "No structural image was segmented in this session."
    mask = _inside(scan.outlines.get("brain"), scan.structural)
    title = f"{scan.structural_name}: brain mask and tissues"
    figure = outlines_figure(scan.structural, scan.outlines, mask=mask, title=title)
    picture = Picture(
        file_name("structural", scan.session, ending="png"),
        f"{scan.structural_name} of {scan.label} in axial, coronal and sagittal cuts with outlines of "
        f"{', '.join(scan.outlines) or 'nothing'}",
        "The yellow line should follow the edge of the brain, without skull or eyes and without cutting "
        "cortex; the orange "
        "line should follow the border between white and grey matter.",
    )
    return picture, to_png(figure)


def _mpm_maps(scan: ScanInputs) -> _Drawn:
    return _maps(scan, MPM, "mpm", "Multi-parameter maps", "No multi-parameter maps in this session.")


def _dwi_maps(scan: ScanInputs) -> _Drawn:
    return _maps(scan, DWI, "dwi", "Diffusion maps", "No diffusion maps in this session.")


def _maps(scan: ScanInputs, names: tuple[str, ...], kind: str, title: str, without: str) -> _Drawn:
    maps = {name: scan.maps[name] for name in names if name in scan.maps}
    if not maps:
        return without
    figure = maps_figure(maps, mask=scan.map_masks.get(kind), title=title)
    picture = Picture(
        file_name(kind, scan.session, ending="png"),
        f"{', '.join(maps)} of {scan.label}, one row each with a colour bar",
        "Coloured brackets beside the bars: where the median of grey matter (blue) and white matter (orange) "
        "usually lies "
        "at 3 T. Dark holes are voxels outside of the plausible range.",
    )
    return picture, to_png(figure)


def _directions(scan: ScanInputs) -> _Drawn:
    fa = scan.maps.get("FA")
    if scan.direction is None or fa is None or scan.direction.shape != fa.shape:
        return None
    picture = Picture(
        file_name("direction", scan.session, ending="png"),
        f"Main diffusion direction of {scan.label} in colour",
        "Red: left–right, green: front–back, blue: up–down. The corpus callosum should be red, the "
        "corticospinal tracts blue; "
        "anything else means flipped b-vectors.",
    )
    return picture, to_png(colour_figure(scan.direction, fa, title="Main diffusion direction"))


def _motion(scan: ScanInputs) -> _Drawn:
    moved = displacement_of(scan.qa.get("dwi", {}))
    if moved is None:
        return None
    worst = float(np.nanmax(moved))
    figure = motion_figure(moved, parameters=parameters_of(scan.qa["dwi"]), limit_mm=MOTION_LIMIT_MM)
    picture = Picture(
        file_name("motion", scan.session, ending="svg"),
        f"Motion of the diffusion volumes of {scan.label}: at most {worst:.2f} mm",
        f"Motion of each diffusion volume before correction; the dashed line marks {MOTION_LIMIT_MM:g} mm.",
    )
    return picture, to_svg(figure)


def _warped(scan: ScanInputs, person: PersonInputs) -> _Drawn:
    if scan.warped is None:
        return "This session was not brought to the target space."
    outlines = dict(person.target_outlines)
    figure = outlines_figure(
        scan.warped,
        outlines,
        mask=_inside(outlines.get("brain"), scan.warped),
        title=f"{scan.warped_name} in {person.target_name}",
    )
    picture = Picture(
        file_name("warped", scan.session, ending="png"),
        f"{scan.warped_name} of {scan.label} in {person.target_name} with outlines of the target's "
        f"{', '.join(outlines) or 'nothing'}",
        "Outlines are those of the target, the same in every session and person: ventricles, brain edge and "
        "white matter of "
        "the image should fit them.",
    )
    return picture, to_png(figure)


def _inside(outline: Volume | None, image: Volume) -> NDArray[np.bool_] | None:
    if outline is None or outline.shape != image.shape:
        return None
    return np.asarray(outline.data) > 0.5
