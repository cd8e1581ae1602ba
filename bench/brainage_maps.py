"""Regional brain age from MRI, without FreeSurfer: raw echoes to ages, through the rules, on simulated people.

    python bench/brainage_maps.py OUT [--cores 2] [--json FILE] [--check]

Simulates two studies of raw multi-parameter echoes in which R1 and MTsat fall with age (``plastimap.simulate``): 42
healthy people and eight others. Four of these are there twice more: with a lesion in the same echoes (dark voxels, and
a mask beside the images), and scanned again without one, so that the noise alone is other. Runs Snakemake on both
studies: maps, tissues, template, target space, means of grey matter volume, R1 and MTsat over the labels of an image.
Between the two runs ``plastimap brainage train`` learns a model from the first study's table; the second study names
it, and ends with the report. Finished jobs are not run again.

``--check`` exits 1 when ages of regions are not at least a tenth better than saying the median, when a lesion mask
does not give its share of labels, its side and its volume, or when a lesion moves the regions of the other side by
more than scanning again moves regions.

Voxels of 6 mm are few and noisy: anything that changes the match of the three contrasts by a tenth of a millimetre
draws the interpolated noise anew. So ages move by years when a healthy person is scanned again, and by somewhat less
when a lesion changes what is matched; a leak smaller than that does not show here. Models themselves are local to
10⁻⁶ years, to which unit tests hold them.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from plastimap.images import Volume, read_volume, write_volume
from plastimap.simulate.anatomy import load_template
from plastimap.simulate.spec import SimulationSpec
from plastimap.simulate.study import simulate_study
from plastimap.transforms import grid_of, world_points
from plastimap.writing import read_json, write_json, write_table

SPEC = {
    "include": ["mpm"], "voxel_mm": 6, "trainees": [], "days": [0], "snr": 30, "tissue_sd": 0.004,
    "echoes": {"PDw": 3, "T1w": 3, "MTw": 3}, "effects": [],
}  # fmt: skip
STUDIES = {
    "healthy": {"seed": 11, "groups": {"CON": 42}},
    "judged": {"seed": 12, "groups": {"CON": 8}},
    "again": {"seed": 12, "groups": {"CON": 8}, "noise_seed": 13},
}
TWINS = 4
"""People who are there with a lesion, and scanned again."""

LESIONED, AGAIN = "sub-9", "sub-8"
"""How the names of people begin who have a lesion, and of those scanned again."""

LESION_CENTRE_MM, LESION_RADIUS_MM = (50.0, -18.0, 34.0), 18.0
SIGNAL_LEFT = 0.3
"""Share of the signal that is left in a lesion."""

MAPS = ["vbm", "R1", "MTsat"]
NETWORKS = {True: "Cont", False: "Vis"}
LABELLED_GM = 0.3
WANTED_GAIN = 0.10


def write_labels(folder: Path) -> dict[str, str]:
    """Write an image of 32 labels in MNI space, at 2 mm, and their table: sixteen blocks of grey matter per side."""
    template = load_template(6.0)
    grey = Volume(template.fractions[0], template.affine)
    x, y, z = world_points(grid_of(grey))
    row = np.digitize(y, [-54, -18, 18])
    block = 1 + 4 * row + 2 * (z > 12) + (np.abs(x) > 30) + 16 * (x > 0)
    marks = np.where((grey.data > LABELLED_GM) & (np.abs(x) > 2), block, 0).astype(np.int32)
    write_volume(folder / "labels.nii.gz", Volume(marks, grey.affine))
    rows = [
        {"index": index + 1, "name": f"block{index % 16:02d}{'R' if index >= 16 else 'L'}",
         "hemisphere": "R" if index >= 16 else "L", "network": NETWORKS[index % 16 >= 8]}
        for index in range(32)
    ]  # fmt: skip
    write_table(folder / "labels.tsv", pd.DataFrame(rows))
    return {"labels": str(folder / "labels.nii.gz"), "label_table": str(folder / "labels.tsv")}


def simulate(folder: Path, name: str) -> Path:
    """Simulate a study's echoes."""
    spec = SimulationSpec.from_dict({**SPEC, **STUDIES[name], "name": f"brain age, {name}"})
    return simulate_study(folder / name, spec, workers=1, progress=None)


