"""Compile the kernels once, at installation, so that no job has to: ``python -m plastimap.warm``."""

from __future__ import annotations

from functools import partial
from typing import get_args

import numpy as np


def warm_kernels() -> None:
    """Run every compiled kernel on next to nothing; numba keeps the code on disk."""
    warm_files()
    warm_maps()
    warm_diffusion()
    warm_statistics()


def warm_files() -> None:
    """Kernels that compress large images."""
    from plastimap.gzipping import BLOCK, deflated

    words = np.arange(100, dtype=np.uint32)
    fixed = np.frombuffer(words.tobytes(), np.uint32)  # may not be written to: another type for numba
    b"".join(deflated([fixed, words], block=BLOCK))


def warm_maps() -> None:
    """Kernels of the multi-parameter maps."""
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


def warm_diffusion() -> None:
    """Kernels of the diffusion series: numba has code for types and memory layouts, so whole chains run here."""
    from plastimap.dwi.pipeline import process_dwi
    from plastimap.dwi.susceptibility import FieldMap, ReversedPhase
    from plastimap.images import Volume

    rng = np.random.default_rng(1)
    b_values = np.array([0.0] * 2 + [1000.0] * 10 + [2500.0] * 10)
    directions = rng.standard_normal((b_values.size, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    squares = np.meshgrid(*[np.linspace(-1, 1, 16) ** 2] * 3)
    head = np.exp(-4 * sum(squares))
    series = 500 * head[..., None] * np.exp(-b_values * 7e-4) + rng.random((16, 16, 16, b_values.size))
    volume = Volume(series.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
    b0 = Volume(volume.data[..., 0], volume.affine)
    still = Volume(np.zeros(head.shape, dtype=np.float32), volume.affine)
    run = partial(process_dwi, volume, b_values, directions, phase_encoding="j", mask=head > 0.3)
    run(unring=True, free_water=True, fit="robust")
    run(denoise=False, fit="ols")
    for field in (ReversedPhase(b0), FieldMap(still, 0.05, b0)):
        for motion in (True, False):
            run(motion=motion, field=field)


def warm_statistics() -> None:
    """Kernels of mixed models and of what is resampled."""
    import pandas as pd

    from plastimap.stats.analysis import analyse
    from plastimap.stats.fitted import ClusterStatistic, Inference

    rng = np.random.default_rng(1)
    people = [f"sub-{number}" for number in range(1, 13)]
    days = {"1": 0.0, "2": 20.0, "3": 40.0, "4": 80.0}
    scans = pd.DataFrame([(name, session, day) for name in people for session, day in days.items()],
                         columns=["participant_id", "session", "day"])  # fmt: skip
    participants = pd.DataFrame({"participant_id": people, "group": ["a", "b", "c"] * 4})
    mask = np.ones((6, 6, 6), dtype=bool)
    run = partial(
        analyse, rng.standard_normal((len(scans), mask.size)), scans, participants,
        map_name="R1", tissue="WM", mask=mask, search_volumes={"both": mask}, affine=np.eye(4), group="group",
    )  # fmt: skip
    run(method="mixed")
    for statistic in get_args(ClusterStatistic):
        inference = partial(Inference, statistic=statistic, resamples=20)
        run(method="summary", inference=inference(method="permutation"))
        run(method="sandwich", inference=inference(method="wild_bootstrap"))


if __name__ == "__main__":
    warm_kernels()
