"""Regional brain age in the study's page: how old each network looks, what goes with it, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.modelled import groups_of
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.surface import SIDES, region_vertices
from plastimap.brainage.tables import read_text_table
from plastimap.paths import Paths
from plastimap.report.brainage_surfaces import surface_means
from plastimap.report.study_figures import Drawn
from plastimap.report.style import OKABE_ITO, axes_grid, new_figure
from plastimap.report.tables import Table, make_table
from plastimap.writing import PathLike, read_json

if TYPE_CHECKING:
    import pandas as pd

Region = tuple[str, str]

PLACES = ("ipsilesional", "contralesional", "L", "R", "B")
WHOLE = "whole brain"

TABLES = {
    "cohort": ("What goes with the gap (mixed models; corrected for age)", ("p", "q")),
    "classifiers": ("Classifiers of a bad motor outcome, people not seen in any session (exploratory)", ()),
    "importance": ("Features that classifiers used most (exploratory)", ()),
    "mediation": ("Lesion → gap → motor score (exploratory: no proof of cause)", ()),
    "change": ("Change of the gap since each person's first session (other terms are added to the first)", ("p", "q")),
    "noise_floor": ("What two scans of people without change differ by", ()),
}
"""Table → caption and columns of p values."""

DAYS_TOLD = ((1, 10, 100, 1000, 10000), (1, 3, 10, 30, 100, 300, 1000, 3000, 10000),
             (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000))  # fmt: skip
"""Days that an axis may name, coarse to fine: the first kind of which three lie in its range is taken."""

HIDDEN = ("dof", "site_variance", "person_variance")
MISLEADING = ("r2_corrected",)
"""Errors on a card that are not shown: even of noise, ages that were corrected by the real age explain all of it."""

ROWS_SHOWN = 40


@dataclass(frozen=True)
class BrainageInputs:
    """What the section shows.

    Attributes
    ----------
    ages : DataFrame
        A row per person and region.
    tables : mapping of str to DataFrame
        Of the folder ``brainage/statistics``.
    card : mapping
        The model's.
    notes : tuple of str
    groups : mapping of str to str
        Participant → group, of those who have one.
    vertices : mapping of str to ndarray
        ``L``, ``R`` → number of the region of every vertex of fsaverage5, −1 = none; empty = no surfaces.
    regions : tuple of (network, hemisphere)
        What the numbers stand for.
    """

    ages: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    card: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    vertices: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True)
class BrainageSection:
    """The section's content.

    Attributes
    ----------
    paragraphs : tuple of str
    tables : tuple of Table
    drawn : tuple of Drawn
    """

    paragraphs: tuple[str, ...]
    tables: tuple[Table, ...]
    drawn: tuple[Drawn, ...]


def read_brainage(folder: PathLike, config: Mapping[str, Any]) -> BrainageInputs | None:
    """Read the section's inputs from an output folder; None where no ages were predicted.

    Parameters
    ----------
    folder : path-like
    config : mapping
        The configuration that was run.
    """
    import pandas as pd

    place, section = Path(folder), config.get("brainage", {})
    ages = place / Paths.brainage_ages
    if not ages.is_file():
        return None
    statistics = place / Paths.brainage_statistics
    tables = {file.stem: pd.read_csv(file, sep="\t", na_values=["n/a"]) for file in sorted(statistics.glob("*.tsv"))}
    notes = read_json(place / Paths.brainage_notes)["notes"]
    if (statistics / "notes.json").is_file():
        notes = [*notes, *read_json(statistics / "notes.json")["notes"]]
    model = section.get("model") or str(place / Paths.brainage_model)
    card = read_json(Path(model).with_suffix(".json"))
    regions: tuple[Region, ...] = tuple((network, side) for network, side in card["regions"])
    files = {
        side: str(section.get(f"surface_{word}")) for side, word in SIDES.items() if section.get(f"surface_{word}")
    }
    vertices = region_vertices(files, card["parcels"], regions) if len(files) == len(SIDES) else {}
    table = pd.read_csv(ages, sep="\t", na_values=["n/a"], dtype={"session": str, "side": str})
    groups, unclear = _groups(place / Paths.brainage_people)
    return BrainageInputs(table, tables, card, (*notes, *unclear), groups, vertices, regions)


def _groups(people: Path) -> tuple[dict[str, str], list[str]]:
    """Who is in which group; nobody, and a note, where that is not clear."""
    try:
        return (groups_of(read_text_table(people)) if people.is_file() else {}), []
    except BrainageProblem as problem:
        return {}, [f"No pictures of groups: {problem}."]


def build_brainage(inputs: BrainageInputs) -> BrainageSection:
    """Build the section.

    Parameters
    ----------
    inputs : BrainageInputs

    Returns
    -------
    BrainageSection
        ``drawn`` goes to the page's figures and to the files for a paper, like that of every other section.
    """
    drawn = [_gaps(inputs.tables["groups"]), _against_age(inputs.ages)]
    if "time" in inputs.tables:
        drawn.append(_curves(inputs.tables["time"]))
    drawn += surface_means(inputs.ages, inputs.groups, inputs.vertices, inputs.regions)
    tables = [make_table(inputs.tables["groups"], caption="Mean gap per network (years)")]
    for name, (caption, p_columns) in TABLES.items():
        if name in inputs.tables:
            shown = inputs.tables[name].drop(columns=list(HIDDEN), errors="ignore")
            tables.append(make_table(shown, caption=caption, p_columns=p_columns, limit=ROWS_SHOWN))
    return BrainageSection(tuple(_paragraphs(inputs)), (*tables, *_errors(inputs.card)), tuple(drawn))


def _paragraphs(inputs: BrainageInputs) -> list[str]:
    people = inputs.ages["participant_id"].nunique()
    trained = sum(inputs.card["people_per_site"].values())
    settings, (low, high) = inputs.card["settings"], inputs.card["age_range_years"]
    told = [
        f"Age was predicted for {people} people from the parcels of each network and hemisphere alone, by a model of "
        f"the kind {settings['method'].replace('_', ' ')} trained on {trained} people of {low:.0f} to {high:.0f} years "
        f"from {len(inputs.card['people_per_site'])} sites ({inputs.card['training_data']}).",
        "The gap is predicted minus real age; corrected, less what is expected of healthy people of that age. Models "
        "pull ages towards the mean, so a corrected gap is smaller than the change of the brain behind it.",
    ]
    if settings.get("whole_graph"):
        told.append("The network passed messages across regions: a lesion changes the age of healthy regions too.")
    return [*told, *inputs.notes]


def _errors(card: Mapping[str, Any]) -> list[Table]:
    """Errors of people and sites left out, from the model's card; corrected ones with a warning."""
    import pandas as pd

    rows = [
        {"left out": scheme, "people": setting, "of": place, **numbers}
        for scheme, settings in card.get("metrics", {}).items()
        if isinstance(settings, Mapping)
        for setting, places in settings.items()
        for place, numbers in places.items()
    ]
    if not rows:
        return []
    table = pd.DataFrame(rows).drop(columns=list(MISLEADING), errors="ignore")
    caption = "Errors of the model on people and sites left out (years)"
    if any(str(name).endswith("_corrected") for name in table):
        caption += ". Corrected ones use the real age, which is what was to be predicted: they are no accuracy"
    return [make_table(table, caption=caption)]