def add_twins(raw: Path, again: Path) -> None:
    """Let the first people come twice more: with a lesion in their echoes, and with the echoes of another scan."""
    people = pd.read_csv(raw / "participants.tsv", sep="\t", dtype=str)
    if people["participant_id"].str.startswith(LESIONED).any():
        return
    chosen = people.iloc[:TWINS]
    for label in chosen["participant_id"]:
        copy_echoes(raw / label, raw / label.replace("sub-", LESIONED), lesion=_centre(label))
        copy_echoes(again / label, raw / label.replace("sub-", AGAIN), lesion=None)
    twins = [chosen.assign(participant_id=chosen["participant_id"].str.replace("sub-", one))
             for one in (LESIONED, AGAIN)]  # fmt: skip
    write_table(raw / "participants.tsv", pd.concat([people, *twins]))


def copy_echoes(person: Path, twin: Path, *, lesion: np.ndarray | None) -> None:
    """Copy a person's images under another name, with a lesion around a point (mm) and its mask beside them, or not."""
    for file in sorted(person.rglob("*.nii.gz")):
        image = read_volume(file)
        inside = np.zeros(image.shape, dtype=bool)
        if lesion is not None:
            points = np.moveaxis(world_points(grid_of(image)), 0, -1)
            inside = np.linalg.norm(points - lesion, axis=-1) < LESION_RADIUS_MM
        place = twin / file.parent.name / file.name.replace(person.name, twin.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_volume(place, Volume(np.rint(np.where(inside, SIGNAL_LEFT, 1) * image.data).astype(np.int16),
                                   image.affine))  # fmt: skip
    if lesion is not None:
        mask = twin / "anat" / f"{twin.name}_label-lesion_roi.nii.gz"
        write_volume(mask, Volume(inside.astype(np.uint8), image.affine))


def _centre(label: str) -> np.ndarray:
    """Centre of a person's lesion: on the left for odd numbers."""
    left = int(label.removeprefix("sub-")) % 2 == 1
    return np.array(LESION_CENTRE_MM) * np.array([-1 if left else 1, 1, 1])


def plastimap(*words: str | Path) -> None:
    """Run the program."""
    subprocess.run([sys.executable, "-m", "plastimap.cli", *map(str, words)], check=True)


def run(folder: Path, raw: Path, section: dict[str, Any], stages: list[str], cores: int) -> Path:
    """Run the rules on a study up to regional brain age."""
    file, out = folder / f"{raw.name}.yaml", folder / f"{raw.name}_derivatives"
    space = {"resolution": 3}
    file.write_text(yaml.safe_dump({"space": space, "brainage": {**section, "maps": MAPS}}), encoding="utf-8")
    plastimap("run", raw, out, "group", "--config", file, "--stages", *stages, "--cores", cores)
    return out


def moved(ages: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """Rows of twins with ``moved``: by how many years a region's age differs from that of the person."""
    keys = ["network", "hemisphere"]
    twins = ages[ages["participant_id"].str.startswith(prefix)]
    twins = twins.assign(own=twins["participant_id"].str.replace(prefix, "sub-"))
    pairs = twins.merge(ages, left_on=["own", *keys], right_on=["participant_id", *keys], suffixes=("", "_before"))
    return pairs.assign(moved=(pairs["predicted_age"] - pairs["predicted_age_before"]).abs())


def judged(out: Path, healthy: Path) -> dict[str, Any]:
    """How far off ages are, and what lesions did."""
    ages = pd.read_csv(out / "brainage" / "ages.tsv", sep="\t", na_values="n/a")
    trained = pd.read_csv(healthy / "brainage" / "table.tsv", sep="\t")["age"]
    whole = ages[~ages["participant_id"].str.startswith((LESIONED, AGAIN))]
    regions = whole[whole["hemisphere"] != "B"]
    pairs, again = moved(ages, LESIONED), moved(ages, AGAIN)
    lesions = pd.read_csv(out / "brainage" / "lesions.tsv", sep="\t", na_values="n/a")
    volumes = lesions["lesion_volume_ml"].dropna()
    truth = 4 / 3 * np.pi * LESION_RADIUS_MM**3 / 1000
    sides = pairs[pairs["hemisphere"] != "B"].groupby("participant_id")["side"].nunique()
    ipsi, contra = (pairs[pairs["side"] == f"{name}lesional"] for name in ("ipsi", "contra"))
    return {
        "people": int(whole["participant_id"].nunique()),
        "mae_regions": float((regions["predicted_age"] - regions["age"]).abs().mean()),
        "mae_whole_brain": float(whole.loc[whole["hemisphere"] == "B", "pad"].abs().mean()),
        "mae_median": float((whole["age"] - trained.median()).abs().mean()),
        "r_whole_brain": float(whole.loc[whole["hemisphere"] == "B", ["age", "predicted_age"]].corr().iloc[0, 1]),
        "coverage_regions": float(((regions["lower"] <= regions["age"]) & (regions["age"] <= regions["upper"])).mean()),
        "lesion_volume_ml": [round(float(one), 2) for one in volumes],
        "lesion_volume_planted_ml": float(truth),
        "people_with_both_sides_named": int((sides == 2).sum()),
        "lesioned_fraction_ipsilesional": float(ipsi["lesioned_fraction"].mean()),
        "lesioned_fraction_contralesional": float(contra["lesioned_fraction"].mean()),
        "regions_lost": int(pairs["predicted_age"].isna().sum()),
        "moved_ipsilesional_years": float(ipsi["moved"].mean()),
        "moved_contralesional_years": float(contra["moved"].mean()),
        "moved_scanned_again_years": float(again.loc[again["hemisphere"] != "B", "moved"].mean()),
    }


def judge(found: dict[str, Any]) -> list[str]:
    """What was missed."""
    missed: list[str] = []
    if found["mae_regions"] > (1 - WANTED_GAIN) * found["mae_median"]:
        missed.append(f"regions: MAE {found['mae_regions']:.1f} years, the median {found['mae_median']:.1f}")
    planted = found["lesion_volume_planted_ml"]
    if len(found["lesion_volume_ml"]) != TWINS or any(
        abs(one - planted) > 0.15 * planted for one in found["lesion_volume_ml"]
    ):
        missed.append(f"volumes {found['lesion_volume_ml']} ml, planted {planted:.1f}")
    if found["people_with_both_sides_named"] != TWINS:
        missed.append(f"sides named for {found['people_with_both_sides_named']} of {TWINS} people")
    if found["lesioned_fraction_contralesional"] > 0 or found["lesioned_fraction_ipsilesional"] <= 0:
        missed.append("lesioned shares lie on the wrong side")
    leak, floor = found["moved_contralesional_years"], found["moved_scanned_again_years"]
    if leak > floor:
        missed.append(f"a lesion moves the other side by {leak:.1f} years, scanning again by {floor:.1f}")
    return missed


def main() -> int:
    """Simulate, run, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    folder = options.folder.resolve()
    labels = write_labels(folder)
    healthy = run(folder, simulate(folder, "healthy"), labels, ["brainage"], options.cores)
    model = folder / "model.safetensors"
    table, parcels = (healthy / "brainage" / f"{name}.tsv" for name in ("table", "parcels"))
    about = ("--data", "simulated people", "--licence", "none")
    plastimap("brainage", "train", table, "--parcels", parcels, *about, "--output", model)
    raw = simulate(folder, "judged")
    add_twins(raw, simulate(folder, "again"))
    out = run(folder, raw, {**labels, "model": str(model)}, ["brainage", "report"], options.cores)
    found = judged(out, healthy)
    found["card"] = read_json(model.with_suffix(".json"))["metrics"]["random folds"]["controls 0, ages all"]
    found["cpu_s"] = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    found["missed"] = judge(found)
    for name, value in found.items():
        print(f"{name:36s} {value}")
    if options.json:
        write_json(options.json, found)
    return int(options.check and bool(found["missed"]))


if __name__ == "__main__":
    sys.exit(main())
