"""Tables of people × parcels: read, put in the order of the parcels, and checked whole before anything is fitted."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.parcels import PLAUSIBLE, Parcels, column_finder, listed
from plastimap.brainage.people import as_people, labels
from plastimap.brainage.problems import BrainageProblem
from plastimap.writing import PathLike

if TYPE_CHECKING:
    import pandas as pd

ADULT = (18.0, 110.0)
"""Years; a brain that still grows has another relation to age, and no model here was made for it."""

ABOUT_PEOPLE = ("participant_id", "session", "age", "sex", "site", "group", "day", "days")
"""What a table of parcels carries along of its people, so that it can be trained on elsewhere."""


@dataclass(frozen=True)
class ParcelTable:
    """People × parcels.

    Attributes
    ----------
    people : DataFrame
        ``participant_id`` (``sub-…``), ``age`` (years), ``sex`` (0, 1; NaN unknown), ``site``; ``session`` and
        whatever else the file had.
    values : ndarray, shape (n, p)
        In the order of the parcels; NaN = missing.
    parcels : Parcels
    notes : tuple of str
        What was repaired or taken for granted.
    """

    people: pd.DataFrame
    values: NDArray[np.float64]
    parcels: Parcels
    notes: tuple[str, ...] = ()

    @property
    def age(self) -> NDArray[np.float64]:
        """Years."""
        return self.people["age"].to_numpy(np.float64)

    @property
    def site(self) -> NDArray[np.str_]:
        """Name of each person's site."""
        return self.people["site"].to_numpy(np.str_)

    def covariates(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Columns of the people, shape (n, q)."""
        import pandas as pd

        missing = [name for name in names if name not in self.people]
        if missing:
            raise BrainageProblem(f"the table of people has no column {', '.join(missing)}")
        words = [name for name in names if not pd.api.types.is_numeric_dtype(self.people[name])]
        if words:
            raise BrainageProblem(f"covariates that are no numbers: {listed(words)}; leave them out of the model")
        return self.people[list(names)].to_numpy(np.float64).reshape(len(self.people), len(names))

    @property
    def persons(self) -> NDArray[np.str_]:
        """Identifier of each row's person, who may have several sessions."""
        return self.people["participant_id"].to_numpy(np.str_)

    @property
    def count(self) -> int:
        """People, each counted once."""
        return len(np.unique(self.persons))

    def rows(self, chosen: ArrayLike) -> ParcelTable:
        """Some of the people, by place or by a mask."""
        where = np.asarray(chosen)
        where = np.flatnonzero(where) if where.dtype == np.bool_ else where
        return replace(self, people=self.people.iloc[where].reset_index(drop=True), values=self.values[where])


def read_parcel_table(file: PathLike, parcels: Parcels, *, people: PathLike | None = None) -> ParcelTable:
    """Read a wide table: one row per person (and session), one column per parcel.

    Tab- or comma-separated, gzipped or not. Columns of parcels are found however they are spelled
    (``lh_G_and_S_frontomargin_thickness``, ``lh_g&s_frontomargin``).

    Parameters
    ----------
    file : path-like
    parcels : Parcels
    people : path-like, optional
        ``participants.tsv`` with age, sex and site, where the table has none; its other columns come along.

    Raises
    ------
    BrainageProblem
        With everything that is wrong.
    """
    table = read_text_table(file)
    if people is not None:
        table = with_people(table, read_text_table(people), name=str(people))
    return as_parcel_table(table, parcels, name=str(file))


def read_text_table(file: PathLike) -> pd.DataFrame:
    """Read TSV or CSV (by its first line); ``participant_id`` and ``session`` are text, ``n/a`` is missing."""
    import pandas as pd

    path = Path(file)
    if not path.is_file():
        raise BrainageProblem(f"{path}: no such file")
    # What is cut short or no archive is told by exceptions of its own.
    unreadable = (UnicodeDecodeError, EOFError, OSError, zlib.error, pd.errors.EmptyDataError, pd.errors.ParserError)
    text = dict.fromkeys(("participant_id", "session", "session_id", "site"), str)
    try:
        head = pd.read_csv(path, sep="\t", nrows=0)
        separator = "\t" if len(head.columns) > 1 else ","
        table = pd.read_csv(path, sep=separator, na_values=["n/a"], dtype=text)
    except unreadable as error:
        raise BrainageProblem(f"{path}: no table of text ({error}); give a TSV or CSV file") from error
    return table.rename(columns={"session_id": "session"})


def as_parcel_table(table: pd.DataFrame, parcels: Parcels, *, name: str = "the table") -> ParcelTable:
    """Bring a wide table into the order of the parcels, and check it.

    Parameters
    ----------
    table : DataFrame
        ``participant_id``, ``age``, ``sex``, ``site``, and a column per parcel.
    parcels : Parcels
    name : str
        What messages call the table.

    Raises
    ------
    BrainageProblem
        With everything that is wrong.
    """
    import pandas as pd

    found = list(_column_problems(table, parcels, name))
    if found:
        raise BrainageProblem(found)
    find = column_finder(map(str, table))
    columns = [find(*parcel)[0] for parcel in zip(parcels.names, parcels.measures, strict=True)]
    values = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    people, notes, wrong = as_people(table.drop(columns=columns))
    found = [f"{name}: {one}" for one in wrong]
    found += [*_people_problems(people, name), *_unit_problems(values, people, parcels, name)]
    if found:
        raise BrainageProblem(found)
    values, repaired = _plausible(values, parcels)
    return ParcelTable(people, values, parcels, (*notes, *repaired))


def with_people(table: pd.DataFrame, people: pd.DataFrame, *, name: str = "the table of people") -> pd.DataFrame:
    """Join the columns of people that a table of parcels does not have itself, by participant (and session).

    Parameters
    ----------
    table, people : DataFrame
        Both with ``participant_id``.
    name : str
        What messages call the table of people.
    """
    if "participant_id" not in people or "participant_id" not in table:
        raise BrainageProblem(f"{name}: it cannot be joined without the column participant_id in both tables")
    ours, theirs = table.copy(), people.copy()
    for one in (ours, theirs):
        one["participant_id"] = labels(one["participant_id"])
    keys = [key for key in ("participant_id", "session") if key in ours and key in theirs]
    own = [column for column in theirs if column in keys or column not in ours]
    return ours.merge(_one_row_each(theirs[own], keys, name), on=keys, how="left", validate="many_to_one")


def _one_row_each(people: pd.DataFrame, keys: list[str], name: str) -> pd.DataFrame:
    """Rows of one key joined, what one lacks taken from the others; refused where they contradict each other."""
    grouped = people.groupby(keys, sort=False, dropna=False)
    differ = grouped.nunique().gt(1)
    if differ.to_numpy().any():
        columns = [str(column) for column in differ if differ[column].any()]
        who = people.set_index(keys).index[people.set_index(keys).index.isin(differ.index[differ.any(axis=1)])]
        names = dict.fromkeys(str(one[0] if isinstance(one, tuple) else one) for one in who)
        raise BrainageProblem(
            f"{name}: rows that contradict each other in {listed(columns)}: {listed(names)}; keep one row each, or "
            "give both tables a column session"
        )
    return grouped.first().reset_index()


def _column_problems(table: pd.DataFrame, parcels: Parcels, name: str) -> Iterator[str]:
    needed = [column for column in ("participant_id", "age") if column not in table]
    if needed:
        yield f"{name}: no column {', '.join(needed)}; add it, or name the table of participants beside it"
    find = column_finder(map(str, table))
    found = {parcel: find(parcel, measure) for parcel, measure in zip(parcels.names, parcels.measures, strict=True)}
    missing = [parcel for parcel, columns in found.items() if not columns]
    if missing:
        yield f"{name}: {len(missing)} of {len(parcels.names)} parcels have no column: {listed(missing)}"
    twice = [" and ".join(columns) for columns in found.values() if len(columns) > 1]
    if twice:
        yield f"{name}: columns that read as the same parcel: {listed(twice)}; keep one of them"


def _people_problems(people: pd.DataFrame, name: str) -> Iterator[str]:
    keys = ["participant_id", *(["session"] if "session" in people else [])]
    twice = people.loc[people.duplicated(keys), "participant_id"].unique()
    if len(twice):
        yield f"{name}: more than one row for {listed(twice)}; keep one per person and session"
    without = people.loc[people["age"].isna(), "participant_id"]
    if len(without):
        yield f"{name}: no age (in years) for {listed(without)}; add it, or leave them out"
    outside = people.loc[people["age"].notna() & ~people["age"].between(*ADULT), "participant_id"]
    if len(outside):
        yield f"{name}: ages outside {ADULT[0]:g}–{ADULT[1]:g} years: {listed(outside)}; models here are for adults"


def _unit_problems(values: NDArray[np.float64], people: pd.DataFrame, parcels: Parcels, name: str) -> Iterator[str]:
    """People whose middle value of a measure is impossible have it in another unit; a few bad values are no unit."""
    # 0 is a parcel that FreeSurfer did not find.
    found = np.where(np.isfinite(values) & (values != 0), values, np.nan)
    for measure, (low, high, unit) in PLAUSIBLE.items():
        mine = found[:, [one == measure for one in parcels.measures]]
        rows = np.flatnonzero(np.isfinite(mine).any(axis=1))
        middle = np.nanmedian(mine[rows], axis=1)
        wrong = np.flatnonzero((middle <= low) | (middle > high))
        if wrong.size:
            who = people["participant_id"].to_numpy(np.str_)[rows[wrong]]
            yield (
                f"{name}: values of {measure} outside {low:g}–{high:g} {unit} in {wrong.size} of {len(values)} rows "
                f"({listed(dict.fromkeys(who.tolist()))}; median {np.median(middle[wrong]):g}); give them in {unit}"
            )


def _plausible(values: NDArray[np.float64], parcels: Parcels) -> tuple[NDArray[np.float64], list[str]]:
    """Set single impossible values to missing, and say how many."""
    out, notes = np.where(np.isfinite(values), values, np.nan), list[str]()
    for measure, (low, high, unit) in PLAUSIBLE.items():
        mine = np.array([one == measure for one in parcels.measures])
        with np.errstate(invalid="ignore"):
            wrong = mine & ((out <= low) | (out > high))
        if wrong.any():
            notes.append(f"{int(wrong.sum())} values of {measure} outside {low:g}–{high:g} {unit} count as missing.")
        out[wrong] = np.nan
    return out, notes
