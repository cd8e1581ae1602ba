"""A model of regional brain age: trained on healthy people, applied to anybody with the same parcels.

Everything that is learnt (sites' shifts, expectations for missing parcels, regressions, bias of age, intervals) is
learnt from the people given to :func:`train`, and from nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.calibration import Calibration, calibrate
from plastimap.brainage.engines import Engine, LeftOut, Method, fit_engine
from plastimap.brainage.harmonise import LEAST_CONTROLS, Harmoniser, fit_harmoniser
from plastimap.brainage.harmonise import Method as HarmoniseMethod
from plastimap.brainage.lesions import LOST, Imputed, Normal, fit_normal, impute
from plastimap.brainage.parcels import Parcels, listed, refuse_other_parcels
from plastimap.brainage.predicted import Predicted
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.tables import ParcelTable

Array = NDArray[np.float64]

FEWEST = 40
"""People without whom no model is trained."""

FEWEST_SITES = 4
"""Fewer sites cannot say how far off a new one will be: intervals are then those of people of known sites."""


@dataclass(frozen=True)
class Settings:
    """How a model is trained.

    Attributes
    ----------
    method : {"gaussian_process", "ridge", "gcn"}
    covariates : tuple of str
        Columns of the people that every region may see.
    harmonise : {"none", "location", "combat"}
    calibrate_for : {"new_sites", "known_sites"}
        Whether intervals and bias are those of people of sites left out, or of people left out.
    coverage : float
        Of the intervals.
    whole_graph : bool
        GCN alone: messages across regions. A change in one region then leaks into the ages of others.
    seed : int
    """

    method: Method = "gaussian_process"
    covariates: tuple[str, ...] = ("sex",)
    harmonise: HarmoniseMethod = "none"
    calibrate_for: Literal["new_sites", "known_sites"] = "new_sites"
    coverage: float = 0.9
    whole_graph: bool = False
    seed: int = 1


@dataclass(frozen=True)
class BrainAgeModel:
    """A trained model.

    Attributes
    ----------
    parcels : Parcels
    settings : Settings
    engine : Engine
        Predicts all regions.
    harmoniser : Harmoniser
    normal : Normal
        For missing parcels.
    usual : ndarray, shape (q,)
        Mean covariates, for who lacks one.
    calibration : Calibration
    age_range : tuple of float
        Of the training data, years.
    sites : mapping of str to int
        People per training site.
    notes : tuple of str
    """

    parcels: Parcels
    settings: Settings
    engine: Engine
    harmoniser: Harmoniser
    normal: Normal
    usual: Array
    calibration: Calibration
    age_range: tuple[float, float]
    sites: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def regions(self) -> tuple[tuple[str, str], ...]:
        """(network, hemisphere) in the order of predictions."""
        return self.engine.regions


@dataclass(frozen=True)
class Prediction:
    """Ages of people × regions, each array of shape (n, regions).

    Attributes
    ----------
    age : ndarray
        Predicted, years; NaN where a region is lost.
    expected : ndarray
        What a healthy person of the same real age is predicted on average: models pull ages towards the mean.
    sd, lower, upper : ndarray
        Uncertainty, and the calibrated interval.
    imputed : Imputed
    notes : tuple of str
    """

    age: Array
    expected: Array
    sd: Array
    lower: Array
    upper: Array
    imputed: Imputed
    notes: tuple[str, ...]


def train(table: ParcelTable, settings: Settings = Settings()) -> BrainAgeModel:
    """Train on healthy people.

    Parameters
    ----------
    table : ParcelTable
    settings : Settings

    Raises
    ------
    BrainageProblem
        If there are too few people, or a covariate is missing.
    """
    people = table.people["participant_id"].nunique()
    if people < FEWEST:
        raise BrainageProblem(f"{people} people are too few to train on; {FEWEST} at least, some hundreds for use")
    return fit_model(table, settings)


def fit_model(table: ParcelTable, settings: Settings) -> BrainAgeModel:
    """Train on however many people: a fold has fewer than the table that it comes from."""
    covariates = table.covariates(settings.covariates)
    usual = _means(covariates, settings.covariates)
    covariates = np.where(np.isfinite(covariates), covariates, usual)
    normal = fit_normal(table.values)
    filled = impute(table.values, table.parcels, normal).values
    harmoniser = fit_harmoniser(filled, table.age, _sex(table), table.site, method=settings.harmonise)
    whole_sites = _whole_sites(settings, len(np.unique(table.site)))
    groups = table.site if whole_sites else table.people["participant_id"].to_numpy(np.str_)
    engine, left_out = fit_engine(
        harmoniser.apply(filled, table.site), covariates, table.age, table.parcels, groups=groups,
        method=settings.method, whole_graph=settings.whole_graph, seed=settings.seed,
    )  # fmt: skip
    return BrainAgeModel(
        parcels=table.parcels,
        settings=settings,
        engine=engine,
        harmoniser=harmoniser,
        normal=normal,
        usual=usual,
        calibration=_calibrated(table, settings, left_out, filled if whole_sites else None),
        age_range=(float(table.age.min()), float(table.age.max())),
        sites={str(name): int(number) for name, number in table.people["site"].value_counts().items()},
        notes=(*table.notes, *_too_few_sites(settings, whole_sites)),
    )


def _calibrated(table: ParcelTable, settings: Settings, left_out: LeftOut, as_they_come: Array | None) -> Calibration:
    """Calibrate by people left out; parcels as they come, not harmonised, where whole sites were left out."""
    known = left_out(None)
    # Nobody takes the shifts of a new site off, unless it has controls: nor are they taken off a site left out.
    new = known if as_they_come is None or settings.harmonise == "none" else left_out(as_they_come)
    return calibrate(
        table.age, *new, table.site,
        harmonised=known[0], by_members=settings.method == "gcn", coverage=settings.coverage,
    )  # fmt: skip


def apply(model: BrainAgeModel, table: ParcelTable, *, lesioned: ArrayLike | None = None) -> Prediction:
    """Predict ages.

    Parameters
    ----------
    model : BrainAgeModel
    table : ParcelTable
        With the model's parcels.
    lesioned : array-like, shape (n, p), optional
        Lesioned share of each parcel.

    Raises
    ------
    BrainageProblem
        If the parcels are not the model's.
    """
    refuse_other_parcels(model.parcels, table.parcels)
    raw, filled = _predicted(model, table, lesioned)
    known = model.calibration
    found, site = known.unshifted(raw, table.site), table.site
    limits, expected = known.interval(found, site), known.expected(table.age, site)
    return Prediction(found.age, expected, known.scaled(found, site), *limits, filled, _warnings(model, table))


def _predicted(
    model: BrainAgeModel, table: ParcelTable, lesioned: ArrayLike | None = None
) -> tuple[Predicted, Imputed]:
    """Ages with sites' shifts still in, and what was replaced for them."""
    covariates = table.covariates(model.settings.covariates)
    covariates = np.where(np.isfinite(covariates), covariates, model.usual)
    harmonised = model.harmoniser.apply(table.values, table.site)
    filled = impute(harmonised, model.parcels, model.normal, lesioned=lesioned)
    found = model.engine.predict(filled.values, covariates)
    return Predicted(*(_without_lost(one, filled) for one in found)), filled


