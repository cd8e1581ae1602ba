"""The demo over several seeds: every planted effect found, and the control empty.

    python bench/demo_seeds.py OUT [--seeds 1 2 3 4 5] [--cores 2] [--json FILE] [--check]

Runs ``plastimap demo`` once per seed into OUT/seed-N (a finished seed is not
run again) and prints a table. ``--check`` exits 1 when fewer than four in
five seeds find everything with an empty control.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

WANTED_SHARE = 0.8
"""Share of seeds that must find every planted effect, with an empty control."""


def run_seed(folder: Path, seed: int, cores: str) -> dict[str, Any]:
    """Run one seed and read its tables."""
    started = time.monotonic()
    command = [sys.executable, "-m", "plastimap.cli", "demo", str(folder), "--seed", str(seed), "--cores", cores]
    status = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
    if status:
        return {"seed": seed, "status": status, "found": 0, "planted": 0, "false": 0, "good": False, "missed": []}
    group = folder / "derivatives" / "group"
    found = pd.read_csv(group / "planted_vs_found.tsv", sep="\t")
    control = pd.read_csv(group / "control.tsv", sep="\t")
    missed = [f"{row.map} {row.place}" for row in found[found["found"] != "yes"].itertuples()]
    return {
        "seed": seed,
        "status": 0,
        "found": int((found["found"] == "yes").sum()),
        "planted": len(found),
        "false": len(control),
        "missed": missed,
        "good": not missed and control.empty,
        "wall_s": round(time.monotonic() - started),
    }


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--cores", default="2")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    rows = [run_seed(options.folder / f"seed-{seed}", seed, options.cores) for seed in options.seeds]
    for row in rows:
        print(f"seed {row['seed']}: {row['found']} of {row['planted']} found, {row['false']} false in the control"
              f"{', missed: ' + '; '.join(row['missed']) if row['missed'] else ''}")  # fmt: skip
    share = sum(row["good"] for row in rows) / len(rows)
    if options.json:
        options.json.write_text(json.dumps({"share_good": share, "seeds": rows}, indent=2) + "\n")
    if options.check and share < WANTED_SHARE:
        print(f"missed: share of good seeds {share:.2f}, wanted {WANTED_SHARE:.2f}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