def _gaps(groups: pd.DataFrame) -> Drawn:
    """Mean gap of every network, a row each, a colour per side."""
    networks = [name for name in dict.fromkeys(groups["network"]) if name != WHOLE]
    figure = new_figure(6.5, 0.42 * len(networks) + 1.2)
    axes = axes_grid(figure, 1, 1)[0][0]
    places = [place for place in PLACES if place in set(groups["place"]) and place != "B"]
    for number, place in enumerate(places):
        part = groups[groups["place"] == place].set_index("network").reindex(networks)
        heights = np.arange(len(networks)) + 0.18 * (number - (len(places) - 1) / 2)
        axes.errorbar(part["pad_corrected"], heights, xerr=1.96 * part["error"], fmt="o", ms=4, color=OKABE_ITO[number],
                      label=place, lw=1.2)  # fmt: skip
    axes.axvline(0, color="0.6", lw=0.8)
    axes.set_yticks(range(len(networks)), networks)
    axes.set_ylim(len(networks) - 0.4, -0.6)
    axes.set_xlabel("corrected gap (years)")
    axes.legend(frameon=False, fontsize=8)
    caption = "Mean corrected gap with its 95 % interval; right of the line, networks look older than the people are."
    return Drawn("brainage_gaps", figure, groups, "Mean brain age gap of every network", caption)


