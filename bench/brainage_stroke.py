"""Planted strokes in people whom a model has not seen: how often regions are found, and how much of the change.

Part ``stroke`` of ``brainage.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from plastimap.brainage.model import Settings, apply, train
from plastimap.brainage.parcels import FRONTOPARIETAL
from plastimap.brainage.simulate import StrokePlan, age_course, simulate_stroke
from plastimap.brainage.tables import ParcelTable

ROUNDS = 20
SIZES = (8.0, 16.0)
"""Years that are planted in the lesioned hemisphere, for a lesion of mean size."""
RETEST_ICC = 0.89
"""Of regional brain age at two visits 1.3 years apart."""
RETEST_DRAWS = 20
DESIGNS = ("within people", "over two visits", "between groups")
JUDGED_AT = dict(zip(DESIGNS, (8.0, 8.0, 16.0), strict=True))
"""Planted years that each design has to find. Half of 330 people do not tell 8 years from how much people differ."""
FOUND = dict(zip(DESIGNS, ("found within people", "found over two visits", "found"), strict=True))
WANTED_POWER, WANTED_FALSE = 0.9, 0.06


def stroke(table: ParcelTable, method: str, *, seed: int, **options: Any) -> list[dict[str, Any]]:
    """Planted strokes in people left out: how often each kind of region is found, and how much of the change.

    A model is trained on half of the people. In every round half of the others get a stroke, with effects in the
    lesioned hemisphere and in the contralesional network, or in the lesioned hemisphere alone: then what is found on
    the other side is false. Found within people: their ages before and after differ (t, p < 0.05), which shows any
    leak. Found over two visits: the same with what two scans of one person differ by. Found between groups: gaps of
    people with and without a stroke differ, given age, age², sex and site, as a cohort is analysed.
    The truth of a region is the change that the planted years make in an undamaged brain.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(table.people))
    half = len(order) // 2
    training, rest = table.rows(np.sort(order[:half])), table.rows(np.sort(order[half:]))
    settings = Settings(method=method, **options)  # type: ignore[arg-type]
    model, course = train(training, settings), age_course(training)
    rows: list[dict[str, Any]] = []
    healthy = apply(model, rest)
    for number in range(ROUNDS):
        chosen = rng.permutation(len(rest.people))
        ill, well = chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]
        for years, other in ((SIZES[0], -6.0), (SIZES[0], 0.0), (SIZES[1], -6.0)):
            plan = StrokePlan(ipsilesional_years=years, contralesional_years=other)
            people = rest.rows(ill)
            cohort = simulate_stroke(people, course, plan=plan, seed=seed * 1000 + number)
            after = apply(model, cohort.table, lesioned=cohort.lesioned)
            whole = replace(people, values=people.values + cohort.years[:, table.parcels.region_of] * course)
            found = {
                "truth": apply(model, whole).age - healthy.age[ill],
                "paired": after.age - healthy.age[ill],
                "ill": after.age - after.expected,
                "well": (healthy.age - healthy.expected)[well],
            }
            sides = cohort.table.people["lesion_side"].to_numpy()
            known = _nuisance(rest)
            head = {"round": number, "years": years, "planted": other != 0}
            contrasts = _contrasts(model.regions, sides, found, (known[ill], known[well]), rng)
            rows += [{**head, **row} for row in contrasts]
    return rows


def _nuisance(table: ParcelTable) -> np.ndarray:
    """Constant, age, age², sex, and all sites but one, shape (n, columns)."""
    age = (table.age - table.age.mean()) / table.age.std()
    sites = (table.site[:, None] == np.unique(table.site)[None, 1:]).astype(float)
    return np.column_stack([np.ones(len(age)), age, age**2, table.covariates(("sex",)), sites])


