"""Every model of a cohort that its table of people allows, and why others are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from plastimap.brainage.classify import classify, features
from plastimap.brainage.cohort import MOTOR, SOURCES, cohort_models, mediation
from plastimap.brainage.longitudinal import change_models, noise_floor, time_curves
from plastimap.brainage.modelled import Modelled, joined_people, numbers, person_keys
from plastimap.brainage.problems import BrainageProblem

if TYPE_CHECKING:
    import pandas as pd

HEALTHY = ("healthy", "healthy control", "control", "con", "hc", "normal", "norm")
"""Names of groups whose change from session to session is noise; plurals, cases, hyphens and underscores as well."""


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
    ages: pd.DataFrame,
    people: pd.DataFrame,
    *,
    poor_outcome: float | None = None,
    healthy: Sequence[str] = HEALTHY,
    seed: int = 1,
) -> Statistics:
    """Fit what can be fitted.

    Parameters
    ----------
    ages : DataFrame
        As :func:`plastimap.brainage.results.long_table`.
    people : DataFrame
        One row per person (and session).
    poor_outcome : float, optional
        Motor scores below it are a bad outcome; None = the median of people.
    healthy : sequence of str
        Groups whose change from session to session is noise; others are compared with the first of them.
    seed : int
    """
    tables, notes = {"groups": group_table(ages)}, list[str]()

    def attempt(what: str, name: str, make: Callable[[], Modelled]) -> None:
        try:
            found = make()
        except BrainageProblem as problem:
            notes.append(f"No {what}: {problem}.")
            return
        tables[name] = found.table
        notes.extend(found.notes)

    if ages["side"].notna().any():
        attempt("models of the cohort", "cohort", lambda: cohort_models(ages, people))
        attempt("mediation", "mediation", lambda: mediation(ages, people, seed=seed))
        try:
            tables.update(_classified(ages, people, poor_outcome, seed))
        except BrainageProblem as problem:
            notes.append(f"No classifiers: {problem}.")
        attempt("curves over time", "time", lambda: _curves(ages, people))
    else:
        notes.append("No side of a lesion is known: no models of ipsi- and contralesional networks.")
    if "session" in ages and ages.groupby("participant_id")["session"].nunique().max() > 1:
        attempt("models of change", "change", lambda: _change(ages, people, healthy))
        attempt("noise floor", "noise_floor", lambda: noise_floor(_healthy(ages, people, healthy), people))
    if "cohort" in tables:
        notes += _fallbacks(tables["cohort"])
    return Statistics(tables, tuple(dict.fromkeys(notes)))


def group_table(ages: pd.DataFrame) -> pd.DataFrame:
    """Mean corrected PAD with its standard error over people, per network and side, or hemisphere without a side.

    People with several sessions count once, by the mean of these.
    """
    place = ages["side"].where(ages["side"].notna(), ages["hemisphere"])
    columns = ["pad_corrected", "pad", "lesioned_fraction", "imputed"]
    people = ages.assign(place=place).groupby(["network", "place", "participant_id"], sort=False)[columns].mean()
    grouped = people.reset_index().groupby(["network", "place"], sort=False)
    out = grouped["pad_corrected"].agg(["mean", "sem", "count"]).reset_index()
    means = grouped[columns[1:]].mean().reset_index(drop=True)
    return out.rename(columns={"mean": "pad_corrected", "sem": "error", "count": "people"}).join(means)


def _fallbacks(table: pd.DataFrame) -> list[str]:
    """Say where sites do not differ, and what was fitted there."""
    models = table[table["sites"] > 1].drop_duplicates(["network", "side"])
    alike = models[models["site_variance"] == 0]
    if alike.empty:
        return []
    plain = int((alike["model"] == "clustered").sum())
    told = f"{len(alike)} of {len(models)} models show no variance between sites"
    if plain == len(alike):
        return [f"{told}: least squares with errors clustered by site were used there."]
    return [
        f"{told}: {plain} of them are least squares with errors clustered by site, the others have random intercepts "
        "of people alone."
    ]


def _needed(people: pd.DataFrame, *columns: str) -> None:
    missing = [name for name in columns if name not in people or people[name].isna().all()]
    if missing:
        raise BrainageProblem(f"the people have no {', '.join(missing)}")


def _classified(
    ages: pd.DataFrame, people: pd.DataFrame, poor_outcome: float | None, seed: int
) -> dict[str, pd.DataFrame]:
    column = SOURCES[MOTOR]
    _needed(people, column)
    known = people[person_keys(ages, people)].assign(**{column: numbers(people, column)})
    joined = joined_people(features(ages), known.dropna(subset=[column]))
    middle = joined.groupby("participant_id")[column].mean().median()
    cut = float(middle) if poor_outcome is None else poor_outcome
    outcome = (joined[column] < cut).to_numpy(np.bool_)
    table = joined.drop(columns=["participant_id", "session", column], errors="ignore")
    found = classify(table, outcome, joined["participant_id"].to_numpy(np.str_), seed=seed)
    poor = joined.loc[outcome, "participant_id"].nunique()
    scores = found.scores.assign(poor_below=cut, people_below=poor, people=joined["participant_id"].nunique())
    return {"classifiers": scores, "importance": found.importance}


def _curves(ages: pd.DataFrame, people: pd.DataFrame) -> Modelled:
    _needed(people, "days_since_stroke")
    return time_curves(ages, people)


def _change(ages: pd.DataFrame, people: pd.DataFrame, healthy: Sequence[str]) -> Modelled:
    if "group" not in people or people["group"].isna().all():
        return change_models(ages, people.assign(group="all"))
    groups = people["group"].dropna().astype(str)
    return change_models(ages, people, reference=next(iter(sorted(groups[_among(groups, healthy)])), None))


def _healthy(ages: pd.DataFrame, people: pd.DataFrame, healthy: Sequence[str]) -> pd.DataFrame:
    _needed(people, "group")
    names = people.loc[_among(people["group"], healthy), "participant_id"]
    if names.empty:
        raise BrainageProblem(f"no group is named {', '.join(healthy)}")
    return ages[ages["participant_id"].isin(names)]


def _among(groups: pd.Series, names: Sequence[str]) -> pd.Series:
    wanted = {_singular(name) for name in names}
    return groups.astype("string").fillna("").map(lambda one: _singular(str(one)) in wanted).astype(bool)


def _singular(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ").strip().removesuffix("s")
