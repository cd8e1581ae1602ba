"""Change between sessions of one person: our midpoint beside greedy and ANTs, scored against known deformations.

    python bench/space_longitudinal.py [--shared DIR] [--only NAME ...] [--json FILE] [--check] [--quick]

Every case is a head that changed by a known deformation; every session has a position and noise of its own. Scored is
the log-Jacobian between the first session and the last one, inside the last one's brain: correlation, root mean
squared error and slope on the truth. All methods see the same images and masks, in one thread; CPU seconds are those
of this process, divided by the sessions. The settings are the defaults of the package. Seeds below 100 are for
development and are not scored here: the stiffness was lowered from 100 to 60 per mm^3 on seeds 1 (noisy) and 2 (other
head), after 100 had shown too low a slope in noise. Peers: greedy's diffeomorphic normalised
cross-correlation (radius 2, smoothed by 3 and 1 voxels, which did best for it on the reference pair) in one direction,
the mean of both directions, and ANTs SyN with cross-correlation (radius 4, 100x70x50x10 iterations), where antspyx is
installed; all after the rigid match that our method gets too.

Last, a session that joins a template which stays as it is (of one session, of two) is scored beside the midpoint of
all three sessions.

``--check`` exits 1 when, over the generated pairs, ours has not the better r, RMSE and slope than ANTs, or takes more
than 15 CPU seconds per session at 2 mm, or when the reference pair is missed; when the midpoint image of more
sessions is not nearer to the noise-free one or loses detail; and when a joining session's r is lower than the
midpoint's by more than .03. ``--quick`` leaves the 1 mm case and the five sessions out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[name] = "1"

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from scipy import ndimage
from space_heads import (
    SHARED,
    Session,
    centre_of,
    detail,
    head,
    log_jacobian_to_head,
    position,
    random_change,
    scaled,
    session,
)

from plastimap.images import Volume, read_volume, write_volume
from plastimap.registration import deformable, rigid
from plastimap.space.template import Midpoint, midpoint, register_session
from plastimap.transforms import Warp, compose, invert, jacobian, resample
from plastimap.warpfiles import read_warp, write_matrix

FINEST = 15.0
"""Wanted: CPU seconds per session at 2 mm, at most."""

REFERENCE_WANTED = {"r": 0.87, "rmse": 0.032, "slope": 0.8}
LEAST_DETAIL = 0.9
"""Of the noise-free image's highest octave, in the midpoint of any number of sessions."""

MOST_LOST_BY_JOINING = 0.03
MOST_BY_ORDER = 1e-5
"""Rounding of float32 sums, in log-Jacobian."""

MOST_ROUND_TRIP_MM = 0.05
"""A fortieth of a voxel: the inverse is interpolated linearly between voxels."""


@dataclass(frozen=True)
class Case:
    """One simulated person.

    Attributes
    ----------
    head : str
    voxel_mm : float
    noise : float
        Standard deviation, where white matter is about 1.
    seed : int
    shares : tuple of float
        Of the deformation, per session; unequal steps are unequal spacing in time.
    sd : float
        Of the log-Jacobian of the whole deformation.
    block_mm : float, optional
        Edge of a cube in the right hemisphere to which the brain is cut: fine
        voxels without the hour that ANTs takes for a whole brain of them.
    """

    head: str
    voxel_mm: float
    noise: float
    seed: int
    shares: tuple[float, ...] = (0.0, 1.0)
    sd: float = 0.065
    block_mm: float | None = None


CASES = {
    "noisy": Case("colin", 2.0, 0.03, 101),
    "other head": Case("siemens", 2.0, 0.015, 102, sd=0.05),
    "five sessions": Case("adult", 2.0, 0.02, 104, shares=(0.0, 0.1, 0.35, 0.6, 1.0)),
    "1 mm": Case("adult", 1.0, 0.03, 105, block_mm=66.0),
}
SLOW = ("five sessions", "1 mm")


@dataclass(frozen=True)
class Pair:
    """Sessions of one person with the truth: log-Jacobian of the map last → first session, on the last one's grid."""

    sessions: list[tuple[Volume, NDArray[np.bool_]]]
    truth: NDArray[np.float32]
    scans: tuple[Session, ...] = ()


def simulated(case: Case, shared: Path) -> Pair:
    """Make a case's sessions."""
    rng = np.random.default_rng(case.seed)
    anatomy = head(case.head, shared, case.voxel_mm, case.block_mm)
    change, middle = random_change(anatomy, rng, sd=case.sd), centre_of(anatomy)
    scans = tuple(
        session(anatomy, scaled(change, share), position(rng, middle), rng, noise=case.noise) for share in case.shares
    )
    return Pair([(scan.image, scan.mask) for scan in scans], log_jacobian_to_head(scans[-1]), scans)


