"""What it costs to plan a study: jobs, CPU seconds and peak memory of a dry run, for studies of several sizes.

    python bench/dag_scale.py [--scans 25 245 1000 10000] [--json FILE] [--check]

Each study has five sessions per person with multi-echo images, a B1+ map and a diffusion series (the images are links
to two small files per person; only names and headers count for planning). Studies of more than twice ``--chunk-scans``
scans are planned in chunks of people, one after the other, as `plastimap run` does; the peak is that of the largest
process. Its group level is left out there: it is planned when the files of the people exist. Two columns are peers,
Snakemake alone with as many jobs, no params and no checks: "bare" with one file in and one file out of each, "alike"
with as many files as the plan has on average, and scripts and logs. Below "alike" the same plan cannot go. ``--check``
exits 1 when 245 scans take more than 4 s or .25 GB, when the cost per scan grows, or when a chunked study takes more
than 1 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SESSIONS = 5
ECHOES = {"PDw": (6, 1, "off"), "T1w": (21, 2, "off"), "MTw": (6, 1, "on")}
"""Weighting → flip angle, flip index, MT pulse; three echoes each."""

WANTED = {"scans": 245, "cpu_s": 4.0, "peak_gb": 0.25}
WANTED_GROWTH = 1.5
"""Most that the CPU time per scan may be above that of 245 scans: planning is linear."""

WANTED_CHUNKED_GB = 1.0
TOTAL = re.compile(r"^total\s+(\d+)", re.MULTILINE)

CHAIN = 8
"""Rules of a peer, one after the other."""

ALIKE = {"inputs": 18, "outputs": 7, "script": True}
"""Of the peer with as many files as the plan: 14 in and 7 out on average, for the first rules of a chain have fewer."""

Row = dict[str, Any]


def dataset(root: Path, scans: int) -> Path:
    """A BIDS dataset of so many scans; its sidecars lie at the top and count for all files of their kind."""
    bids = root / "bids"
    bids.mkdir(parents=True)
    top_files(bids)
    lines = ["participant_id\tage\tgroup"]
    for person in range(-(-scans // SESSIONS)):
        subject = f"sub-{person + 1:05d}"
        lines.append(f"{subject}\t{20 + person % 50}\t{'AB'[person % 2]}")
        sessions = ["session_id\tday"]
        store = small_images(root / "store" / subject)
        for number in range(min(SESSIONS, scans - person * SESSIONS)):
            sessions.append(f"ses-{number + 1}\t{28 * number}")
            scan_files(bids, store, subject, f"ses-{number + 1}")
        (bids / subject / f"{subject}_sessions.tsv").write_text("\n".join(sessions) + "\n")
    (bids / "participants.tsv").write_text("\n".join(lines) + "\n")
    return bids


def small_images(store: Path) -> Path:
    """What one person's images are links to; a file system knows only so many links to one file."""
    store.mkdir(parents=True)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    nib.Nifti1Image(np.zeros((4, 5, 3), np.int16), affine).to_filename(store / "map.nii.gz")
    nib.Nifti1Image(np.zeros((4, 5, 3, 8), np.int16), affine).to_filename(store / "dwi.nii.gz")
    return store


def top_files(bids: Path) -> None:
    """Description, and metadata of every kind of file."""
    (bids / "dataset_description.json").write_text('{"Name": "scale", "BIDSVersion": "1.10.0"}')
    for angle, flip, mt in ECHOES.values():
        for echo in (1, 2, 3):
            about = {"FlipAngle": angle, "RepetitionTimeExcitation": 0.0245, "EchoTime": 0.0023 * echo}
            about["MTState"] = mt == "on"
            (bids / f"echo-{echo}_flip-{flip}_mt-{mt}_MPM.json").write_text(json.dumps(about))
    (bids / "TB1map.json").write_text('{"Units": "percent"}')
    (bids / "dwi.json").write_text('{"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.05}')
    angles = np.linspace(0, np.pi, 7)
    vectors = np.column_stack([np.zeros(3), [np.cos(angles), 0.8 * np.sin(angles), 0.6 * np.sin(angles)]])
    (bids / "dwi.bval").write_text(" ".join(["0", *["1000"] * 7]) + "\n")
    (bids / "dwi.bvec").write_text("\n".join(" ".join(f"{x:.6f}" for x in row) for row in vectors) + "\n")


def scan_files(bids: Path, store: Path, subject: str, session: str) -> None:
    """The images of one scan, as links to one file of each shape."""
    folder, stem = bids / subject / session, f"{subject}_{session}"
    for name in ("anat", "fmap", "dwi"):
        (folder / name).mkdir(parents=True)
    for _, flip, mt in ECHOES.values():
        for echo in (1, 2, 3):
            os.link(store / "map.nii.gz", folder / "anat" / f"{stem}_echo-{echo}_flip-{flip}_mt-{mt}_MPM.nii.gz")
    os.link(store / "map.nii.gz", folder / "fmap" / f"{stem}_TB1map.nii.gz")
    os.link(store / "dwi.nii.gz", folder / "dwi" / f"{stem}_dwi.nii.gz")


