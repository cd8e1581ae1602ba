"""PlastiMap's brain mask and segmentation beside SPM's on real heads, and beside the truth on simulated ones.

    python bench/anat_vs_spm.py [--shared DIR] [--json FILE] [--check] [--only heads|truth|steps]

Part one takes the heads that SPM12's Segment was run on (its own tissue maps, default settings): Dice at one half of
GM, WM, CSF and of the brain, volumes, CPU seconds. SPM's are those of its own run; ratios want a quiet machine. The
masks of the network deepbet are scored beside ours. Part two simulates whole heads with known tissue shares. Part three
gives the CPU seconds of each step and the peak memory for a head of 1 mm. ``--check`` exits 1 when a wanted figure is
missed.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.anat_heads import make_head

from plastimap.anat import head, pipeline
from plastimap.anat.pipeline import ScanAnatomy, segment_scan
from plastimap.anat.priors import load_priors
from plastimap.images import Volume, read_volume
from plastimap.writing import read_json

SHARED = Path(__file__).parents[2] / "shared"
HEADS = {
    "single_subj": "reference/spm12-segment/single_subj/T1w.nii.gz",
    "real-siemens-1subject": "data/real-siemens-1subject/sub-01/anat/sub-01_T1w.nii.gz",
    "real-t1w-adult": "data/real-t1w-adult/sub-01/anat/sub-01_T1w.nii.gz",
}
FINEST = "real-t1w-adult"
WANTED = {"GM": 0.87, "WM": 0.91, "CSF": 0.80, "brain": 0.97}
"""Mean Dice over the real heads."""

WANTED_TRUTH = {"GM": 0.92, "WM": 0.94}
WANTED_BIAS = 2.0
"""Per cent of a tissue's volume, mean over the simulated heads of its absolute value."""

WANTED_SHARE = 0.5
"""Of SPM's CPU seconds."""

SIMULATED: dict[str, dict[str, Any]] = {
    "T1w, 1.5 mm": {"contrast": "T1w", "voxel_mm": 1.5, "seed": 21},
    "T1w, 2 mm, small": {"contrast": "T1w", "voxel_mm": 2.0, "seed": 22, "scale": 0.85},
    "T1w, 2 mm, atrophy": {"contrast": "T1w", "voxel_mm": 2.0, "seed": 23, "atrophy_mm": 3.0},
    "MTsat, 2 mm": {"contrast": "MTsat", "voxel_mm": 2.0, "seed": 24},
    "R1, 2 mm": {"contrast": "R1", "voxel_mm": 2.0, "seed": 25},
}
STEPS = {
    "balloon": (head, "balloon_brain"),
    "first match": (head, "_first_match"),
    "bias field": (head, "log_bias_field"),
    "brain and non-brain": (head, "brain_probability"),
    "match of the priors": (head, "match_priors"),
    "priors to the scan": (pipeline, "warp_priors"),
    "bias field to the scan": (pipeline, "without_bias"),
    "tissues": (pipeline, "segment"),
}