def reference_pair(shared: Path) -> Pair | None:
    """The pair with a known deformation that SPM, greedy and ANTs were scored on before."""
    folder = shared / "reference"
    if not (folder / "longitudinal-pair").exists():
        return None
    mask = read_volume(folder / "spm12-segment" / "single_subj" / "deepbet_mask.nii.gz").data > 0.5
    images = [read_volume(folder / "longitudinal-pair" / f"{name}.nii.gz") for name in ("tp1", "tp2")]
    truth = np.log(read_volume(folder / "longitudinal-pair" / "truth_jacdet_of_pull_map.nii.gz").data)
    return Pair([(image, mask) for image in images], truth)


def ours(pair: Pair) -> NDArray[np.float32]:
    """Log-Jacobian last → first through the midpoint."""
    return between(midpoint([v for v, _ in pair.sessions], masks=[m for _, m in pair.sessions]), pair, 0, -1)


def between(made: Midpoint, pair: Pair, first: int, last: int) -> NDArray[np.float32]:
    """Difference of two sessions' log-Jacobians, brought from the midpoint to the grid of the second one."""
    change = Volume(np.log(made.jacobians[first]) - np.log(made.jacobians[last]), made.template.affine)
    where = pair.sessions[last][0]
    return resample(change, where, invert(made.transforms[last], where), validity=False)


def greedy_one_way(pair: Pair) -> NDArray[np.float32]:
    """Register the first session to the last one."""
    return one_way(pair.sessions[-1], pair.sessions[0])[0]


def greedy_both_ways(pair: Pair) -> NDArray[np.float32]:
    """Mean of both directions, the other one brought over."""
    there, _ = one_way(pair.sessions[-1], pair.sessions[0])
    back, warp = one_way(pair.sessions[0], pair.sessions[-1])
    where = pair.sessions[-1][0]
    brought = resample(Volume(back, pair.sessions[0][0].affine), where, invert(warp, where), validity=False)
    return ((there - brought) / 2).astype(np.float32)


def one_way(fixed: tuple[Volume, Any], moving: tuple[Volume, Any]) -> tuple[NDArray[np.float32], Warp]:
    """Rigid, then diffeomorphic, both with greedy."""
    around = ndimage.binary_dilation(fixed[1], iterations=3)
    matrix = rigid(fixed[0], moving[0], fixed_mask=around)
    warp = deformable(
        fixed[0], moving[0], affine=matrix, fixed_mask=around, iterations=(100, 50, 20), smoothing=(3.0, 1.0)
    )
    return np.log(np.maximum(jacobian(warp), 1e-3)).astype(np.float32), warp


def ants_syn(pair: Pair) -> NDArray[np.float32]:
    """SyN with cross-correlation from the first session to the last one."""
    import ants

    (fixed, mask), (moving, _) = pair.sessions[-1], pair.sessions[0]
    around = ndimage.binary_dilation(mask, iterations=3)
    with tempfile.TemporaryDirectory(prefix="plastimap-") as folder:
        place = Path(folder)
        for label, volume in (("f", fixed), ("m", moving), ("k", Volume(around.astype(np.float32), fixed.affine))):
            write_volume(place / f"{label}.nii.gz", volume)
        write_matrix(place / "start.txt", rigid(fixed, moving, fixed_mask=around))
        images = {label: ants.image_read(str(place / f"{label}.nii.gz")) for label in "fmk"}
        made = ants.registration(
            images["f"], images["m"], mask=images["k"], type_of_transform="SyNOnly", syn_metric="CC", syn_sampling=4,
            initial_transform=str(place / "start.txt"), reg_iterations=(100, 70, 50, 10), random_seed=1,
            outprefix=str(place / "o"),
        )  # fmt: skip
        field = next(file for file in made["fwdtransforms"] if file.endswith(".nii.gz"))
        return np.log(np.maximum(jacobian(read_warp(field)), 1e-3)).astype(np.float32)


def scores(found: NDArray[np.float32], truth: NDArray[np.float32], mask: NDArray[np.bool_]) -> dict[str, float]:
    """Correlation, root mean squared error, and slope of what was found on the truth."""
    one, other = found[mask].astype(np.float64), truth[mask].astype(np.float64)
    return {
        "r": float(np.corrcoef(one, other)[0, 1]),
        "rmse": float(np.sqrt(((one - other) ** 2).mean())),
        "slope": float(np.polyfit(other, one, 1)[0]),
        "doing_nothing": float(np.sqrt((other**2).mean())),
    }


