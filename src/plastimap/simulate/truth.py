"""The truth beside the data: what was planted where, how much in whom, and the learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume, write_volume
from plastimap.simulate.anatomy import TISSUES, load_template
from plastimap.simulate.people import Person, change, sessions
from plastimap.simulate.places import Growth, blob, loadings, time_shape
from plastimap.simulate.spec import Effect, SimulationSpec
from plastimap.writing import PathLike, write_json, write_table

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

SEARCH_STEP_MM = 1.0
"""Grid on which the realised change is measured."""


def write_truth(folder: PathLike, spec: SimulationSpec, everybody: Sequence[Person]) -> None:
    """Write effects.tsv and .json, changes.tsv, people.tsv, behaviour.tsv and a mask per effect to `folder`."""
    place = Path(folder)
    effects = effects_table(spec)
    write_table(place / "effects.tsv", effects)
    write_json(place / "effects.json", {"columns": EFFECT_COLUMNS, "effects": effects.to_dict("records")})
    write_table(place / "changes.tsv", changes_table(spec, everybody))
    write_table(place / "people.tsv", people_table(everybody))
    write_table(place / "learning.tsv", learning_table(everybody))
    for effect in spec.effects:
        write_volume(place / f"{effect.name}_mask.nii.gz", effect_mask(effect))


EFFECT_COLUMNS = {
    "effect": "name",
    "place": "name of the place",
    "map": "map that changes",
    "tissue": "tissue that changes (vbm: where the volume change is measured; everything in the place expands)",
    "hemisphere": "L or R",
    "term": "linear: (t - first)/(last - first); quadratic: parabola, 0 on the first and last day, 1 midway",
    "link": "outcome whose gain the change is proportional to; empty: everybody changes",
    "groups": "groups that change",
    "contrast": "contrast of the study in which the effect should be found",
    "size": "planted fraction at full weight: on the last day (linear), at the peak (quadratic), for the largest |z|",
    "realised": "mean fraction over the half-height blob, weighted by the tissue, at the same moment",
    "at_last_scan_peak": "largest planted fraction among the days that were scanned",
    "loading_linear": "what a unit change adds to the linear coefficient (1/day), quadratic after linear",
    "loading_quadratic": "what a unit change adds to the quadratic coefficient (1/day^2), quadratic after linear",
    "direction": "sign of the expected contrast of the tested term: > or <",
    "x": "centre, MNI mm", "y": "centre, MNI mm", "z": "centre, MNI mm",
    "radius_mm": "half-height radius", "edge_mm": "width of the edge",
}  # fmt: skip


def effects_table(spec: SimulationSpec) -> pd.DataFrame:
    """One row per planted effect; the columns are described in `EFFECT_COLUMNS`."""
    import pandas as pd

    rows = [_effect_row(effect, spec) for effect in spec.effects]
    return pd.DataFrame(rows, columns=list(EFFECT_COLUMNS))


def _effect_row(effect: Effect, spec: SimulationSpec) -> dict[str, Any]:
    loading = loadings(spec.days, term=effect.term)
    shape = loading.get(effect.term, 0.0)
    course = time_shape(spec.days, term=effect.term, first=spec.days[0], last=spec.days[-1])
    x, y, z = effect.centre
    return {
        "effect": effect.name, "place": effect.place, "map": effect.map, "tissue": effect.tissue,
        "hemisphere": "L" if x < 0 else "R", "term": effect.term, "link": effect.link or "",
        "groups": " + ".join(effect.groups), "contrast": effect.contrast, "size": effect.size,
        "realised": realised_fraction(effect, voxel_mm=spec.voxel_mm),
        "at_last_scan_peak": effect.size * float(np.abs(course).max()),
        "loading_linear": loading["linear"], "loading_quadratic": loading.get("quadratic", float("nan")),
        "direction": ">" if effect.size * shape > 0 else "<",
        "x": x, "y": y, "z": z, "radius_mm": effect.radius, "edge_mm": effect.edge,
    }  # fmt: skip


def realised_fraction(effect: Effect, *, voxel_mm: float) -> float:
    """Mean relative change where the blob weighs at least one half, weighted by the tissue as voxels see it.

    For volume it is the change of the modulated tissue: the Jacobian
    determinant of the local growth, measured by finite differences of its
    pull map.
    """
    points = _ball(effect)
    tissue = load_template(voxel_mm).at(points)[TISSUES.index(effect.tissue)]
    if effect.map == "vbm":
        growth = Growth(effect.centre, effect.radius, effect.edge, effect.size)
        values = growth_at(growth, points) - 1
    else:
        distance = np.linalg.norm(points - np.asarray(effect.centre)[:, None], axis=0)
        values = effect.size * blob(distance, radius=effect.radius, edge=effect.edge)
    return float((values * tissue).sum() / tissue.sum()) if tissue.sum() > 0 else float("nan")


def growth_at(growth: Growth, points: NDArray[Any], *, step_mm: float = 0.05) -> Array:
    """Volume after / before at template points (3, N), by central differences of the pull map."""
    columns = []
    # The pull map is taken at the grown place of each template point, found by fixed-point steps.
    grown = points
    for _ in range(20):
        grown = grown + (points - growth.pull(grown))
    for axis in range(3):
        shift = np.zeros((3, 1))
        shift[axis] = step_mm
        columns.append((growth.pull(grown + shift) - growth.pull(grown - shift)) / (2 * step_mm))
    return 1 / np.linalg.det(np.moveaxis(np.stack(columns), -1, 0))


def _ball(effect: Effect) -> Array:
    """Points of a 1 mm grid in the half-height blob, (3, N) MNI mm."""
    reach = np.arange(-np.ceil(effect.radius), np.ceil(effect.radius) + 1, SEARCH_STEP_MM)
    offsets = np.stack(np.meshgrid(reach, reach, reach, indexing="ij")).reshape(3, -1)
    offsets = offsets[:, np.linalg.norm(offsets, axis=0) <= effect.radius]
    return offsets + np.asarray(effect.centre)[:, None]


def effect_mask(effect: Effect, *, step_mm: float = 2.0) -> Volume:
    """Weights of a place on a small MNI grid around it: 1 in the middle, 0 at the border."""
    half = int(np.ceil((effect.radius + effect.edge / 2) / step_mm)) + 1
    reach = np.arange(-half, half + 1) * step_mm
    distance = np.sqrt(sum(axis**2 for axis in np.meshgrid(reach, reach, reach, indexing="ij")))
    affine = np.diag([step_mm, step_mm, step_mm, 1.0])
    affine[:3, 3] = np.asarray(effect.centre) - half * step_mm
    return Volume(blob(distance, radius=effect.radius, edge=effect.edge).astype(np.float32), affine)


def changes_table(spec: SimulationSpec, everybody: Sequence[Person]) -> pd.DataFrame:
    """One row per person × effect × day: the planted fraction (0 for people who do not change)."""
    import pandas as pd

    rows = [
        {
            "participant_id": f"sub-{person.label}",
            "group": person.group,
            "effect": effect.name,
            "day": session.day,
            "fraction": change(effect, person, session.day, spec),
        }
        for person in everybody
        for effect in spec.effects
        for session in sessions(spec)
    ]
    return pd.DataFrame(rows, columns=["participant_id", "group", "effect", "day", "fraction"])


def people_table(everybody: Sequence[Person]) -> pd.DataFrame:
    """One row per person: group, age, sex, size, tissue offsets."""
    import pandas as pd

    return pd.DataFrame(
        [
            {"participant_id": f"sub-{p.label}", "group": p.group, "age": p.age, "sex": p.sex, "scale": p.scale}
            | dict(p.offsets)
            for p in everybody
        ]
    )


def learning_table(everybody: Sequence[Person]) -> pd.DataFrame:
    """One row per person × outcome: α, δ, γ of y(t) = α − δ exp(−γ t)."""
    import pandas as pd

    rows = [
        {"participant_id": f"sub-{person.label}", "group": person.group, "outcome": outcome} | dict(curve)
        for person in everybody
        for outcome, curve in person.learning.items()
    ]
    return pd.DataFrame(rows, columns=["participant_id", "group", "outcome", "alpha", "delta", "gamma"])
