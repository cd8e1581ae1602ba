"""Behaviour tables in, one tidy table out: participant_id, day, side, outcome, value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plastimap.behaviour.problems import BehaviourProblem
from plastimap.behaviour.responses import Score, score
from plastimap.writing import PathLike

if TYPE_CHECKING:
    import pandas as pd

TIDY_COLUMNS = ("participant_id", "day", "side", "outcome", "value")

RESPONSE_COLUMNS = ("cue_time", "response_time")
"""A table with these (seconds) has one row per response and is scored here."""

BOTH = "both"
"""Side of a table that has no `side` column."""

SIDES = {"l": "left", "r": "right"}
"""Short names of sides."""


def read(path: PathLike) -> pd.DataFrame:
    """Read a behaviour table: a BIDS ``*_beh.tsv`` or a plain ``behaviour.tsv``.

    Parameters
    ----------
    path : path-like
        Tab-separated. Participant and session come from the columns
        ``participant_id`` and ``session_id``, else from the file's name.

    Returns
    -------
    DataFrame
        The table, with participant_id (``sub-…``), session_id (``ses-…`` or
        "") and source (the file).

    Raises
    ------
    BehaviourProblem
        When the file cannot be read or nobody can be found in it.
    """
    import pandas as pd

    file = Path(path)
    if not file.exists():
        raise BehaviourProblem(f"{file}: no such file")
    try:
        texts = {"participant_id": str, "session_id": str, "side": str}
        table = pd.read_csv(file, sep="\t", na_values=["n/a"], dtype=texts)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise BehaviourProblem(f"{file}: not a tab-separated table ({error}); export it again") from error
    if "participant_id" not in table.columns:
        table.insert(0, "participant_id", _entity(file, "sub"))
    if table["participant_id"].isna().any() or (table["participant_id"] == "").any():
        raise BehaviourProblem(f"{file}: no participant; add a participant_id column or sub-… to the name")
    table["participant_id"] = "sub-" + table["participant_id"].str.removeprefix("sub-")
    if "session_id" not in table.columns:
        table["session_id"] = _entity(file, "ses")
    table["source"] = str(file)
    return table


def _entity(file: Path, key: str) -> str:
    match = re.search(rf"(?:^|_)({key}-[A-Za-z0-9]+)(?:_|\.)", file.name)
    return match.group(1) if match else ""


def tidy(
    frames: Sequence[pd.DataFrame], *, outcomes: Sequence[str], days: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Put behaviour tables together.

    Parameters
    ----------
    frames : sequence of DataFrame
        From :func:`read`, or made by hand with participant_id, day, and a
        column per outcome (one row per assessment, or per assessment × side),
        or with cue_time and response_time (one row per response).
    outcomes : sequence of str
        Columns to take.
    days : mapping, optional
        Scan label (``sub-01_ses-02``) → days since baseline, for tables
        without a ``day`` column.

    Returns
    -------
    DataFrame
        `TIDY_COLUMNS`, sorted; rows without a value are left out.

    Raises
    ------
    BehaviourProblem
        For missing columns, days that are nowhere told, values that are no
        numbers, and assessments that appear twice.
    """
    import pandas as pd

    parts = [_tidy_one(frame, outcomes, days or {}) for frame in frames]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=list(TIDY_COLUMNS))
    table = pd.concat(parts, ignore_index=True)
    keys = ["participant_id", "day", "side", "outcome"]
    twice = table[table.duplicated(keys, keep=False)]
    if len(twice):
        who = ", ".join(sorted({f"{row.participant_id} day {row.day:g}" for row in twice.itertuples()}))
        raise BehaviourProblem(f"the same assessment is given more than once ({who}); keep one row of each")
    return table.sort_values(keys, kind="stable").reset_index(drop=True)[list(TIDY_COLUMNS)]


def _tidy_one(frame: pd.DataFrame, outcomes: Sequence[str], days: Mapping[str, float]) -> pd.DataFrame:
    source = str(frame["source"].iloc[0]) if "source" in frame.columns and len(frame) else "behaviour table"
    if "participant_id" not in frame.columns:
        raise BehaviourProblem(f"{source}: no column participant_id")
    table = frame.assign(day=_days(frame, days, source))
    if "side" not in table.columns:
        table["side"] = BOTH
    table["side"] = table["side"].fillna(BOTH).str.strip().str.lower().replace(SIDES)
    if set(RESPONSE_COLUMNS) <= set(table.columns):
        table = _scored(table, source)
    present = [outcome for outcome in outcomes if outcome in table.columns]
    if not present:
        columns = ", ".join(map(str, frame.columns))
        raise BehaviourProblem(f"{source}: none of the outcomes {', '.join(outcomes)} among the columns {columns}")
    table = table.assign(**{outcome: _numbers(table, outcome, source) for outcome in present})
    long = table.melt(["participant_id", "day", "side"], present, var_name="outcome", value_name="value")
    return long.dropna(subset=["value"])


def _days(frame: pd.DataFrame, days: Mapping[str, float], source: str) -> pd.Series:
    import pandas as pd

    if "day" in frame.columns:
        found = _numbers(frame, "day", source)
    else:
        sessions = frame["session_id"] if "session_id" in frame.columns else [""] * len(frame)
        visits = zip(frame["participant_id"], sessions, strict=True)
        labels = [f"{who}_{visit}" if visit else str(who) for who, visit in visits]
        found = pd.Series([days.get(label, math.nan) for label in labels], index=frame.index, dtype=float)
    if found.isna().any():
        whose = ", ".join(sorted({_scan_label(row) for _, row in frame[found.isna()].iterrows()}))
        raise BehaviourProblem(
            f"{source}: the day of {whose} is not known; add a column day (days since baseline), or correct session_id"
        )
    return found


def _scan_label(row: pd.Series) -> str:
    session = row.get("session_id")
    return f"{row['participant_id']}_{session}" if isinstance(session, str) and session else str(row["participant_id"])


def _numbers(frame: pd.DataFrame, column: str, source: str) -> pd.Series:
    import pandas as pd

    values = frame[column]
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = frame[numbers.isna() & values.notna()]
    if len(wrong):
        first = wrong.iloc[0]
        where = f"in column {column} of {first['participant_id']}"
        raise BehaviourProblem(
            f"{source}: '{first[column]}' {where} is no number; decimals have a point, missing is n/a"
        )
    return numbers.astype(float)


def _scored(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """One row per assessment × side from one row per response."""
    import pandas as pd

    rows: list[dict[str, object]] = []
    for (who, day, side), responses in table.groupby(["participant_id", "day", "side"], sort=True):
        try:
            result = score(responses["cue_time"], responses["response_time"])
        except BehaviourProblem as problem:
            raise BehaviourProblem(f"{source}: {problem}") from problem
        rows.append({"participant_id": who, "day": day, "side": side, **result._asdict()})
    return pd.DataFrame(rows, columns=["participant_id", "day", "side", *Score._fields])
