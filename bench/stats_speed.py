"""Speed of the statistics beside their peers, in one run.

    python bench/stats_speed.py [--voxels 222000] [--permutations 1000] [--scans 245] [--many 500000]
                                [--json FILE] [--check]

CPU seconds, one thread each; compiled functions are warmed first. Peers: nilearn's ``permuted_ols`` and its TFCE,
MRtrix3's ``mrclusterstats`` (where installed), statsmodels' ``MixedLM``.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from stats_simulation import finish, parser

from plastimap.stats._fields import neighbours, tfce
from plastimap.stats.exchange import exchange, permutation_scheme
from plastimap.stats.glm import fit_glm
from plastimap.stats.mixed import fit_mixed
from plastimap.stats.reml import estimate_covariance, pooled_products, visit_components
from plastimap.stats.resampling import Search, height_distributions, search_lattice

Row = dict[str, Any]


def cpu(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, and the result."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def ball(voxels: int) -> NDArray[np.bool_]:
    """A ball of about so many voxels, with a margin of one."""
    radius = (voxels * 3 / (4 * np.pi)) ** (1 / 3)
    n = int(2 * radius) + 4
    grid = np.indices((n, n, n)) - (n - 1) / 2
    return (grid**2).sum(axis=0) <= radius**2


def permutations(mask: NDArray[np.bool_], count: int, rng: np.random.Generator) -> Row:
    """Largest t of every permutation, 40 people, against nilearn."""
    from nilearn.mass_univariate import permuted_ols

    data = rng.normal(size=(40, int(mask.sum())))
    tested = np.repeat([0.0, 1.0], 20)
    matrix = np.column_stack([1 - tested, tested])
    searches = {
        ("all", ">"): Search(search_lattice(mask, mask), 1.0),
        ("all", "<"): Search(search_lattice(mask, mask), -1.0),
    }

    def ours(number: int = count) -> Any:
        engine = exchange(data, matrix, [-1, 1], kind="t", signed=False)
        scheme = permutation_scheme(40, number, seed=1)
        return height_distributions(engine, scheme, searches)

    ours(3)
    mine, nulls = cpu(ours)

    def peer() -> Any:
        return permuted_ols(
            tested[:, None], data, n_perm=count, two_sided_test=True, n_jobs=1, random_state=1, output_type="dict"
        )

    theirs, found = cpu(peer)
    largest = max(nulls["all", ">"].height[0], nulls["all", "<"].height[0])
    return {
        "what": f"max-T, 40 × {mask.sum()} voxels, {count} permutations", "peer": "nilearn permuted_ols",
        "ours_s": mine, "peer_s": theirs, "ratio": theirs / mine, "wanted": 10.0,
        "agreement": float(abs(np.abs(found["t"]).max() / largest - 1)), "agreement_limit": 1e-6,
    }  # fmt: skip


def enhancement(mask: NDArray[np.bool_], rng: np.random.Generator) -> list[Row]:
    """One TFCE map, against nilearn's and MRtrix3's, and against the plain sum over many thresholds."""
    from nilearn.mass_univariate._utils import calculate_tfce

    field = ndimage.gaussian_filter(rng.normal(size=mask.shape), 2.0)
    volume = np.where(mask, field / field[mask].std(), 0.0)
    nearby, values = neighbours(mask, reach=1), volume[mask]
    tfce(values, nearby)
    structure, exact = ndimage.generate_binary_structure(3, 1), tfce(values, nearby)
    own, other = list[float](), list[float]()
    for _ in range(5):
        # By turns, so that a busy moment of the machine does not fall on one of them alone.
        own.append(cpu(lambda: [tfce(values, nearby) for _ in range(5)])[0] / 5)
        other.append(cpu(lambda: calculate_tfce(volume[..., None], structure, two_sided_test=False))[0])
    mine, theirs = float(np.median(own)), float(np.median(other))
    brute = np.zeros(mask.shape)
    step = values.max() / 1000
    for h in (np.arange(1000) + 0.5) * step:
        labels, _count = ndimage.label(volume > h)
        extent = np.bincount(labels.ravel()).astype(float)
        extent[0] = 0
        brute += extent[labels] ** 0.5 * h**2 * step
    agreement = 1 - float(np.corrcoef(exact, brute[mask])[0, 1])
    shared = {
        "what": f"TFCE, {values.size} voxels, per map",
        "ours_s": mine,
        "agreement": agreement,
        "agreement_limit": 1e-4,
    }
    rows = [shared | {"peer": "nilearn", "peer_s": theirs, "ratio": theirs / mine, "wanted": 50.0}]
    if shutil.which("mrclusterstats"):
        seconds = mrtrix(mask, rng)
        rows.append(shared | {"peer": "mrclusterstats", "peer_s": seconds, "ratio": seconds / mine, "wanted": 10.0})
    return rows


def mrtrix(mask: NDArray[np.bool_], rng: np.random.Generator) -> float:
    """CPU seconds of mrclusterstats per permutation: the difference between many and few."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i in range(12):
            image = ndimage.gaussian_filter(rng.normal(size=mask.shape), 2.0).astype(np.float32)
            nib.save(nib.Nifti1Image(image, np.eye(4)), folder / f"{i}.nii")
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), np.eye(4)), folder / "mask.nii")
        (folder / "files.txt").write_text("".join(f"{i}.nii\n" for i in range(12)))
        (folder / "design.txt").write_text("".join(f"{1 - i // 6} {i // 6}\n" for i in range(12)))
        (folder / "contrast.txt").write_text("1 -1\n")
        seconds: list[float] = []
        for count in (5, 25):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = ["mrclusterstats", "files.txt", "design.txt", "contrast.txt", "mask.nii", "out", "-force",
                       "-quiet", "-nthreads", "0", "-nshuffles", str(count)]  # fmt: skip
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return (seconds[1] - seconds[0]) / 20