def scored(name: str, pair: Pair, methods: dict[str, Callable[[Pair], NDArray[np.float32]]]) -> list[dict[str, Any]]:
    """Run every method on one case."""
    rows = []
    for label, method in methods.items():
        start = time.process_time()
        found = method(pair)
        cpu = time.process_time() - start
        # A pairwise method is charged for its pair; ours for the sessions that it matched at once.
        sessions = len(pair.sessions) if label == "ours" else 2
        row = {"case": name, "method": label, "cpu_s_per_session": cpu / sessions}
        rows.append(row | scores(found, pair.truth, pair.sessions[-1][1]))
        print("{case:16s}{method:20s} r {r:.3f}  RMSE {rmse:.4f} (nothing {doing_nothing:.4f})  slope {slope:.2f}  "
              "{cpu_s_per_session:.1f} CPU s per session".format(**rows[-1]), flush=True)  # fmt: skip
    return rows


def sharpness(shared: Path, seed: int = 106) -> list[dict[str, Any]]:
    """Midpoint images of 1, 2, 3 and 5 sessions against the noise-free head, seen where each midpoint lies.

    ``error`` is the root mean squared difference in the brain, ``gain`` and ``coherence`` those of the highest octave
    of spatial frequencies: how much of the detail is there, and how much of what is there is detail.
    """
    case = Case("adult", 2.0, 0.05, seed, shares=(0.0, 0.25, 0.5, 0.75, 1.0))
    pair = simulated(case, shared)
    anatomy, rows = head(case.head, shared, case.voxel_mm), []
    for chosen in ([2], [1, 3], [1, 2, 3], [0, 1, 2, 3, 4]):
        made = midpoint([pair.sessions[i][0] for i in chosen], masks=[pair.sessions[i][1] for i in chosen])
        seen = [
            resample(anatomy.image, made.template, [warp, *pair.scans[i].pull], order=3, validity=False)
            for i, warp in zip(chosen, made.transforms, strict=True)
        ]
        row = {"sessions": len(chosen), **_compared(made.template.data, np.mean(seen, axis=0), made.mask)}
        rows.append(row)
        words = "midpoint of {sessions}: error {error:.4f}, detail: gain {gain:.2f}, coherence {coherence:.3f}"
        print(words.format(**row), flush=True)
    return rows


def _compared(image: NDArray[np.float32], truth: NDArray[np.float32], mask: NDArray[np.bool_]) -> dict[str, float]:
    one, other = detail(image, mask), detail(truth, mask)
    cross = float(np.real(one * np.conj(other)).sum())
    power, wanted = float((np.abs(one) ** 2).sum()), float((np.abs(other) ** 2).sum())
    difference = (image - truth)[mask]
    return {"error": float(np.sqrt(np.nanmean(difference**2))), "gain": cross / wanted,
            "coherence": cross / float(np.sqrt(power * wanted))}  # fmt: skip


def joining(shared: Path, seed: int = 108) -> list[dict[str, Any]]:
    """Change from the first session to the third one, which joins a template of one or two, or is one of three."""
    pair, rows = simulated(Case("adult", 2.0, 0.02, seed, shares=(0.0, 0.5, 1.0)), shared), []
    (volume, mask), inside = pair.sessions[2], pair.sessions[2][1]
    for count in (1, 2, 3):
        made = midpoint([v for v, _ in pair.sessions[:count]], masks=[m for _, m in pair.sessions[:count]])
        if count == 3:
            warp, determinant = made.transforms[2], made.jacobians[2]
        else:
            warp, determinant = register_session(made.template, volume, template_mask=made.mask, session_mask=mask)
        change = Volume(np.log(made.jacobians[0]) - np.log(determinant), made.template.affine)
        found = resample(change, volume, invert(warp, volume), validity=False)
        rows.append({"template_of": count, **scores(found, pair.truth, inside)})
        words = "third session, template of {template_of}: r {r:.3f}  RMSE {rmse:.4f}  slope {slope:.2f}"
        print(words.format(**rows[-1]), flush=True)
    return rows


def consistency(shared: Path, seed: int = 107) -> dict[str, float]:
    """What the order of two sessions changes, and how far a session's map and its stored inverse miss each other."""
    pair = simulated(Case("colin", 2.0, 0.02, seed), shared)
    volumes, masks = [v for v, _ in pair.sessions], [m for _, m in pair.sessions]
    one, other = midpoint(volumes, masks=masks), midpoint(volumes[::-1], masks=masks[::-1])
    logs = [np.log(made.jacobians[a] / made.jacobians[b])[one.mask] for made, a, b in ((one, 0, 1), (other, 1, 0))]
    round_trip = compose([one.transforms[0], invert(one.transforms[0], volumes[0])], one.template).displacement
    return {"order_of_sessions": float(np.abs(logs[0] - logs[1]).max()),
            "round_trip_mm": float(np.linalg.norm(round_trip[one.mask], axis=1).max())}  # fmt: skip


