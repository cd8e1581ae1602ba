"""Susceptibility distortion of a simulated head, and of a measured one: reversed phase encoding and field maps.

    python bench/dwi_susceptibility.py [--seeds 11 12 13] [--json FILE] [--check] [--real FOLDER] [--figures FOLDER]

A head with a known field (strong above the sinuses and the ear canals, weak elsewhere) is seen with both directions of
phase encoding: signal is pushed along the axis, so it piles up and thins out. The head moves between the two images,
and noise is added. Prints the RMS error of the displacement over the brain, that of FA before and after, and CPU
seconds. ``--check`` exits 1 when less than 80 % of the RMS displacement is found, or when what distortion adds to the
error of FA is not halved. ``--real`` compares b = 0 images, FA and ADC of PA with those of AP, and of both with the
scanner's own maps, in a measured dataset that has all of them and a field map; ``--figures`` draws them.
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

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from dwi_finish import finish
from dwi_phantoms import FREE_WATER, rotation, scheme, smooth_fields
from scipy import ndimage

from plastimap.dwi.field_map import field_in_hz, in_radians
from plastimap.dwi.gradients import fsl_to_world, read_gradients
from plastimap.dwi.mask import brain_mask
from plastimap.dwi.motion import correct_motion
from plastimap.dwi.resampling import Distortion, resampled
from plastimap.dwi.susceptibility import FieldMap, ReversedPhase, find_distortion
from plastimap.dwi.tensor import fit_tensor
from plastimap.images import Volume, read_volume

LEAST_FOUND = 0.8
MOST_ADDED = 0.5

READOUT_S = 0.05
FINE = 4
"""Points per voxel along the axis, whose signal is pushed."""


@dataclass(frozen=True)
class Distorted:
    """A head seen with both directions, and the truth.

    Attributes
    ----------
    forward, backward : ndarray of float32, shape (X, Y, Z, N), (X, Y, Z)
        The series with phase encoding ``j``, and a b = 0 image with ``j-`` of the head after it moved.
    still, rest : ndarray of float32, shape (X, Y, Z, N)
        The head without distortion, without noise and with it.
    shift_mm : ndarray, shape (X, Y, Z)
        Displacement along y in the series.
    affine : ndarray, shape (4, 4)
    bvals, bvecs : ndarray, shapes (N,), (N, 3)
        s/mm²; world axes.
    brain : ndarray of bool
    """

    forward: NDArray[np.float32]
    backward: NDArray[np.float32]
    still: NDArray[np.float32]
    rest: NDArray[np.float32]
    shift_mm: NDArray[np.float64]
    affine: NDArray[np.float64]
    bvals: NDArray[np.float64]
    bvecs: NDArray[np.float64]
    brain: NDArray[np.bool_]


class _Head:
    """The ICBM152's tissues with fibres, under a field; signals and displacement at world points (3, n)."""

    def __init__(self, rng: np.random.Generator, largest_mm: float) -> None:
        from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template

        loaders = (load_mni152_gm_template, load_mni152_wm_template, load_mni152_brain_mask)
        images = [load(resolution=2) for load in loaders]
        inside = images[2].get_fdata()
        gm, wm = (np.clip(image.get_fdata(), 0, 1) * inside for image in images[:2])
        fibres = smooth_fields(inside.shape, 3, 8, rng)
        self.affine, self.shape = images[0].affine, inside.shape
        self._parts = [ndimage.spline_filter(part) for part in (gm, wm, np.clip(inside - gm - wm, 0, 1), *fibres)]
        places = np.array([(0, 48, -22), (42, -18, -32), (-42, -18, -32)]) + rng.normal(0, 2, (3, 3))
        sizes = largest_mm * np.array([1.0, -0.7, -0.7])
        self._sources = list(zip(places, sizes, np.array([16, 13, 13]) * rng.uniform(0.9, 1.1, 3), strict=True))
        self._phase = rng.uniform(0, 2 * np.pi)

    def tissue(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shares of grey matter, white matter and fluid; unit vectors of the fibres."""
        place = np.linalg.inv(self.affine) @ np.r_[points, np.ones((1, points.shape[1]))]
        found = [ndimage.map_coordinates(part, place[:3], prefilter=False) for part in self._parts]
        fibre = np.stack(found[3:])
        return np.clip(found[:3], 0, 1), fibre / np.maximum(np.linalg.norm(fibre, axis=0), 1e-6)

    def shift(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Displacement in mm: sinuses, ear canals, and a slow part."""
        total = 0.5 * points[1] / 60 + 0.7 * np.sin(points[2] / 45 + self._phase)
        for centre, size, width in self._sources:
            total += size * np.exp(-((points - centre[:, None]) ** 2).sum(axis=0) / (2 * width**2))
        return total


def signal(tissue: NDArray, fibre: NDArray, b: float, g: NDArray) -> NDArray:
    """Signal of tissue shares (3, n) with fibres (3, n) at b (ms/µm²) and a unit gradient."""
    attenuated = (1.2 * np.exp(-0.85 * b), np.exp(-b * (0.35 + 1.3 * (g @ fibre) ** 2)), 2.5 * np.exp(-FREE_WATER * b))
    return 500 * sum(one * other for one, other in zip(tissue, attenuated, strict=True))


def pushed(fine: NDArray[np.float64], shift: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Signal (X, Y·FINE, Z) moved along y by `shift` voxels (same shape) into n voxels."""
    place = ((np.arange(fine.shape[1]) + 0.5) / FINE - 0.5)[None, :, None] + shift
    low = np.floor(place).astype(int)
    x, _, z = np.indices(fine.shape)
    total = np.zeros(fine.shape[0] * n * fine.shape[2])
    for step, weight in ((0, 1 - (place - low)), (1, place - low)):
        inside = (low + step >= 0) & (low + step < n)
        index = np.ravel_multi_index((x[inside], (low + step)[inside], z[inside]), (fine.shape[0], n, fine.shape[2]))
        total += np.bincount(index, (fine * weight / FINE)[inside], minlength=total.size)
    return total.reshape(fine.shape[0], n, fine.shape[2])


def distorted_head(
    *,
    seed: int,
    voxel_mm: float = 3.0,
    largest_mm: float = 9.0,
    snr: float = 25.0,
    n_directions: int = 20,
    motion: float = 1.0,
) -> Distorted:
    """A head under a field with phase encoding along y; then, moved by up to 2 mm and 2° times `motion`, along −y."""
    rng = np.random.default_rng(seed)
    head = _Head(rng, largest_mm)
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    shape = tuple(int(n) for n in np.ceil((np.array(head.shape) * 2.0 + (6, 30, 6)) / voxel_mm))
    affine[:3, 3] = head.affine[:3, 3] - (3.0, 15.0, 3.0)
    steps = [np.arange(shape[0]), (np.arange(shape[1] * FINE) + 0.5) / FINE - 0.5, np.arange(shape[2])]
    fine_shape = (shape[0], shape[1] * FINE, shape[2])
    world = affine[:3, :3] @ np.stack(np.meshgrid(*steps, indexing="ij")).reshape(3, -1) + affine[:3, 3:]
    tissue, fibre = head.tissue(world)
    shift = head.shift(world).reshape(fine_shape) / voxel_mm
    bvals, bvecs = scheme(2, {1000: n_directions})
    still, forward = np.empty((2, *shape, bvals.size), dtype=np.float32)
    for n, (b, g) in enumerate(zip(bvals * 1e-3, bvecs, strict=True)):
        fine = signal(tissue, fibre, b, g).reshape(fine_shape)
        still[..., n] = fine.reshape(shape[0], shape[1], FINE, shape[2]).mean(axis=2)
        forward[..., n] = pushed(fine, shift, shape[1])
    turn, travel = np.deg2rad(rng.uniform(-2, 2, 3)) * motion, rng.uniform(-2, 2, 3) * motion * (1, 0, 1)
    moved = rotation(turn).T @ (world - travel[:, None])
    fine = signal(*head.tissue(moved), 0.0, np.zeros(3)).reshape(fine_shape)
    backward = pushed(fine, -head.shift(moved).reshape(fine_shape) / voxel_mm, shape[1])
    centres = affine[:3, :3] @ np.indices(shape).reshape(3, -1) + affine[:3, 3:]

    def noisy(image: NDArray) -> NDArray[np.float32]:
        noise = rng.normal(0, 500 / snr, (2, *image.shape))
        return np.hypot(image + noise[0], noise[1]).astype(np.float32)

    return Distorted(
        noisy(forward), noisy(backward), still, noisy(still), head.shift(centres).reshape(shape), affine, bvals, bvecs,
        still[..., 0] > 150,
    )  # fmt: skip


def fa_error(data: NDArray, head: Distorted, truth: NDArray) -> float:
    """RMS error of FA over the brain."""
    fa = fit_tensor(data, head.bvals, head.bvecs, mask=head.brain).fa
    return float(np.sqrt(np.nanmean((fa - truth)[head.brain] ** 2)))


def restored(data: NDArray, affine: NDArray, distortion: Distortion) -> NDArray[np.float32]:
    """A series at rest without its distortion."""
    volumes = [
        resampled(np.ascontiguousarray(data[..., n]), np.eye(4), affine, distortion) for n in range(data.shape[3])
    ]
    return np.stack(volumes, axis=-1)


def run_seed(seed: int) -> dict[str, dict[str, float]]:
    """Both methods on one head; the field map is the true one at 3.4 mm with 2 Hz of noise."""
    head = distorted_head(seed=seed)
    truth = fit_tensor(head.still, head.bvals, head.bvecs, mask=head.brain).fa
    size = float(head.affine[1, 1])
    true = head.shift_mm[head.brain]
    rows = {
        "noise alone": {"rms_mm": 0.0, "fa": fa_error(head.rest, head, truth)},
        "nothing": {"rms_mm": float(np.sqrt((true**2).mean())), "fa": fa_error(head.forward, head, truth)},
    }
    grid = head.affine.copy()
    grid[:3, :3] *= 3.4 / size
    coarse = ndimage.affine_transform(head.shift_mm, np.linalg.inv(head.affine) @ grid, order=1, mode="nearest")
    hz = coarse / size / READOUT_S + np.random.default_rng(seed).normal(0, 2, coarse.shape)
    reference = Volume(head.forward[..., 0], head.affine)
    sources = {
        "reversed phase encoding": ReversedPhase(Volume(head.backward, head.affine)),
        "field map": FieldMap(Volume(hz, grid), READOUT_S),
    }
    for name, source in sources.items():
        started = time.process_time()
        found = find_distortion(reference, source, phase_encoding="j", mask=head.brain)
        spent = time.process_time() - started
        error = found.shift_mm[head.brain] - true
        data = restored(head.forward, head.affine, found)
        rows[name] = {
            "rms_mm": float(np.sqrt((error**2).mean())),
            "p99_mm": float(np.percentile(np.abs(error), 99)),
            "fa": fa_error(data, head, truth),
            "cpu_s": spent,
        }
    return rows


def missed(rows: dict[str, dict[str, float]]) -> list[str]:
    """Say what is wanted and was not reached."""
    words = []
    floor, before = rows["noise alone"]["fa"] ** 2, rows["nothing"]
    for name in ("reversed phase encoding", "field map"):
        share = 1 - rows[name]["rms_mm"] / before["rms_mm"]
        if share < LEAST_FOUND:
            words.append(f"{name}: {share:.2f} of the displacement found, wanted {LEAST_FOUND}")
        # Errors of independent origin add as squares.
        added = np.sqrt(max(rows[name]["fa"] ** 2 - floor, 0) / (before["fa"] ** 2 - floor))
        if added > MOST_ADDED:
            words.append(f"{name}: error of FA beyond noise {added:.2f} of that before, wanted {MOST_ADDED}")
    return words


@dataclass(frozen=True)
class _Measured:
    """A measured series with what is needed to correct it."""

    series: Volume
    bvals: NDArray
    bvecs: NDArray
    phase: str
    mask: NDArray[np.bool_]
    scanner: dict[str, NDArray]

    @property
    def b0(self) -> Volume:
        """The first volume."""
        return Volume(np.asarray(self.series.data[..., 0], dtype=np.float32), self.series.affine)


def _measured(folder: Path, encoding: str) -> _Measured:
    stem = folder / "sub-01" / "dwi" / f"sub-01_dir-{encoding}_dwi"
    series = read_volume(stem.with_suffix(".nii.gz"))
    bvals, bvecs = read_gradients(stem.with_suffix(".bval"), stem.with_suffix(".bvec"))
    phase = json.loads(stem.with_suffix(".json").read_text())["PhaseEncodingDirection"]
    mask = brain_mask(series.data[..., bvals <= 50].mean(axis=-1), voxel_size=series.voxel_size)
    names = {"fa": f"dir-{encoding}_FA", "md": f"dir-{encoding}_ADC"}
    scanner = {k: read_volume(folder / "scanner-maps" / f"{name}.nii.gz").data / 1000 for k, name in names.items()}
    return _Measured(series, bvals, fsl_to_world(bvecs, series.affine), phase, mask, scanner)


def _field_map(folder: Path, readout_s: float) -> FieldMap:
    place = folder / "sub-01" / "fmap"
    phase, magnitude = (read_volume(place / f"sub-01_{name}.nii.gz") for name in ("phasediff", "magnitude1"))
    about = json.loads((place / "sub-01_phasediff.json").read_text())
    hz = field_in_hz(
        in_radians(phase.data),
        magnitude.data,
        echo_difference_s=about["EchoTime2"] - about["EchoTime1"],
        voxel_size=magnitude.voxel_size,
    )
    return FieldMap(Volume(hz, phase.affine), readout_s, magnitude)


def score_real(folder: Path, figures: Path | None) -> dict[str, dict[str, float]]:
    """PA against AP, uncorrected and corrected by either method, and FA and ADC against the scanner's."""
    runs = {encoding: _measured(folder, encoding) for encoding in ("AP", "PA")}
    sidecar = folder / "sub-01" / "dwi" / "sub-01_dir-AP_dwi.json"
    field = _field_map(folder, json.loads(sidecar.read_text())["TotalReadoutTime"])
    either = runs["AP"].mask | runs["PA"].mask
    rows: dict[str, dict[str, float]] = {}
    pictures: dict[str, NDArray] = {}
    for method in ("nothing", "reversed phase encoding", "field map"):
        maps: dict[str, dict[str, NDArray]] = {}
        row: dict[str, float] = {}
        for own, other in (("AP", "PA"), ("PA", "AP")):
            run = runs[own]
            source = field if method == "field map" else ReversedPhase(runs[other].b0)

            def undistort(reference: Volume, run: _Measured = run, source: Any = source) -> Distortion:
                return find_distortion(reference, source, phase_encoding=run.phase, mask=run.mask)

            made = correct_motion(
                run.series,
                run.bvals,
                run.bvecs,
                mask=run.mask,
                phase_encoding=run.phase,
                undistort=None if method == "nothing" else undistort,
            )
            tensor = fit_tensor(made.data, run.bvals, made.bvecs, mask=either, method="ols")
            maps[own] = {"b0": made.data[..., 0], "fa": tensor.fa, "md": tensor.md}
            if method == "nothing":
                where = run.mask & np.isfinite(tensor.fa) & (run.scanner["md"] > 0)
                for key, theirs in run.scanner.items():
                    mine = maps[own][key][where]
                    row[f"{own} {key} to scanner: r"] = float(np.corrcoef(mine, theirs[where])[0, 1])
                    row[f"{own} {key} to scanner: median difference"] = float(np.median(mine - theirs[where]))
        for key in ("b0", "fa", "md"):
            first, second = maps["AP"][key], maps["PA"][key]
            where = either & np.isfinite(first) & np.isfinite(second)
            row[f"{key} r"] = float(np.corrcoef(first[where], second[where])[0, 1])
            row[f"{key} rms"] = float(np.sqrt(np.mean((first - second)[where] ** 2)))
        row["b0 rms"] /= float(np.mean(maps["AP"]["b0"][either]))
        rows[f"PA to AP, {method}"] = row
        pictures |= {f"{method}: {encoding}": maps[encoding]["b0"] for encoding in maps}
        pictures |= {f"{method}: {encoding} FA": maps[encoding]["fa"] for encoding in maps}
    if figures:
        figures.mkdir(parents=True, exist_ok=True)
        draw(pictures, figures)
    return rows


def draw(pictures: dict[str, NDArray], folder: Path) -> None:
    """A row per method: b = 0 and FA of AP and PA, one sagittal and one low transverse slice each."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    cuts = {
        "sagittal": lambda image: image[image.shape[0] // 2],
        "transverse": lambda image: image[:, :, image.shape[2] // 3],
    }
    for cut, take in cuts.items():
        figure, axes = plt.subplots(3, 4, figsize=(12, 9))
        for axis, (name, image) in zip(axes.ravel(), pictures.items(), strict=True):
            top = 0.8 if name.endswith("FA") else float(np.percentile(image, 99))
            axis.imshow(np.nan_to_num(take(image)).T, origin="lower", cmap="gray", vmin=0, vmax=top)
            axis.set_title(name, fontsize=9)
            axis.axis("off")
        figure.tight_layout()
        figure.savefig(folder / f"susceptibility_{cut}.png", dpi=90)
        plt.close(figure)


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[11, 12, 13])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--figures", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    problems: list[str] = []
    for seed in options.seeds:
        results[f"seed {seed}"] = rows = run_seed(seed)
        problems += [f"seed {seed}: {words}" for words in missed(rows)]
    if options.real:
        results["real"] = score_real(options.real, options.figures)
    for title, rows in results.items():
        print(title)
        for name, row in rows.items():
            print(f"  {name:34}" + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    return finish(options, results, problems)


if __name__ == "__main__":
    sys.exit(main())
