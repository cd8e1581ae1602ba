"""Motion, eddy currents and lost slices of a simulated series: ours against DIPY's motion correction and nothing.

    python bench/dwi_motion.py [--seeds 1 2 3] [--json FILE] [--check] [--no-dipy] [--real FOLDER]

Known motion (≤ 5 mm, ≤ 5°), eddy currents along the phase-encoding axis and eight lost slices. Prints the RMS
displacement error over the brain and the RMS error of FA against that of the head at rest, CPU seconds, and which lost
slices were found. ``--check`` exits 1 when RMS displacement exceeds 0.3 mm, or the error of FA is more than half of
DIPY's; the part of it that noise alone makes is taken off both, and also shown. ``--real`` compares FA and ADC of
measured series with the scanner's own maps in that folder (a Siemens dataset with ``scanner-maps``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

# Before numpy is loaded, for its matrix products would use all cores.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from dwi_phantoms import MovingPhantom, moving_phantom, rotation_of

from plastimap.dwi.gradients import fsl_to_world, read_gradients
from plastimap.dwi.mask import brain_mask
from plastimap.dwi.motion import correct_motion
from plastimap.dwi.tensor import fit_tensor
from plastimap.images import Volume, read_volume

MOST_DISPLACEMENT_MM = 0.3
MOST_FA_ERROR = 0.5
"""Of DIPY's, as a share."""


def displacement_errors(found: np.ndarray, phantom: MovingPhantom) -> np.ndarray:
    """RMS distance in mm over the brain between where voxels are and where they were found, per volume."""
    points = np.argwhere(phantom.brain) @ phantom.affine[:3, :3].T + phantom.affine[:3, 3]
    apart = found - phantom.pulls
    return np.array([np.sqrt(((points @ m[:3, :3].T + m[:3, 3]) ** 2).sum(axis=1).mean()) for m in apart])


def fa_error(data: np.ndarray, bvecs: np.ndarray, phantom: MovingPhantom, truth: np.ndarray) -> float:
    """RMS error of FA over the brain."""
    fa = fit_tensor(data, phantom.bvals, bvecs, mask=phantom.brain).fa
    return float(np.sqrt(np.nanmean((fa - truth)[phantom.brain] ** 2)))


def by_dipy(phantom: MovingPhantom) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """DIPY's affine motion correction: data, b-vectors, pull matrices."""
    from dipy.align import motion_correction
    from dipy.core.gradients import gradient_table, reorient_bvecs

    table = gradient_table(phantom.bvals, bvecs=phantom.bvecs)
    image, pulls = motion_correction(phantom.noisy, table, affine=phantom.affine)
    pulls = np.moveaxis(np.asarray(pulls), -1, 0)
    weighted = ~table.b0s_mask
    turned = phantom.bvecs.copy()
    turned[weighted] = reorient_bvecs(table, np.moveaxis(pulls[weighted], 0, -1)).bvecs[weighted]
    return np.asarray(image.dataobj), turned, pulls


def run_seed(seed: int, *, dipy: bool) -> dict[str, dict[str, Any]]:
    """Every method on one phantom."""
    phantom = moving_phantom(seed=seed)
    truth = fit_tensor(phantom.still, phantom.bvals, phantom.bvecs, mask=phantom.brain).fa
    n = len(phantom.bvals)
    parts = np.random.default_rng(seed).normal(0, 20, (2, *phantom.still.shape))
    noisy_at_rest = np.hypot(phantom.still + parts[0], parts[1]).astype(np.float32)
    true_turns = np.stack([rotation_of(pull) for pull in phantom.pulls])
    rows: dict[str, dict[str, Any]] = {
        "at rest, noise alone": {"rms_mm": 0.0, "fa": fa_error(noisy_at_rest, phantom.bvecs, phantom, truth)},
        "nothing": {
            "rms_mm": float(np.sqrt((displacement_errors(np.stack([np.eye(4)] * n), phantom) ** 2).mean())),
            "fa": fa_error(phantom.noisy, phantom.bvecs, phantom, truth),
        },
    }
    volume = Volume(phantom.noisy, phantom.affine)
    for name, phase in (("ours, rigid", None), ("ours", "j")):
        started = time.process_time()
        made = correct_motion(volume, phantom.bvals, phantom.bvecs, mask=phantom.brain, phase_encoding=phase)
        spent = time.process_time() - started
        errors = displacement_errors(made.transforms, phantom)
        weighted = phantom.bvals > 0
        right = np.einsum("nji,nj->ni", true_turns, phantom.bvecs)[weighted]
        angles = np.rad2deg(np.arccos(np.clip((made.bvecs[weighted] * right).sum(axis=1), -1, 1)))
        rows[name] = {
            "rms_mm": float(np.sqrt((errors**2).mean())),
            "max_mm": float(errors.max()),
            "fa": fa_error(made.data, made.bvecs, phantom, truth),
            "cpu_s": spent,
            "bvec_deg": float(angles.max()),
            "slices_found": len(phantom.dropped & set(made.outliers)),
            "slices_false": len(set(made.outliers) - phantom.dropped),
        }
    if dipy:
        started = time.process_time()
        data, bvecs, pulls = by_dipy(phantom)
        spent = time.process_time() - started
        errors = displacement_errors(pulls, phantom)
        rows["DIPY motion_correction"] = {
            "rms_mm": float(np.sqrt((errors**2).mean())),
            "max_mm": float(errors.max()),
            "fa": fa_error(data, bvecs, phantom, truth),
            "cpu_s": spent,
        }
    return rows


