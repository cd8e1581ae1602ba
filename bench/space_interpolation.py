"""One interpolation through the composed warp, or two in a row; and what anatomy and space cost per scan at 1 mm.

    python bench/space_interpolation.py [--shared DIR] [--seeds 301 302] [--voxel 1.0] [--json FILE] [--check] [--quick]

A head is pulled through a session's position and deformation, with noise; then it is brought to the target grid at
1.5 mm through a second deformation, once by composed warps and once with a stop in the person's template, linearly and
by cubic splines. Both are compared with the noise-free head sampled at the same points by a cubic spline, straight
from its own grid: root mean squared error without noise; *gain*, the amplitude of detail (above a quarter cycle per
voxel) that is left; and the same with noise. ``--quick`` leaves the costs out.

The costs are CPU seconds of every step of one scan of two sessions: brain mask and tissues of the whole head (where
the data are; the standard head has no skull), midpoint, its way to the target, composition and
resampling of eight maps and three tissues, modulation, smoothing. ``--check`` exits 1 when two steps leave a larger
gain, or a smaller error without noise, than one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[name] = "1"

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from space_heads import HEADS, SHARED, Head, Session, centre_of, detail, head, position, random_change, session

from plastimap.anat.pipeline import segment_scan
from plastimap.images import Volume, read_volume
from plastimap.space.grids import target_grid
from plastimap.space.mni import template_to_mni
from plastimap.space.smooth import gaussian, tissue_weighted
from plastimap.space.template import Midpoint, midpoint
from plastimap.space.tissues import mean_tissues
from plastimap.space.vbm import modulated
from plastimap.transforms import Grid, Warp, compose, grid_of, invert, resample

ORDERS: dict[str, Literal[1, 3]] = {"linear": 1, "cubic": 3}
MAPS, TISSUES = 8, 3
NOISE = 0.03


def one_and_two(anatomy: Head, seed: int, grid: Grid) -> list[dict[str, Any]]:
    """Errors and detail of one and of two interpolations, without and with noise."""
    rng, rows = np.random.default_rng(seed), list[dict[str, Any]]()
    middle = centre_of(anatomy)
    scan = session(anatomy, random_change(anatomy, rng, sd=0.03), position(rng, middle), rng, noise=0.0)
    # Template → session undoes the position; target → template is a deformation as between people.
    to_template, to_session = random_change(anatomy, rng, sd=0.3), [scan.pull[0]]
    chain = [to_template, np.linalg.inv(to_session[0])]
    truth = resample(anatomy.image, grid, [*chain, *scan.pull], order=3, validity=False)
    brain = resample(Volume(anatomy.mask.astype(np.float32), anatomy.image.affine), grid, [*chain, *scan.pull]) > 0.5
    for noise in (0.0, NOISE):
        noisy = scan.image.data + rng.normal(0, noise, scan.image.shape).astype(np.float32)
        image = Volume(noisy, scan.image.affine)
        for kind, order in ORDERS.items():
            stop = Volume(resample(image, image, chain[1], order=order, validity=False), image.affine)
            ways = {
                "one": resample(image, grid, compose(chain, grid), order=order, validity=False),
                "two": resample(stop, grid, chain[0], order=order, validity=False),
            }
            for steps, found in ways.items():
                about = {"seed": seed, "noise": noise, "order": kind, "steps": steps}
                rows.append(about | {"error": _error(found, truth, brain), "gain": _gain(found, truth, brain)})
    return rows


def _error(found: NDArray[np.float32], truth: NDArray[np.float32], brain: NDArray[np.bool_]) -> float:
    return float(np.sqrt(((found - truth)[brain] ** 2).mean()))


def _gain(found: NDArray[np.float32], truth: NDArray[np.float32], brain: NDArray[np.bool_]) -> float:
    """Detail of the truth that is there: projection of one on the other, so that noise does not count as detail."""
    one, other = detail(found, brain), detail(truth, brain)
    return float(np.real(one * np.conj(other)).sum() / (np.abs(other) ** 2).sum())


class Costs:
    """CPU seconds of named steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, step: str, scans: int = 1) -> Iterator[None]:
        """Count a block; shared by `scans` scans."""
        start = time.process_time()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + (time.process_time() - start) / scans


