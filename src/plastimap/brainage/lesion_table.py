"""The table of lesions: joined with the people to judge, and what does not match said or refused.

A lesion that is not found is a lesion that is not there: its parcels count as healthy. So who is missing is counted,
and what looks like a slip of spelling is refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.lesions import VOLUME_ML
from plastimap.brainage.parcels import Parcels, folded, listed
from plastimap.brainage.problems import BrainageProblem

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Key = tuple[str, ...]

BESIDE = ("participant_id", "session", VOLUME_ML)
"""Columns of a table of lesions that are no parcels."""


@dataclass(frozen=True)
class LesionTable:
    """Lesions of the people to judge, in their order.

    Attributes
    ----------
    shares : ndarray, shape (n, p)
        Lesioned share of every parcel, 0 to 1.
    volume_ml : ndarray, shape (n,)
        NaN = not known.
    notes : tuple of str
        Who is not in the table, and what was missing in it.
    """

    shares: Array
    volume_ml: Array
    notes: tuple[str, ...]


def read_lesions(table: pd.DataFrame, people: pd.DataFrame, parcels: Parcels) -> LesionTable:
    """Bring a wide table of lesions into the order of people and parcels; who is not in it has no lesion.

    People are matched with or without ``sub-``, sessions with or without ``ses-`` and leading zeros. A table without
    sessions holds for all sessions of a person.

    Parameters
    ----------
    table : DataFrame
        ``participant_id`` (and ``session``), a column per parcel; parcels without a column are intact.
        ``lesion_volume_ml`` may stand beside.
    people : DataFrame
        Of the parcel table.
    parcels : Parcels

    Raises
    ------
    BrainageProblem
        If shares are no shares, columns are no parcels, a scan has two rows, or rows belong to nobody while people
        have none.
    """
    columns = _columns(table, parcels)
    names = ["participant_id", *(["session"] if "session" in table and "session" in people else [])]
    theirs, ours = _keys(table, names), _keys(people, names)
    place = {key: row for row, key in enumerate(theirs)}
    _refuse_mismatches(theirs, ours)
    given = table[list(columns.values())].to_numpy(np.float64)
    _refuse_values(given, theirs)
    shares, volume = np.zeros((len(people), len(parcels.names))), np.full(len(people), np.nan)
    rows = np.array([place.get(key, -1) for key in ours], dtype=np.intp)
    found = rows >= 0
    for number, name in enumerate(parcels.names):
        if folded(name) in columns:
            shares[found, number] = np.nan_to_num(given[rows[found], list(columns).index(folded(name))])
    if VOLUME_ML in table:
        volume[found] = table[VOLUME_ML].to_numpy(np.float64)[rows[found]]
    return LesionTable(shares, volume, tuple(_notes(given[rows[found]], shares, found, ours, theirs)))


def with_volumes(people: pd.DataFrame, lesions: LesionTable) -> pd.DataFrame:
    """People with their lesions' volumes (ml) from the table of lesions, where they have none of their own."""
    if np.isnan(lesions.volume_ml).all():
        return people
    own = people[VOLUME_ML].to_numpy(np.float64) if VOLUME_ML in people else np.full(len(people), np.nan)
    return people.assign(**{VOLUME_ML: np.where(np.isfinite(own), own, lesions.volume_ml)})


def _columns(table: pd.DataFrame, parcels: Parcels) -> dict[str, str]:
    """Parcels' columns, by folded name."""
    import pandas as pd

    if "participant_id" not in table:
        raise BrainageProblem("lesion table: no column participant_id; say whose lesions these are")
    columns = {folded(str(name)): str(name) for name in table if name not in BESIDE}
    strange = sorted(set(columns) - set(map(folded, parcels.names)))
    if strange:
        raise BrainageProblem(f"lesion table: columns that are no parcels: {listed(strange)}")
    words = [name for name in columns.values() if not pd.api.types.is_numeric_dtype(table[name])]
    if words:
        raise BrainageProblem(f"lesion table: what is no number in {listed(words)}; give shares from 0 to 1")
    return columns


def _keys(table: pd.DataFrame, names: list[str]) -> list[Key]:
    """What people and their sessions are known by in both tables."""
    return [tuple(_plain(name, one) for name, one in zip(names, row, strict=True))
            for row in table[names].astype("string").fillna("").itertuples(index=False)]  # fmt: skip


def _plain(name: str, label: Any) -> str:
    if name == "participant_id":
        return f"sub-{str(label).removeprefix('sub-')}"
    bare = str(label).removeprefix("ses-")
    return bare.lstrip("0") or "0" if bare.isdecimal() else bare


def _refuse_mismatches(theirs: list[Key], ours: list[Key]) -> None:
    problems: list[str] = []
    twice = sorted(key for key, count in Counter(theirs).items() if count > 1)
    if twice:
        problems.append(f"lesion table: more than one row for {_told(twice)}; keep one")
    without = sorted(set(ours) - set(theirs))
    strangers = sorted(set(theirs) - set(ours))
    if strangers and without:
        problems.append(
            f"lesion table: rows of scans that are not to be judged ({_told(strangers)}), and none for "
            f"{_told(without)}, which would count as without a lesion; spell them alike, or leave these rows out"
        )
    some = {key[0] for key in theirs}
    partly = [key for key in without if key[0] in some]
    if partly and not strangers:
        problems.append(
            f"lesion table: no row for {_told(partly)}, though other sessions of these people have one; add them, or "
            "leave the column session out if lesions are the same at all sessions"
        )
    if problems:
        raise BrainageProblem(problems)


def _told(keys: list[Key]) -> str:
    return listed(" ".join(key).strip() for key in keys)


def _refuse_values(given: Array, theirs: list[Key]) -> None:
    if ((given < 0) | (given > 1)).any():
        raise BrainageProblem("lesion table: values outside 0 to 1; give the share of each parcel that is lesioned")
    empty = [theirs[row] for row in np.flatnonzero(np.isnan(given).all(axis=1))] if given.shape[1] else []
    if empty:
        raise BrainageProblem(f"lesion table: no share at all for {_told(empty)}; give 0 where there is no lesion")


def _notes(given: Array, shares: Array, found: NDArray[np.bool_], ours: list[Key], theirs: list[Key]) -> list[str]:
    notes: list[str] = []
    without = len({key[0] for key, there in zip(ours, found, strict=True) if not there})
    if without:
        everybody = len({key[0] for key in ours})
        notes.append(f"Table of lesions: {without} of {everybody} people are not in it and count as without a lesion.")
    if unused := len(set(theirs) - set(ours)):
        notes.append(f"Table of lesions: {unused} of its rows are of scans that are not judged.")
    if missing := int(np.isnan(given).any(axis=1).sum()):
        notes.append(f"Table of lesions: shares that {missing} scans lack count as 0.")
    ill: dict[str, set[bool]] = {}
    for key, one in zip(ours, (shares > 0).sum(axis=1) > 0, strict=True):
        ill.setdefault(key[0], set()).add(bool(one))
    if partly := sorted(person for person, kinds in ill.items() if len(kinds) > 1):
        notes.append(
            f"A lesion at some sessions and none at others: {listed(partly)}. Where a mask is missing, the lesion "
            "counts as healthy tissue, and comes and goes with it."
        )
    return notes
