"""A model of regional brain age: trained on healthy people, applied to anybody with the same parcels.

Everything that is learnt (sites' shifts, expectations for missing parcels, regressions, bias of age, intervals) is
learnt from the people given to :func:`train`, and from nobody else. Bias and intervals are learnt twice, for people of
the sites trained on and for everybody else, and each person gets those of the own site.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.calibration import Calibration, Calibrations, calibrate
from plastimap.brainage.engines import Engine, LeftOut, Method, fit_engine
from plastimap.brainage.harmonise import LEAST_CONTROLS, Harmoniser, fit_harmoniser
from plastimap.brainage.harmonise import Method as HarmoniseMethod
from plastimap.brainage.lesions import LOST, Imputed, Normal, fit_normal, impute
from plastimap.brainage.parcels import Parcels, listed, refuse_other_parcels
from plastimap.brainage.people import UNNAMED
from plastimap.brainage.predicted import Predicted
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.said import FEWEST_SITES, kinds_of_people, not_used, said_of_people
from plastimap.brainage.suitable import refuse_other_units, refuse_rare_parcels
from plastimap.brainage.tables import ParcelTable

Array = NDArray[np.float64]

FEWEST = 40
"""People without whom no model is trained."""


@dataclass(frozen=True)
class Settings:
    """How a model is trained.

    Attributes
    ----------
    method : {"gaussian_process", "ridge", "gcn"}
    covariates : tuple of str
        Columns of the people that every region may see.
    harmonise : {"none", "location", "combat"}
    coverage : float
        Of the intervals.
    whole_graph : bool
        GCN alone: messages across regions. A change in one region then leaks into the ages of others.
    seed : int
    """

    method: Method = "gaussian_process"
    covariates: tuple[str, ...] = ("sex",)
    harmonise: HarmoniseMethod = "none"
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
    calibration : Calibrations
    age_range : tuple of float
        Of the training data, years.
    sites : mapping of str to int
        People per training site.
    notes : tuple of str
    controls : frozenset of str
        Identifiers of local controls, as long as the model is in memory; no file has them.
    """

    parcels: Parcels
    settings: Settings
    engine: Engine
    harmoniser: Harmoniser
    normal: Normal
    usual: Array
    calibration: Calibrations
    age_range: tuple[float, float]
    sites: dict[str, int]
    notes: tuple[str, ...] = ()
    controls: frozenset[str] = frozenset()

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
    calibration : ndarray of str, shape (n,)
        Whose bias and intervals each person got: ``known site``, ``new site``, or ``local controls``.
    imputed : Imputed
    notes : tuple of str
    """

    age: Array
    expected: Array
    sd: Array
    lower: Array
    upper: Array
    calibration: NDArray[np.str_]
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
        If there are too few people, a covariate is missing, or a parcel was measured in too few people or sites.
    """
    if table.count < FEWEST:
        raise BrainageProblem(f"{table.count} people are too few to train on; {FEWEST} at least, some hundreds for use")
    refuse_rare_parcels(table)
    return fit_model(table, settings)


def fit_model(table: ParcelTable, settings: Settings, *, known_sites: bool = True) -> BrainAgeModel:
    """Train on however many people: a fold has fewer than the table that it comes from.

    Parameters
    ----------
    table : ParcelTable
    settings : Settings
    known_sites : bool
        False = nobody of a site trained on will be judged, so that nothing is learnt for those (a graph network is
        then trained once, not twice).
    """
    covariates = table.covariates(settings.covariates)
    usual = _means(covariates, settings.covariates)
    covariates = np.where(np.isfinite(covariates), covariates, usual)
    normal = fit_normal(table.values)
    filled = impute(table.values, table.parcels, normal).values
    harmoniser = fit_harmoniser(filled, table.age, _sex(table), table.site, method=settings.harmonise)
    sites = _sites_apart(table)
    whole_sites = len(np.unique(sites)) >= FEWEST_SITES
    engine, left_out = fit_engine(
        harmoniser.apply(filled, table.site), covariates, table.age, table.parcels,
        groups=sites if whole_sites else table.persons,
        method=settings.method, whole_graph=settings.whole_graph, seed=settings.seed,
    )  # fmt: skip
    new = _at_new_sites(table, settings, left_out, sites, filled) if whole_sites else None
    known = new if not known_sites else None
    if known is None:
        people = left_out(table.persons, None)
        known = _calibrated(table, settings, people, people[0])
    return BrainAgeModel(
        parcels=table.parcels,
        settings=settings,
        engine=engine,
        harmoniser=harmoniser,
        normal=normal,
        usual=usual,
        calibration=Calibrations(known, new or known, frozenset(table.site.tolist()) - {UNNAMED}, whole_sites),
        age_range=(float(table.age.min()), float(table.age.max())),
        sites=_people_per_site(table),
        notes=(*table.notes, *_too_few_sites(whole_sites)),
    )


