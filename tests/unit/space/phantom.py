"""A small head-like phantom with tissues, and sessions of it with known changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from plastimap.images import Volume
from plastimap.transforms import Warp, invert, resample, world_points

SHAPE = (36, 40, 34)
AFFINE = np.array([[3.0, 0, 0, -52], [0, 3.0, 0, -60], [0, 0, 3.0, -48], [0, 0, 0, 1]])
GRID = (SHAPE, AFFINE)


@dataclass(frozen=True)
class Phantom:
    image: Volume
    mask: np.ndarray
    gm: Volume
    wm: Volume


def rigid_matrix(angles, shift):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def swelling(centre, *, amount, width=10.0):
    """A pull map whose determinant is about 1 + amount at `centre`: d = amount / 3 * (p - centre) * gaussian."""
    away = world_points(GRID) - np.array(centre, dtype=float).reshape(3, 1, 1, 1)
    profile = np.exp(-(away**2).sum(axis=0) / (2 * width**2))
    return Warp(np.moveaxis(amount / 3 * away * profile, 0, -1).astype(np.float32), AFFINE)


def make_phantom() -> Phantom:
    rng = np.random.default_rng(11)
    points = world_points(GRID)
    radius = np.sqrt(((points / np.array([40.0, 46, 38]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0))
    folds = ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.6)
    folds /= folds.std()
    brain = 1 / (1 + np.exp((radius - 0.95) * 25))
    white = brain / (1 + np.exp(-(folds - 0.2 + 0.8 * (0.5 - radius)) * 5))
    grey = brain - white
    image = 1.8 * white + 0.9 * grey
    image, grey, white = (Volume(data.astype(np.float32), AFFINE) for data in (image, grey, white))
    return Phantom(image, brain > 0.5, grey, white)


def session_of(phantom, *, pose=None, change=None, noise=0.03, seed=0):
    """(image, mask) of the phantom, changed (pull map template → session), then moved, with noise."""
    chain = [np.linalg.inv(np.eye(4) if pose is None else pose)]
    if change is not None:
        chain.append(invert(change))
    image = resample(phantom.image, GRID, chain, validity=False)
    mask = resample(Volume(phantom.mask.astype(np.float32), AFFINE), GRID, chain, validity=False) > 0.5
    image = image + np.random.default_rng(seed).normal(0, noise, SHAPE).astype(np.float32)
    return Volume(image, AFFINE), mask