def _against_age(ages: pd.DataFrame) -> Drawn:
    """Predicted against real age, and gaps against age before and after correction."""
    whole = ages[ages["network"] == WHOLE]
    shown = whole if len(whole) else ages
    figure = new_figure(9, 3)
    left, middle, right = axes_grid(figure, 1, 3)[0]
    error = np.stack([shown["predicted_age"] - shown["lower"], shown["upper"] - shown["predicted_age"]]).clip(0)
    left.errorbar(shown["age"], shown["predicted_age"], yerr=error, fmt="none", ecolor="0.85", lw=0.6)
    for axes, column in ((left, "predicted_age"), (middle, "pad"), (right, "pad_corrected")):
        axes.plot(shown["age"], shown[column], ".", ms=4, color=OKABE_ITO[0])
        axes.set_xlabel("age (years)")
    limits = [shown["age"].min(), shown["age"].max()]
    left.plot(limits, limits, color="0.4", lw=0.8)
    left.set_ylabel("predicted age (years)")
    gaps = shown[["pad", "pad_corrected"]].to_numpy(np.float64)
    reach = 1.05 * np.nanmax(np.abs(gaps), initial=1.0)
    for axes, label in ((middle, "gap (years)"), (right, "corrected gap (years)")):
        axes.axhline(0, color="0.4", lw=0.8)
        axes.set_ylim(-reach, reach)
        axes.set_ylabel(label)
    caption = (
        f"{'The whole brain' if len(whole) else 'All regions'}: predicted against real age with intervals, and the "
        "gap against age as it comes and corrected for the pull towards the mean."
    )
    columns = ["participant_id", "age", "predicted_age", "lower", "upper", "pad", "pad_corrected"]
    return Drawn("brainage_age", figure, shown[columns], "Predicted against real age", caption)


def _curves(time: pd.DataFrame) -> Drawn:
    """Gap over time since stroke, a panel per network."""
    networks = [name for name in dict.fromkeys(time["network"]) if name != WHOLE]
    columns = min(4, len(networks))
    rows = -(-len(networks) // columns)
    figure = new_figure(2.4 * columns, 2.1 * rows)
    panels = [axes for row in axes_grid(figure, rows, columns, sharex=True, sharey=True) for axes in row]
    first, last = time["days"].min(), time["days"].max()
    ticks = _days_told(first, last)
    for axes, network in zip(panels, networks, strict=False):
        for number, place in enumerate(PLACES[:2]):
            part = time[(time["network"] == network) & (time["side"] == place)]
            axes.plot(part["days"], part["pad"], color=OKABE_ITO[number], label=place, lw=1.2)
            axes.fill_between(part["days"], part["lower"], part["upper"], color=OKABE_ITO[number], alpha=0.15, lw=0)
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(day) for day in ticks])
        axes.minorticks_off()
        axes.set_xlim(first, last)
        axes.axhline(0, color="0.6", lw=0.6)
        axes.set_title(network, fontsize=8)
    for number, axes in enumerate(panels):
        axes.set_visible(number < len(networks))
        # Who has nobody below carries the days.
        axes.tick_params(labelbottom=number + columns >= len(networks))
    for axes in panels[::columns]:
        axes.set_ylabel("corrected gap (years)")
    panels[0].legend(frameon=False, fontsize=6)
    figure.supxlabel("days since stroke", fontsize=8)
    caption = "Corrected gap over time since stroke (natural spline, 95 % intervals point by point)."
    return Drawn("brainage_time", figure, time, "Brain age gap over time since stroke", caption)


def _days_told(first: float, last: float) -> list[int]:
    """Days that an axis from `first` to `last` names."""
    kinds = [[day for day in days if first <= day <= last] for days in DAYS_TOLD]
    return next((days for days in kinds if len(days) >= 3), kinds[-1])
