"""Change over time inside significant clusters: groups with confidence bands, and the difference between them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plastimap.report.style import INK, RULE, SOFT, axes_grid, group_colours, new_figure, style_of

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

DIFFERENCE = "difference of the groups compared"
"""Name of the black lines, whichever groups a panel compares."""


@dataclass(frozen=True)
class Panel:
    """One cluster.

    Attributes
    ----------
    title : str
    map : str
    table : DataFrame
        participant_id, group, session, day, value.
    left, right : tuple of str
        Groups whose difference is drawn; an empty `right` draws none.
    """

    title: str
    map: str
    table: pd.DataFrame
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()


@dataclass(frozen=True)
class Course:
    """Mean change of a set of people per visit.

    Attributes
    ----------
    days, mean, half : ndarray, shape (n_visits,)
        Mean day, mean change since the first visit, half width of its 95 % confidence interval (0 for one person).
    n : int
        People.
    """

    days: Array
    mean: Array
    half: Array
    n: int


def change_of(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``change``: each person's value less that of the study's first visit; people without it are left out."""
    visits = table.assign(visit=table["session"].astype("string").fillna("only"))
    first = visits.groupby("visit")["day"].median().idxmin()
    base = visits[visits["visit"] == first].set_index("participant_id")["value"]
    return visits.assign(change=visits["value"] - visits["participant_id"].map(base)).dropna(subset=["change"])


def course_of(changes: pd.DataFrame) -> Course:
    """Mean of ``change`` per visit, with its 95 % confidence interval (t on n − 1 degrees of freedom)."""
    from scipy.stats import t

    visits = changes.groupby("visit")
    days = visits["day"].mean().to_numpy(dtype=float)
    count = visits["change"].count().to_numpy(dtype=float)
    spread = np.nan_to_num(visits["change"].std(ddof=1).to_numpy(dtype=float))
    half = np.where(count > 1, t.ppf(0.975, np.maximum(count - 1, 1)) * spread / np.sqrt(count), 0.0)
    order = np.argsort(days)
    mean = visits["change"].mean().to_numpy(dtype=float)
    return Course(days[order], mean[order], half[order], int(changes["participant_id"].nunique()))


def courses_of(panel: Panel) -> dict[str, Course]:
    """Course of each group of a panel, and of ``left − right`` as their difference at the visits that both have."""
    changes = change_of(panel.table)
    found = {str(name): course_of(part) for name, part in changes.groupby("group", sort=True)}
    sides = [changes[changes["group"].isin(side)] for side in (panel.left, panel.right)]
    if any(side.empty for side in sides):
        return found
    left, right = (side.groupby("visit")[["day", "change"]].mean() for side in sides)
    both = left.index.intersection(right.index)
    days = ((left["day"] + right["day"]) / 2).loc[both].to_numpy(dtype=float)
    gap = (left["change"] - right["change"]).loc[both].to_numpy(dtype=float)
    order = np.argsort(days)
    count = sum(side["participant_id"].nunique() for side in sides)
    name = f"{' + '.join(panel.left)} − {' + '.join(panel.right)}"
    return found | {name: Course(days[order], gap[order], np.zeros(both.size), count)}


def numbers_of(panels: Sequence[Panel]) -> pd.DataFrame:
    """The numbers behind the figure: one row per cluster, line and visit."""
    import pandas as pd

    rows = [
        {"panel": number, "title": panel.title.replace("\n", " · "), "map": panel.map, "line": name, "n": course.n,
         "day": day, "change": mean, "ci95_low": mean - half, "ci95_high": mean + half}
        for number, panel in enumerate(panels, start=1)
        for name, course in courses_of(panel).items()
        for day, mean, half in zip(course.days, course.mean, course.half, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def trajectory_figure(panels: Sequence[Panel], *, rest_from: float | None) -> Figure:
    """Mean change of each group over days with 95 % confidence bands; black: the difference between groups.

    Parameters
    ----------
    panels : sequence of Panel
    rest_from : float or None
        Day from which nobody trains any more: lines are dashed from there.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(3.3 * columns, 2.7 * rows + 0.5)
    every = [axes for row in axes_grid(figure, rows, columns) for axes in row]
    colours = group_colours(sorted({str(group) for panel in panels for group in panel.table["group"].unique()}))
    for axes, panel in zip(every, panels, strict=False):
        _draw(axes, courses_of(panel), colours, rest_from)
        axes.set_title(_wrapped(panel.title), fontsize=8)
        axes.set_ylabel(f"change in {style_of(panel.map).label}", fontsize=8)
        axes.set_xlabel("days since baseline", fontsize=8)
    for axes in every[len(panels) :]:
        axes.set_visible(False)
    known = {label: handle for axes in every[: len(panels)] for handle, label in zip(*axes.get_legend_handles_labels(),
                                                                                  strict=True)}  # fmt: skip
    figure.legend(list(known.values()), list(known), loc="outside upper left", ncols=min(len(known), 4), frameon=False)
    return figure


def _wrapped(title: str) -> str:
    # About as many letters as a panel is wide.
    return "\n".join(part for line in title.split("\n") for part in textwrap.wrap(line, 46))


def _draw(axes: Axes, courses: Mapping[str, Course], colours: Mapping[str, str], rest_from: float | None) -> None:
    axes.axhline(0, color=SOFT, linewidth=0.8)
    for name, course in courses.items():
        own = name in colours
        colour, width = (colours[name], 1.8) if own else (INK, 2.2)
        if own:
            axes.fill_between(course.days, course.mean - course.half, course.mean + course.half, color=colour,
                              alpha=0.16, linewidth=0)  # fmt: skip
        rest = course.days >= (np.inf if rest_from is None else rest_from - 0.5)
        # The visit at the end of training belongs to both parts, so that the line does not break.
        training = ~rest | (np.cumsum(rest) == 1)
        axes.plot(course.days[training], course.mean[training], "o-", color=colour, linewidth=width, markersize=3.5,
                  label=name if own else DIFFERENCE)  # fmt: skip
        axes.plot(course.days[rest], course.mean[rest], "o--", color=colour, linewidth=width, markersize=3.5)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.margins(x=0.04)
