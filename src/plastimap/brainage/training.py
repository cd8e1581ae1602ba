"""Train and keep a model with its errors; judge people by one, lesions and local controls included."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from plastimap.brainage.evaluate import cross_validate, summary
from plastimap.brainage.lesion_table import read_lesions, with_volumes
from plastimap.brainage.lesions import lesion_side, named_sides
from plastimap.brainage.model import FEWEST_SITES, BrainAgeModel, Settings, apply, train, with_local_controls
from plastimap.brainage.results import long_table
from plastimap.brainage.storage import save_model
from plastimap.brainage.tables import ParcelTable
from plastimap.writing import PathLike

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Judged:
    """People's ages, and what has to be said about them.

    Attributes
    ----------
    table : DataFrame
        As :func:`plastimap.brainage.results.long_table`.
    people : DataFrame
        Those that were given, with their lesions' volumes.
    notes : tuple of str
    """

    table: pd.DataFrame
    people: pd.DataFrame
    notes: tuple[str, ...]


def train_and_save(
    file: PathLike, table: ParcelTable, settings: Settings, *, data: str, licence: str, evaluate: bool = True
) -> tuple[str, ...]:
    """Train on everybody, estimate the errors on people (and sites) left out, and write both.

    Parameters
    ----------
    file : path-like
    table : ParcelTable
        Healthy adults.
    settings : Settings
    data, licence : str
        For the card.
    evaluate : bool
        False = the card has no errors.

    Returns
    -------
    tuple of str
        The model's notes.
    """
    model = train(table, settings)
    save_model(file, model, data=data, licence=licence, metrics=errors_left_out(table, settings) if evaluate else None)
    return model.notes


def errors_left_out(table: ParcelTable, settings: Settings) -> dict[str, Any]:
    """Errors on people left out and, with enough sites, on sites left out, as the card has them."""
    found: dict[str, Any] = {"random folds": summary(cross_validate(table, settings, "random"))}
    if len(np.unique(table.site)) >= FEWEST_SITES:
        found["sites left out"] = summary(cross_validate(table, settings, "sites"))
    if settings.method == "gcn" and "sites left out" in found:
        found["compared with gaussian_process"] = _against_processes(table, settings, found["sites left out"])
    return found


def _against_processes(table: ParcelTable, settings: Settings, ours: dict[str, Any]) -> str:
    """Say whether the graph network is at least as good as Gaussian processes on sites left out."""
    other = replace(settings, method="gaussian_process", whole_graph=False)
    theirs = summary(cross_validate(table, other, "sites"))
    mine, best = (one["controls 0, ages all"]["mean of regions"]["mae"] for one in (ours, theirs))
    verdict = "at least as good as" if mine <= best else "worse than"
    return f"{verdict} Gaussian processes on sites left out: MAE of regions {mine:.2f} and {best:.2f} years"


def judged(
    model: BrainAgeModel,
    table: ParcelTable,
    *,
    controls: ParcelTable | None = None,
    lesions: pd.DataFrame | None = None,
) -> Judged:
    """Ages of people.

    Parameters
    ----------
    model : BrainAgeModel
    table : ParcelTable
    controls : ParcelTable, optional
        Healthy people of the same sites.
    lesions : DataFrame, optional
        Lesioned share of each parcel, a row per person, and ``lesion_volume_ml`` where it is known. Sides come from
        the column ``lesion_side`` (L, R, both) of the people where it says one, else from where most of the lesion
        lies.

    Raises
    ------
    BrainageProblem
        If the table of lesions or its sides do not go with the people.
    """
    known = with_local_controls(model, controls) if controls is not None else model
    found = read_lesions(lesions, table.people, table.parcels) if lesions is not None else None
    shares = found.shares if found else None
    sides = lesion_side(shares, table.parcels) if shares is not None else [""] * len(table.people)
    if "lesion_side" in table.people:
        sides = named_sides(table.people["lesion_side"], sides)
    prediction = apply(known, table, lesioned=shares)
    frame = long_table(known, table, prediction, lesioned=shares, lesion_sides=sides)
    people = with_volumes(table.people, found) if found else table.people
    return Judged(frame, people, (*prediction.notes, *(found.notes if found else ())))
