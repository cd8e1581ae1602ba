"""Sessions in the order of time, and people's age at each of them.

Labels are no order: ``post`` stands before ``pre`` in the alphabet, and ``10`` before ``2``. What tells it is asked in
this order: days since the first session, ages, days since stroke, then numbers in labels that are otherwise alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from plastimap.brainage.parcels import listed
from plastimap.brainage.problems import BrainageProblem

if TYPE_CHECKING:
    import pandas as pd

DAYS_PER_YEAR = 365.25

CLOCKS = {"day": "days", "days": "days", "age": "ages", "days_since_stroke": "days since stroke"}
"""Columns that tell when a session was, in the order in which they are asked → what notes call them."""

ELAPSED = ("day", "days", "days_since_stroke")
"""Columns that tell the days between a person's sessions."""


@dataclass(frozen=True)
class Ordered:
    """Visits in the order of time.

    Attributes
    ----------
    visits : DataFrame
        ``participant_id``, ``session``, ``visit`` (0 = the person's first); a row per person and session.
    labels : tuple of str
        Sessions, first to last.
    notes : tuple of str
        What told the order, and whose first session is not the study's.
    """

    visits: pd.DataFrame
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def order_sessions(ages: pd.DataFrame, people: pd.DataFrame | None = None) -> Ordered:
    """Find which session of each person came first.

    Parameters
    ----------
    ages : DataFrame
        ``participant_id``, ``session`` and, if known, ``age``; any number of rows per session. Rows without a session
        are left out.
    people : DataFrame, optional
        ``participant_id``, ``session`` and any of ``day``, ``days``, ``age``, ``days_since_stroke``.

    Raises
    ------
    BrainageProblem
        If nothing tells the order.
    """
    visits = _visits(ages, people)
    if visits.empty:
        raise BrainageProblem("nobody's ages have a session")
    when, told = _times(visits)
    ranked = visits.assign(when=when).sort_values(["participant_id", "when"], kind="stable")
    ranked["visit"] = ranked.groupby("participant_id").cumcount()
    labels = _labels_in_time(ranked["participant_id"], ranked["session"], ranked["when"])
    notes = [f"Sessions in the order of {told}: {', '.join(labels)}."]
    late = ranked.loc[(ranked["visit"] == 0) & (ranked["session"] != labels[0]), "participant_id"]
    if len(late):
        notes.append(f"{len(late)} people have no session {labels[0]}: their change counts from their own first one.")
    kept = ranked[["participant_id", "session", "visit"]].reset_index(drop=True)
    return Ordered(kept, tuple(labels), tuple(notes))


def _visits(ages: pd.DataFrame, people: pd.DataFrame | None) -> pd.DataFrame:
    import pandas as pd

    keys = ["participant_id", "session"]
    visits = ages[[*keys, *(["age"] if "age" in ages else [])]].dropna(subset=["session"]).drop_duplicates(keys)
    visits = visits.reset_index(drop=True)
    if people is not None and set(keys) <= set(people):
        told = people[[*keys, *(name for name in CLOCKS if name in people and name not in visits)]]
        visits = visits.merge(told.drop_duplicates(keys), on=keys, how="left")
    clocks = [name for name in CLOCKS if name in visits]
    return visits.assign(**{name: pd.to_numeric(visits[name], errors="coerce") for name in clocks})


def _tells_all(visits: pd.DataFrame, column: str) -> bool:
    """Whether a column tells every person's sessions apart."""
    several = visits[visits.duplicated("participant_id", keep=False)]
    return bool(several[column].notna().all() and not several.duplicated(["participant_id", column]).any())