def missed(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Say what is wanted and was not reached."""
    words = []
    if rows["ours"]["rms_mm"] > MOST_DISPLACEMENT_MM:
        words.append(f"RMS displacement: {rows['ours']['rms_mm']:.3f} mm, wanted {MOST_DISPLACEMENT_MM}")
    if "DIPY motion_correction" in rows:
        noise = rows["at rest, noise alone"]["fa"]
        # Errors of independent origin add as squares.
        ours, theirs = (
            np.sqrt(max(rows[name]["fa"] ** 2 - noise**2, 0)) for name in ("ours", "DIPY motion_correction")
        )
        if ours > MOST_FA_ERROR * theirs:
            words.append(f"error of FA beyond that of noise: {ours:.4f}, wanted {MOST_FA_ERROR * theirs:.4f}")
    return words


def score_real(folder: Path) -> dict[str, dict[str, float]]:
    """FA and ADC of the measured series against the scanner's, raw and after alignment; then AP against PA."""
    found: dict[str, dict[str, float]] = {}
    for encoding in ("AP", "PA"):
        stem = folder / "sub-01" / "dwi" / f"sub-01_dir-{encoding}_dwi"
        series = read_volume(stem.with_suffix(".nii.gz"))
        bvals, bvecs = read_gradients(stem.with_suffix(".bval"), stem.with_suffix(".bvec"))
        world = fsl_to_world(bvecs, series.affine)
        phase = json.loads(stem.with_suffix(".json").read_text())["PhaseEncodingDirection"]
        mask = brain_mask(series.data[..., bvals <= 50].mean(axis=-1), voxel_size=series.voxel_size)
        made = correct_motion(series, bvals, world, mask=mask, phase_encoding=phase)
        names = {"fa": f"dir-{encoding}_FA", "md": f"dir-{encoding}_ADC"}
        theirs = {k: read_volume(folder / "scanner-maps" / f"{name}.nii.gz").data / 1000 for k, name in names.items()}
        for name, data, vectors in (("raw", series.data, world), ("aligned", made.data, made.bvecs)):
            maps = fit_tensor(data, bvals, vectors, mask=mask, method="ols")
            where = mask & np.isfinite(maps.fa) & (theirs["md"] > 0)
            row = {"residual_sd": maps.qa["noise_sd"]}
            for key, other in theirs.items():
                own = getattr(maps, key)[where]
                row[f"{key}_correlation"] = float(np.corrcoef(own, other[where])[0, 1])
                row[f"{key}_median_difference"] = float(np.median(own - other[where]))
            found[f"{encoding} {name}"] = row
        found[f"{encoding} aligned"]["mean_displacement_mm"] = float(made.displacement.mean())
        found[f"{encoding} aligned"]["slices_replaced"] = float(len(made.outliers))
    return found


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--no-dipy", action="store_true")
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    problems: list[str] = []
    for seed in options.seeds:
        rows = run_seed(seed, dipy=not options.no_dipy)
        results[f"seed {seed}"] = rows
        print(f"seed {seed}")
        for name, row in rows.items():
            print(f"  {name:24}" + "  ".join(f"{key} {value:.3f}" for key, value in row.items()), flush=True)
        problems += [f"seed {seed}: {words}" for words in missed(rows)]
    if options.real:
        results["real"] = score_real(options.real)
        for name, row in results["real"].items():
            print(f"  {name:24}" + "  ".join(f"{key} {value:.4f}" for key, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for words in problems:
        print("missed", words)
    return int(options.check and bool(problems))


if __name__ == "__main__":
    sys.exit(main())
