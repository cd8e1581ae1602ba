from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

JOB = """
import importlib, json, sys
import nibabel as nib
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
rows = {}
for name in ("_mppca", "dwi._sampling", "dwi._tensor", "dwi._eigen", "dwi.unring"):
    for kernel in vars(importlib.import_module(f"plastimap.{name}")).values():
        if hasattr(kernel, "signatures"):
            stats = kernel.stats
            rows[kernel.__name__] = [sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]
print(json.dumps(rows))
"""


@pytest.mark.slow
def test_no_diffusion_job_compiles_after_the_setup(tmp_path):
    nib, np = pytest.importorskip("nibabel"), pytest.importorskip("numpy")
    squares = np.meshgrid(*[np.linspace(-1, 1, n) ** 2 for n in (18, 16, 14)], indexing="ij")
    noise = np.random.default_rng(3).random((18, 16, 14, 26))
    series = 600 * np.exp(-4 * sum(squares))[..., None] * np.r_[np.ones(2), np.full(12, 0.5), np.full(12, 0.3)] + noise
    nib.save(nib.Nifti1Image(series.astype(np.int16), np.diag([-4.0, 4, 4, 1])), tmp_path / "series.nii.gz")
    # A store of its own: in the usual one other tests may have left what is missing here.
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "store")}
    warm = "from plastimap.warm import warm_diffusion; warm_diffusion()"
    made = None
    for code in (warm, JOB):
        command = [sys.executable, "-c", code, str(tmp_path / "series.nii.gz")]
        made = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    rows = json.loads(made.stdout.splitlines()[-1])
    assert sum(hits for hits, _ in rows.values()) >= 8
    assert {name: misses for name, (_, misses) in rows.items() if misses} == {}
