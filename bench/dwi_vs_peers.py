"""Denoising, unringing and tensors of a diffusion series: ours, MRtrix3's and DIPY's on the same files.

    python bench/dwi_vs_peers.py [--seeds 1 2 3] [--json FILE] [--check] [--quick]

Prints CPU seconds, wall seconds, largest memory and error of every method, all of one seed in one run, one thread each.
A method is one process that reads a file and writes a file. Ours are counted without the start of Python and the
reading, but for the chain, which counts as a whole; what the process took is in the JSON too. ``--check`` exits 1
when a ratio that is wanted is missed, and names it. Nothing is installed: a peer that is absent is said to be.
``--quick`` takes a thinner slab, and leaves the chain and the slow peers out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
os.environ.update(THREADS)

import nibabel as nib

sys.path.insert(0, str(Path(__file__).parent))
from dwi_finish import finish
from dwi_phantoms import Phantom, denoising_phantom, ellipsoid, ringing_phantom

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])

REPEATS = 5
"""Runs of the tensor fits, which are over in a second, ours and theirs in turn; those of median cost count."""

WANTED = {
    "denoise stride 3: CPU": ("dwidenoise", "ours stride 3", "cpu_s", 10.0),
    "denoise stride 3: error": ("dwidenoise", "ours stride 3", "error", 1.0),
    "denoise stride 2: CPU": ("dwidenoise", "ours stride 2", "cpu_s", 3.0),
    "denoise stride 2: error": ("dwidenoise", "ours stride 2", "error", 1 / 0.88),
    "unring: CPU": ("mrdegibbs", "ours unring", "cpu_s", 3.0),
    "unring: error": ("mrdegibbs", "ours unring", "error", 1.0),
    "tensor: CPU in process": ("dwi2tensor + tensor2metric", "ours wls", "cpu_s", 8.0),
    "chain: CPU": ("dwidenoise, mrdegibbs, dwi2tensor", "ours chain", "cpu_s", 10.0),
}
"""Name → (peer, ours, what, least ratio of the two)."""

OURS = """
import json, sys, time
import numpy as np, nibabel as nib
from plastimap.denoise import denoise_mppca
from plastimap.dwi.tensor import fit_tensor
from plastimap.dwi.unring import unring

what, folder, stride = sys.argv[1], sys.argv[2], int(sys.argv[3])
def load(name):
    return np.ascontiguousarray(np.asarray(nib.load(f"{folder}/{name}.nii").dataobj))
def mask():
    return load("mask") > 0
def scheme():
    bvecs = np.loadtxt(f"{folder}/bvecs").T * (-1, 1, 1)
    return np.loadtxt(f"{folder}/bvals"), bvecs
data = load("noisy")
# A first call with a few voxels loads the compiled code; what a file costs is counted from here.
small = data[:9, :9, :9]
if what == "denoise":
    denoise_mppca(small, stride=stride)
    started = time.process_time()
    result = denoise_mppca(data, mask=mask(), stride=stride).data
elif what == "unring":
    unring(small)
    started = time.process_time()
    result = unring(data)
elif what == "tensor":
    fit_tensor(small, *scheme(), mask=np.ones((9, 9, 9)))
    where = mask()
    started = time.process_time()
    result = fit_tensor(data, *scheme(), mask=where).fa
else:
    clean = unring(denoise_mppca(small, stride=stride).data)
    fit_tensor(clean, *scheme(), mask=np.ones((9, 9, 9)))
    started = time.process_time()
    clean = unring(denoise_mppca(data, stride=stride).data)
    result = fit_tensor(clean, *scheme(), mask=np.ones(clean.shape[:3])).fa
spent = time.process_time() - started
nib.save(nib.Nifti1Image(np.nan_to_num(result), np.eye(4)), sys.argv[4])
print(json.dumps({"in_process_s": spent}))
"""

DIPY = """
import sys
import numpy as np, nibabel as nib
what, folder = sys.argv[1], sys.argv[2]
image = nib.load(f"{folder}/noisy.nii")
data, mask = np.asarray(image.dataobj), np.asarray(nib.load(f"{folder}/mask.nii").dataobj) > 0
if what == "denoise":
    from dipy.denoise.localpca import mppca
    result = mppca(data, mask=mask, patch_radius=2)
else:
    from dipy.core.gradients import gradient_table
    from dipy.reconst.dti import TensorModel
    table = gradient_table(np.loadtxt(f"{folder}/bvals"), bvecs=np.loadtxt(f"{folder}/bvecs").T * (-1, 1, 1))
    result = TensorModel(table).fit(data, mask=mask).fa
