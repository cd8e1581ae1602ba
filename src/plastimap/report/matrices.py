"""Pictures of tables: which data there are, and the group model's design matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plastimap.report.style import OKABE_ITO, SOFT, axes_grid, new_figure

if TYPE_CHECKING:
    import pandas as pd

ROWS_LABELLED = 60
"""Beyond this many people, names would overlap and are left out."""


def availability_figure(availability: pd.DataFrame) -> Figure:
    """Show which person has which data in which session.

    Parameters
    ----------
    availability : DataFrame
        participant_id, session, kind, present.

    Returns
    -------
    Figure
        One row per person; columns are kinds of data, inside them sessions. Missing cells carry a cross, so that
        nothing depends on colour; combinations that the table does not have stay white.
    """
    people = list(dict.fromkeys(availability["participant_id"].astype(str)))
    kinds = list(dict.fromkeys(availability["kind"].astype(str)))
    sessions = sorted(availability["session"].astype(str).unique())
    # Cells that the table does not have cannot exist, such as behaviour per session where one table holds all days.
    grid = np.full((len(people), len(kinds) * len(sessions)), np.nan)
    names = (availability[key].astype(str) for key in ("participant_id", "kind", "session"))
    for person, kind, session, there in zip(*names, availability["present"].astype(bool), strict=True):
        grid[people.index(person), kinds.index(kind) * len(sessions) + sessions.index(session)] = float(there)
    figure = new_figure(min(9.0, 1.6 + 0.3 * grid.shape[1]), min(12.0, 1.1 + 0.19 * len(people)))
    axes = axes_grid(figure, 1, 1)[0][0]
    axes.pcolormesh(grid, cmap=ListedColormap(["#f6e3d8", OKABE_ITO[0]]), vmin=0, vmax=1, edgecolor="white",
                    linewidth=0.8)  # fmt: skip
    missing = np.argwhere(grid == 0) + 0.5
    axes.plot(missing[:, 1], missing[:, 0], "x", color=OKABE_ITO[1], markersize=4)
    axes.set_xlim(0, grid.shape[1])
    axes.set_ylim(len(people), 0)
    axes.set_xticks(np.arange(grid.shape[1]) + 0.5, sessions * len(kinds), fontsize=7, rotation=90)
    labelled = people if len(people) <= ROWS_LABELLED else []
    axes.set_yticks(np.arange(len(labelled)) + 0.5, labelled, fontsize=7)
    axes.tick_params(length=0)
    for number, kind in enumerate(kinds):
        axes.text((number + 0.5) * len(sessions), -0.3, kind, ha="center", va="bottom", fontsize=9, fontweight="bold")
        axes.axvline(number * len(sessions), color="white", linewidth=4)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def design_figure(matrix: NDArray[np.float64], names: Sequence[str]) -> Figure:
    """Draw a design matrix, each column scaled to its own largest value.

    Parameters
    ----------
    matrix : ndarray, shape (n_people, n_columns)
    names : sequence of str
        Of the columns.

    Returns
    -------
    Figure
    """
    largest = np.abs(matrix).max(axis=0)
    scaled = matrix / np.where(largest > 0, largest, 1.0)
    figure = new_figure(min(9.0, 1.2 + 0.55 * matrix.shape[1]), min(7.0, 1.6 + 0.09 * matrix.shape[0]))
    axes = axes_grid(figure, 1, 1)[0][0]
    image = axes.imshow(scaled, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(names)), list(names), rotation=40, ha="right", fontsize=8)
    axes.set_yticks([0, matrix.shape[0] - 1], ["1", str(matrix.shape[0])])
    axes.set_ylabel("people", color=SOFT)
    for column in range(1, matrix.shape[1]):
        axes.axvline(column - 0.5, color="white", linewidth=1)
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, ticks=[-1, 0, 1])
    bar.set_label("share of the column's largest value", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return figure
