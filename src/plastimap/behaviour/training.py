"""The log of the training: how much was trained, and whether levels followed the rule of the game."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plastimap.behaviour.problems import BehaviourProblem
from plastimap.writing import PathLike

if TYPE_CHECKING:
    import pandas as pd

LOG_COLUMNS = ("participant_id", "day", "bout", "level", "percent")
"""Columns of a training log: one row per bout, `percent` of the possible points."""

SUMMARY_COLUMNS = (
    "participant_id", "training_days", "bouts", "first_level", "last_level", "highest_level", "mean_percent",
    "off_rule", "first_off_rule",
)  # fmt: skip


@dataclass(frozen=True)
class DifficultyRule:
    """When the game gets harder or easier.

    Attributes
    ----------
    up_percent, up_bouts : float, int
        One level up after this many bouts at a level with at least this percentage; they need not follow each other.
    down_percent, down_bouts : float, int
        One level down after this many bouts in a row below this percentage.
    lowest : int
        There is no level below.
    """

    up_percent: float = 80.0
    up_bouts: int = 3
    down_percent: float = 30.0
    down_bouts: int = 3
    lowest: int = 1


DEFAULT_RULE = DifficultyRule()


@dataclass
class _Counts:
    """Good bouts at this level so far, and poor ones in a row."""

    good: int = 0
    poor: int = 0

    def change(self, percent: float, level: int, rule: DifficultyRule) -> int:
        """Count a bout; give the step of the level that follows, which starts the counts anew."""
        self.good += percent >= rule.up_percent
        self.poor = self.poor + 1 if percent < rule.down_percent else 0
        step = 1 if self.good >= rule.up_bouts else -1 if self.poor >= rule.down_bouts else 0
        if step:
            self.good = self.poor = 0
        return step if level + step >= rule.lowest else 0


def replay(percent: Sequence[float], *, start: int, rule: DifficultyRule = DEFAULT_RULE) -> list[int]:
    """Level of every bout as the rule sets it.

    Parameters
    ----------
    percent : sequence of float, length n
        Percentage reached in each bout, in order.
    start : int
        Level of the first bout.
    rule : DifficultyRule

    Returns
    -------
    list of int, length n
    """
    counts, level, levels = _Counts(), start, list[int]()
    for one in percent:
        levels.append(level)
        level += counts.change(one, level, rule)
    return levels


def off_rule(percent: Sequence[float], levels: Sequence[int], *, rule: DifficultyRule = DEFAULT_RULE) -> list[int]:
    """Bouts whose logged level does not follow from those before, as positions.

    After a bout off the rule the replay goes on from the logged level with
    fresh counts, so one slip counts once.
    """
    if not levels:
        return []
    counts, expected, found = _Counts(), levels[0], list[int]()
    for position, (one, level) in enumerate(zip(percent, levels, strict=True)):
        if level != expected:
            found.append(position)
            counts = _Counts()
        expected = level + counts.change(one, level, rule)
    return found


def read_log(files: Sequence[PathLike]) -> pd.DataFrame:
    """Read training logs and put them together; no file gives an empty log."""
    import pandas as pd

    from plastimap.behaviour.tables import read

    return pd.concat([read(file) for file in files]) if files else pd.DataFrame(columns=list(LOG_COLUMNS))


def training_summary(log: pd.DataFrame, *, rule: DifficultyRule = DEFAULT_RULE) -> pd.DataFrame:
    """How much each person trained, and how often the level broke the rule.

    Parameters
    ----------
    log : DataFrame
        `LOG_COLUMNS`, one row per bout.
    rule : DifficultyRule

    Returns
    -------
    DataFrame
        `SUMMARY_COLUMNS`, one row per person; ``first_off_rule`` names the first bout off the rule ("" = none).

    Raises
    ------
    BehaviourProblem
        For missing columns, a bout that is there twice, and percentages or levels that are none.
    """
    import pandas as pd

    table = _checked(log)
    rows: list[dict[str, Any]] = []
    for person, mine in table.groupby("participant_id", sort=True):
        ordered = mine.sort_values(["day", "bout"], kind="stable")
        levels = ordered["level"].astype(int).tolist()
        broken = off_rule(ordered["percent"].tolist(), levels, rule=rule)
        first = ordered.iloc[broken[0]] if broken else None
        rows.append({
            "participant_id": person,
            "training_days": int(ordered["day"].nunique()),
            "bouts": len(ordered),
            "first_level": levels[0],
            "last_level": levels[-1],
            "highest_level": max(levels),
            "mean_percent": float(ordered["percent"].mean()),
            "off_rule": len(broken),
            "first_off_rule": "" if first is None else f"day {first['day']:g}, bout {first['bout']:g}",
        })  # fmt: skip
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def _checked(log: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    source = str(log["source"].iloc[0]) if "source" in log.columns and len(log) else "training log"
    missing = [name for name in LOG_COLUMNS if name not in log.columns]
    if missing:
        raise BehaviourProblem(f"{source}: no column {', '.join(missing)}; a log has {', '.join(LOG_COLUMNS)}")
    numbers = {name: pd.to_numeric(log[name], errors="coerce") for name in LOG_COLUMNS[1:]}
    for name, values in numbers.items():
        if values.isna().any():
            raise BehaviourProblem(f"{source}: '{log[name][values.isna()].iloc[0]}' in column {name} is no number")
    if not numbers["percent"].between(0, 100).all():
        raise BehaviourProblem(f"{source}: percent lies between 0 and 100; points were perhaps given instead")
    if (numbers["level"] % 1 != 0).any():
        raise BehaviourProblem(f"{source}: levels are whole numbers")
    table = log[["participant_id"]].assign(**numbers)
    twice = table[table.duplicated(["participant_id", "day", "bout"])]
    if len(twice):
        one = twice.iloc[0]
        where = f"{one['participant_id']}, day {one['day']:g}, bout {one['bout']:g}"
        raise BehaviourProblem(f"{source}: a bout is there twice ({where}); keep one row of each")
    return table
