"""Scans that a person marked as not to be used: the table that the report's rating page exports."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from pathlib import Path

from plastimap.writing import PathLike


class ExclusionProblem(ValueError):
    """A table of exclusions that cannot be read; the message says what to do."""


def read_exclusions(path: PathLike) -> dict[str, str]:
    """Read a table of scans to leave out.

    Parameters
    ----------
    path : path-like
        Tab-separated, with ``participant_id`` and, where the study has
        sessions, ``session_id``; ``reason`` is optional. A row without a
        session means all of the person's.

    Returns
    -------
    dict
        ``sub-01_ses-02`` (or ``sub-01``) → reason.

    Raises
    ------
    ExclusionProblem
        Without the column ``participant_id``, or for a row without a person.
    """
    with Path(path).open(encoding="utf-8-sig", newline="") as stream:
        table = csv.DictReader(stream, delimiter="\t")
        if "participant_id" not in (table.fieldnames or ()):
            raise ExclusionProblem(f"{path}: no column participant_id")
        found: dict[str, str] = {}
        for number, row in enumerate(table, start=2):
            person, session = (_label(row.get(f"{key}_id"), prefix) for key, prefix in
                               (("participant", "sub"), ("session", "ses")))  # fmt: skip
            if not person:
                raise ExclusionProblem(f"{path}, line {number}: no participant; name one or remove the line")
            found[f"{person}_{session}" if session else person] = _words(row.get("reason"))
    return found


def _words(text: str | None) -> str:
    bare = (text or "").strip()
    return "" if bare == "n/a" else bare


def _label(text: str | None, prefix: str) -> str:
    bare = _words(text)
    return f"{prefix}-{bare.removeprefix(f'{prefix}-')}" if bare else ""


def excluded_scans(exclusions: Mapping[str, str], scans: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Scans that the exclusions mean, with reasons, and what the report should say of them.

    Parameters
    ----------
    exclusions : mapping
        As :func:`read_exclusions` gives it.
    scans : collection of str
        Labels of all scans.
    """
    meant = {scan: exclusions[key] for scan in scans for key in (scan, scan.partition("_")[0]) if key in exclusions}
    told = [f"{scan} was left out by hand{f': {why}' if why else ''}." for scan, why in sorted(meant.items())]
    unknown = [key for key in exclusions if not any(scan == key or scan.startswith(f"{key}_") for scan in scans)]
    if unknown:
        told.append(f"The table of exclusions names {', '.join(sorted(unknown))}, of which there are no images.")
    return meant, told
