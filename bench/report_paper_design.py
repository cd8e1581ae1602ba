"""Tables and figures of a simulated study with the published design: 9, 8, 9, 9 and 14 people, five visits each.

    python bench/report_paper_design.py FOLDER [--seed 1] [--cores 1] [--json FILE] [--check]

Smoothed maps are simulated on a 4 mm grid of the target space, with changes planted where the published study reports
some, and learning curves of everybody who trains; then `plastimap run` does the group level and the report in FOLDER,
whose ``out/report/paper`` holds the tables and figures. Printed are the planted changes with what the tables say of
them, and the columns of the printed tables that ours lack. ``--check`` exits 1 where a table or figure is missing, a
column is lacking, fewer than two thirds of the planted changes are found, or Table 1 has not 17 people and 5 groups.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.behaviour import curve
from plastimap.icbm import standard_image
from plastimap.images import Volume, write_volume
from plastimap.writing import write_json, write_table

GROUPS = {"SCI-UL": 9, "SCI-LL": 8, "CON-UL": 9, "CON-LL": 9, "NON": 14}
DAYS = (0.0, 7.0, 14.0, 28.0, 84.0)
PAPER = Path(__file__).resolve().parents[2] / "shared" / "reference" / "paper"
STEP_MM = 4.0
FWHM_MM = 8.0
LEVELS = {"MTsat": 1.8, "R1": 1.0, "FA": 0.45, "vbm": 0.6}
NOISE, SLOPES = 0.02, 0.25
"""SD of a scan in relation to the level, and of people's own change over the study in relation to that."""

ROIS = (
    {"name": "sensorimotor cortices", "sphere": {"centre": [36, -26, 50], "radius": 20}, "mirror": True},
    {"name": "corticospinal tract at the level of the corona radiata", "sphere": {"centre": [26, -18, 27],
                                                                                  "radius": 14}, "mirror": True},
    {"name": "corticospinal tract at the level of the pons", "sphere": {"centre": [8, -24, -34], "radius": 12},
     "mirror": True},
    {"name": "cerebellum", "sphere": {"centre": [22, -60, -38], "radius": 20}, "mirror": True},
)  # fmt: skip
TABLES = ("table_1", "table_2", "table_3", "table_4", "table_S1", "table_S2", "table_S3", "table_S4", "table_S5",
          "table_S6")  # fmt: skip
FIGURES = ("timeline", "learning_csr-percent", "learning_rt-ms", "trajectories", "design")
SAME = {"beta_sci_mean": "beta_first_mean", "beta_sci_sd": "beta_first_sd", "beta_hc_mean": "beta_second_mean",
        "beta_hc_sd": "beta_second_sd", "sci_day28_mean": "retention_first_mean", "sci_day28_sd": "retention_first_sd",
        "sci_day84_mean": "retention_second_mean", "sci_day84_sd": "retention_second_sd",
        "hc_day84_mean": "followup_second_mean", "hc_day84_sd": "followup_second_sd", "day84_p": "followup_p",
        "day84_bf01": "followup_bf01", "map_parameter": "parameter", "behaviour": "contrast",
        "direction": "contrast"}  # fmt: skip
"""Columns of the published tables that have another name here."""


@dataclass(frozen=True)
class Planted:
    """A change: relative size at its largest, `groups` that have it; with `link`, in proportion to their gain."""

    table: str
    map: str
    tissue: str
    term: str
    size: float
    groups: tuple[str, ...]
    centre: tuple[float, float, float]
    link: bool = False