nib.save(nib.Nifti1Image(np.nan_to_num(result).astype(np.float32), np.eye(4)), sys.argv[3])
"""


# A child inherits the largest memory of what started it, so a small process stands between.
METER = """
import json, resource, subprocess, sys, time
started = time.monotonic()
process = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
row = {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": time.monotonic() - started, "peak_mb": used.ru_maxrss / 1024}
said = process.stdout.strip()
print(json.dumps(row | (json.loads(said) if said.startswith(b"{") else {})))
sys.exit(process.returncode)
"""


def measured(commands: list[list[str]], result: Path, error: Callable[[Any], float]) -> dict[str, Any]:
    """Run commands one after the other; what they cost together, and the error of what they wrote."""
    row: dict[str, Any] = {"cpu_s": 0.0, "wall_s": 0.0, "peak_mb": 0.0}
    for command in commands:
        meter = [sys.executable, "-c", METER, *command]
        made = subprocess.run(meter, stdout=subprocess.PIPE, check=True, env={**os.environ, **THREADS})
        found = json.loads(made.stdout)
        sums = {key: row[key] + found[key] for key in ("cpu_s", "wall_s")}
        row |= found | sums | {"peak_mb": max(row["peak_mb"], found["peak_mb"])}
    row["error"] = error(np.asarray(nib.load(result).dataobj))
    return row


def middle(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of median CPU seconds: short runs on a busy machine differ by half."""
    return sorted(rows, key=lambda row: row["cpu_s"])[len(rows) // 2]


def in_process(row: dict[str, Any]) -> dict[str, Any]:
    """Count what the call took, not the start of Python: in a pipeline that is paid once, and the series is there."""
    return row | {"cpu_s": row["in_process_s"], "cpu_with_start_s": row["cpu_s"]}


def written(folder: Path, phantom: Phantom) -> None:
    """Put a phantom into files that every method reads."""
    nib.save(nib.Nifti1Image(phantom.noisy, AFFINE), folder / "noisy.nii")
    nib.save(nib.Nifti1Image(phantom.mask.astype(np.uint8), AFFINE), folder / "mask.nii")
    np.savetxt(folder / "bvals", phantom.bvals[None])
    np.savetxt(folder / "bvecs", (phantom.bvecs * (-1, 1, 1)).T)


def ours(what: str, folder: Path, stride: int = 3) -> list[list[str]]:
    return [[sys.executable, "-c", OURS, what, str(folder), str(stride), str(folder / "out.nii")]]


def dipy(what: str, folder: Path) -> list[list[str]]:
    return [[sys.executable, "-c", DIPY, what, str(folder), str(folder / "out.nii")]]


def mrtrix(folder: Path, *commands: str) -> list[list[str]]:
    """MRtrix3's commands, single-threaded, with FOLDER put in."""
    return [
        [*command.replace("FOLDER", str(folder)).split(), "-nthreads", "0", "-quiet", "-force"] for command in commands
    ]


TENSOR = (
    "dwi2tensor -mask FOLDER/mask.nii -fslgrad FOLDER/bvecs FOLDER/bvals FOLDER/noisy.nii FOLDER/dt.nii",
    "tensor2metric -mask FOLDER/mask.nii -fa FOLDER/out.nii -adc FOLDER/adc.nii -ad FOLDER/ad.nii -rd FOLDER/rd.nii "
    "-vector FOLDER/v.nii FOLDER/dt.nii",
)

CHAIN = (
    "dwidenoise FOLDER/noisy.nii FOLDER/dn.nii",
    "mrdegibbs FOLDER/dn.nii FOLDER/dg.nii",
    "dwi2tensor -fslgrad FOLDER/bvecs FOLDER/bvals FOLDER/dg.nii FOLDER/dt.nii",
    "tensor2metric -fa FOLDER/out.nii FOLDER/dt.nii",
)


def rmse(truth: np.ndarray, mask: np.ndarray, scale: float) -> Callable[[Any], float]:
    return lambda found: float(np.sqrt(np.mean(((found - truth)[mask] / scale) ** 2)))


def compare_denoising(folder: Path, phantom: Phantom, *, peers: bool) -> dict[str, dict[str, Any]]:
    written(folder, phantom)
    out = folder / "out.nii"
    relative = phantom.sigma[..., None]

    def error(found: Any) -> float:
        return float(np.sqrt(np.mean(((found - phantom.clean) / relative)[phantom.mask] ** 2)))

    rows = {
        f"ours stride {stride}": in_process(measured(ours("denoise", folder, stride), out, error)) for stride in (2, 3)
    }
    if shutil.which("dwidenoise"):
        command = mrtrix(folder, "dwidenoise -mask FOLDER/mask.nii FOLDER/noisy.nii FOLDER/out.nii")
        rows["dwidenoise"] = measured(command, out, error)
    if peers:
        rows["DIPY mppca"] = measured(dipy("denoise", folder), out, error)
    return rows


def compare_unringing(folder: Path, phantom: Phantom) -> dict[str, dict[str, Any]]:
    written(folder, phantom)
    out, error = folder / "out.nii", rmse(phantom.clean, phantom.mask, 1.0)
    rows = {
        "as it is": {"cpu_s": 0.0, "wall_s": 0.0, "peak_mb": 0.0, "error": error(phantom.noisy)},
        "ours unring": in_process(measured(ours("unring", folder), out, error)),
    }
    if shutil.which("mrdegibbs"):
        rows["mrdegibbs"] = measured(mrtrix(folder, "mrdegibbs FOLDER/noisy.nii FOLDER/out.nii"), out, error)
    return rows


def true_fa(phantom: Phantom, mask: np.ndarray) -> np.ndarray:
    """FA of the signal without noise; the phantom holds no single tensors, so this is what a fit can aim at."""
    from plastimap.dwi.tensor import fit_tensor

    return fit_tensor(phantom.clean, phantom.bvals, phantom.bvecs, mask=mask).fa


def compare_tensors(folder: Path, phantom: Phantom, *, peers: bool) -> dict[str, dict[str, Any]]:
    written(folder, phantom)
    out, error = folder / "out.nii", rmse(true_fa(phantom, phantom.mask), phantom.mask, 1.0)
    found: dict[str, list[dict[str, Any]]] = {"ours wls": [], "dwi2tensor + tensor2metric": []}
    for _ in range(REPEATS):
        found["ours wls"].append(in_process(measured(ours("tensor", folder), out, error)))
        if shutil.which("dwi2tensor"):
            found["dwi2tensor + tensor2metric"].append(measured(mrtrix(folder, *TENSOR), out, error))
    rows = {name: middle(runs) for name, runs in found.items() if runs}
    if peers:
        rows["DIPY WLS"] = measured(dipy("tensor", folder), out, error)
    return rows


def compare_chains(folder: Path, phantom: Phantom) -> dict[str, dict[str, Any]]:
    written(folder, phantom)
    out, error = folder / "out.nii", rmse(true_fa(phantom, phantom.mask), phantom.mask, 1.0)
    rows = {"ours chain": measured(ours("chain", folder), out, error)}
    if shutil.which("mrdegibbs"):
        rows["dwidenoise, mrdegibbs, dwi2tensor"] = measured(mrtrix(folder, *CHAIN), out, error)
    return rows


def run_seed(seed: int, *, quick: bool) -> dict[str, dict[str, dict[str, Any]]]:
    """All comparisons of one seed: phantom → method → numbers."""
    depth = 10 if quick else 16
    slab = (96, 96, depth)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["denoise"] = compare_denoising(folder, denoising_phantom(seed=seed, shape=slab), peers=not quick)
        found["unring"] = compare_unringing(folder, ringing_phantom(seed=seed, shape=(96, 96, depth // 2)))
        if quick:
            found["tensor"] = compare_tensors(folder, denoising_phantom(seed=seed, shape=slab), peers=False)
            return found
        for noise in ("varying", "correlated"):
            phantom = denoising_phantom(seed=seed, shape=slab, noise=noise)
            found[f"denoise, {noise} noise"] = compare_denoising(folder, phantom, peers=False)
        shells = {1000: 32, 2500: 60}
        phantom = denoising_phantom(seed=seed, shape=slab, n_b0=8, shells=shells)
        found["denoise, two shells"] = compare_denoising(folder, phantom, peers=False)
        whole = denoising_phantom(seed=seed, shape=(96, 96, 60))
        brain = Phantom(whole.noisy, whole.clean, whole.sigma, ellipsoid((96, 96, 60), 0.8), whole.bvals, whole.bvecs)
        found["tensor"] = compare_tensors(folder, brain, peers=True)
        found["chain"] = compare_chains(folder, brain)
    return found


def missed(found: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Wanted ratios that a seed does not reach; those without a peer say nothing."""
    words = []
    for name, (peer, own, what, least) in WANTED.items():
        task = found.get(name.split(":")[0].split(" stride")[0], {})
        if peer in task and own in task:
            ratio = task[peer][what] / task[own][what]
            if ratio < least:
                words.append(f"{name}: {ratio:.2f}, wanted {least:.2f}")
    return words


def table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Rows for people."""
    lines = [f"{'':26}{'method':36}{'CPU s':>9}{'wall s':>9}{'MB':>8}{'error':>10}"]
    for task, rows in found.items():
        for method, row in rows.items():
            numbers = f"{row['cpu_s']:9.2f}{row['wall_s']:9.2f}{row['peak_mb']:8.0f}{row['error']:10.4f}"
            lines.append(f"{task:26}{method:36}{numbers}")
    return "\n".join(lines)


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if not shutil.which("dwidenoise"):
        print("MRtrix3 is not on the PATH (Debian: mrtrix3): its rows and all ratios to it are left out")
    results, problems = {}, []
    for seed in options.seeds:
        results[seed] = run_seed(seed, quick=options.quick)
        print(f"seed {seed}\n{table(results[seed])}", flush=True)
        problems += [f"seed {seed}: {words}" for words in missed(results[seed])]
    return finish(options, results, problems)


if __name__ == "__main__":
    sys.exit(main())