def costs(anatomy: Head, whole: Path, seed: int) -> dict[str, float]:
    """CPU seconds per scan of every step of anatomy and space, for a person of two sessions."""
    rng, spent = np.random.default_rng(seed), Costs()
    if whole.exists():
        with spent.of("brain mask and tissues of the whole head"):
            segment_scan(read_volume(whole), quantitative=False, mask_method="classical")
    middle, change = centre_of(anatomy), random_change(anatomy, rng, sd=0.03)
    scans = [session(anatomy, change, position(rng, middle), rng, noise=NOISE) for _ in range(2)]
    grid = target_grid(1.5)
    with spent.of("midpoint", scans=2):
        made = midpoint([scan.image for scan in scans], masks=[scan.mask for scan in scans])
    with spent.of("inverse of the session's warp"):
        invert(made.transforms[0], scans[0].image)
    with spent.of("midpoint's tissues", scans=2):
        tissues = mean_tissues([_tissues(anatomy, scan) for scan in scans], made.transforms)
    with spent.of("midpoint to target", scans=2):
        placed = template_to_mni(tissues["GM"], tissues["WM"], grid=grid)
    _resampling(spent, made, placed.warp, scans[0], tissues, grid)
    return spent.seconds


def _tissues(anatomy: Head, scan: Session) -> dict[str, Volume]:
    pulled = {name: resample(anatomy.tissues[name], scan.image, scan.pull, validity=False) for name in ("GM", "WM")}
    return {name: Volume(data, scan.image.affine) for name, data in pulled.items()}


def _resampling(
    spent: Costs, made: Midpoint, to_target: Warp, scan: Session, tissues: dict[str, Volume], grid: Grid
) -> None:
    with spent.of("composition of warps"):
        chain = compose([to_target, made.transforms[0]], grid)
    with spent.of(f"resampling of {MAPS} maps and {TISSUES} tissues"):
        for _ in range(MAPS + TISSUES):
            warped = resample(scan.image, grid, chain)
    with spent.of("modulation"):
        volumes = [modulated(tissues[n], to_target, grid, session_jacobian=made.jacobians[0]) for n in ("GM", "WM")]
    size = np.full(3, 1.5)
    with spent.of(f"smoothing of {MAPS} maps and the volumes in 2 tissues"):
        for volume in volumes:
            gaussian(volume, 6.0, size)
            for _ in range(MAPS):
                tissue_weighted(warped, volume, 5.0, size)


def judge(rows: list[dict[str, Any]]) -> list[str]:
    """Name what was missed."""
    missed = []
    for order in ORDERS:
        chosen = [row for row in rows if row["order"] == order and row["noise"] == 0]
        one, two = (
            {key: float(np.mean([r[key] for r in chosen if r["steps"] == steps])) for key in ("error", "gain")}
            for steps in ("one", "two")
        )
        if one["error"] >= two["error"] or one["gain"] <= two["gain"]:
            missed.append(f"{order}: one interpolation has error {one['error']:.4f} and gain {one['gain']:.3f}, "
                          f"two have {two['error']:.4f} and {two['gain']:.3f}")  # fmt: skip
    return missed


def main() -> int:
    """Simulate, compare, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder with reference/ and data/")
    parser.add_argument("--seeds", type=int, nargs="+", default=[301, 302])
    parser.add_argument("--voxel", type=float, default=1.0, help="mm, of the scans")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    anatomy = head("adult", options.shared, options.voxel)
    shape, affine = grid_of(anatomy.image)
    factor = 1.5 / options.voxel
    grid = (tuple(int(n / factor) for n in shape), affine @ np.diag([factor, factor, factor, 1.0]))
    rows = [row for seed in options.seeds for row in one_and_two(anatomy, seed, grid)]
    for row in rows:
        print(
            "seed {seed}  noise {noise:.2f}  {order:7s}{steps:4s} error {error:.4f}  gain of detail {gain:.3f}".format(
                **row
            )
        )
    spent = {} if options.quick else costs(anatomy, options.shared / HEADS["adult"][0], options.seeds[0])
    total = sum(spent.values())
    for step, seconds in spent.items():
        print(f"{step:52s}{seconds:8.1f} CPU s{100 * seconds / total:6.0f} %")
    if spent:
        print(f"{'in all, per scan':52s}{total:8.1f} CPU s")
    missed = judge(rows)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "cpu_s_per_scan": spent, "missed": missed}, indent=2) + "\n")
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