def with_local_controls(model: BrainAgeModel, controls: ParcelTable) -> BrainAgeModel:
    """Let a model know new sites by their healthy controls.

    What is learnt is each region's mean log ratio of predicted to real age, shrunk, and its scatter, which gives the
    intervals; and, where the model harmonises, each parcel's shift.

    Parameters
    ----------
    model : BrainAgeModel
    controls : ParcelTable
        Healthy people of one or several sites, none of whom the model was trained on.
    """
    refuse_other_parcels(model.parcels, controls.parcels)
    out, notes = model, list(model.notes)
    for name in np.unique(controls.site):
        rows = controls.rows(controls.site == name)
        if len(rows.people) < LEAST_CONTROLS:
            notes.append(f"Site {name}: {len(rows.people)} controls, fewer than {LEAST_CONTROLS}: taken as it is.")
            continue
        if model.settings.harmonise != "none":
            filled = impute(rows.values, model.parcels, model.normal).values
            out = replace(out, harmoniser=out.harmoniser.with_site(str(name), filled, rows.age, _sex(rows)))
        out = replace(out, calibration=out.calibration.with_site(str(name), rows.age, _predicted(out, rows)[0]))
    if known := sorted(set(out.calibration.sites) & set(model.sites)):
        notes.append(
            f"Sites with controls that were trained on, too: {listed(known)}. If the controls themselves were, "
            "intervals are too narrow; give healthy people whom the model has not seen."
        )
    return replace(out, notes=tuple(notes))


def _means(covariates: Array, names: tuple[str, ...]) -> Array:
    empty = [name for name, column in zip(names, covariates.T, strict=True) if not np.isfinite(column).any()]
    if empty:
        raise BrainageProblem(f"covariates without a single number: {', '.join(empty)}; leave them out of the model")
    return np.nanmean(covariates, axis=0) if names else np.zeros(0)


def _sex(table: ParcelTable) -> Array:
    return table.people["sex"].to_numpy(np.float64)


def _whole_sites(settings: Settings, sites: int) -> bool:
    """Whether whole sites are left out for calibration, as new ones are."""
    return settings.calibrate_for == "new_sites" and sites >= FEWEST_SITES


def _too_few_sites(settings: Settings, whole_sites: bool) -> list[str]:
    fallback = settings.calibrate_for == "new_sites" and not whole_sites
    return [f"Fewer than {FEWEST_SITES} sites: intervals are those of people of known sites."] if fallback else []


def _without_lost(values: Array, filled: Imputed) -> Array:
    """NaN for lost regions; the whole brain, the last one, is lost with half of all parcels."""
    lost = np.column_stack([filled.lost, filled.replaced.mean(axis=1) >= LOST])
    return np.where(lost[:, : values.shape[-1]], np.nan, values)


def _warnings(model: BrainAgeModel, table: ParcelTable) -> tuple[str, ...]:
    known = set(model.sites) | set(model.calibration.sites)
    new = [name for name in dict.fromkeys(table.site.tolist()) if name not in known]
    notes = [*model.notes, *table.notes]
    if new:
        notes.append(
            f"Sites without controls: {', '.join(new)}. Their ages are taken as they come, and may be off by years "
            f"together; {LEAST_CONTROLS} healthy controls of the same scanner would say by how much."
        )
    if new and not _whole_sites(model.settings, len(model.sites)):
        notes.append(
            "The model's intervals are those of people of sites it was trained on: at sites without controls, ages lie "
            f"outside more often than they say. Give controls, or train with calibrate_for: new_sites on people of "
            f"{FEWEST_SITES} sites or more."
        )
    outside = ((table.age < model.age_range[0]) | (table.age > model.age_range[1])).sum()
    if outside:
        low, high = model.age_range
        notes.append(
            f"Younger or older than everybody in training ({low:.0f}–{high:.0f} years): {outside} of the people."
        )
    return tuple(dict.fromkeys(notes))
