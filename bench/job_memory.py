"""Memory that jobs ask for beside what they use: a simulated study is run, and each step's peak is compared.

    python bench/job_memory.py [--voxel-mm 3 2] [--keep DIR] [--json FILE] [--check]

The study has four people in two sessions (echoes, B1+ map, diffusion series; the group level runs too), once per voxel
size. A job's peak is what the kernel says of its process at the end (VmHWM, in the job's log); what it asks for follows
from its images' size (`plastimap.planning.memory`). ``--check`` exits 1 when a step uses more than it asks for.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from plastimap.bids.manifest import read_manifest
from plastimap.bids.plan import Study
from plastimap.config import read_config
from plastimap.paths import Paths
from plastimap.running.records import JobRecord, read_records
from plastimap.shipped import workflow_file
from plastimap.simulate.spec import SimulationSpec
from plastimap.simulate.study import simulate_study

SPEC = {
    "name": "memory", "seed": 1, "include": ["mpm", "b1", "dwi"], "groups": {"A": 2, "B": 2}, "trainees": ["A"],
    "days": [0, 28], "snr": 30, "echoes": {"PDw": 6, "T1w": 6, "MTw": 6}, "n_b0": 3, "shells": {1000: 27},
    "behaviour_days": [0, 14, 28], "effects": [],
}  # fmt: skip
RULE = re.compile(r"code=code\(\s*\"(\w+)\"")
FIGURE = re.compile(r"mem_mb=growing\((\d+)\)")


def figures() -> dict[str, int]:
    """What each script's rule asks for, for images of the usual size, in MB."""
    found: dict[str, int] = {}
    for file in workflow_file("rules").glob("*.smk"):
        blocks = re.split(r"^\s*rule\b", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for block in blocks:
            script, figure = RULE.search(block), FIGURE.search(block)
            if script and figure:
                found[script.group(1)] = int(figure.group(1))
    return found


def run(root: Path, voxel_mm: float) -> Path:
    """Simulate a study and process it; its output folder."""
    out = root / "out"
    if not (root / "bids").exists():
        spec = SimulationSpec.from_dict({**SPEC, "voxel_mm": voxel_mm})
        simulate_study(root / "bids", spec, workers=1, progress=None)
    settings = {"model": {"terms": ["linear"], "covariates": ["age"]}, "inference": {"minimum_extent": 1}}
    (root / "study.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "plastimap.cli", "run", str(root / "bids"), str(out), "group"]
    command += ["--config", str(root / "study.yaml"), "--cores", "1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ})
    return out


def rows(out: Path, voxel_mm: float) -> list[dict[str, Any]]:
    """Per step: jobs, largest peak, and what that job asked for."""
    config = read_config(out / Paths.effective_config)
    study = Study(config, read_manifest(out / Paths.manifest))
    asked = figures()
    found: dict[str, dict[str, Any]] = {}
    for record in read_records(out):
        if record.state != "done" or record.peak_mb is None:
            continue
        wanted = study.memory(asked[record.step])(about(record), attempt=1)
        row = found.setdefault(record.step, {"voxel_mm": voxel_mm, "step": record.step, "jobs": 0, "peak_mb": 0.0})
        row["jobs"] += 1
        if record.peak_mb > row["peak_mb"]:
            row.update(peak_mb=record.peak_mb, asked_mb=wanted, share=record.peak_mb / wanted)
    return sorted(found.values(), key=lambda row: -row["share"])


def about(record: JobRecord) -> Any:
    """The wildcards of a job, from the name of its log."""
    label = Path(record.log).stem
    if not label.startswith("sub-"):
        return SimpleNamespace()
    person = label.partition("_")[0].removeprefix("sub-")
    return SimpleNamespace(scan=label) if "_ses-" in label else SimpleNamespace(subject=person)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxel-mm", type=float, nargs="+", default=[3.0, 2.0])
    parser.add_argument("--keep", type=Path, help="folder for the studies; one that is there goes on")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    table: list[dict[str, Any]] = []
    print(f"{'voxel mm':>8}  {'step':<22}{'jobs':>5}{'peak MB':>9}{'asked MB':>10}{'share':>7}")
    for voxel_mm in options.voxel_mm:
        with tempfile.TemporaryDirectory() as name:
            root = options.keep / f"{voxel_mm:g}mm" if options.keep else Path(name)
            root.mkdir(parents=True, exist_ok=True)
            for row in rows(run(root, voxel_mm), voxel_mm):
                table.append(row)
                figures_ = f"{row['jobs']:>5}{row['peak_mb']:>9.0f}{row['asked_mb']:>10}{row['share']:>7.2f}"
                print(f"{voxel_mm:>8g}  {row['step']:<22}{figures_}", flush=True)
    missed = [
        f"{row['step']} at {row['voxel_mm']:g} mm uses more than it asks for" for row in table if row["share"] > 1
    ]
    if options.json:
        options.json.write_text(json.dumps({"rows": table, "missed": missed}, indent=2) + "\n")
    for line in missed:
        print(f"missed: {line}")
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