def means(rows: Sequence[dict[str, Any]], method: str) -> dict[str, float]:
    """Mean scores over the generated cases."""
    chosen = [row for row in rows if row["method"] == method and row["case"] != "reference"]
    return {key: float(np.mean([row[key] for row in chosen])) for key in ("r", "rmse", "slope")} if chosen else {}


def judge(
    rows: Sequence[dict[str, Any]],
    images: Sequence[dict[str, Any]],
    later: Sequence[dict[str, Any]],
    agreement: dict[str, float],
) -> list[str]:
    """Name what was missed."""
    missed = [
        f"{row['case']}: {row['cpu_s_per_session']:.1f} CPU s per session"
        for row in rows
        if row["method"] == "ours" and row["case"] != "1 mm" and row["cpu_s_per_session"] > FINEST
    ]
    for row in (row for row in rows if row["case"] == "reference" and row["method"] == "ours"):
        for key, wanted in REFERENCE_WANTED.items():
            if row[key] > wanted if key == "rmse" else row[key] < wanted:
                missed.append(f"reference pair: {key} {row[key]:.3f}, wanted {wanted}")
    mine, theirs = means(rows, "ours"), means(rows, "ANTs SyN CC")
    if theirs and mine:
        better = {"r": mine["r"] > theirs["r"], "rmse": mine["rmse"] < theirs["rmse"],
                  "slope": abs(mine["slope"] - 1) < abs(theirs["slope"] - 1)}  # fmt: skip
        worse = [key for key, fine in better.items() if not fine]
        missed += [f"over all cases: {key} {mine[key]:.3f}, ANTs {theirs[key]:.3f}" for key in worse]
    for few, more in pairwise(images):
        if more["error"] >= few["error"] or more["coherence"] <= few["coherence"]:
            missed.append(f"the midpoint of {more['sessions']} is not better than that of {few['sessions']}")
    missed += [f"the midpoint of {row['sessions']} has {row['gain']:.2f} of the detail"
               for row in images if row["gain"] < LEAST_DETAIL]  # fmt: skip
    missed += [f"a session that joins a template of {row['template_of']}: r {row['r']:.3f}"
               for row in later if row["r"] < later[-1]["r"] - MOST_LOST_BY_JOINING]  # fmt: skip
    if agreement and agreement["order_of_sessions"] > MOST_BY_ORDER:
        missed.append(f"the order of sessions changes log-Jacobians by {agreement['order_of_sessions']:.1e}")
    if agreement and agreement["round_trip_mm"] > MOST_ROUND_TRIP_MM:
        missed.append(f"there and back misses by {agreement['round_trip_mm']:.2f} mm")
    return missed


def main() -> int:
    """Simulate, match, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder with reference/ and data/")
    parser.add_argument("--only", nargs="*", default=None, help="names of cases (and 'reference')")
    parser.add_argument("--methods", nargs="*", help="names of methods; all there are unless given")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    methods = {"ours": ours, "greedy one way": greedy_one_way, "greedy both ways": greedy_both_ways}
    if find_spec("ants"):
        methods["ANTs SyN CC"] = ants_syn
    else:
        print("antspyx is not installed: ANTs is left out")
    methods = {name: run for name, run in methods.items() if options.methods is None or name in options.methods}
    wanted = options.only if options.only is not None else ["reference", *CASES, "images"]
    wanted = [name for name in wanted if not (options.quick and name in SLOW)]
    rows: list[dict[str, Any]] = []
    if "reference" in wanted:
        pair = reference_pair(options.shared)
        print("no reference pair: left out") if pair is None else rows.extend(scored("reference", pair, methods))
    for name in (name for name in CASES if name in wanted):
        rows += scored(name, simulated(CASES[name], options.shared), methods)
    for method in methods:
        if found := means(rows, method):
            print("{:16s}{:20s} r {r:.3f}  RMSE {rmse:.4f}  slope {slope:.2f}".format("mean", method, **found))
    images = sharpness(options.shared) if "images" in wanted else []
    agreement = consistency(options.shared) if "images" in wanted else {}
    print(agreement)
    later = joining(options.shared) if "images" in wanted else []
    missed = judge(rows, images, later, agreement)
    if options.json:
        cases = {name: vars(case) for name, case in CASES.items()}
        result = {"cases": cases, "rows": rows, "midpoints": images, "joining": later, "consistency": agreement,
                  "missed": missed}  # fmt: skip
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
