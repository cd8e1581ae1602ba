"""Anatomy: the ICBM152 tissue maps seen through a person's smooth deformation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.simulate.places import Growth
from plastimap.simulate.randomness import smooth_field, stream

Array = NDArray[np.float64]

TISSUES = ("GM", "WM", "CSF")

SHARPNESS = 2.0
"""Power of the template's probabilities: undoes part of the blur of averaging 152 heads."""

BRAIN_BOX_MM = ((-73.0, 74.0), (-108.0, 75.0), (-73.0, 83.0))
"""Extent of the ICBM152 brain mask."""

VELOCITY_STEP_MM = 6.0
VELOCITY_SIGMA_MM = 18.0
SQUARINGS = 5


@dataclass(frozen=True)
class Template:
    """Tissue fractions in MNI space, blurred by the voxel that will sample them.

    Attributes
    ----------
    fractions : ndarray, shape (3, X, Y, Z)
        GM, WM, CSF; their sum is 1 in the brain and 0 outside.
    affine : ndarray, shape (4, 4)
        Diagonal; voxel to MNI millimetres.
    """

    fractions: NDArray[np.float32]
    affine: Array

    def at(self, points: NDArray[Any]) -> Array:
        """GM, WM, CSF fractions (3, N) at MNI points (3, N); 0 outside."""
        from scipy.ndimage import map_coordinates

        indices = (points - self.affine[:3, 3:]) / np.diag(self.affine)[:3, None]
        return np.stack([map_coordinates(tissue, indices, order=1, output=np.float64) for tissue in self.fractions])


@lru_cache(maxsize=2)
def load_template(voxel_mm: float) -> Template:
    """Tissue fractions of ICBM152 (MNI152NLin2009aSym, from nilearn) as voxels of `voxel_mm` see them."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template
    from scipy.ndimage import gaussian_filter

    resolution = 1 if voxel_mm < 5 else 2
    images: list[Any] = [
        load(resolution=resolution)
        for load in (load_mni152_gm_template, load_mni152_wm_template, load_mni152_brain_mask)
    ]
    grey, white, brain = (image.get_fdata(dtype=np.float32) for image in images)
    brain = brain > 0
    sharp = np.stack([grey, white, np.clip(1 - grey - white, 0, 1)]) * brain
    sharp **= SHARPNESS
    total = sharp.sum(axis=0)
    sharp /= np.where(total > 0, total, 1)
    # A Gaussian with the variance of a box of one voxel: partial volume without aliasing.
    sigma = voxel_mm / np.sqrt(12) / resolution
    fractions: Any = np.stack([gaussian_filter(tissue, sigma, mode="constant", truncate=3.0) for tissue in sharp])
    return Template(fractions, np.asarray(images[0].affine, dtype=np.float64))


@dataclass(frozen=True)
class Morphology:
    """A person's shape: pull map from the person's space (head-centred mm) to MNI.

    x = p/scale + u(p/scale), u the displacement of the flow exp(v) of a smooth
    stationary velocity field, so one-to-one by construction.

    Attributes
    ----------
    displacement : ndarray, shape (3, X, Y, Z)
        u in mm.
    origin, step_mm
        World position of the first node; distance of the nodes.
    scale : float
        Relative linear size of the head.
    """

    displacement: Array
    origin: Array
    step_mm: float
    scale: float

    def pull(self, points: NDArray[Any]) -> Array:
        """MNI positions of the points (3, N) of the person's space."""
        unscaled = np.asarray(points, dtype=np.float64) / self.scale
        return unscaled + _sample(self.displacement, (unscaled - self.origin[:, None]) / self.step_mm)

    def jacobian(self) -> Array:
        """Jacobian determinant of the pull map (without the scale) at the nodes."""
        gradient = np.stack(
            [np.stack(np.gradient(component, self.step_mm)) for component in self.displacement]
        ) + np.eye(3).reshape(3, 3, 1, 1, 1)
        return np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)))


