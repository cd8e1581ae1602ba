"""Compile the kernels once, at installation, so that no job has to: ``python -m plastimap.warm``."""

from __future__ import annotations

import numpy as np


def warm_kernels() -> None:
    """Run every compiled kernel of the standard workflow on next to nothing; numba keeps the code on disk."""
    from plastimap.denoise import denoise_mppca
    from plastimap.dwi.tensor import fit_tensor
    from plastimap.mpm.errors import Excitation
    from plastimap.mpm.estatics import fit_estatics, line_covariances
    from plastimap.mpm.joint import fit_joint

    rng = np.random.default_rng(1)
    times = {"PDw": [0.002, 0.004, 0.006], "T1w": [0.002, 0.004, 0.006]}
    echoes = {
        name: [100 * np.exp(-20 * t) + rng.random((4, 4, 4), dtype=np.float32) for t in own]
        for name, own in times.items()
    }
    fit = fit_estatics(echoes, times)
    fit_estatics(echoes, times, method="robust")
    line_covariances(fit, np.isfinite(fit.r2s))
    fit_joint(echoes, times, Excitation({"PDw": 6.0, "T1w": 21.0}, {"PDw": 0.025, "T1w": 0.025}))

    b_values = np.array([0.0] * 2 + [1000.0] * 10)
    directions = rng.standard_normal((12, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    series = 500 * np.exp(-b_values * 7e-4) + rng.random((8, 8, 8, 12))
    denoise_mppca(series.astype(np.float32))
    for method in ("ols", "wls", "iwls", "robust"):
        fit_tensor(series.astype(np.float32), b_values, directions, mask=np.ones((8, 8, 8), dtype=bool), method=method)


if __name__ == "__main__":
    warm_kernels()