def _times(visits: pd.DataFrame) -> tuple[pd.Series, str]:
    """What grows with time, and its name: a clock, else numbers in labels, else a clock that tells for some people."""
    for source, words in CLOCKS.items():
        if source in visits and _tells_all(visits, source):
            return visits[source].astype(np.float64), words
    labels = [str(one) for one in visits["session"].unique()]
    parts = [re.fullmatch(r"(\D*)(\d+)(\D*)", one) for one in labels]
    if all(parts) and len({(one[1].casefold(), one[3].casefold()) for one in parts if one}) == 1:
        numbers = {label: float(one[2]) for label, one in zip(labels, parts, strict=True) if one}
        return visits["session"].map(numbers), "their numbers"
    for source, words in CLOCKS.items():
        if source in visits and (order := _agreed(visits, source)):
            places = {label: float(place) for place, label in enumerate(order)}
            return visits["session"].map(places), f"{words} of those people in whom they differ"
    raise BrainageProblem(
        f"nothing tells the order of the sessions {listed(sorted(labels))}; give a column day (days since the first "
        "session), the age at each session, days_since_stroke, or number the sessions"
    )


def _agreed(visits: pd.DataFrame, column: str) -> list[str]:
    """Labels in an order that no person contradicts and somebody shows for each pair of neighbours; else empty."""
    known = visits.dropna(subset=[column])
    order = _labels_in_time(known["participant_id"], known["session"], known[column])
    wide = known.pivot(index="participant_id", columns="session", values=column)
    steps = [(wide[later] - wide[earlier]).dropna() for earlier, later in pairwise(order)]
    shown = len(order) == visits["session"].nunique() and all((step >= 0).all() and (step > 0).any() for step in steps)
    return order if shown else []


def _labels_in_time(person: pd.Series, label: pd.Series, when: pd.Series) -> list[str]:
    """Labels by time given the person (least squares), so that who lacks a session does not move the others."""
    names, number = np.unique(label.astype(str), return_inverse=True)
    both = np.column_stack([number[:, None] == np.arange(len(names)), when.to_numpy(np.float64)]).astype(np.float64)
    who = np.unique(person.astype(str), return_inverse=True)[1]
    means = np.stack([np.bincount(who, column) for column in both.T], axis=1) / np.bincount(who)[:, None]
    inside = both - means[who]
    effect = np.linalg.lstsq(inside[:, :-1], inside[:, -1], rcond=None)[0]
    return [str(one) for one in names[np.argsort(effect, kind="stable")]]


def age_at_sessions(people: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Let people age between sessions where one age is given for all of them.

    The gap is predicted less real age: with one age for two sessions, the years between them would count as change.
    Age at a session is the given age + days/365.25: ``day`` (or ``days``) counts from the baseline, at which the age
    is taken to be; days since stroke count from the person's first session. Ages that differ between the sessions of
    a person stay.

    Parameters
    ----------
    people : DataFrame
        ``participant_id``, ``age`` (years) and, for anything to be done, ``session`` and one of ``day``, ``days``,
        ``days_since_stroke``.

    Returns
    -------
    DataFrame, tuple of str
        People with their age at each session, and what was done or cannot be.
    """
    if "session" not in people:
        return people, ()
    import pandas as pd

    by_person = people.groupby("participant_id")
    same = (by_person["session"].transform("nunique") > 1) & (by_person["age"].transform("nunique") == 1)
    if not same.any():
        return people, ()
    years = people["age"].astype(np.float64).copy()
    left = same.copy()
    for column in ELAPSED:
        if column not in people or not left.any():
            continue
        days = pd.to_numeric(people[column], errors="coerce").astype(np.float64)
        by_days = days.groupby(people["participant_id"])
        told = left & by_days.transform(lambda one: one.notna().all() and one.nunique() > 1)
        elapsed = days - by_days.transform("min") if column == "days_since_stroke" else days
        years = years + np.where(told, elapsed, 0.0) / DAYS_PER_YEAR
        left &= ~told
    return people.assign(age=years), tuple(_about_ages(people, same, left))


def _about_ages(people: pd.DataFrame, same: pd.Series, left: pd.Series) -> list[str]:
    notes: list[str] = []
    done = people.loc[same & ~left, "participant_id"].nunique()
    if done:
        notes.append(f"{done} people have one age for all sessions: age at a session is that age + days / 365.25.")
    without = people.loc[left, "participant_id"].nunique()
    if without:
        notes.append(
            f"{without} people have one age for all sessions, and nothing tells the days between these: the change of "
            "their gaps contains the years that passed. Give a column day, or the age at each session."
        )
    return notes