TRAINED = ("SCI-UL", "SCI-LL", "CON-UL", "CON-LL")
PLANTED = (
    Planted("table_2", "MTsat", "GM", "quadratic", 0.05, TRAINED, (27, -62, -40)),
    Planted("table_2", "R1", "WM", "quadratic", 0.05, TRAINED, (-9, -24, -33)),
    Planted("table_2", "FA", "WM", "linear", 0.06, TRAINED, (-24, -14, 30)),
    Planted("table_2", "vbm", "WM", "quadratic", -0.06, TRAINED, (26, -14, 30)),
    Planted("table_3", "FA", "WM", "linear", 0.08, ("SCI-UL", "SCI-LL"), (26, -20, 30), link=True),
    Planted("table_4", "MTsat", "WM", "linear", 0.06, ("SCI-UL", "CON-UL"), (-22, -52, -36)),
)
PAIRS = tuple(dict.fromkeys((one.map, one.tissue) for one in PLANTED))
CONFIG: dict[str, Any] = {
    "space": {"resolution": STEP_MM},
    "rois": list(ROIS),
    "behaviour": {"comparisons": [{"first": ["SCI-UL", "SCI-LL"], "second": ["CON-UL", "CON-LL"]},
                                  {"first": ["SCI-UL"], "second": ["SCI-LL"]}]},
    "model": {"terms": ["linear", "quadratic", "baseline"], "covariates": ["age"], "contrasts": [
        {"name": "SCI trainees vs non-trainees", "test": "SCI-UL + SCI-LL <> NON"},
        {"name": "upper vs lower limb", "test": "SCI-UL <> SCI-LL"},
        {"name": "change with learning", "test": "csr_percent_delta in SCI-UL + SCI-LL <> 0"},
        {"name": "upper limb, SCI vs healthy", "test": "SCI-UL <> CON-UL"},
        {"name": "lower limb, SCI vs healthy", "test": "SCI-LL <> CON-LL"}]},
    "inference": {"minimum_extent": 3},
    "report": {"title": "A simulated study of the published design",
               "posthoc": {"first": ["SCI-UL", "SCI-LL"], "second": ["CON-UL", "CON-LL"]},
               "matched": ["upper limb, SCI vs healthy", "lower limb, SCI vs healthy"]},
}  # fmt: skip


def simulate_people(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Participants, with clinical columns for patients alone; and behaviour of all who train."""
    people: list[dict[str, Any]] = []
    behaviour: list[dict[str, Any]] = []
    for group, count in GROUPS.items():
        for number in range(count):
            name = f"sub-{group.replace('-', '')}{number + 1:02d}"
            person: dict[str, Any] = {"participant_id": name, "group": group, "age": round(rng.uniform(23, 65), 1)}
            if group.startswith("SCI"):
                person |= {"months_since_injury": int(rng.integers(7, 290)), "ais": str(rng.choice(list("ACDD"))),
                           "injury": "tetraplegic" if group == "SCI-UL" else "paraplegic"}  # fmt: skip
            if group != "NON":
                person["gain"] = rng.normal(35, 9)
                behaviour += _assessments(rng, name, person["gain"], healthy=group.startswith("CON"))
            people.append(person)
    return pd.DataFrame(people), pd.DataFrame(behaviour)


def _assessments(rng: np.random.Generator, name: str, gain: float, *, healthy: bool) -> list[dict[str, Any]]:
    csr = {"alpha": 84 + 6 * healthy, "delta": gain, "gamma": 0.1 * np.exp(0.3 * rng.standard_normal())}
    rt = {"alpha": 41, "delta": rng.normal(-26, 6), "gamma": 0.08 * np.exp(0.3 * rng.standard_normal())}
    return [
        {"participant_id": name, "day": day, "side": side,
         "csr_percent": float(np.clip(curve(day, **csr) + rng.normal(0, 3), 0, 100)),
         "rt_ms": float(curve(day, **rt) + rng.normal(0, 2.5))}
        for day in DAYS for side in ("left", "right")
    ]  # fmt: skip


def grid() -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and affine of the target space in coarse voxels."""
    t1 = standard_image("t1")
    shape = tuple(int(np.ceil(n * size / STEP_MM)) for n, size in zip(t1.shape, t1.voxel_size, strict=True))
    affine = np.diag([STEP_MM] * 3 + [1.0])
    affine[:3, 3] = np.round(t1.affine[:3, 3] / STEP_MM) * STEP_MM
    return shape, affine  # type: ignore[return-value]


def simulate_maps(folder: Path, people: pd.DataFrame, rng: np.random.Generator) -> None:
    """Write every smoothed map, and the table that lists them."""
    shape, affine = grid()
    world = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1) @ affine[:3, :3].T
    world = world + affine[:3, 3]
    sigma = FWHM_MM / STEP_MM / np.sqrt(8 * np.log(2))

    def field() -> NDArray[np.float32]:
        noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
        return noise / noise.std()

    blobs = {one: np.exp(-((np.linalg.norm(world - one.centre, axis=-1) / 10.0) ** 4)) for one in PLANTED}
    scores = (people["gain"] - people["gain"].mean()) / people["gain"].std()
    rows: list[dict[str, Any]] = []
    for (name, tissue), (number, person) in ((pair, one) for pair in PAIRS for one in people.iterrows()):
        level, own = field(), field()
        for visit, day in enumerate(DAYS, start=1):
            time = day / DAYS[-1]
            shapes = {"linear": time, "quadratic": 4 * time * (1 - time)}
            change = NOISE * (level + SLOPES * time * own + field())
            for one in (one for one in PLANTED if (one.map, one.tissue) == (name, tissue)):
                strength = scores[number] / 2 if one.link else 1.0
                change = change + one.size * strength * shapes[one.term] * blobs[one] * (person["group"] in one.groups)
            file = f"maps/{person['participant_id']}_ses-{visit:02d}_{name}_{tissue}.nii.gz"
            write_volume(folder / file, Volume((LEVELS[name] * (1 + change)).astype(np.float32), affine))
            rows.append({"participant_id": person["participant_id"], "session_id": f"ses-{visit:02d}", "map": name,
                         "path": file, "stage": "smoothed", "tissue": tissue, "day": day})  # fmt: skip
    write_table(folder / "images.tsv", pd.DataFrame(rows))