def peer(jobs: int, *, inputs: int = 1, outputs: int = 1, script: bool = False) -> float:
    """CPU seconds of Snakemake alone for so many jobs, in chains of eight, with at most so many files each."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "empty.py").touch()
        (Path(name) / "Snakefile").write_text(peer_rules(jobs, inputs, outputs, script))
        command = [sys.executable, "-m", "snakemake", "--directory", name, "--snakefile", f"{name}/Snakefile"]
        command += ["--cores", "1", "--scheduler", "greedy", "--dry-run", "--quiet", "rules"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("Snakemake alone fails")
    return used.ru_utime + used.ru_stime


def peer_rules(jobs: int, inputs: int, outputs: int, script: bool) -> str:
    """A Snakefile of chains of eight rules; each takes the files of those before it, the nearest first."""
    rules = [f"rule all:\n    input:\n        [f'{{n}}/{CHAIN - 1}_0.x' for n in range({-(-jobs // CHAIN)})]\n"]
    earlier: list[str] = []
    for stage in range(CHAIN):
        made = [f"{{n}}/{stage}_{number}.x" for number in range(outputs)]
        action = f"    log:\n        'logs/{stage}/{{n}}.log'\n    script:\n        'empty.py'\n"
        rules.append(
            f"rule r{stage}:\n    input:\n        {earlier[:inputs]}\n    output:\n        {made}\n"
            + (action if script else "    shell:\n        ':'\n")
        )
        earlier = made + earlier
    return "\n".join(rules)


def plan(scans: int, chunk_scans: int) -> Row:
    """Dry-run a study; jobs, CPU and memory of all its processes."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        bids = dataset(root, scans)
        command = [sys.executable, "-m", "plastimap.cli", "run", str(bids), str(root / "out"), "group", "--dry-run"]
        command += ["--chunk-scans", str(chunk_scans)]
        with open(root / "said", "w+") as said:
            start = time.monotonic()
            process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
            # Unlike getrusage(RUSAGE_CHILDREN) this is about one child and its own, so sizes do not mix.
            _, status, used = os.wait4(process.pid, 0)
            said.seek(0)
            text = said.read()
    if status:
        raise SystemExit(text[-3000:])
    tables = [int(count) for count in TOTAL.findall(text)]
    # A dry run prints the table of jobs before and after the jobs.
    chunks = max(text.count("people, chunk "), 1)
    return {
        "scans": scans, "jobs": sum(tables) // 2, "chunks": chunks, "cpu_s": used.ru_utime + used.ru_stime,
        "peak_gb": used.ru_maxrss / 1e6, "wall_s": time.monotonic() - start,
    }  # fmt: skip


def missed(rows: list[Row]) -> list[str]:
    """Figures that are not what is wanted."""
    by_size = {row["scans"]: row for row in rows}
    reference = by_size.get(WANTED["scans"])
    found = [
        f"{WANTED['scans']} scans: {key} {reference[key]:.2f}, wanted {WANTED[key]}"
        for key in ("cpu_s", "peak_gb")
        if reference and reference[key] > WANTED[key]
    ]
    for row in rows:
        if reference and row["scans"] > WANTED["scans"]:
            growth = row["cpu_s"] / row["scans"] / (reference["cpu_s"] / reference["scans"])
            if growth > WANTED_GROWTH:
                found.append(f"{row['scans']} scans: {growth:.2f} times the CPU per scan of {WANTED['scans']}")
        if row["chunks"] > 1 and row["peak_gb"] > WANTED_CHUNKED_GB:
            found.append(f"{row['scans']} scans in chunks: {row['peak_gb']:.2f} GB, wanted {WANTED_CHUNKED_GB}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, nargs="+", default=[25, 245, 1000, 10000])
    parser.add_argument("--chunk-scans", type=int, default=500)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    print(f"{'scans':>7}{'jobs':>9}{'chunks':>8}{'CPU s':>9}{'ms/job':>8}{'bare s':>9}{'alike s':>9}{'peak GB':>9}")
    for scans in options.scans:
        row = plan(scans, options.chunk_scans)
        # In chunks, as the plan: its cost is linear, and its memory is not the question.
        jobs = -(-row["jobs"] // row["chunks"])
        row["bare_cpu_s"], row["alike_cpu_s"] = (peer(jobs, **kind) * row["chunks"] for kind in ({}, ALIKE))
        rows.append(row)
        each = 1000 * row["cpu_s"] / max(row["jobs"], 1)
        counts = f"{row['scans']:>7}{row['jobs']:>9}{row['chunks']:>8}"
        peers = f"{row['bare_cpu_s']:>9.1f}{row['alike_cpu_s']:>9.1f}"
        print(f"{counts}{row['cpu_s']:>9.1f}{each:>8.1f}{peers}{row['peak_gb']:>9.2f}", flush=True)
    problems = missed(rows)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "missed": problems}, indent=2) + "\n")
    for line in problems:
        print(f"missed: {line}")
    return 1 if options.check and problems else 0


if __name__ == "__main__":
    sys.exit(main())
