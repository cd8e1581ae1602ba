"""How many people an effect needs: pilot data resampled, the effect planted, the very analysis of a study run on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.analysis import AnalysisResult, analyse
from plastimap.stats.contrasts import read_contrasts
from plastimap.stats.design import group_labels
from plastimap.stats.longitudinal import TimeCoding, reference_days, time_model
from plastimap.stats.problems import StatsProblem, listed
from plastimap.stats.study import People, order_people
from plastimap.stats.timecoding import TimeBasis

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("n_per_group", "rounds", "power", "power_low", "power_high", "elsewhere")

LEAST_PILOT = 4
"""People per group below which there is next to nothing to resample."""


@dataclass(frozen=True)
class Effect:
    """What is planted.

    Attributes
    ----------
    test : str
        Contrast in the words of the configuration (``SCI > CON``); its left groups get the effect.
    term : str
        ``linear``, ``quadratic``, a piece, or ``level``.
    percent : float
        Change over the study's days, in percent of the mean of the region at all visits; of a level: its difference.
    region : ndarray of bool, shape (n_voxels,)
        Where, in the voxels of the analysis mask.
    """

    test: str
    term: str
    percent: float
    region: NDArray[np.bool_]


@dataclass(frozen=True)
class Pilot:
    """What is resampled: everybody's scans without their group's mean course.

    Attributes
    ----------
    residuals : ndarray, shape (n_scans, n_voxels)
        Own levels, own courses and noise.
    mean : ndarray, shape (n_voxels,)
    people : People
    groups : tuple of str
        Of each person.
    basis : TimeBasis
    """

    residuals: NDArray[np.float32]
    mean: NDArray[np.float32]
    people: People
    groups: tuple[str, ...]
    basis: TimeBasis


def read_pilot(
    maps: NDArray[np.floating],
    scans: pd.DataFrame,
    participants: pd.DataFrame,
    *,
    group: str,
    term: str,
    time: TimeCoding,
) -> Pilot:
    """Take the groups' mean time courses from pilot data.

    Raises
    ------
    StatsProblem
        If the study's days do not allow the term.
    """
    people = order_people(scans, participants)
    model = time_model(reference_days(scans), terms=[term], coding=time.coding, centre=time.centre, knots=time.knots)
    if model.terms != (term,):
        raise StatsProblem(f"the pilot's days do not tell the term {term!r}: {' '.join(model.notes)}")
    labels = tuple(group_labels(people.table, group))
    residuals = np.asarray(maps, dtype=np.float32).copy()
    for label in dict.fromkeys(labels):
        own = [i for i, other in enumerate(labels) if other == label]
        rows = np.concatenate([people.rows[i] for i in own])
        course = model.basis.at(np.concatenate([people.days[i] for i in own]))
        values = maps[rows].astype(np.float64)
        left = values - course @ np.linalg.lstsq(course, values, rcond=None)[0]
        # A mean of n people takes its own share of their spread away.
        residuals[rows] = left * np.sqrt(len(own) / max(len(own) - 1, 1))
    return Pilot(residuals, maps.mean(axis=0, dtype=np.float64).astype(np.float32), people, labels, model.basis)


def sample_sizes(
    pilot: Pilot,
    effect: Effect,
    sizes: Sequence[int],
    *,
    rounds: int,
    analysis: Mapping[str, Any],
    level: float = 0.05,
    seed: int = 1,
    progress: Callable[[int, int, float], None] | None = None,
) -> pd.DataFrame:
    """Power of a study for several numbers of people per group.

    In every round people of each group of the contrast are drawn from that group's pilot, with all their visits and
    covariates, their residuals with a random sign; the effect is added, and :func:`analyse` searches as it would in
    the study. Found is an effect whose significant cluster reaches into the planted region.

    Parameters
    ----------
    pilot : Pilot
    effect : Effect
    sizes : sequence of int
        People per group.
    rounds : int
        Simulated studies per size.
    analysis : mapping
        Keywords of :func:`plastimap.stats.analysis.analyse`, but for terms and contrasts.
    level : float
        Of the family-wise error.
    seed : int
    progress : callable, optional
        Told the size, the round and the power so far.

    Returns
    -------
    DataFrame
        :data:`COLUMNS`: power with its 95 % interval (Clopper and Pearson), and the share of rounds with a significant
        cluster elsewhere.

    Raises
    ------
    StatsProblem
        If a group of the contrast has too few people to draw from, or the region is empty.
    """
    import pandas as pd

    contrasts, problems = read_contrasts([{"name": "planted", "test": effect.test}], sorted(set(pilot.groups)))
    if problems:
        raise StatsProblem(problems)
    contrast = contrasts[0]
    drawn = {name: [i for i, own in enumerate(pilot.groups) if own == name] for name in contrast.groups}
    few = [f"{name} ({len(own)})" for name, own in drawn.items() if len(own) < LEAST_PILOT]
    if few or not effect.region.any():
        what = f"too few people in the pilot: {listed(few)}" if few else "no voxel of the analysis mask in the region"
        raise StatsProblem(what)
    asked: dict[str, Any] = {
        **analysis,
        "terms": [effect.term],
        "contrasts": [{"name": "planted", "test": effect.test}],
    }
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for size in sizes:
        hits = strays = 0
        for number in range(1, rounds + 1):
            maps, scans, table = _study(pilot, effect, contrast.left, drawn, size, rng, group=str(asked["group"]))
            found, stray = _found(analyse(maps, scans, table, **asked), effect, level)
            hits, strays = hits + found, strays + stray
            if progress:
                progress(size, number, hits / number)
        low, high = rate_interval(hits, rounds)
        rows.append({"n_per_group": size, "rounds": rounds, "power": hits / rounds, "power_low": low,
                     "power_high": high, "elsewhere": strays / rounds})  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def rate_interval(hits: int, rounds: int) -> tuple[float, float]:
    """95 % interval of a rate (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404)."""
    from scipy.stats import binomtest

    found = binomtest(hits, rounds).proportion_ci(0.95)
    return float(found.low), float(found.high)


def _study(
    pilot: Pilot,
    effect: Effect,
    changed: Sequence[str],
    drawn: Mapping[str, Sequence[int]],
    size: int,
    rng: np.random.Generator,
    *,
    group: str,
) -> tuple[NDArray[np.float32], pd.DataFrame, pd.DataFrame]:
    """One simulated study: maps, scans, participants."""
    import pandas as pd

    column = pilot.basis.names.index(effect.term) if effect.term in pilot.basis.names else 0
    amount = effect.percent / 100 * float(pilot.mean[effect.region].mean()) / pilot.basis.span(effect.term)
    maps: list[NDArray[np.float32]] = []
    scans: list[tuple[str, str, float]] = []
    who: list[int] = []
    for name, own in drawn.items():
        for i in rng.choice(own, size):
            label, sign = f"{len(who):04d}", rng.choice((-1.0, 1.0))
            course = pilot.basis.at(pilot.people.days[i])[:, column] * amount * (name in changed)
            values = pilot.mean + sign * pilot.residuals[pilot.people.rows[i]]
            maps.append((values + np.outer(course, effect.region)).astype(np.float32))
            scans += [(label, str(v), d) for v, d in zip(pilot.people.visits[i], pilot.people.days[i], strict=True)]
            who.append(int(i))
    table = pilot.people.table.iloc[who].reset_index(drop=True)
    table = table.assign(participant_id=[f"{i:04d}" for i in range(len(who))])
    table[group] = [pilot.groups[i] for i in who]
    return np.concatenate(maps), pd.DataFrame(scans, columns=["participant_id", "session", "day"]), table


def _found(result: AnalysisResult, effect: Effect, level: float) -> tuple[bool, bool]:
    """Whether a significant cluster reaches into the region, and whether one lies elsewhere."""
    from scipy import ndimage

    clusters = result.clusters[result.clusters["cluster_p_fwe"] < level]
    if not len(clusters):
        return False, False
    planted = np.zeros(result.mask.shape, dtype=bool)
    planted[result.mask] = effect.region
    to_voxel, hit, stray = np.linalg.inv(result.affine), False, False
    values = result.volume(result.tests[0].values)
    for cluster in clusters.to_dict("records"):
        turned = -values if cluster["direction"] == "<" else values
        above = np.nan_to_num(turned, nan=-np.inf) > result.tests[0].threshold
        found: Any = ndimage.label(above, ndimage.generate_binary_structure(3, 2))
        labels = found[0]
        peak = np.rint(to_voxel @ [cluster["x"], cluster["y"], cluster["z"], 1.0])[:3].astype(int)
        reaches = bool((planted & (labels == labels[tuple(peak)])).any())
        hit, stray = hit or reaches, stray or not reaches
    return hit, stray
