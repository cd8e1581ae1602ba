"""The page on which a person says which scans are not to be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from plastimap.report.charts import far_out
from plastimap.report.cohort import quality_columns
from plastimap.report.inputs import StudyInputs
from plastimap.report.pages import render
from plastimap.report.tables import number

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Rated:
    """A scan on the rating page.

    Attributes
    ----------
    participant_id, session : str
        ``sub-01``, ``ses-02`` ("" without sessions).
    day : str
    anchor : str
        Link to the scan on its person's page.
    notable : tuple of str
        Quality numbers that lie far from those of the other scans.
    """

    participant_id: str
    session: str
    day: str
    anchor: str
    notable: tuple[str, ...]


def build_rating(study: StudyInputs) -> str:
    """Build the rating page: every scan with what is notable about it, a box to exclude it, and the export.

    Returns
    -------
    str
        A complete HTML document.
    """
    rows = rated_scans(study.scans) if study.scans is not None else []
    marks = {f"{row.participant_id} {row.session}".strip() for row in rows}
    # A key of its own for every study, so that ratings of two reports in one browser do not mix.
    key = f"plastimap {study.title} {len(marks)}"
    return render("rating.html.j2", folder="study", study=study, rows=rows, key=key)


def rated_scans(scans: pd.DataFrame) -> list[Rated]:
    """Rows of the page, the scans with most to look at first."""
    notable = notable_numbers(scans)
    counts: dict[str, int] = {}
    rows: list[Rated] = []
    for place, scan in enumerate(scans.to_dict("records")):
        person = str(scan["participant_id"])
        counts[person] = counts.get(person, 0) + 1
        session = scan.get("session")
        has_session = isinstance(session, str) and session not in ("", "–")
        rows.append(
            Rated(
                participant_id=person,
                session=f"ses-{session}" if has_session else "",
                day=number(scan.get("day")),
                anchor=f"{person}.html#session-{counts[person]}",
                notable=tuple(notable[place]),
            )
        )
    return sorted(rows, key=lambda row: -len(row.notable))


def notable_numbers(scans: pd.DataFrame) -> list[list[str]]:
    """Per scan, the quality numbers that lie far out, as ``name = value (median …)``."""
    told: list[list[str]] = [[] for _ in range(len(scans))]
    for column in quality_columns(scans, most=None):
        values = scans[column].to_numpy(dtype=float)
        middle: Any = np.nanmedian(values)
        for place in np.flatnonzero(far_out(values)):
            told[place].append(f"{column.replace('_', ' ')} = {number(values[place])} (median {number(middle)})")
    return told
