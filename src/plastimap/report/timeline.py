"""What was done when: visits, assessments, training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from plastimap.report.style import INK, OKABE_ITO, SOFT, axes_grid, new_figure

if TYPE_CHECKING:
    import pandas as pd


def timeline_table(scans: pd.DataFrame, behaviour: pd.DataFrame | None, training_end: float | None) -> pd.DataFrame:
    """Days of everything, one row per event: what, start, end, people.

    Parameters
    ----------
    scans : DataFrame
        participant_id, session, day.
    behaviour : DataFrame or None
        participant_id, day.
    training_end : float or None
        Last day of training.
    """
    import pandas as pd

    visits = scans.dropna(subset=["day"]).assign(session=scans["session"].astype("string").fillna("only"))
    rows = [("MRI", float(part["day"].median()), float(part["day"].median()), int(part["participant_id"].nunique()))
            for _, part in visits.groupby("session")]  # fmt: skip
    if behaviour is not None and len(behaviour):
        rows += [("assessment", float(str(day)), float(str(day)), int(part["participant_id"].nunique()))
                 for day, part in behaviour.groupby("day")]  # fmt: skip
        if training_end is not None and training_end <= float(behaviour["day"].max()):
            rows.append(("training", 0.0, training_end, int(behaviour["participant_id"].nunique())))
    table = pd.DataFrame(rows, columns=["what", "start_day", "end_day", "people"])
    return table.sort_values(["what", "start_day"], kind="stable").reset_index(drop=True)


def timeline_figure(table: pd.DataFrame) -> Figure:
    """Draw the design over days: marks for visits and assessments with the number of people, a bar for training."""
    kinds = [kind for kind in ("training", "assessment", "MRI") if (table["what"] == kind).any()]
    figure = new_figure(9.0, 0.75 + 0.5 * len(kinds))
    axes = axes_grid(figure, 1, 1)[0][0]
    marks = {"MRI": ("s", OKABE_ITO[0]), "assessment": ("o", OKABE_ITO[1])}
    for row, kind in enumerate(kinds):
        mine = table[table["what"] == kind]
        axes.axhline(row, color="#e6eaee", linewidth=1, zorder=0)
        if kind == "training":
            for start, end in zip(mine["start_day"], mine["end_day"], strict=True):
                axes.barh(row, end - start, left=start, height=0.42, color=OKABE_ITO[2], alpha=0.85)
            continue
        marker, colour = marks[kind]
        axes.plot(mine["start_day"], [row] * len(mine), marker, color=colour, markersize=8)
        for day, people in zip(mine["start_day"], mine["people"], strict=True):
            axes.annotate(f"n = {people}", (day, row), xytext=(0, 8), textcoords="offset points", ha="center",
                          fontsize=7, color=SOFT)  # fmt: skip
    axes.set_yticks(range(len(kinds)), kinds, color=INK)
    axes.set_ylim(-0.5, len(kinds) - 0.3)
    span = float(table["end_day"].max() - table["start_day"].min()) or 1.0
    axes.set_xlim(float(table["start_day"].min()) - 0.03 * span, float(table["end_day"].max()) + 0.03 * span)
    axes.set_xticks(sorted({float(day) for day in table["start_day"]} | {float(day) for day in table["end_day"]}))
    axes.tick_params(length=0)
    axes.set_xlabel("days since baseline")
    axes.spines["left"].set_visible(False)
    return figure