def random_morphology(seed: int, person: str, *, sd_mm: float, scale: float) -> Morphology:
    """Draw the shape of a person, the same for the same seed and name."""
    rng = stream(seed, "morphology", person)
    box = np.asarray(BRAIN_BOX_MM)
    origin = box[:, 0] - 24.0
    extent = np.ceil((box[:, 1] + 24.0 - origin) / VELOCITY_STEP_MM).astype(int) + 1
    shape = (int(extent[0]), int(extent[1]), int(extent[2]))
    sigma = VELOCITY_SIGMA_MM / VELOCITY_STEP_MM
    velocity = sd_mm * np.stack([smooth_field(rng, shape, sigma_voxels=sigma) for _ in range(3)])
    return Morphology(exponential(velocity, VELOCITY_STEP_MM), origin, VELOCITY_STEP_MM, scale)


def exponential(velocity: Array, step_mm: float) -> Array:
    """Displacement (3, X, Y, Z) in mm of the flow of a stationary velocity field, by scaling and squaring.

    Arsigny 2006, doi:10.1007/11866565_113.
    """
    nodes = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float64) for n in velocity.shape[1:]], indexing="ij"))
    displacement = velocity / 2**SQUARINGS
    for _ in range(SQUARINGS):
        displacement = displacement + _sample(displacement, nodes + displacement / step_mm)
    return displacement


def _sample(field: Array, indices: Array) -> Array:
    from scipy.ndimage import map_coordinates

    return np.stack([map_coordinates(component, indices, order=1, mode="nearest") for component in field])


@dataclass(frozen=True)
class Grid:
    """A scanner's matrix: `shape` (3,) and `affine` (4, 4), RAS+ mm."""

    shape: tuple[int, int, int]
    affine: Array

    def points(self) -> Array:
        """World positions (3, N) of all voxel centres in C order."""
        indices = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float64) for n in self.shape], indexing="ij"))
        return self.affine[:3, :3] @ indices.reshape(3, -1) + self.affine[:3, 3:]


def scanner_grid(voxel_mm: float, margin_mm: float, *, tilt_deg: float) -> Grid:
    """Lay a matrix that holds the brain and a margin, tilted about the left-right axis as an operator would."""
    box = np.asarray(BRAIN_BOX_MM)
    shape = np.ceil((box[:, 1] - box[:, 0] + 2 * margin_mm) / voxel_mm).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = rigid((0, 0, 0, tilt_deg, 0, 0))[:3, :3] * voxel_mm
    affine[:3, 3] = box.mean(axis=1) - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def rigid(parameters: Sequence[float] | Array) -> Array:
    """4 × 4 matrix of three shifts (mm) and three turns (degrees, about x, then y, then z)."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(np.asarray(parameters[3:], dtype=np.float64))):
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix[:3, :3] = turn @ matrix[:3, :3]
    matrix[:3, 3] = parameters[:3]
    return matrix


def to_template(points: NDArray[Any], pose: Array, morphology: Morphology, growths: Sequence[Growth] = ()) -> Array:
    """MNI positions (3, N) of scanner points (3, N): head position, person's shape, local growth.

    Parameters
    ----------
    points : ndarray, shape (3, N)
        Scanner mm.
    pose : ndarray, shape (4, 4)
        Scanner → person's space.
    """
    mapped = morphology.pull(pose[:3, :3] @ points + pose[:3, 3:])
    for growth in growths:
        mapped = growth.pull(mapped)
    return mapped


def fibre_direction(points: NDArray[Any]) -> Array:
    """Give unit fibre directions (3, N) at MNI points: a fan from the brainstem, bent left-right around the midline.

    Smooth, synthetic, roughly corticospinal; only its smoothness matters here.
    """
    base = np.array([0.0, -30.0, -110.0])
    fan = points - base[:, None]
    fan = fan / np.linalg.norm(fan, axis=0)
    callosal = np.exp(-((points[0] / 12) ** 2)) * np.clip((points[2] + 5) / 10, 0, 1)
    side = np.where(points[0] < 0, -1.0, 1.0)
    bent = fan * (1 - callosal)
    bent[0] += side * callosal
    return bent / np.linalg.norm(bent, axis=0)