def simulate(folder: Path, seed: int) -> None:
    """Write the study, unless it is there."""
    if (folder / "study.yaml").exists():
        return
    rng = np.random.default_rng(seed)
    people, behaviour = simulate_people(rng)
    raw = folder / "bids"
    write_json(raw / "dataset_description.json", {"Name": CONFIG["report"]["title"], "BIDSVersion": "1.10.0"})
    write_table(raw / "participants.tsv", people.drop(columns="gain"))
    write_table(raw / "behaviour.tsv", behaviour)
    simulate_maps(folder, people, rng)
    (folder / "study.yaml").write_text(yaml.safe_dump(CONFIG | {"images": "images.tsv"}, sort_keys=False))


def run(folder: Path, cores: int) -> None:
    """Group level and report, by the command that people use."""
    command = [sys.executable, "-m", "plastimap.cli", "run", str(folder / "bids"), str(folder / "out"), "group",
               "--config", str(folder / "study.yaml"), "--cores", str(cores)]  # fmt: skip
    subprocess.run(command, check=True)


def judge(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """What the tables say of every planted change, and what is missing."""
    paper, missed = folder / "out" / "report" / "paper", list[str]()
    files = [f"{name}.{ending}" for name in TABLES for ending in ("tsv", "html", "tex")]
    files += [f"figure_{name}.{ending}" for name in FIGURES for ending in ("svg", "png", "tsv")]
    missed += [f"{name} was not made" for name in files if not (paper / name).exists()]
    if missed:
        return [], missed
    tables = {name: pd.read_csv(paper / f"{name}.tsv", sep="\t", na_values=["n/a"]) for name in TABLES}
    for name, file in (("table_2", "table2_plasticity"), ("table_3", "table3_brain_behaviour"),
                       ("table_4", "table4_somatotopy")):  # fmt: skip
        if (PAPER / f"{file}.csv").exists():
            printed = [SAME.get(column, column) for column in pd.read_csv(PAPER / f"{file}.csv").columns]
            missed += [f"{name}: no column {column}" for column in printed if column not in tables[name]]
    listed = tables["table_1"]["participant_id"].astype(str)
    if (listed.str.startswith("sub-").sum(), listed.str.startswith("n = ").sum()) != (17, 5):
        missed.append("table_1 has not 17 people and 5 groups")
    rows = [_found(one, tables[one.table]) for one in PLANTED]
    if sum(row["found"] for row in rows) < 2 * len(rows) / 3:
        missed.append(f"{sum(row['found'] for row in rows)} of {len(rows)} planted changes were found")
    return rows, missed


def _found(one: Planted, table: pd.DataFrame) -> dict[str, Any]:
    name = {"vbm": "VBM"}.get(one.map, one.map)
    term = {"linear": "β₁", "quadratic": "β₂"}[one.term]
    same = table[(table["map"] == name) & (table["tissue"] == one.tissue) & (table["parameter"] == term)]
    distance = np.linalg.norm(same[["x_mm", "y_mm", "z_mm"]].to_numpy(dtype=float) - one.centre, axis=1)
    near = same[distance < 16]
    return {
        "planted": f"{one.table}: {one.map} {one.tissue} {term} at {one.centre}",
        "found": len(near) > 0,
        "roi": near["roi"].iloc[0] if len(near) else "",
        "p_fwe": float(near["p_fwe"].min()) if len(near) else None,
    }


def main() -> int:
    """Simulate, run, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    folder = options.folder.resolve()
    simulate(folder, options.seed)
    run(folder, options.cores)
    rows, missed = judge(folder)
    for row in rows:
        print(f"{row['planted']:62s} {'found in ' + row['roi'] if row['found'] else 'not found'}  p = {row['p_fwe']}")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "missed": missed}, indent=2) + "\n")
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