def mixed(rng: np.random.Generator) -> Row:
    """Random level and slope per voxel, 24 people with missing visits, against statsmodels."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    rows = [(i, day) for i in range(24) for day in (0, 7, 14, 28, 84.0) if day == 0 or rng.random() > 0.1]
    who, t = (np.array(part) for part in zip(*rows, strict=True))
    first = (who < 12)[:, None]
    course = np.column_stack([np.ones(t.size), t / 100])
    matrix = np.column_stack([course * first, course * ~first])
    levels, slopes = rng.normal(size=(24, 3000)), 0.02 * rng.normal(size=(24, 3000))
    data = 5 + levels[who] + slopes[who] * t[:, None] + 0.5 * rng.normal(size=(t.size, 3000))
    names = [f"{i:02d}" for i in who]
    fit_mixed(data[:, :5], matrix, people=names, time=t)
    mine, fit = cpu(lambda: fit_mixed(data, matrix, people=names, time=t))

    def peer() -> NDArray[np.float64]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            models = [
                MixedLM(data[:, v], matrix, who, exog_re=np.column_stack([np.ones(t.size), t / 40])) for v in range(8)
            ]
            return np.column_stack([model.fit(reml=True).fe_params for model in models])

    theirs, found = cpu(peer)
    return {
        "what": "mixed model, per voxel", "peer": "statsmodels MixedLM", "ours_s": mine / 3000, "peer_s": theirs / 8,
        "ratio": (theirs / 8) / (mine / 3000), "wanted": 100.0,
        "agreement": float(np.abs(found - fit.beta[:, :8]).max()), "agreement_limit": 1e-4,
    }  # fmt: skip


def many_scans(scans: int, voxels: int, rng: np.random.Generator) -> Row:
    """Variance components and the model of many scans: peak memory of the whole process."""
    people = [f"{i // 5:03d}" for i in range(scans)]
    days = np.tile([0, 7, 14, 28, 84.0], scans // 5)
    matrix = np.column_stack([np.ones(scans), days / 84, (days / 84) ** 2])
    data = np.empty((scans, voxels), dtype=np.float32)
    for row in data:
        row[:] = rng.standard_normal(voxels, dtype=np.float32)
    data += 3

    def model() -> Any:
        products, n = pooled_products(data, matrix)
        components = visit_components(people, [f"{day:g}" for day in days])
        found = estimate_covariance(products, matrix, components, n_voxels=n)
        return fit_glm(data, matrix, covariance=found.covariance).t_map([0, 1, 0])

    seconds, _ = cpu(model)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {
        "what": f"ReML and GLM, {scans} × {voxels}",
        "peer": "",
        "ours_s": seconds,
        "memory_gb": peak,
        "memory_limit_gb": 4.0,
    }


def shortfalls(row: Row) -> list[str]:
    """What a row misses."""
    found: list[str] = []
    if "ratio" in row and row["ratio"] < row["wanted"]:
        found.append(f"{row['what']} against {row['peer']}: {row['ratio']:.1f} times, wanted {row['wanted']:g}")
    if "agreement" in row and not row["agreement"] <= row["agreement_limit"]:
        found.append(f"{row['what']} against {row['peer']}: differs by {row['agreement']:.1e}")
    if row.get("memory_gb", 0) > row.get("memory_limit_gb", np.inf):
        found.append(f"{row['what']}: {row['memory_gb']:.1f} GB")
    return found


def main() -> int:
    """Measure, print, judge."""
    options_of = parser(__doc__)
    options_of.add_argument("--voxels", type=int, default=222_000)
    options_of.add_argument("--permutations", type=int, default=1000)
    options_of.add_argument("--scans", type=int, default=245)
    options_of.add_argument("--many", type=int, default=500_000)
    options = options_of.parse_args()
    rng = np.random.default_rng(1)
    mask = ball(options.voxels)
    rows = [many_scans(options.scans, options.many, rng)]
    rows += [*enhancement(mask, rng), mixed(rng), permutations(mask, options.permutations, rng)]
    for row in rows:
        told = f"{row['what']:50s} {row['ours_s']:.3g} s"
        if "ratio" in row:
            told += (
                f", {row['peer']} {row['peer_s']:.3g} s, ratio {row['ratio']:.0f}, difference {row['agreement']:.1e}"
            )
        else:
            told += f", peak memory {row['memory_gb']:.2f} GB"
        print(told)
    return finish(options, rows, [line for row in rows for line in shortfalls(row)])


if __name__ == "__main__":
    sys.exit(main())
