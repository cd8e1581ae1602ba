from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

DIFFUSION_JOB = """
import sys
import numpy as np
from plastimap.dwi.pipeline import process_dwi
from plastimap.dwi.susceptibility import FieldMap, ReversedPhase
from plastimap.images import Volume, read_volume

# Another shape, and read from a file, as a job's data are.
series = read_volume(sys.argv[1])
rng = np.random.default_rng(2)
b = np.r_[0.0, 0, np.full(12, 1000.0), np.full(12, 2000.0)]
g = rng.standard_normal((b.size, 3))
g /= np.linalg.norm(g, axis=1, keepdims=True)
one = Volume(series.data[..., 0], series.affine)
mask = one.data > 200
for chosen in (
    dict(unring=True, fit="robust", free_water=True),
    dict(denoise=False, fit="iwls", phase_encoding=None),
    dict(motion=False, field=ReversedPhase(one)),
    dict(field=ReversedPhase(one)),
    dict(field=FieldMap(Volume(np.zeros(one.data.shape, np.float32), one.affine), 0.04, one)),
):
    process_dwi(series, b, g, mask=mask, **{"phase_encoding": "j-", **chosen})
"""

STATISTICS_JOB = """
import sys
import numpy as np
import pandas as pd
from plastimap.images import read_volume
from plastimap.stats.analysis import analyse
from plastimap.stats.fitted import Inference

rng = np.random.default_rng(2)
place = read_volume(sys.argv[1])
mask = place.data[..., 0] > 300
scans = pd.DataFrame(
    [(f"sub-{p}", f"{s}", 14 * s) for p in range(14) for s in range(3)], columns=["participant_id", "session", "day"]
)
people = pd.DataFrame({"participant_id": [f"sub-{p}" for p in range(14)], "arm": ["x", "y"] * 7})
data = rng.standard_normal((len(scans), int(mask.sum()))).astype(np.float32)
data[:3, :50] = np.nan
for method, judge in (("mixed", "random_field"), ("summary", "permutation"), ("sandwich", "wild_bootstrap")):
    for statistic in ("extent", "mass", "tfce", "height"):
        analyse(
            data, scans, people, map_name="FA", tissue="GM", mask=mask, affine=place.affine, group="arm", method=method,
            search_volumes={"L": mask & (np.arange(18) < 9)[:, None, None], "R": mask},
            inference=Inference(method=judge, statistic=statistic, resamples=15),
        )
"""

FILES_JOB = """
import sys
from plastimap import gzipping
from plastimap.images import read_volume, write_volume

gzipping.LARGE = 0
write_volume(sys.argv[1], read_volume(sys.argv[1]))
"""

COUNT = """
import importlib, json
rows = {}
for name in %r:
    for kernel in vars(importlib.import_module(f"plastimap.{name}")).values():
        if hasattr(kernel, "signatures"):
            stats = kernel.stats
            rows[kernel.__name__] = [sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]
print(json.dumps(rows))
"""

JOBS = {
    "files": (FILES_JOB, ("_deflate",), 1),
    "diffusion": (DIFFUSION_JOB, ("_mppca", "dwi._sampling", "dwi._tensor", "dwi._eigen", "dwi.unring"), 8),
    "statistics": (STATISTICS_JOB, ("stats._fields", "stats._mixed"), 6),
}
"""Of each: what a job does, where its kernels are, and how many of them it uses at least."""


@pytest.mark.slow
@pytest.mark.parametrize("room", JOBS)
def test_no_job_compiles_after_the_setup(room, tmp_path):
    job, modules, least = JOBS[room]
    nib, np = pytest.importorskip("nibabel"), pytest.importorskip("numpy")
    squares = np.meshgrid(*[np.linspace(-1, 1, n) ** 2 for n in (18, 16, 14)], indexing="ij")
    noise = np.random.default_rng(3).random((18, 16, 14, 26))
    series = 600 * np.exp(-4 * sum(squares))[..., None] * np.r_[np.ones(2), np.full(12, 0.5), np.full(12, 0.3)] + noise
    nib.save(nib.Nifti1Image(series.astype(np.int16), np.diag([-4.0, 4, 4, 1])), tmp_path / "series.nii.gz")
    # A store of its own: in the usual one other tests may have left what is missing here.
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "store")}
    warm = f"from plastimap.warm import warm_{room}; warm_{room}()"
    made = None
    for code in (warm, job + COUNT % (modules,)):
        command = [sys.executable, "-c", code, str(tmp_path / "series.nii.gz")]
        made = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    rows = json.loads(made.stdout.splitlines()[-1])
    assert sum(hits for hits, _ in rows.values()) >= least
    assert {name: misses for name, (_, misses) in rows.items() if misses} == {}
