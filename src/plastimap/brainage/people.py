"""People of a table as models take them: identifiers, sex as a number, sites by name, ages at every session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from plastimap.brainage.parcels import listed
from plastimap.brainage.sessions import age_at_sessions

if TYPE_CHECKING:
    import pandas as pd

UNNAMED = "unnamed"
"""Site of people whose table names none. It is no site's name: two tables without sites may be of two scanners."""

SEXES = {"m": 1.0, "male": 1.0, "f": 0.0, "female": 0.0, "1": 1.0, "0": 0.0}
"""Words for sex → the number that models use; numbers 0 and 1 stay as they are."""

OTHER_CODINGS = ({"1": 1.0, "2": 0.0}, {"m": 1.0, "w": 0.0})
"""Codings that are understood only where all of their words occur: by itself, a 1 may be of another coding."""

NO_SEX = ("", "nan", "none", "<na>", "na", "n/a", "unknown", "o", "other", "x", "d")
"""Words of people whose sex no model here knows what to do with."""


def labels(column: pd.Series) -> pd.Series:
    """Identifiers with their prefix, ``sub-…``."""
    return "sub-" + column.astype(str).str.removeprefix("sub-")


def with_days(table: pd.DataFrame, days: Mapping[str, float | None]) -> pd.DataFrame:
    """Add the day of every scan, where any is known.

    Parameters
    ----------
    table : DataFrame
        ``participant_id`` and, where there are sessions, ``session``.
    days : mapping of str to float or None
        Label of a scan (``sub-01_ses-02``) → days since baseline.
    """
    scans = labels(table["participant_id"]).astype("string")
    if "session" in table:
        session = table["session"].astype("string").str.removeprefix("ses-")
        scans = scans + ("_ses-" + session).fillna("")
    day = scans.map(days).astype(float)
    return table.assign(day=day) if day.notna().any() else table


def as_people(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Identifiers, ages, sexes and sites as models take them.

    Parameters
    ----------
    table : DataFrame
        ``participant_id``, ``age``; optionally ``sex``, ``site``, ``session``, ``day``.

    Returns
    -------
    people : DataFrame
    notes : list of str
        What was taken for granted.
    problems : list of str
        What cannot be read.
    """
    import pandas as pd

    people, notes = table.reset_index(drop=True).copy(), list[str]()
    people["participant_id"] = labels(people["participant_id"])
    people["age"] = pd.to_numeric(people["age"], errors="coerce")
    given = people["sex"] if "sex" in people else pd.Series(np.nan, index=people.index)
    people["sex"], told, problems = as_sex(given)
    if "site" not in people:
        people["site"] = UNNAMED
        notes.append("No column site: everybody counts as of one site, which is none that has a name.")
    people["site"] = people["site"].fillna(UNNAMED).astype(str)
    people, same = age_at_sessions(people)
    return people, [*notes, *told, *same], problems


def as_sex(column: pd.Series) -> tuple[pd.Series, list[str], list[str]]:
    """Sex as a number (1 = male, 0 = female, NaN = not known), with notes and with what is wrong."""
    words = column.astype("string").fillna("").str.strip().str.lower().str.removesuffix(".0")
    words = words.mask(words.isin(NO_SEX), "")
    told = {str(word) for word in words} - {""}
    coding = next((one for one in OTHER_CODINGS if told == set(one)), SEXES)
    notes, problems = list[str](), list[str]()
    if strange := sorted(told - set(coding)):
        problems.append(
            f"no words for sex: {listed(strange)}; write M and F (1/2 and m/w are understood where both words occur)"
        )
    if coding is not SEXES and told:
        notes.append(f"Sex is coded {'/'.join(coding)}: {next(iter(coding))} was taken for male.")
    if lacking := int((words == "").sum()):
        notes.append(
            f"The sex of {lacking} of {len(words)} rows is not known: models that use it take the mean of their "
            "training data."
        )
    return words.map(coding).astype(float), notes, problems
