"""Days since baseline, and who said so.

Sources, in this order: a ``day`` column of ``sub-…_sessions.tsv``, its
``acq_time``, ``acq_time`` in ``…_scans.tsv``, ``input.days`` of the
configuration. A person takes the first source that covers all of the person's
sessions: days from two sources need not count from the same baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

from plastimap.bids.index import DataFile, Dataset
from plastimap.bids.problems import Problem
from plastimap.bids.rows import Row
from plastimap.bids.tables import number, read_table
from plastimap.bids.words import enumeration

DAY_COLUMNS = ("day", "days")

Days = dict[str, float]
"""Session label → days since baseline."""


def add_days(
    rows: Sequence[Row],
    dataset: Dataset | None,
    configured: Mapping[str, float],
    *,
    longitudinal: bool,
) -> tuple[list[Row], list[Problem]]:
    """Fill `day` and `day_source` of every row.

    Parameters
    ----------
    rows : sequence of Row
        Rows that carry a day already (from a table of images) keep it.
    dataset : Dataset or None
        Where sessions and scans tables lie.
    configured : mapping
        Session label → day (``input.days``).
    longitudinal : bool
        Whether days are needed: an unknown one is then an error, else a notice.

    Returns
    -------
    list of Row, list of Problem
    """
    sessions: dict[str, set[str | None]] = {}
    for row in rows:
        if row.day is None:
            sessions.setdefault(row.participant_id, set()).add(row.session)
    labels = {row.session for row in rows}
    problems: list[Problem] = []
    known: dict[str, tuple[Days, str]] = {}
    tables = _tables(dataset, sessions) if dataset is not None else {}
    root = dataset.root if dataset is not None else Path()
    for person, visits in sessions.items():
        sources, found = _sources(root, tables.get(person, []), configured)
        problems += found
        wanted = {visit for visit in visits if visit is not None}
        chosen = next(((days, name) for days, name in sources if wanted and wanted <= days.keys()), None)
        if chosen is not None:
            known[person] = chosen
        elif len(labels) > 1:
            problems.append(_unknown(person, wanted, sources, longitudinal=longitudinal))
    problems += _odd_days(known, sessions, longitudinal=longitudinal)
    problems += _not_there(dataset, known) + _single_visits(sessions, longitudinal=longitudinal)
    return [_with_day(row, known, single=len(labels) == 1) for row in rows], problems


def _with_day(row: Row, known: Mapping[str, tuple[Days, str]], *, single: bool) -> Row:
    if row.day is not None:
        return row
    days, source = known.get(row.participant_id, ({}, ""))
    if row.session in days:
        return replace(row, day=days[row.session], day_source=source)
    return replace(row, day=0.0, day_source="one session") if single else row


def _tables(dataset: Dataset, people: Mapping[str, object]) -> dict[str, list[DataFile]]:
    found: dict[str, list[DataFile]] = {}
    for file in dataset.files:
        if file.name.suffix in ("sessions", "scans") and file.name.extension == ".tsv" and file.datatype is None:
            person = f"sub-{file.name.get('sub')}"
            if person in people:
                found.setdefault(person, []).append(file)
    return found


def _sources(
    root: Path, files: Sequence[DataFile], configured: Mapping[str, float]
) -> tuple[list[tuple[Days, str]], list[Problem]]:
    """Collect what each source knows about one person, in the order they count."""
    explicit: Days = {}
    dates: dict[str, dict[str, date]] = {"sessions": {}, "scans": {}}
    problems: list[Problem] = []
    for file in files:
        required = ("session_id",) if file.name.suffix == "sessions" else ("filename",)
        table, found = read_table(root / file.path, file.path, required=required)
        problems += found
        for line in table.rows:
            label = _session_label(file, line)
            if label is None:
                continue
            if file.name.suffix == "sessions":
                day = next((number(line.get(column)) for column in DAY_COLUMNS if line.get(column)), None)
                if day is not None:
                    if explicit.get(label, day) != day:
                        problems.append(_two_days(file.path, label, explicit[label], day))
                    explicit[label] = day
            when = line.get("acq_time")
            if when is not None:
                moment = _date(when)
                if moment is None:
                    problems.append(_unreadable_time(file.path, when))
                else:
                    known = dates[file.name.suffix]
                    known[label] = min(moment, known.get(label, moment))
    sources = [
        (explicit, "sessions.tsv (day)"),
        (_since_first(dates["sessions"]), "sessions.tsv (acq_time)"),
        (_since_first(dates["scans"]), "scans.tsv (acq_time)"),
        (dict(configured), "config (input.days)"),
    ]
    return sources, problems


def _two_days(place: str, label: str, first: float, second: float) -> Problem:
    what = f"ses-{label} has two days: {first:g} and {second:g}"
    return Problem(place, what, "nobody can say which of them counts", "remove one of the lines")


def _session_label(file: DataFile, line: Mapping[str, str | None]) -> str | None:
    if file.name.suffix == "sessions":
        return (line.get("session_id") or "").removeprefix("ses-") or None
    return file.name.get("ses")


def _date(text: str) -> date | None:
    # Visits count in whole days; the hour of a scan says nothing about learning.
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        return None


def _since_first(dates: Mapping[str, date]) -> Days:
    if not dates:
        return {}
    first = min(dates.values())
    return {label: float((moment - first).days) for label, moment in dates.items()}


def _unreadable_time(file: str, text: str) -> Problem:
    what, why = f"acq_time {text!r} cannot be read", "days since baseline are counted from acquisition times"
    return Problem(file, what, why, "write it as 2026-03-09T10:20:00")


def _unknown(person: str, wanted: set[str], sources: Sequence[tuple[Days, str]], *, longitudinal: bool) -> Problem:
    best = max((days.keys() & wanted for days, _ in sources), key=len, default=set[str]())
    missing = ", ".join(f"ses-{label}" for label in sorted(wanted - best)) or "its only scan (no session folder)"
    what = f"days since baseline are unknown: {missing}"
    why = "neither sessions.tsv nor scans.tsv nor input.days covers all sessions of this person"
    remedy = f'write {person}/{person}_sessions.tsv (session_id, acq_time or day), or input.days: {{"01": 0, …}}'
    return Problem(person, what, why, remedy, "error" if longitudinal else "notice")


def _odd_days(
    known: Mapping[str, tuple[Days, str]], sessions: Mapping[str, set[str | None]], *, longitudinal: bool
) -> list[Problem]:
    """Two visits on one day, and persons whose first known visit is not the study's first."""
    problems: list[Problem] = []
    labels = sorted({visit for visits in sessions.values() for visit in visits if visit is not None})
    for person, (days, source) in known.items():
        mine = sorted(visit for visit in sessions[person] if visit is not None)
        values = [days[label] for label in mine]
        if len(set(values)) < len(values):
            what = "two sessions on the same day: " + ", ".join(f"ses-{label} {days[label]:g}" for label in mine)
            severity = "error" if longitudinal and len(set(values)) == 1 else "notice"
            why = "change over time cannot tell them apart"
            problems.append(Problem(person, what, why, f"correct the days ({source})", severity))
        numbered = sorted((label for label in mine if label.isdecimal()), key=int)
        if len(numbered) > 1 and days[numbered[0]] > days[numbered[-1]]:
            what = "days run against the sessions: " + ", ".join(f"ses-{label} {days[label]:g}" for label in numbered)
            why = "if the days are wrong, loss counts as growth"
            problems.append(Problem(person, what, why, f"nothing, or correct the days ({source})", "notice"))
        if "acq_time" in source and len(labels) > 1 and labels[0] not in days:
            what = f"no time for ses-{labels[0]}, so {min(days, key=lambda label: days[label])!r} counts as day 0"
            why = f"others start at ses-{labels[0]}; this person's baseline is unknown ({source})"
            remedy = f"add ses-{labels[0]} with its acq_time to {person}_sessions.tsv, or a day column"
            problems.append(Problem(person, what, why, remedy, "notice"))
    return problems


def _not_there(dataset: Dataset | None, known: Mapping[str, tuple[Days, str]]) -> list[Problem]:
    """Tell of sessions that a person's table lists and that have no file."""
    if dataset is None:
        return []
    there = {(f"sub-{file.name.get('sub')}", file.name.get("ses")) for file in dataset.files if file.datatype}
    missing = [
        f"{person} ses-{label}"
        for person, (days, source) in known.items()
        for label in days
        if "sessions.tsv" in source and (person, label) not in there
    ]
    if not missing:
        return []
    why = "the table of sessions lists them, and no file of theirs is there"
    what = f"no data for {enumeration(missing)}"
    return [Problem("sub-*_sessions.tsv", what, why, "nothing, or fetch their data", "notice")]


def _single_visits(sessions: Mapping[str, set[str | None]], *, longitudinal: bool) -> list[Problem]:
    """Tell of people with one session in a study of several."""
    single = sorted(person for person, visits in sessions.items() if len(visits) == 1)
    if not longitudinal or not single or len(single) == len(sessions):
        return []
    what, why = (
        f"one session only: {enumeration(single)}",
        "change over time takes two; a slope of theirs cannot be told",
    )
    return [Problem("sessions", what, why, "nothing, or fetch the other sessions", "notice")]
