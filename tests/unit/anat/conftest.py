"""Brains with known partial volume, made from the ICBM152 tissue maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.anat.grids import resample_isotropic
from plastimap.anat.priors import load_priors
from plastimap.images import Volume
from plastimap.transforms import Warp, resample

CONTRASTS = {
    # GM, WM, CSF in the unit of the map
    "T1w": (600.0, 900.0, 200.0),
    "MTsat": (0.9, 1.75, 0.05),
    "R1": (0.65, 1.0, 0.25),
}


CRISPNESS = 3.0
"""An average of 152 brains is blurred; its probabilities to this power are about as crisp as one brain."""


@dataclass(frozen=True)
class Phantom:
    image: Volume
    truth: dict[str, NDArray[np.float32]]
    brain: NDArray[np.bool_]


@lru_cache
def crisp_tissues(resolution_mm: float) -> tuple[Volume, Volume, Volume]:
    """GM, WM and CSF of a brain with sharp borders at 1.5 mm, averaged over voxels of `resolution_mm`."""
    priors = load_priors(1.5)
    stack = np.stack([priors.gm.data, priors.wm.data, priors.csf.data]).astype(np.float32)
    total = stack.sum(axis=0)
    sharp = stack**CRISPNESS
    sharp *= total / np.maximum(sharp.sum(axis=0), 1e-9)
    gm, wm, csf = (resample_isotropic(Volume(part, priors.gm.affine), resolution_mm) for part in sharp)
    return gm, wm, csf


def make_phantom(
    contrast: str = "T1w",
    *,
    resolution_mm: float = 3.0,
    seed: int = 1,
    noise: float = 1 / 25,
    bias: float = 0.0,
    scale: float = 1.0,
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Phantom:
    """A brain: tissue maps under a smooth random deformation, signal by partial volume, Rician noise.

    `noise` is a share of the white matter's signal, `bias` the largest log gain of a smooth field.
    """
    rng = np.random.default_rng(seed)
    tissues = crisp_tissues(resolution_mm)
    shape, affine = tissues[0].shape, tissues[0].affine
    bend = [ndimage.gaussian_filter(rng.normal(size=shape), 12 / resolution_mm) for _ in range(3)]
    displacement = np.stack([part / part.std() * 2.0 for part in bend], axis=-1).astype(np.float32)
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[:3, 3] = shift_mm
    warp = Warp(displacement, affine, matrix)
    gm, wm, csf = (resample(volume, (shape, affine), warp, validity=False) for volume in tissues)
    total = gm + wm + csf
    inside = total > 0.5
    truth = {
        name: np.where(inside, part / np.maximum(total, 1e-6), 0)
        for name, part in (("GM", gm), ("WM", wm), ("CSF", csf))
    }
    levels = dict(zip(("GM", "WM", "CSF"), CONTRASTS[contrast], strict=True))
    signal = sum(truth[name] * levels[name] for name in truth)
    if bias:
        field = ndimage.gaussian_filter(rng.normal(size=shape), 40 / resolution_mm)
        signal = signal * np.exp(bias * field / np.abs(field[inside]).max())
    sd = noise * levels["WM"]
    noisy = np.hypot(signal + rng.normal(scale=sd, size=shape), rng.normal(scale=sd, size=shape))
    return Phantom(Volume(noisy.astype(np.float32), affine), truth, inside)


def dice_at_half(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    a, b = np.asarray(one) > 0.5, np.asarray(other) > 0.5
    return 2.0 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.fixture(scope="session")
def phantom() -> Callable[..., Phantom]:
    return make_phantom


@pytest.fixture(scope="session")
def dice() -> Callable[..., float]:
    return dice_at_half
