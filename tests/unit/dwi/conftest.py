"""A small brain-like diffusion series with known tensors and known motion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.dwi.alignment import rigid_matrix


def directions(n: int) -> NDArray[np.float64]:
    """`n` axes spread over the half sphere (a Fibonacci lattice)."""
    k = np.arange(n) + 0.5
    z, turn = k / n, np.pi * (1 + 5**0.5) * k
    return np.stack([np.cos(turn) * np.sqrt(1 - z**2), np.sin(turn) * np.sqrt(1 - z**2), z], axis=1)


@dataclass(frozen=True)
class Phantom:
    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    bvals: NDArray[np.float64]
    bvecs: NDArray[np.float64]  # world axes
    transforms: NDArray[np.float64]
    brain: NDArray[np.bool_]
    points: NDArray[np.float64]


@cache
def tissues(resolution: int):
    """The ICBM152's affine, brain mask, and grey and white matter, at `resolution` mm."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template

    grey, white = load_mni152_gm_template(resolution=resolution), load_mni152_wm_template(resolution=resolution)
    brain = load_mni152_brain_mask(resolution=resolution).get_fdata() > 0.5
    return grey.affine, brain, *(np.clip(image.get_fdata(), 0, 1) * brain for image in (grey, white))


def make_phantom(*, bval=1000.0, n_directions=12, n_b0=2, snr=25.0, motion=1.0, resolution=5, seed=1) -> Phantom:
    """The ICBM152's tissues with tensors: anisotropic white matter, isotropic grey matter and fluid."""
    rng = np.random.default_rng(seed)
    affine, brain, gm, wm = tissues(resolution)
    csf = np.clip(brain - gm - wm, 0, 1)
    fibres = np.stack([ndimage.gaussian_filter(rng.normal(size=brain.shape), 4) for _ in range(3)], axis=-1)
    fibres /= np.linalg.norm(fibres, axis=-1, keepdims=True)
    bvals = np.r_[np.zeros(n_b0), np.full(n_directions, bval)]
    bvecs = np.r_[np.zeros((n_b0, 3)), directions(n_directions)]
    voxels = np.argwhere(brain)
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    volumes, transforms = [], []
    for k, (b, g) in enumerate(zip(bvals * 1e-3, bvecs, strict=True)):
        # Up to 3 mm and 3 degrees in any direction; the first volume is the reference.
        shift, turn = (rng.uniform(-1, 1, 3) * 3 / np.sqrt(3) * motion * (k > 0) for _ in range(2))
        pull = rigid_matrix(shift, np.deg2rad(turn), points.mean(axis=0))
        cosine = fibres @ (pull[:3, :3].T @ g)
        signal = wm * np.exp(-b * (0.4 + 1.3 * cosine**2)) + 1.2 * gm * np.exp(-b * 0.85) + 3 * csf * np.exp(-b * 3)
        back = np.linalg.inv(affine) @ np.linalg.inv(pull) @ affine
        moved = np.clip(ndimage.affine_transform(signal, back, order=3), 0, None)
        noise = rng.normal(0, 1 / snr, (2, *brain.shape))
        volumes.append(500 * np.hypot(moved + noise[0], noise[1]))
        transforms.append(pull)
    data = np.stack(volumes, axis=-1).astype(np.float32)
    return Phantom(data, affine, bvals, bvecs, np.stack(transforms), brain, points)


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return make_phantom()


@pytest.fixture(scope="session")
def still_phantom() -> Phantom:
    return make_phantom(motion=0.0, seed=2)
