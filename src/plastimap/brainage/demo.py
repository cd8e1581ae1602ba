"""A study of stroke to run from end to end, made of a table of healthy adults: tables, truth and its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from plastimap.brainage.harmonise import LEAST_CONTROLS
from plastimap.brainage.model import FEWEST
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.simulate import StrokeCohort, age_course, simulate_stroke
from plastimap.brainage.tables import ParcelTable
from plastimap.writing import PathLike, write_table, write_text

if TYPE_CHECKING:
    import pandas as pd

SHARE_TRAINING = 0.5
STROKE_FROM_AGE = 40.0
"""Years; strokes are planted in people of this age and older."""


def write_cohort(
    folder: PathLike,
    table: ParcelTable,
    *,
    data: str,
    licence: str,
    seed: int = 1,
    surface: Sequence[PathLike] = (),
) -> None:
    """Write a study.

    Half of the people train the model. Of the others, those from 40 years on get a stroke; up to ten younger or older
    healthy people of each site are its local controls.

    Parameters
    ----------
    folder : path-like
        Gets ``training.tsv``, ``cohort.tsv``, ``controls.tsv``, ``lesions.tsv``, ``parcels.tsv``, ``edges.tsv``,
        ``truth.tsv`` (planted years per region) and ``study.yaml``.
    table : ParcelTable
        Healthy adults of several sites, parcels with edges.
    data, licence : str
        For the model's card.
    seed : int
    surface : sequence of path-like
        Labels of the left and the right hemisphere on fsaverage5, for pictures.
    """
    if len(table.people) * SHARE_TRAINING < FEWEST:
        raise BrainageProblem(f"{len(table.people)} people are too few: half of them train, {FEWEST} at least")
    rng, place = np.random.default_rng(seed), Path(folder)
    order = rng.permutation(len(table.people))
    half = int(len(order) * SHARE_TRAINING)
    training, rest = table.rows(np.sort(order[:half])), table.rows(np.sort(order[half:]))
    controls = _controls(rest, rng)
    ill = rest.rows(~controls & (rest.age >= STROKE_FROM_AGE))
    cohort = simulate_stroke(ill, age_course(training), seed=seed)
    files: dict[str, pd.DataFrame] = {
        "training": wide(training),
        "cohort": wide(cohort.table),
        "controls": wide(rest.rows(controls)),
        "lesions": _with_ids(cohort.table, cohort.lesioned, table.parcels.names),
        "truth": _truth(cohort),
        **_parcel_files(table),
    }
    for name, frame in files.items():
        write_table(place / f"{name}.tsv", frame)
    configuration = _configuration(place, data, licence, seed, surface)
    write_text(place / "study.yaml", yaml.safe_dump(configuration, sort_keys=False))


def wide(table: ParcelTable) -> pd.DataFrame:
    """People with their parcels, one row each."""
    return table.people.join(_frame(table.values, table.parcels.names))


def _controls(rest: ParcelTable, rng: np.random.Generator) -> np.ndarray:
    chosen = np.zeros(len(rest.people), dtype=bool)
    for site in np.unique(rest.site):
        rows = rng.permutation(np.flatnonzero(rest.site == site))
        # A site gives controls only where people are left to judge.
        if len(rows) >= 2 * LEAST_CONTROLS:
            chosen[rows[:LEAST_CONTROLS]] = True
    return chosen


def _frame(values: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(np.round(values, 4), columns=list(names))


def _with_ids(table: ParcelTable, values: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    return table.people[["participant_id"]].join(_frame(values, names))


def _truth(cohort: StrokeCohort) -> pd.DataFrame:
    names = tuple(f"{network} {side}" for network, side in cohort.table.parcels.regions)
    return _with_ids(cohort.table, cohort.years, names)


def _parcel_files(table: ParcelTable) -> dict[str, pd.DataFrame]:
    import pandas as pd

    parcels = table.parcels
    nodes = pd.DataFrame({"name": parcels.names, "hemisphere": parcels.hemispheres, "network": parcels.networks,
                          "measure": parcels.measures})  # fmt: skip
    pairs = [(parcels.names[i], parcels.names[j]) for i, j in parcels.edges.tolist()]
    return {"parcels": nodes, "edges": pd.DataFrame(pairs, columns=["one", "other"])}


def _configuration(place: Path, data: str, licence: str, seed: int, surface: Sequence[PathLike]) -> Mapping[str, Any]:
    files = {name: f"{name}.tsv" for name in ("parcels", "edges", "training", "controls", "lesions")}
    section = {"table": "cohort.tsv", **files, "training_data": data, "training_licence": licence}
    section |= {f"surface_{side}": str(Path(file).resolve())
                for side, file in zip(("left", "right"), surface, strict=False)}  # fmt: skip
    return {
        "output_dir": str((place / "derivatives").resolve()),
        "brainage": {**section, "evaluate": False, "seed": seed},
        "report": {"title": "Simulated stroke cohort"},
    }
