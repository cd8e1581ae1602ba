"""Who took part: tables of the study's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plastimap.report.inputs import StudyInputs
from plastimap.report.tables import Table, make_table, number

if TYPE_CHECKING:
    import pandas as pd

NOT_QUALITY = frozenset({"participant_id", "session", "scan", "day", "day_source"})
QUALITY_SHOWN = 12
"""Most panels of the quality figure."""


def cohort_tables(study: StudyInputs) -> list[Table]:
    """Make the cohort's tables: groups at a glance, then sessions and days, then everybody."""
    tables: list[Table] = []
    if study.participants is not None and len(study.participants):
        tables.append(_groups(study.participants))
    if study.scans is not None and len(study.scans):
        tables.append(_sessions(study.scans))
    if study.participants is not None and len(study.participants):
        tables.append(make_table(study.participants, caption="Participants"))
    return tables


def _groups(people: pd.DataFrame) -> Table:
    labels = people["group"].astype("string").fillna("not given") if "group" in people else None
    parts = [("everybody", people)] if labels is None else [(str(name), part) for name, part in people.groupby(labels)]
    if len(parts) > 1:
        parts.append(("all", people))
    rows = tuple(
        (
            name,
            str(len(part)),
            mean_sd(part, "age"),
            _shares(part, "sex"),
            mean_sd(part, "n_sessions"),
            mean_sd(part, "tiv"),
        )
        for name, part in parts
    )
    headings = ("group", "people", "age (mean ± SD)", "sex", "sessions (mean ± SD)", "TIV in ml (mean ± SD)")
    return Table("Groups", headings, rows, (False, True, False, False, False, False))


def mean_sd(people: pd.DataFrame, column: str) -> str:
    """``47.0 ± 15.0``, or ``–`` where the column is missing or empty."""
    import pandas as pd

    if column not in people:
        return "–"
    values = pd.to_numeric(people[column], errors="coerce").dropna()
    if values.empty:
        return "–"
    spread = f" ± {number(round(float(values.std(ddof=1)), 1))}" if len(values) > 1 else ""
    return f"{number(round(float(values.mean()), 1), 4)}{spread}"


def _shares(people: pd.DataFrame, column: str) -> str:
    if column not in people:
        return "–"
    counts = people[column].dropna().astype(str).value_counts().sort_index()
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "–"


def _sessions(scans: pd.DataFrame) -> Table:
    visits = (
        scans["session"].astype("string").fillna("only session")
        if "session" in scans
        else scans["scan"].map(lambda _: "–")
    )
    rows: list[tuple[str, ...]] = []
    for name, part in scans.groupby(visits):
        days = part["day"].astype(float) if "day" in part else None
        span = "–" if days is None or days.isna().all() else (
            f"{number(days.median())} ({number(days.min())}–{number(days.max())})")  # fmt: skip
        sources = ", ".join(dict.fromkeys(part["day_source"].dropna().astype(str))) if "day_source" in part else ""
        rows.append((str(name), str(len(part)), span, sources or "–"))
    return Table("Sessions", ("session", "scans", "day, median (range)", "where days come from"), tuple(rows),
                 (False, True, False, False))  # fmt: skip


def quality_columns(scans: pd.DataFrame, *, most: int | None = QUALITY_SHOWN) -> list[str]:
    """Numeric columns of the scans' table that vary, at most `most`."""
    chosen = [
        str(name)
        for name in scans.columns
        if name not in NOT_QUALITY and scans[name].dtype.kind in "iuf" and _varies(scans[name])
    ]
    return chosen[:most]


def _varies(column: pd.Series) -> bool:
    values = column.to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    return values.size > 1 and float(np.ptp(values)) > 0
