"""Nothing changed, or a little did: what the midpoint finds, and what registration to the first session finds.

    python bench/space_retest.py [--shared DIR] [--seeds 201 202 ...] [--json FILE] [--check]

Two sessions of one head, with positions and noise of their own, at 2 mm. *Nothing*: no change at all. *Planted*: in
three regions the volume grows by 1, 2 and 5 % at the centre, in three others the map's values rise by as much (all with
a Gaussian profile of 10 mm). Told are volume change and map change per region, each against its truth, over the seeds:
mean, standard deviation, and the slope of found on planted. The baseline takes the first session as the template and
registers the second one to it, with the same engine and settings.

The regions are spheres of 10 mm; the map's values in them are taken where the head's mask is. Detail is the power of
a session's map above a quarter cycle per voxel inside the brain: a session that was interpolated has less of it than
one that was not, which is the baseline's bias. Seeds below 100 are for development and are not scored here.

``--check`` exits 1 when a mean without change differs from 0 by more than 0.2 % (volume or map) and two standard
errors, when less than 70 % of a planted volume change or 80 % of a planted map change arrives, or when the sessions
differ in detail by more than 2 % through the midpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[name] = "1"

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from space_heads import SHARED, Head, Session, centre_of, detail, head, position, session, swelling

from plastimap.images import Volume
from plastimap.space.template import midpoint, register_session
from plastimap.transforms import Warp, grid_of, jacobian, resample, transform_points, world_points

RADIUS_MM, WIDTH_MM = 10.0, 10.0
NOISE = 0.015
REGIONS = {
    "precentral R": (38, -20, 52), "thalamus L": (-12, -18, 8), "frontal WM R": (24, 36, 12),
    "occipital L": (-18, -84, 8), "cerebellum R": (28, -62, -34), "temporal L": (-50, -20, -14),
}  # fmt: skip
"""Centres in mm; the head of Colin lies in MNI space, near enough."""

AMOUNTS = (0.05, 0.02, 0.01)
GROWING, BRIGHTENING = tuple(REGIONS)[:3], tuple(REGIONS)[3:]
WANTED_MEAN, WANTED_VOLUME, WANTED_MAP, WANTED_DETAIL = 0.2, 0.7, 0.8, 0.02


@dataclass(frozen=True)
class Found:
    """Two sessions in one space: how each is reached, and its Jacobian."""

    grid: Volume
    pulls: tuple[Any, Any]
    jacobians: tuple[NDArray[np.float32], NDArray[np.float32]]


def simulated(anatomy: Head, seed: int, *, planted: bool) -> tuple[tuple[Session, Session], Head]:
    """Two sessions, and the head with brighter regions that the second one saw."""
    rng = np.random.default_rng(seed)
    grid, middle = grid_of(anatomy.image), centre_of(anatomy)
    still = Warp(np.zeros((*grid[0], 3), dtype=np.float32), grid[1])
    growth, bright = still.displacement.copy(), np.ones(grid[0], dtype=np.float32)
    for name, amount in zip(GROWING, AMOUNTS, strict=True):
        # The pull map session → head shrinks where the session is larger.
        growth += planted * swelling(grid, REGIONS[name], amount=-amount, width_mm=WIDTH_MM).displacement
    for name, amount in zip(BRIGHTENING, AMOUNTS, strict=True):
        away = world_points(grid) - np.array(REGIONS[name], dtype=float).reshape(3, 1, 1, 1)
        bright += planted * (amount * np.exp(-(away**2).sum(axis=0) / (2 * WIDTH_MM**2))).astype(np.float32)
    later = Head(Volume(anatomy.image.data * bright, grid[1]), anatomy.mask, anatomy.tissues)
    one = session(anatomy, still, position(rng, middle), rng, noise=NOISE)
    other = session(later, Warp(growth, grid[1]), position(rng, middle), rng, noise=NOISE)
    return (one, other), later


def by_midpoint(one: Session, other: Session) -> Found:
    """Through the midpoint."""
    made = midpoint([one.image, other.image], masks=[one.mask, other.mask])
    return Found(made.template, (made.transforms[0], made.transforms[1]), (made.jacobians[0], made.jacobians[1]))


def to_first(one: Session, other: Session) -> Found:
    """The first session as the template."""
    warp, determinant = register_session(one.image, other.image, template_mask=one.mask, session_mask=other.mask)
    return Found(one.image, (np.eye(4), warp), (np.ones_like(determinant), determinant))


METHODS = {"midpoint": by_midpoint, "to the first": to_first}


def measured(found: Found, scans: tuple[Session, Session], anatomy: Head, later: Head) -> list[dict[str, Any]]:
    """Volume and map change per region, found and true, in percent."""
    grid, rows = found.grid, []
    pulled = [resample(s.image, grid, p, validity=False) for s, p in zip(scans, found.pulls, strict=True)]
    # Regions and their truth are defined in the head: reached through the first session.
    to_head = [found.pulls[0], *scans[0].pull]
    points = world_points(grid_of(grid))
    brain = resample(Volume(anatomy.mask.astype(np.float32), anatomy.image.affine), grid, to_head, validity=False) > 0.5
    place = anatomy.image.affine
    inverse = Volume(jacobian(scans[1].pull[1]), place)
    brighter = Volume(later.image.data / np.maximum(anatomy.image.data, 1e-3), place)
    ratio = resample(brighter, grid, to_head, validity=False)
    truth = 1 / np.maximum(resample(inverse, grid, to_head, validity=False), 1e-3)
    where = transform_points(to_head, points)
    for name, centre in REGIONS.items():
        distance = np.linalg.norm(where - np.array(centre, dtype=float).reshape(3, 1, 1, 1), axis=0)
        inside = (distance <= RADIUS_MM) & brain
        volumes = [float(determinant[inside].sum()) for determinant in found.jacobians]
        values = [float(image[inside].mean()) for image in pulled]
        rows.append({
            "region": name, "volume": 100 * (volumes[1] / volumes[0] - 1), "map": 100 * (values[1] / values[0] - 1),
            "true_volume": 100 * float(truth[inside].mean() - 1),
            "true_map": 100 * float(np.average(ratio[inside], weights=pulled[0][inside]) - 1),
        })  # fmt: skip
    one, other = (float(np.sqrt((np.abs(detail(image, brain)) ** 2).sum())) for image in pulled)
    rows.append({"region": "detail", "map": 100 * (other / one - 1)})
    return rows


def run(seeds: list[int], shared: Path) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """All seeds, with and without change, by all methods."""
    anatomy, rows = head("colin", shared, 2.0), list[dict[str, Any]]()
    cpu = dict.fromkeys(METHODS, 0.0)
    for seed in seeds:
        for planted in (False, True):
            scans, later = simulated(anatomy, seed, planted=planted)
            for label, method in METHODS.items():
                start = time.process_time()
                found = method(*scans)
                cpu[label] += time.process_time() - start
                about = {"seed": seed, "planted": planted, "method": label}
                rows += [about | row for row in measured(found, scans, anatomy, later)]
        print(f"seed {seed} done", flush=True)
    return rows, {label: spent / (4 * len(seeds)) for label, spent in cpu.items()}


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds."""
    result = []
    for planted in (False, True):
        for method in METHODS:
            for region in (*REGIONS, "detail"):
                chosen = [r for r in rows if (r["planted"], r["method"], r["region"]) == (planted, method, region)]
                line = {"planted": planted, "method": method, "region": region}
                for key in ("volume", "true_volume", "map", "true_map"):
                    if key in chosen[0]:
                        values = [row[key] for row in chosen]
                        line[key] = float(np.mean(values))
                        line[f"{key}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
                result.append(line)
    return result


def recovered(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Per method, slope through 0 of found on planted, and mean absolute change where nothing was planted."""
    result = {}
    for method in METHODS:
        chosen = [r for r in rows if r["method"] == method and r["planted"] and r["region"] != "detail"]
        line = {}
        for key in ("volume", "map"):
            true, found = (np.array([row[name] for row in chosen]) for name in (f"true_{key}", key))
            regions = GROWING if key == "volume" else BRIGHTENING
            there = np.array([row["region"] in regions for row in chosen])
            line[key] = float((true[there] * found[there]).sum() / (true[there] ** 2).sum())
            line[f"{key}_elsewhere"] = float(found[~there].mean())
        result[method] = line
    return result


def judge(lines: list[dict[str, Any]], slopes: dict[str, dict[str, float]], seeds: int) -> list[str]:
    """Name what was missed."""
    missed = []
    for line in lines:
        if line["method"] != "midpoint" or line["planted"]:
            continue
        if line["region"] == "detail":
            if abs(line["map"]) > 100 * WANTED_DETAIL:
                missed.append(f"detail differs by {line['map']:.1f} % between sessions")
            continue
        # A mean of few seeds is off by chance: two standard errors are allowed for.
        chance = {key: 2 * line[f"{key}_sd"] / np.sqrt(seeds) for key in ("volume", "map")}
        wrong = [key for key in ("volume", "map") if abs(line[key]) > WANTED_MEAN + chance[key]]
        missed += [f"{line['region']}: {key} change {line[key]:+.2f} % where there is none" for key in wrong]
    for key, wanted in (("volume", WANTED_VOLUME), ("map", WANTED_MAP)):
        if slopes["midpoint"][key] < wanted:
            missed.append(f"{100 * slopes['midpoint'][key]:.0f} % of the planted {key} change arrived")
    return missed


def main() -> int:
    """Simulate, measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder with reference/ and data/")
    parser.add_argument("--seeds", type=int, nargs="+", default=[201, 202, 203, 204])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    rows, cpu = run(options.seeds, options.shared)
    lines, slopes = table(rows), recovered(rows)
    print(f"{'':8s} {'method':20s} {'region':14s}{'volume change %':>20s}{'true':>7s}{'map change %':>20s}{'true':>7s}")
    for line in lines:
        text = f"{'planted' if line['planted'] else 'nothing':8s} {line['method']:20s} {line['region']:14s}"
        for key in ("volume", "map"):
            there = key in line
            text += f"{line[key]:+12.2f} ± {line[f'{key}_sd']:4.2f} " if there else " " * 20
            text += f"{line[f'true_{key}']:7.2f}" if f"true_{key}" in line else " " * 7
        print(text)
    for method, line in slopes.items():
        print(f"{method:20s} " + "  ".join(f"{key} {value:+.2f}" for key, value in line.items())
              + f"  {cpu[method]:.1f} CPU s per session")  # fmt: skip
    missed = judge(lines, slopes, len(options.seeds))
    if options.json:
        result = {"table": lines, "recovered": slopes, "cpu_s_per_session": cpu, "rows": rows, "missed": missed}
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
