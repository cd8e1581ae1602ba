"""Whole heads with known tissue shares: brains of the simulation room in CSF, skull, scalp and a neck.

Nothing is measured here; `anat_vs_spm.py`, `anat_harder.py` and the tests take their heads from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.images import Volume
from plastimap.simulate.anatomy import load_template, random_morphology, scanner_grid, to_template

Array = NDArray[np.floating]

LEVELS: Mapping[str, Mapping[str, float]] = {
    "T1w": {"GM": 600, "WM": 900, "CSF": 200, "bone": 60, "scalp": 850, "muscle": 480, "noise": 30},
    "R1": {"GM": 0.65, "WM": 1.0, "CSF": 0.25, "bone": 0.2, "scalp": 1.3, "muscle": 0.7, "noise": 0.03},
    "MTsat": {"GM": 0.9, "WM": 1.75, "CSF": 0.05, "bone": 0.2, "scalp": 0.4, "muscle": 1.2, "noise": 0.06},
}
"""Signal of the tissues in the unit of the map, and the SD of its noise."""

AIR_NOISE = 2.0
"""In air a quantitative map is a quotient of noise: its SD, in units of white matter's value."""

BONE_MM, SCALP_MM = 6.0, 6.0
NECK_MM = (30.0, 40.0)


@dataclass(frozen=True)
class Head:
    """A simulated scan of a whole head, and what is in it.

    Attributes
    ----------
    image : Volume
    shares : dict of str to ndarray, shape (X, Y, Z)
        True shares of GM, WM and CSF in each voxel.
    """

    image: Volume
    shares: dict[str, NDArray[np.float32]]

    @property
    def brain(self) -> NDArray[np.bool_]:
        """Where at least half of a voxel is intracranial."""
        return np.asarray(sum(self.shares.values()) > 0.5)


def make_head(
    contrast: str = "T1w",
    *,
    seed: int,
    voxel_mm: float = 2.0,
    scale: float = 1.0,
    atrophy_mm: float = 0.0,
    bias: float = 0.3,
    tilt_deg: float = 8.0,
    noise: float = 1.0,
    defaced: bool = False,
) -> Head:
    """Simulate a head.

    Parameters
    ----------
    contrast : {"T1w", "R1", "MTsat"}
    seed : int
    voxel_mm : float
    scale : float
        Relative linear size of the brain; .85 is a small child's.
    atrophy_mm : float
        How much wider CSF is than in a young adult, at the vertex; sulci and ventricles are widened with it.
    bias : float
        Largest logarithm of the gain of a weighted image.
    tilt_deg : float
        Of the matrix about the left-right axis.
    noise : float
        In units of the contrast's usual noise.
    defaced : bool
        Whether everything in front of the brain is cut away.
    """
    rng = np.random.default_rng(seed)
    grid = scanner_grid(voxel_mm, 32.0 * max(scale, 1.0), tilt_deg=tilt_deg)
    points = grid.points()
    place = to_template(points, np.eye(4), random_morphology(seed, "01", sd_mm=3.0, scale=scale))
    shares = load_template(voxel_mm).at(place).reshape(3, *grid.shape)
    if atrophy_mm:
        shares = _shrunken(shares)
    brain = shares.sum(axis=0)
    rim = _rim(place, atrophy_mm).reshape(grid.shape)
    outside = np.asarray(ndimage.distance_transform_edt(brain < 0.5)) * voxel_mm - voxel_mm / 2
    cavity = np.clip((rim - outside) / voxel_mm + 0.5, 0, 1)
    shares[2] += np.clip(cavity - brain, 0, None)
    beyond = outside - rim
    world = points.reshape(3, *grid.shape)
    levels = LEVELS[contrast]
    signal = _surroundings(beyond, world, levels, defaced=defaced)
    inside = np.clip(shares.sum(axis=0), 0, 1)
    signal = signal * (1 - inside) + sum(shares[k] * levels[name] for k, name in enumerate(("GM", "WM", "CSF")))
    tissue = (inside > 0.1) | (signal > 0.5 * levels["bone"])
    truth = {name: shares[k].astype(np.float32) for k, name in enumerate(("GM", "WM", "CSF"))}
    data = _measured(signal, tissue, rng, contrast, bias=bias, noise=noise, voxel_mm=voxel_mm)
    return Head(Volume(data, grid.affine), truth)


def _shrunken(shares: Array) -> Array:
    # Tissue gives way to the CSF that is next to it.
    brain = shares.sum(axis=0)
    wider = np.clip(1.6 * ndimage.gaussian_filter(shares[2], 0.5), shares[2], brain)
    left = (brain - wider) / np.maximum(brain - shares[2], 1e-6)
    return np.stack([shares[0] * left, shares[1] * left, wider])


def _rim(place: Array, atrophy_mm: float) -> Array:
    """CSF between brain and skull: 1 mm below, 3 mm and more at the vertex."""
    away = place - np.array([0.0, -18.0, 5.0])[:, None]
    height = np.clip(away[2] / np.maximum(np.linalg.norm(away, axis=0), 1.0), 0, 1)
    return 1.0 + (2.0 + atrophy_mm) * height


def _surroundings(beyond: Array, world: Array, levels: Mapping[str, float], *, defaced: bool) -> Array:
    signal = np.where(beyond < BONE_MM, levels["bone"], levels["scalp"])
    signal = np.where(beyond < BONE_MM + SCALP_MM, signal, 0.0)
    across, along = NECK_MM
    neck = (np.abs(world[0]) < across) & (np.abs(world[1] + 30) < along) & (world[2] < -40) & (beyond > BONE_MM)
    signal = np.where(neck, levels["muscle"], signal)
    if defaced:
        signal = np.where((world[1] > 45) & (world[2] < 0) & (beyond > BONE_MM), 0.0, signal)
    return signal


def _measured(
    signal: Array,
    tissue: NDArray[np.bool_],
    rng: np.random.Generator,
    contrast: str,
    *,
    bias: float,
    noise: float,
    voxel_mm: float,
) -> NDArray[np.float32]:
    sd = noise * LEVELS[contrast]["noise"]
    if contrast != "T1w":
        air = rng.normal(scale=AIR_NOISE * LEVELS[contrast]["WM"], size=signal.shape)
        return np.where(tissue, signal + rng.normal(scale=sd, size=signal.shape), air).astype(np.float32)
    field = ndimage.gaussian_filter(rng.normal(size=signal.shape), 45 / voxel_mm)
    signal = signal * np.exp(bias * field / np.abs(field).max())
    return np.hypot(signal + rng.normal(scale=sd, size=signal.shape), rng.normal(scale=sd, size=signal.shape)).astype(
        np.float32
    )
