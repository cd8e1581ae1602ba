"""Regional brain age: how far off ridge, Gaussian processes and the graph network are, and what a stroke does to them.

    python bench/brainage.py [--data DIR] [--parts …] [--methods …] [--json FILE] [--check]

Real adults of 20 sites (see ``--data``), everything learnt inside folds. Parts: ``random`` (10 folds), ``sites``
(leave-site-out, with 0, 10 and 20 local controls; the headline), ``volumes`` (thickness and volumes, whole brain,
10 folds), ``stroke`` (planted lesions and years; power, false positives, recovered effects) and ``training`` (CPU
seconds of training the graph network with all regions and its five members). ``--check`` exits 1 when a wanted figure
is missed: errors and intervals (either side of 40 years) of random folds, intervals of regions on sites left out, and
what the planted strokes show. Everything else is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
import pandas as pd
from scipy import stats

from plastimap.brainage.evaluate import cross_validate, scores, splits
from plastimap.brainage.model import Settings, apply, train
from plastimap.brainage.parcels import FRONTOPARIETAL, Parcels, as_parcels
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.regionwise import fit_regionwise
from plastimap.brainage.simulate import StrokePlan, age_course, simulate_stroke
from plastimap.brainage.tables import ParcelTable, as_parcel_table
from plastimap.writing import write_json

DATA = Path(__file__).parents[2] / "shared" / "data" / "brain-age"
PARTS = ("random", "sites", "volumes", "stroke", "training")
WANTED = {"thickness": 6.6, "volumes": 5.4, "gain": 0.10, "coverage": (0.87, 0.93), "power": 0.9, "false": 0.06}
CONTROLS = (0, 10, 20)
RARE = ("Left-vessel", "Right-vessel")
ROUNDS = 20
SIZES = (8.0, 16.0)
"""Years that are planted in the lesioned hemisphere, for a lesion of mean size."""
TRAINING_LIMIT_S = 600
RETEST_ICC = 0.89
"""Of regional brain age at two visits 1.3 years apart."""
RETEST_DRAWS = 20
DESIGNS = ("within people", "over two visits", "between groups")
JUDGED_AT = dict(zip(DESIGNS, (8.0, 8.0, 16.0), strict=True))
"""Planted years that each design has to find. Half of 330 people do not tell 8 years from how much people differ."""
FOUND = dict(zip(DESIGNS, ("found within people", "found over two visits", "found"), strict=True))


def read_data(folder: Path) -> tuple[ParcelTable, pd.DataFrame]:
    """Thicknesses of all adults, and the raw table with volumes."""
    nodes = pd.read_csv(folder / "destrieux148_nodes.csv")
    nodes = nodes.rename(columns={"region": "name", "hemi": "hemisphere", "yeo7_sym": "network"})
    edges = pd.read_csv(folder / "destrieux148_edges.csv").rename(columns={"region_i": "one", "region_j": "other"})
    raw = pd.read_csv(folder / "destrieux_thickness_adults.csv.gz")
    parcels = as_parcels(nodes[["name", "hemisphere", "network"]], edges)
    return as_parcel_table(raw, parcels), raw


def validated(table: ParcelTable, method: str, scheme: str, **options: Any) -> dict[str, Any]:
    """Cross-validate one method; its scores and CPU seconds."""
    start = time.process_time()
    found = cross_validate(table, Settings(method=method), scheme, **options)  # type: ignore[arg-type]
    seconds = time.process_time() - start
    everybody = scores(found[found["controls"] == 0]).assign(people="everybody")
    compared = scores(found[found["compared"]]).assign(people="of sites with controls")
    return {"cpu_s": seconds, "scores": [*everybody.to_dict("records"), *compared.to_dict("records")]}


def with_volumes(table: ParcelTable, raw: pd.DataFrame) -> dict[str, Any]:
    """Whole brain from thicknesses and volumes, 10 random folds."""
    names = [name for name in raw.columns[4 + len(table.parcels.names) :] if name not in RARE]
    extra = Parcels(tuple(names), ("L",) * len(names), ("volumes",) * len(names), ("other",) * len(names))
    both = Parcels(*(getattr(table.parcels, one) + getattr(extra, one)
                     for one in ("names", "hemispheres", "networks", "measures")))  # fmt: skip
    values = np.column_stack([table.values, np.log1p(raw[names].to_numpy(float))])
    sex, found = table.covariates(("sex",)), np.empty(len(values))
    for training, test in splits(table, "random"):
        model = fit_regionwise(values[training], sex[training], table.age[training], both, regions=False)
        found[test] = model.predict(values[test], sex[test])[0][:, 0]
    error = np.abs(found - table.age)
    return {
        "mae": float(error.mean()),
        "median_mae": float(np.abs(table.age - np.median(table.age)).mean()),
        "r": float(np.corrcoef(found, table.age)[0, 1]),
        "mae < 40": float(error[table.age < 40].mean()),
        "mae ≥ 40": float(error[table.age >= 40].mean()),
    }


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
    settings = Settings(method=method, calibrate_for="known_sites", **options)  # type: ignore[arg-type]
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


def training_time(table: ParcelTable) -> dict[str, float]:
    """CPU seconds of training the graph network on everybody."""
    start = time.process_time()
    train(table, Settings(method="gcn"))
    return {"cpu_s": time.process_time() - start}


EVERYBODY = "everybody"


def chosen(result: dict[str, Any], controls: int, ages: str, people: str) -> pd.DataFrame:
    """Scores of one setting, per region."""
    frame = pd.DataFrame(result["scores"])
    return frame[(frame["controls"] == controls) & (frame["ages"] == ages) & (frame["people"] == people)]


def mean_of_regions(
    result: dict[str, Any], controls: int = 0, ages: str = "all", people: str = EVERYBODY
) -> dict[str, float]:
    """Scores averaged over regions."""
    frame = chosen(result, controls, ages, people)
    return frame[frame["hemisphere"] != "B"].select_dtypes("number").mean().to_dict()


def whole_brain(
    result: dict[str, Any], controls: int = 0, ages: str = "all", people: str = EVERYBODY
) -> dict[str, float]:
    """Scores of the whole brain."""
    frame = chosen(result, controls, ages, people)
    return frame[frame["hemisphere"] == "B"].select_dtypes("number").mean().to_dict()


def tell(part: str, method: str, result: dict[str, Any]) -> None:
    """Print one validation."""
    for people, controls in dict.fromkeys((row["people"], row["controls"]) for row in result["scores"]):
        print(f"{part}, {method}: {people}, {controls} local controls")
        for ages in ("all", "< 40", "≥ 40"):
            for label, mean in (("whole", whole_brain), ("regions", mean_of_regions)):
                row = mean(result, controls, ages, people)
                print(f"  {ages:5s}{label:8s} n {row['n']:5.0f}  MAE {row['mae']:6.2f}  r {row['r']:5.2f}  "
                      f"R² {row['r2']:6.2f}  slope {row['bias_slope']:5.2f}  cover {100 * row['coverage']:5.1f} %  "
                      f"width {row['width']:5.1f}  median {row['median_mae']:5.2f}  | "
                      f"corrected MAE {row['mae_corrected']:5.2f}  "
                      f"slope {row['bias_slope_corrected']:5.2f}", flush=True)  # fmt: skip
    print(f"  {result['cpu_s']:.0f} CPU seconds")


def judge(results: dict[str, Any]) -> list[str]:
    """Name what was missed."""
    missed: list[str] = []
    random, sites = results.get("random", {}), results.get("sites", {})
    missed += _errors_missed(random, results.get("volumes", {}))
    for method, result in random.items():
        for ages in ("all", "< 40", "≥ 40"):
            for place, mean in (("whole brain", whole_brain), ("regions", mean_of_regions)):
                missed += _coverage_missed(f"10-fold, {method}, {place}, {ages}", mean(result, ages=ages)["coverage"])
    for method, result in sites.items():
        missed += _coverage_missed(f"sites left out, {method}, regions", mean_of_regions(result)["coverage"])
    if {"gcn", "gaussian_process"} <= set(sites):
        ours, theirs = (mean_of_regions(sites[name])["mae"] for name in ("gcn", "gaussian_process"))
        if ours > theirs:
            missed.append(f"sites left out, regions: GCN {ours:.2f}, GP {theirs:.2f}: the card of a GCN has to say so")
    for method, rates in results.get("stroke", {}).items():
        missed += _stroke_missed(method, rates)
    if results.get("training", {}).get("cpu_s", 0) > TRAINING_LIMIT_S:
        missed.append(f"training of the graph network: {results['training']['cpu_s']:.0f} CPU seconds")
    return missed


def _errors_missed(random: dict[str, Any], volumes: dict[str, Any]) -> list[str]:
    """What random folds missed."""
    missed: list[str] = []
    if "gaussian_process" in random:
        mae = whole_brain(random["gaussian_process"])["mae"]
        if mae > WANTED["thickness"]:
            missed.append(f"10-fold, thickness: MAE {mae:.2f}, wanted {WANTED['thickness']}")
    if volumes.get("mae", 0) > WANTED["volumes"]:
        missed.append(f"10-fold, thickness and volumes: MAE {volumes['mae']:.2f}")
    if {"ridge", "gaussian_process"} <= set(random):
        gain = 1 - mean_of_regions(random["gaussian_process"])["mae"] / mean_of_regions(random["ridge"])["mae"]
        if gain < WANTED["gain"]:
            missed.append(
                f"10-fold, regions: {100 * gain:.1f} % better than ridge, wanted {100 * WANTED['gain']:.0f} %"
            )
    return missed


def _coverage_missed(label: str, coverage: float) -> list[str]:
    low, high = WANTED["coverage"]
    return [] if low <= coverage <= high else [f"{label}: intervals cover {100 * coverage:.1f} %, wanted 90 ± 3 %"]


def _stroke_missed(method: str, rates: dict[str, float]) -> list[str]:
    if "whole graph" in method:
        return []
    missed: list[str] = []
    for design in DESIGNS:
        label = f"{JUDGED_AT[design]:g} years: power {design}"
        if rates[label] < WANTED["power"]:
            missed.append(f"stroke, {method}, {label} {rates[label]:.2f}, wanted {WANTED['power']}")
        rate = rates[f"false positives {design}"]
        if rate > WANTED["false"]:
            missed.append(f"stroke, {method}: false positives {design} {100 * rate:.1f} %")
    recovered = rates["contralesional frontoparietal recovered"]
    if recovered < WANTED["power"]:
        missed.append(f"stroke, {method}: contralesional effect in its interval in {recovered:.2f} of cohorts")
    return missed


def without_torch() -> bool:
    """Whether PyTorch is missing."""
    from importlib.util import find_spec

    return find_spec("torch") is None


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Do the parts asked for."""
    table, raw = read_data(options.data)
    methods = [name for name in options.methods if name != "gcn" or not without_torch()]
    if "gcn" in options.methods and "gcn" not in methods:
        print("PyTorch is not installed: the graph network is left out")
    starts = [18, 25, 30, 40, 50, 60, 70, 80, 111]
    ages = dict(zip(starts, np.histogram(table.age, bins=starts)[0].tolist(), strict=False))
    results: dict[str, Any] = {"people from age": ages}
    print(f"{len(table.people)} people, {len(np.unique(table.site))} sites; people from age: {ages}")
    for part in ("random", "sites"):
        if part in options.parts:
            results[part] = {}
            for method in methods:
                controls = CONTROLS if part == "sites" else (0,)
                results[part][method] = validated(table, method, part, controls=controls)
                tell(part, method, results[part][method])
    if "volumes" in options.parts:
        results["volumes"] = with_volumes(table, raw)
        print("volumes", results["volumes"])
    if "stroke" in options.parts:
        results["stroke"] = {}
        plans = [(name, name, {}) for name in methods if name != "ridge"]
        plans += [("gcn, whole graph", "gcn", {"whole_graph": True})] if "gcn" in methods else []
        for label, method, extra in plans:
            rows = stroke(table, method, seed=options.seed, **extra)
            results["stroke"][label] = stroke_rates(rows)
            print("stroke", label, json.dumps(results["stroke"][label], indent=1))
    if "training" in options.parts and "gcn" in methods:
        results["training"] = training_time(table)
        print("training of the graph network", results["training"])
    return results


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--methods", nargs="+", default=("ridge", "gaussian_process", "gcn"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    try:
        results = run(options)
    except BrainageProblem as problem:
        print(problem, file=sys.stderr)
        return 2
    results["missed"] = judge(results)
    if options.json:
        write_json(options.json, results)
    for line in results["missed"]:
        print(f"missed: {line}", file=sys.stderr)
    return int(options.check and bool(results["missed"]))


if __name__ == "__main__":
    sys.exit(main())
