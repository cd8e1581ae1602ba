"""Line plots of the report: learning curves, motion, quality over scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from plastimap.report.style import OKABE_ITO, RULE, SOFT, axes_grid, group_colours, new_figure

if TYPE_CHECKING:
    import pandas as pd

OUTCOME_LABELS = {
    "csr_percent": "correct responses (%)",
    "rt_ms": "deviation from the cue (ms)",
    "points_percent": "points (%)",
}


def learning_figure(behaviour: pd.DataFrame, groups: Mapping[str, str], outcome: str, *,
                    fits: pd.DataFrame | None = None) -> Figure:  # fmt: skip
    """Learning curve of every person, with the median of each group.

    Parameters
    ----------
    behaviour : DataFrame
        participant_id, day, outcome, value; sides are averaged.
    groups : mapping
        participant_id → group; people without one share a panel called "everybody".
    outcome : str
        Which outcome to show.
    fits : DataFrame, optional
        participant_id, outcome, alpha, delta, gamma: fitted curves are drawn instead of straight lines.

    Returns
    -------
    Figure
        One panel per group, the same axes everywhere.
    """
    table = (
        behaviour[behaviour["outcome"] == outcome].groupby(["participant_id", "day"], as_index=False)["value"].mean()
    )
    table["group"] = [groups.get(str(person)) or "everybody" for person in table["participant_id"]]
    names = list(dict.fromkeys(sorted(table["group"])))
    curves = _curves(fits, outcome)
    columns = 2 if len(names) == 4 else min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = new_figure(3.0 * columns + 0.6, 2.5 * rows + 0.3)
    panels = [axes for row in axes_grid(figure, rows, columns, sharex=True, sharey=True) for axes in row]
    colours = group_colours(names)
    for axes, name in zip(panels, names, strict=False):
        _learning_panel(axes, table[table["group"] == name], curves, colours[name], name)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("days since baseline", fontsize=9)
    figure.supylabel(OUTCOME_LABELS.get(outcome, outcome), fontsize=9)
    return figure


def _curves(fits: pd.DataFrame | None, outcome: str) -> dict[str, tuple[float, float, float]]:
    if fits is None or not {"outcome", "alpha", "delta", "gamma"} <= set(fits.columns):
        return {}
    mine = fits[fits["outcome"] == outcome].dropna(subset=["alpha", "delta", "gamma"])
    rows = zip(mine["participant_id"], mine["alpha"], mine["delta"], mine["gamma"], strict=True)
    return {str(person): (float(alpha), float(delta), float(gamma)) for person, alpha, delta, gamma in rows}


def _learning_panel(axes: Axes, table: pd.DataFrame, curves: Mapping[str, tuple[float, float, float]], colour: str,
                    name: str) -> None:  # fmt: skip
    days = np.linspace(0.0, max(float(table["day"].max()), 1.0), 120)
    for person, mine in table.groupby("participant_id"):
        axes.plot(mine["day"], mine["value"], ".", color=colour, alpha=0.45, markersize=4)
        if str(person) in curves:
            alpha, delta, gamma = curves[str(person)]
            axes.plot(days, alpha - delta * np.exp(-gamma * days), color=colour, alpha=0.35, linewidth=0.9)
        else:
            axes.plot(mine["day"], mine["value"], color=colour, alpha=0.35, linewidth=0.9)
    median = table.groupby("day")["value"].median()
    axes.plot(median.index, median.to_numpy(), "o-", color="black", linewidth=2.2, markersize=4)
    axes.set_title(f"{name} (n = {table['participant_id'].nunique()})", color=colour)
    axes.grid(axis="y", color=RULE, linewidth=0.6)


def motion_figure(displacement_mm: NDArray[np.float64], *, parameters: NDArray[np.float64] | None = None,
                  limit_mm: float) -> Figure:  # fmt: skip
    """Motion of the diffusion volumes.

    Parameters
    ----------
    displacement_mm : ndarray, shape (N,)
        Displacement of each volume against the reference.
    parameters : ndarray, shape (N, 6), optional
        Three translations (mm) and three rotations (degrees).
    limit_mm : float
        Dashed line: displacement from which a volume deserves a look.

    Returns
    -------
    Figure
    """
    count = 1 if parameters is None else 3
    figure = new_figure(9.0, 1.5 * count + 0.5)
    panels = [row[0] for row in axes_grid(figure, count, 1, sharex=True)]
    volumes = np.arange(displacement_mm.size)
    panels[0].plot(volumes, displacement_mm, color=OKABE_ITO[0], linewidth=1.4)
    panels[0].axhline(limit_mm, color=OKABE_ITO[1], linestyle="--", linewidth=1)
    panels[0].set_ylim(0, max(float(np.nanmax(displacement_mm, initial=0.0)), limit_mm) * 1.15)
    panels[0].set_ylabel("displacement (mm)")
    if parameters is not None:
        for panel, columns, unit in ((panels[1], (0, 1, 2), "shift (mm)"), (panels[2], (3, 4, 5), "turn (°)")):
            for number, column in enumerate(columns):
                panel.plot(volumes, parameters[:, column], color=OKABE_ITO[number], linewidth=1.2, label="xyz"[number])
            panel.set_ylabel(unit)
        panels[1].legend(ncols=3, loc="upper left", fontsize=8, frameon=False)
    panels[-1].set_xlabel("volume")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for panel in panels:
        panel.grid(axis="y", color=RULE, linewidth=0.6)
    return figure


def quality_figure(scans: pd.DataFrame, columns: Sequence[str]) -> Figure:
    """Strip plot of quality numbers over all scans; scans far from the others carry their name.

    Parameters
    ----------
    scans : DataFrame
        One row per scan with ``scan`` and the columns.
    columns : sequence of str
        Numeric columns to show, one panel each.

    Returns
    -------
    Figure
    """
    width = min(4, len(columns))
    rows = -(-len(columns) // width)
    figure = new_figure(2.3 * width, 2.3 * rows)
    panels = [axes for row in axes_grid(figure, rows, width) for axes in row]
    for axes, column in zip(panels, columns, strict=False):
        values = scans[column].to_numpy(dtype=float)
        usable = np.isfinite(values)
        # A fixed, even spread instead of random jitter: the same table gives the same picture.
        shift = (np.arange(values.size) * 0.618034 % 1.0 - 0.5) * 0.5
        axes.plot(shift[usable], values[usable], "o", color=OKABE_ITO[0], alpha=0.6, markersize=4, markeredgewidth=0)
        axes.axhline(float(np.median(values[usable])), color=SOFT, linewidth=1)
        for index in np.flatnonzero(far_out(values)):
            axes.plot(shift[index], values[index], "o", color=OKABE_ITO[1], markersize=5)
            axes.annotate(str(scans["scan"].iloc[index]), (shift[index], values[index]), fontsize=6.5, xytext=(0, 4),
                          textcoords="offset points", ha="center")  # fmt: skip
        axes.set(xticks=[], xlim=(-0.6, 0.6))
        axes.margins(y=0.15)
        axes.set_title(column.replace("_", " "), fontsize=8.5)
    for axes in panels[len(columns) :]:
        axes.set_visible(False)
    return figure


def far_out(values: NDArray[np.float64], *, limit: float = 5.0) -> NDArray[np.bool_]:
    """Which values lie more than `limit` robust standard deviations (1.4826 · MAD) from the median.

    The median does not move with the outlier itself, as a mean would.
    """
    centre = np.nanmedian(values) if np.isfinite(values).any() else np.nan
    spread = 1.4826 * np.nanmedian(np.abs(values - centre)) if np.isfinite(centre) else np.nan
    if not np.isfinite(spread) or spread == 0:
        return np.zeros(values.shape, dtype=bool)
    return np.nan_to_num(np.abs(values - centre) / spread) > limit