def _contrasts(
    regions: Any, sides: Any, gaps: dict[str, Any], known: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Difference of gaps between people with and without a stroke, per region and side."""
    rows: list[dict[str, Any]] = []
    for place, (network, hemisphere) in enumerate(regions):
        if hemisphere == "B":
            continue
        for side, mask in (("ipsilesional", sides == hemisphere), ("contralesional", sides != hemisphere)):
            there = mask & np.isfinite(gaps["ill"][:, place])
            ill, well, change = gaps["ill"][there, place], gaps["well"][:, place], gaps["paired"][there, place]
            estimate, error, dof = _difference(ill, well, known[0][there], known[1])
            real, reach = float(gaps["truth"][there, place].mean()), float(stats.t.ppf(0.975, dof)) * error
            rows.append({"network": network, "hemisphere": hemisphere, "side": side, "change": estimate, "truth": real,
                         "found": abs(estimate) > reach, "inside": abs(estimate - real) <= reach,
                         "found within people": _changed(change[None]),
                         "found over two visits": _changed(change + _retest(well, len(change), rng))})  # fmt: skip
    return rows


def _difference(
    ill: np.ndarray, well: np.ndarray, known_ill: np.ndarray, known_well: np.ndarray
) -> tuple[float, float, int]:
    """Difference of two groups given what is known of them: estimate, standard error, degrees of freedom."""
    group = np.concatenate([np.ones(len(ill)), np.zeros(len(well))])
    known = np.concatenate([known_ill, known_well])
    design = np.column_stack([group, known[:, np.abs(known).any(axis=0)]])
    gap = np.concatenate([ill, well])
    inverse = np.linalg.pinv(design.T @ design)
    weights = inverse @ design.T @ gap
    dof = len(gap) - int(np.linalg.matrix_rank(design))
    variance = float(((gap - design @ weights) ** 2).sum() / dof)
    return float(weights[0]), float(np.sqrt(variance * inverse[0, 0])), dof


def _retest(well: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """What two visits of `count` people differ by though nothing changed, shape (draws, count)."""
    return rng.normal(0, np.sqrt(2 * (1 - RETEST_ICC)) * well.std(), (RETEST_DRAWS, count))


def _changed(change: np.ndarray) -> float:
    """Share of draws in which a mean change is found (t, p < 0.05); rounding alone is no change."""
    if np.abs(change).max() < 1e-6:
        return 0.0
    return float((stats.ttest_1samp(change, 0.0, axis=1).pvalue < 0.05).mean())


def stroke_rates(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Power, false positives and recovery: within people (before and after), and between groups."""
    frame = pd.DataFrame(rows)
    planted = frame[frame["planted"]]
    network = planted[(planted["side"] == "contralesional") & (planted["network"] == FRONTOPARIETAL)]
    false = frame[~frame["planted"] & (frame["side"] == "contralesional")]
    rates = {
        "contralesional frontoparietal change": float(network["change"].mean()),
        "contralesional frontoparietal truth": float(network["truth"].mean()),
        "contralesional frontoparietal recovered": float(network["inside"].mean()),
        **{f"contralesional frontoparietal power {name}": float(network[FOUND[name]].mean()) for name in DESIGNS},
        **{f"false positives {name}": float(false[FOUND[name]].mean()) for name in DESIGNS},
    }
    for years in SIZES:
        ipsi = planted[(planted["side"] == "ipsilesional") & (planted["years"] == years)]
        rates |= {
            f"{years:g} years: ipsilesional change": float(ipsi["change"].mean()),
            f"{years:g} years: ipsilesional truth": float(ipsi["truth"].mean()),
            **{f"{years:g} years: power {name}": float(ipsi[FOUND[name]].mean()) for name in DESIGNS},
        }
    return rates


def stroke_missed(method: str, rates: dict[str, float]) -> list[str]:
    """Name what was missed; the whole graph is shown as a warning, not judged."""
    if "whole graph" in method:
        return []
    missed: list[str] = []
    for design in DESIGNS:
        label = f"{JUDGED_AT[design]:g} years: power {design}"
        if rates[label] < WANTED_POWER:
            missed.append(f"stroke, {method}, {label} {rates[label]:.2f}, wanted {WANTED_POWER}")
        rate = rates[f"false positives {design}"]
        if rate > WANTED_FALSE:
            missed.append(f"stroke, {method}: false positives {design} {100 * rate:.1f} %")
    recovered = rates["contralesional frontoparietal recovered"]
    if recovered < WANTED_POWER:
        missed.append(f"stroke, {method}: contralesional effect in its interval in {recovered:.2f} of cohorts")
    return missed