def _at_new_sites(
    table: ParcelTable, settings: Settings, left_out: LeftOut, sites: NDArray[np.intp], as_they_come: Array
) -> Calibration:
    """Calibrate by whole sites left out; parcels as they come, not harmonised."""
    known = left_out(sites, None)
    # Nobody takes the shifts of a new site off, unless it has controls: nor are they taken off a site left out.
    new = known if settings.harmonise == "none" else left_out(sites, as_they_come)
    return _calibrated(table, settings, new, known[0])


def _calibrated(table: ParcelTable, settings: Settings, found: tuple[Array, Array], harmonised: Array) -> Calibration:
    return calibrate(
        table.age, *found, table.site,
        harmonised=harmonised, by_members=settings.method == "gcn", coverage=settings.coverage,
    )  # fmt: skip


def _sites_apart(table: ParcelTable) -> NDArray[np.intp]:
    """Number of everybody's site; sites that share people are one, or who is left out would be seen elsewhere."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    (sites, site), (people, person) = (np.unique(one, return_inverse=True) for one in (table.site, table.persons))
    size = len(sites) + len(people)
    met = coo_array((np.ones(len(site)), (site, len(sites) + person)), shape=(size, size))
    return np.asarray(connected_components(met, directed=False)[1], dtype=np.intp)[site]


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
    _refuse_other_tables(model, table)
    raw, filled = _predicted(model, table, lesioned)
    said = model.calibration.judge(raw, table.age, table.site)
    return Prediction(*said, kinds_of_people(model, table), filled, said_of_people(model, table))


def _refuse_other_tables(model: BrainAgeModel, table: ParcelTable) -> None:
    refuse_other_parcels(model.parcels, table.parcels)
    refuse_other_units(table, model.normal.mean, np.sqrt(np.diag(model.normal.covariance)))


def _predicted(
    model: BrainAgeModel, table: ParcelTable, lesioned: ArrayLike | None = None
) -> tuple[Predicted, Imputed]:
    """Ages with sites' shifts still in, and what was replaced for them."""
    covariates = table.covariates(model.settings.covariates)
    covariates = np.where(np.isfinite(covariates), covariates, model.usual)
    # A site without a name is none of those that were trained on.
    harmonised = model.harmoniser.apply(table.values, np.where(table.site == UNNAMED, "", table.site))
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
    _refuse_other_tables(model, controls)
    out, notes = replace(model, controls=model.controls | frozenset(controls.persons.tolist())), list(model.notes)
    for name in np.unique(controls.site).tolist():
        rows = controls.rows((controls.site == name) & ~controls.people["participant_id"].duplicated().to_numpy())
        if name == UNNAMED or rows.count < LEAST_CONTROLS:
            notes.append(not_used(name, rows.count))
            continue
        if model.settings.harmonise != "none":
            filled = impute(rows.values, model.parcels, model.normal).values
            out = replace(out, harmoniser=out.harmoniser.with_site(name, filled, rows.age, _sex(rows)))
        out = replace(out, calibration=out.calibration.with_site(name, rows.age, _predicted(out, rows)[0]))
    if known := sorted(out.calibration.with_controls & out.calibration.trained):
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


def _people_per_site(table: ParcelTable) -> dict[str, int]:
    return {name: table.rows(table.site == name).count for name in np.unique(table.site).tolist()}


def _too_few_sites(whole_sites: bool) -> list[str]:
    told = (
        f"Fewer than {FEWEST_SITES} sites: bias and intervals of people of new ones are those of people of known sites."
    )
    return [] if whole_sites else [told]


def _without_lost(values: Array, filled: Imputed) -> Array:
    """NaN for lost regions; the whole brain, the last one, is lost with half of all parcels."""
    lost = np.column_stack([filled.lost, filled.replaced.mean(axis=1) >= LOST])
    return np.where(lost[:, : values.shape[-1]], np.nan, values)
