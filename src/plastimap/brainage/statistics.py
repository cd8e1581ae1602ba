"""Every model of a cohort that its table of people allows, and why others are left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plastimap.brainage.classify import classify, features
from plastimap.brainage.cohort import MOTOR, SOURCES, cohort_models, mediation
from plastimap.brainage.longitudinal import change_models, noise_floor, time_curves
from plastimap.brainage.problems import BrainageProblem

if TYPE_CHECKING:
    import pandas as pd

HEALTHY = ("healthy", "control", "con", "hc")
"""Names of groups whose change from session to session is noise."""


@dataclass(frozen=True)
class Statistics:
    """Tables by name, and what was left out.

    Attributes
    ----------
    tables : dict of str to DataFrame
        Any of ``cohort``, ``mediation``, ``time``, ``classifiers``, ``importance``, ``change``, ``noise_floor``,
        ``groups`` (mean PAD of every region, and of either side).
    notes : tuple of str
    """

    tables: dict[str, pd.DataFrame]
    notes: tuple[str, ...]


def cohort_statistics(
    ages: pd.DataFrame, people: pd.DataFrame, *, poor_outcome: float | None = None, seed: int = 1
) -> Statistics:
    """Fit what can be fitted.

    Parameters
    ----------
    ages : DataFrame
        As :func:`plastimap.brainage.results.long_table`.
    people : DataFrame
        One row per person (and session).
    poor_outcome : float, optional
        Motor scores below it are a bad outcome; None = the median.
    seed : int
    """
    tables, notes = {"groups": group_table(ages)}, list[str]()

    def attempt(name: str, make: Callable[[], dict[str, pd.DataFrame]]) -> None:
        try:
            tables.update(make())
        except BrainageProblem as problem:
            notes.append(f"No {name}: {problem}.")

    if ages["side"].notna().any():
        attempt("models of the cohort", lambda: {"cohort": cohort_models(ages, people)})
        attempt("mediation", lambda: {"mediation": mediation(ages, people, seed=seed)})
        attempt("classifiers", lambda: _classified(ages, people, poor_outcome, seed))
        attempt("curves over time", lambda: _curves(ages, people))
    else:
        notes.append("No side of a lesion is known: no models of ipsi- and contralesional networks.")
    if "session" in ages and ages.groupby("participant_id")["session"].nunique().max() > 1:
        attempt("models of change", lambda: _change(ages, people))
        attempt("noise floor", lambda: {"noise_floor": noise_floor(_healthy(ages, people))})
    if "cohort" in tables:
        notes += _fallbacks(tables["cohort"])
    return Statistics(tables, tuple(notes))


def group_table(ages: pd.DataFrame) -> pd.DataFrame:
    """Mean corrected PAD with its standard error, per network and side, or hemisphere where there is no side."""
    place = ages["side"].where(ages["side"].notna(), ages["hemisphere"])
    grouped = ages.assign(place=place).groupby(["network", "place"], sort=False)
    out = grouped["pad_corrected"].agg(["mean", "sem", "count"]).reset_index()
    means = grouped[["pad", "lesioned_fraction", "imputed"]].mean().reset_index(drop=True)
    return out.rename(columns={"mean": "pad_corrected", "sem": "error", "count": "n"}).join(means)


def _fallbacks(table: pd.DataFrame) -> list[str]:
    models = table.drop_duplicates(["network", "side"])
    plain = models["model"].value_counts()
    if plain.get("clustered", 0):
        return [
            f"{plain['clustered']} of {len(models)} models show no variance between sites: least squares with errors "
            "clustered by site were used there."
        ]
    return []


def _needed(people: pd.DataFrame, *columns: str) -> None:
    missing = [name for name in columns if name not in people or people[name].isna().all()]
    if missing:
        raise BrainageProblem(f"the people have no {', '.join(missing)}")


def _classified(
    ages: pd.DataFrame, people: pd.DataFrame, poor_outcome: float | None, seed: int
) -> dict[str, pd.DataFrame]:
    column = SOURCES[MOTOR]
    _needed(people, column)
    keys = [key for key in ("participant_id", "session") if key in people and key in ages]
    joined = features(ages).merge(people[[*keys, column]].dropna(), on=keys)
    cut = float(joined[column].median()) if poor_outcome is None else poor_outcome
    outcome = (joined[column] < cut).to_numpy()
    found = classify(joined.drop(columns=[*keys, "session", column], errors="ignore"), outcome, seed=seed)
    return {"classifiers": found.scores.assign(poor_below=cut), "importance": found.importance}


def _curves(ages: pd.DataFrame, people: pd.DataFrame) -> dict[str, pd.DataFrame]:
    _needed(people, "days_since_stroke")
    return {"time": time_curves(ages, people)}


def _change(ages: pd.DataFrame, people: pd.DataFrame) -> dict[str, pd.DataFrame]:
    known = people if "group" in people else people.assign(group="all")
    return {"change": change_models(ages, known)}


def _healthy(ages: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    _needed(people, "group")
    names = people.loc[people["group"].astype(str).str.lower().isin(HEALTHY), "participant_id"]
    if names.empty:
        raise BrainageProblem(f"no group is named {', '.join(HEALTHY)}")
    return ages[ages["participant_id"].isin(names)]
