"""From a person's template to MNI space, by tissue probabilities rather than by contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.icbm import standard_image
from plastimap.images import Volume
from plastimap.registration import affine, deformable
from plastimap.transforms import Grid, Warp, compose, folding_share, grid_of, jacobian, resample

WORKING_MM = 3.0
"""Voxel size at which the match is made: the warp is smooth, and finer costs with the cube."""

MARGIN_MM = 12.0
"""Room around the standard brain on the working grid."""

LEAST_DICE = 0.5
"""Overlap of a tissue with the standard one below which a note warns."""

JACOBIAN_RANGE = (0.1, 10.0)
"""Local volume factors outside of this are named in a note."""


@dataclass(frozen=True)
class Standard:
    """Tissue probabilities of the target space."""

    gm: Volume
    wm: Volume


@dataclass(frozen=True)
class Normalisation:
    """How a person's template lies in the target space.

    Attributes
    ----------
    warp : Warp
        Pull map target → template on the target grid, affine included.
    affine : ndarray, shape (4, 4)
        The linear part alone, target → template.
    dice : dict of str to float
        Overlap of each tissue at probability 0.5 with the standard one.
    jacobian_range : (float, float)
        1st and 99th percentile of the determinant inside the standard brain.
    folding : float
        Share of the standard brain at which the map folds.
    notes : tuple of str
    """

    warp: Warp
    affine: NDArray[np.float64]
    dice: dict[str, float]
    jacobian_range: tuple[float, float]
    folding: float
    notes: tuple[str, ...] = ()


@lru_cache(maxsize=2)
def standard_tissues(voxel_mm: float = WORKING_MM) -> Standard:
    """Average the standard tissues onto a coarser grid around the brain; the arrays are read-only."""
    tissues = [standard_image("gm"), standard_image("wm")]
    found = np.argwhere(tissues[0].data + tissues[1].data > 0.01)
    low = tissues[0].affine[:3, :3] @ found.min(axis=0) + tissues[0].affine[:3, 3] - MARGIN_MM
    high = tissues[0].affine[:3, :3] @ found.max(axis=0) + tissues[0].affine[:3, 3] + MARGIN_MM
    size = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    size[:3, 3] = np.floor(low / voxel_mm) * voxel_mm
    shape = tuple(int(n) for n in np.ceil((high - size[:3, 3]) / voxel_mm) + 1)
    gm, wm = (averaged(tissue, (shape, size)) for tissue in tissues)
    for volume in (gm, wm):
        volume.data.flags.writeable = False
    return Standard(gm, wm)


def averaged(volume: Volume, grid: Grid) -> Volume:
    """Bring a probability map to another grid, averaging over a coarser voxel rather than sampling it."""
    wanted = np.sqrt((grid[1][:3, :3] ** 2).sum(axis=0))
    # Width of a box in standard deviations; the source's own voxel is already averaged over.
    sigma = np.sqrt(np.maximum(wanted.mean() ** 2 - volume.voxel_size**2, 0) / 12) / volume.voxel_size
    data = ndimage.gaussian_filter(np.nan_to_num(volume.data).astype(np.float32), sigma)
    return Volume(resample(Volume(data, volume.affine), grid, np.eye(4), validity=False), grid[1])


def template_to_mni(
    gm: Volume,
    wm: Volume,
    *,
    grid: Volume | Warp | Grid,
    working_mm: float = WORKING_MM,
    iterations: Sequence[int] = (60, 40, 20),
    smoothing: tuple[float, float] = (3.0, 0.3),
) -> Normalisation:
    """Match a person's tissue probabilities to the standard ones.

    Linear on a picture made of both tissues, then nonlinear on the two maps
    as two channels; contrast and units of the images play no part.

    Parameters
    ----------
    gm, wm : Volume
        Probabilities in template space, on one grid.
    grid : Volume, Warp or (shape, affine)
        Target grid on which the warp is wanted.
    working_mm : float
        Voxel size of the match.
    iterations, smoothing
        As in :func:`plastimap.registration.deformable`.

    Returns
    -------
    Normalisation

    Raises
    ------
    RegistrationProblem
        When no plausible match is found.
    """
    standard = standard_tissues(working_mm)
    own_gm, own_wm = (_at_most(volume, working_mm) for volume in (gm, wm))
    linear = affine(_picture(standard.gm, standard.wm), _picture(own_gm, own_wm), metric="SSD")
    warp = deformable(
        [standard.gm, standard.wm],
        [own_gm, own_wm],
        affine=linear,
        metric="SSD",
        iterations=iterations,
        smoothing=smoothing,
    )
    return _judged(warp, linear, {"GM": (standard.gm, gm), "WM": (standard.wm, wm)}, grid_of(grid))


def _at_most(volume: Volume, voxel_mm: float) -> Volume:
    if volume.voxel_size.max() >= voxel_mm * 0.9:
        return Volume(np.nan_to_num(volume.data).astype(np.float32), volume.affine)
    factor = voxel_mm / volume.voxel_size
    shape = tuple(int(n) for n in np.ceil(np.array(volume.shape) / factor))
    affine = volume.affine @ np.diag([*factor, 1.0])
    affine[:3, 3] += volume.affine[:3, :3] @ ((factor - 1) / 2)
    return averaged(volume, (shape, affine))


def _picture(gm: Volume, wm: Volume) -> Volume:
    return Volume((0.5 * gm.data + wm.data).astype(np.float32), gm.affine)


def _judged(
    warp: Warp, linear: NDArray[np.float64], pairs: dict[str, tuple[Volume, Volume]], grid: Grid
) -> Normalisation:
    dice = {name: _dice(fixed, resample(own, fixed, warp, validity=False)) for name, (fixed, own) in pairs.items()}
    brain = np.sum([fixed.data for fixed, _ in pairs.values()], axis=0) > 0.5
    determinant = jacobian(warp)
    folding = folding_share(determinant, brain)
    # Size relative to the linear match: a small head as such is nothing to be warned of.
    low, high = (float(value) for value in np.percentile(determinant[brain], (1, 99)))
    scale = float(np.linalg.det(linear[:3, :3]))
    notes = [
        f"{name} overlaps the standard brain by Dice {value:.2f} only"
        for name, value in dice.items()
        if value < LEAST_DICE
    ]
    if low / scale < JACOBIAN_RANGE[0] or high / scale > JACOBIAN_RANGE[1]:
        notes.append(f"local volume factors from {low / scale:.2f} to {high / scale:.2f}")
    if folding > 0:
        notes.append(f"the warp folds at {100 * folding:.2f} % of the brain")
    return Normalisation(compose(warp, grid), linear, dice, (low, high), folding, tuple(notes))


def _dice(fixed: Volume, warped: NDArray[np.float32]) -> float:
    one, other = fixed.data > 0.5, warped > 0.5
    total = int(one.sum()) + int(other.sum())
    return 2 * float((one & other).sum()) / total if total else 0.0