def dice(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Overlap of two probability maps at one half."""
    a, b = np.asarray(one) > 0.5, np.asarray(other) > 0.5
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def timed(volume: Volume, *, quantitative: bool) -> tuple[ScanAnatomy, float]:
    """Segment without the network, and count CPU seconds."""
    start = time.process_time()
    made = segment_scan(volume, quantitative=quantitative, mask_method="classical")
    return made, time.process_time() - start


def against_spm(shared: Path, name: str) -> dict[str, Any]:
    """Scores of one real head."""
    scan, folder = read_volume(shared / HEADS[name]), shared / "reference" / "spm12-segment" / name
    spm = [read_volume(folder / f"c{number}.nii.gz").data for number in (1, 2, 3)]
    about = read_json(folder / "seg.json")
    made, seconds = timed(scan, quantitative=False)
    ours = made.probabilities
    found = {tissue: dice(ours[tissue], image) for tissue, image in zip(ours, spm, strict=True)}
    volumes = {tissue: [made.qa[f"{tissue}_ml"], 1000 * about["volumes_L"][tissue]] for tissue in ours}
    return {
        "head": name,
        "dice": {**found, "brain": dice(made.mask, sum(spm))},
        "deepbet": dice(read_volume(folder / "deepbet_mask.nii.gz").data, sum(spm)),
        "ml": {**volumes, "TIV": [made.tiv_ml, 1000 * about["TIV_litres"]]},
        "cpu_s": [seconds, about["segment_cpu_s"]],
    }


def against_truth(name: str) -> dict[str, Any]:
    """Scores of one simulated head."""
    about = SIMULATED[name]
    simulated = make_head(**about)
    made, seconds = timed(simulated.image, quantitative=about["contrast"] != "T1w")
    ours = made.probabilities
    bias = {tissue: 100 * float(ours[tissue].sum() / share.sum() - 1) for tissue, share in simulated.shares.items()}
    found = {tissue: dice(ours[tissue], share) for tissue, share in simulated.shares.items()}
    found["brain"] = dice(made.mask, simulated.brain)
    return {"head": name, "dice": found, "bias": bias, "cpu_s": seconds}


def steps(shared: Path) -> dict[str, Any]:
    """CPU seconds of each step for a head of 1 mm, and the peak memory of the process."""
    scan, spent = read_volume(shared / HEADS[FINEST]), dict.fromkeys(STEPS, 0.0)
    kept = {name: getattr(*place) for name, place in STEPS.items()}
    for name, (module, function) in STEPS.items():
        setattr(module, function, _counted(kept[name], spent, name))
    try:
        _, total = timed(scan, quantitative=False)
    finally:
        for name, (module, function) in STEPS.items():
            setattr(module, function, kept[name])
    spent["rest"] = total - sum(spent.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"head": FINEST, "cpu_s": spent, "total_s": total, "peak_mb": peak}


def _counted(function: Callable[..., Any], spent: dict[str, float], name: str) -> Callable[..., Any]:
    def counted(*args: Any, **options: Any) -> Any:
        start = time.process_time()
        result = function(*args, **options)
        spent[name] += time.process_time() - start
        return result

    return counted


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean Dice over heads."""
    return {name: float(np.mean([row["dice"][name] for row in rows])) for name in WANTED}


def judge(real: list[dict[str, Any]], simulated: list[dict[str, Any]]) -> list[str]:
    """Name what was missed."""
    missed: list[str] = []
    for label, rows, wanted in (("against SPM", real, WANTED), ("against the truth", simulated, WANTED_TRUTH)):
        found = means(rows) if rows else {}
        missed += [f"{label}: {name} {found[name]:.3f}, wanted {least}" for name, least in wanted.items()
                   if rows and found[name] < least]  # fmt: skip
    for name in WANTED_TRUTH:
        bias = float(np.mean([abs(row["bias"][name]) for row in simulated])) if simulated else 0.0
        if bias > WANTED_BIAS:
            missed.append(f"against the truth: volume of {name} off by {bias:.1f} %, wanted {WANTED_BIAS:.0f}")
    missed += [f"{row['head']}: {row['cpu_s'][0]:.0f} CPU s, SPM {row['cpu_s'][1]:.0f}" for row in real
               if row["cpu_s"][0] > WANTED_SHARE * row["cpu_s"][1]]  # fmt: skip
    return missed


def show(real: list[dict[str, Any]], simulated: list[dict[str, Any]], shares: dict[str, Any] | None) -> None:
    """Print the tables."""
    names = tuple(WANTED)
    for row in real:
        scores = "  ".join(f"{name} {row['dice'][name]:.3f}" for name in names)
        volumes = "  ".join(f"{name} {ours:.0f}/{theirs:.0f}" for name, (ours, theirs) in row["ml"].items())
        seconds = f"CPU s {row['cpu_s'][0]:.1f}/{row['cpu_s'][1]:.1f}"
        print(f"{row['head']:24s}{scores}  (deepbet's mask {row['deepbet']:.3f})  ml {volumes}  {seconds}")
    for row in simulated:
        scores = "  ".join(f"{name} {row['dice'][name]:.3f}" for name in names)
        bias = "  ".join(f"{name} {value:+.1f} %" for name, value in row["bias"].items())
        print(f"{row['head']:24s}{scores}  volume {bias}  CPU s {row['cpu_s']:.1f}")
    for label, rows in (("mean of the real heads", real), ("mean of the simulated", simulated)):
        if rows:
            print(f"{label:24s}" + "  ".join(f"{name} {value:.3f}" for name, value in means(rows).items()))
    if shares:
        for name, seconds in shares["cpu_s"].items():
            print(f"{name:24s}{seconds:6.2f} s  {100 * seconds / shares['total_s']:5.1f} %")
        print(f"{'total at 1 mm':24s}{shares['total_s']:6.2f} s, peak memory {shares['peak_mb']:.0f} MB")


def main() -> int:
    """Compare, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of the reference data")
    parser.add_argument("--only", choices=("heads", "truth", "steps"))
    parser.add_argument("--json", nargs="?", type=Path, const=Path("-"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    there = options.shared.exists()
    if not there:
        print(f"no reference at {options.shared}: real heads are left out", file=sys.stderr)
    # What every process reads once is no part of a head's seconds.
    load_priors(2.0)
    wanted = {options.only} if options.only else {"heads", "truth", "steps"}
    real = [against_spm(options.shared, name) for name in HEADS] if there and "heads" in wanted else []
    simulated = [against_truth(name) for name in SIMULATED] if "truth" in wanted else []
    shares = steps(options.shared) if there and "steps" in wanted else None
    missed = judge(real, simulated)
    text = json.dumps({"heads": real, "truth": simulated, "steps": shares, "missed": missed}, indent=2)
    if options.json == Path("-"):
        print(text)
    else:
        show(real, simulated, shares)
        if options.json:
            options.json.write_text(text + "\n")
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
