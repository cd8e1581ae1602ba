"""Does a brain change where it was hit, or where it was spared? Change against the deficit at baseline, per person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.asymmetry import Sides
from plastimap.stats.problems import StatsProblem
from plastimap.stats.study import order_people

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("hemisphere", "participant_id", "n_voxels", "r")

LEAST_VOXELS = 50
"""A correlation over fewer voxels says little."""

LEAST_CONTROLS = 5
"""Fewer people give no standard deviation to measure a deficit by."""


@dataclass(frozen=True)
class Preservation:
    """Result of :func:`change_and_deficit`.

    Attributes
    ----------
    people : DataFrame
        :data:`COLUMNS`: each patient's correlation, over the voxels of a search volume, between the value at
        baseline (in standard deviations of the controls; negative = deficit) and the change afterwards. Positive:
        change is larger where tissue is preserved.
    tests : DataFrame
        ``hemisphere``, ``n``, ``mean_r``, ``t``, ``p``: Fisher's z of the correlations against 0, over people.
    notes : tuple of str
        Why there is nothing.
    """

    people: pd.DataFrame
    tests: pd.DataFrame
    notes: tuple[str, ...] = ()


def asked_preservation(
    sides: Sides, scans: pd.DataFrame, participants: pd.DataFrame, model: Mapping[str, Any]
) -> Preservation:
    """What the configuration's ``model.preservation`` asks for; empty tables where it asks for nothing."""
    import pandas as pd

    empty = pd.DataFrame(columns=list(COLUMNS))
    nothing = Preservation(empty, _tests(empty))
    asked = model["preservation"]
    if asked is None:
        return nothing
    search = {side: region[sides.mask] for side, region in sides.search_volumes.items()}
    try:
        return change_and_deficit(sides.maps, scans, participants, group=model["group"], search_volumes=search, **asked)
    except StatsProblem as problem:
        # Fewer people have this map than the study has: the rest of the model stands without it.
        return replace(nothing, notes=(f"Preservation: not tested, {problem}.",))


def change_and_deficit(
    maps: NDArray[np.floating],
    scans: pd.DataFrame,
    participants: pd.DataFrame,
    *,
    patients: Sequence[str],
    controls: Sequence[str],
    group: str,
    search_volumes: Mapping[str, NDArray[np.bool_]],
) -> Preservation:
    """Correlate change with the deficit before it, in every patient.

    Baseline is each person's first scan, change the slope over the **later** scans only: were the first one in both,
    its noise would make change look like a return to the mean. People are the units of the test, so that neighbouring
    voxels need not be independent.

    Parameters
    ----------
    maps : ndarray, shape (n_scans, n_voxels)
    scans : DataFrame
        ``participant_id``, ``session``, ``day``.
    participants : DataFrame
        ``participant_id`` and the column `group`.
    patients, controls : sequence of str
        Labels of groups.
    group : str
    search_volumes : mapping of str to ndarray of bool, shape (n_voxels,)
        By hemisphere.

    Returns
    -------
    Preservation
        Patients with fewer than three scans on different days have no row.

    Raises
    ------
    StatsProblem
        With fewer than five controls who have a baseline.
    """
    import pandas as pd

    people = order_people(scans, participants)
    labels = people.table[group].astype(str).tolist()
    first = {i: maps[people.rows[i][0]].astype(np.float64) for i in range(len(labels))}
    norm = np.array([first[i] for i, label in enumerate(labels) if label in controls])
    if len(norm) < LEAST_CONTROLS:
        raise StatsProblem(f"{len(norm)} controls: a deficit needs at least {LEAST_CONTROLS} to be measured by")
    mean, spread = norm.mean(axis=0), norm.std(axis=0, ddof=1)
    rows: list[dict[str, Any]] = []
    for i, label in enumerate(labels):
        slope = _slope(maps[people.rows[i][1:]], people.days[i][1:]) if label in patients else None
        if slope is None:
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            standing = (first[i] - mean) / spread
        for side, region in search_volumes.items():
            r, n = _correlation(standing[region], slope[region])
            rows.append({"hemisphere": side, "participant_id": people.ids[i], "n_voxels": n, "r": r})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return Preservation(table, _tests(table))


def _slope(later: NDArray[np.floating], days: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Slope per day over the later scans; None without two days."""
    if np.unique(days).size < 2 or not np.isfinite(days).all():
        return None
    since = days - days.mean()
    return since @ later.astype(np.float64) / (since @ since)


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, int]:
    usable = np.isfinite(one) & np.isfinite(other)
    n = int(usable.sum())
    if n < LEAST_VOXELS or not (np.ptp(one[usable]) > 0 and np.ptp(other[usable]) > 0):
        return float("nan"), n
    return float(np.corrcoef(one[usable], other[usable])[0, 1]), n


def _tests(people: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd
    from scipy import stats

    rows: list[dict[str, Any]] = []
    for side, own in people.groupby("hemisphere", sort=False):
        r = own["r"].dropna().to_numpy(dtype=np.float64)
        z = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
        found: Any = stats.ttest_1samp(z, 0.0) if r.size > 1 and np.ptp(z) > 0 else None
        rows.append(
            {
                "hemisphere": side,
                "n": r.size,
                "mean_r": float(np.tanh(z.mean())) if r.size else float("nan"),
                "t": float(found.statistic) if found is not None else float("nan"),
                "p": float(found.pvalue) if found is not None else float("nan"),
            }
        )
    return pd.DataFrame(rows, columns=["hemisphere", "n", "mean_r", "t", "p"])
