"""From a person's template to the target space, by tissue probabilities rather than by contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.icbm import standard_image
from plastimap.images import Volume
from plastimap.registration import affine, deformable
from plastimap.space.lesions import LESION_SHARE
from plastimap.transforms import Grid, Warp, compose, folding_share, grid_of, invert, jacobian, resample, world_points

WORKING_MM = 3.0
"""Voxel size at which the match is made: the warp is smooth, and finer costs with the cube."""

MARGIN_MM = 12.0
"""Room around the standard brain on the working grid."""

LEAST_DICE = 0.5
"""Overlap of a tissue with the standard one below which a note warns."""

JACOBIAN_RANGE = (0.1, 10.0)
"""Local volume factors outside of this are named in a note."""


Mask = NDArray[np.bool_]
Engine = Literal["greedy", "ants"]
"""What makes the nonlinear match; ants (SyN) is an extra."""


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
    inverse : Warp
        Pull map template → target on the template's grid.
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
    inverse: Warp
    affine: NDArray[np.float64]
    dice: dict[str, float]
    jacobian_range: tuple[float, float]
    folding: float
    notes: tuple[str, ...] = ()


@lru_cache(maxsize=2)
def standard_tissues(voxel_mm: float = WORKING_MM) -> Standard:
    """Average the ICBM152 tissues onto a coarser grid around the brain; the arrays are read-only."""
    standard = coarse_tissues(standard_image("gm"), standard_image("wm"), voxel_mm=voxel_mm)
    for volume in (standard.gm, standard.wm):
        volume.data.flags.writeable = False
    return standard


def coarse_tissues(gm: Volume, wm: Volume, *, voxel_mm: float = WORKING_MM) -> Standard:
    """Average any template's tissues onto a coarser upright grid around its brain.

    Parameters
    ----------
    gm, wm : Volume
        Probabilities, each on its own grid.
    voxel_mm : float
        Edge length of the voxels wanted.
    """
    corners = [world_points(grid_of(one))[:, np.nan_to_num(one.data) > 0.01] for one in (gm, wm)]
    low = np.min([points.min(axis=1) for points in corners], axis=0) - MARGIN_MM
    high = np.max([points.max(axis=1) for points in corners], axis=0) + MARGIN_MM
    size = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    size[:3, 3] = np.floor(low / voxel_mm) * voxel_mm
    shape = tuple(int(n) for n in np.ceil((high - size[:3, 3]) / voxel_mm) + 1)
    return Standard(averaged(gm, (shape, size)), averaged(wm, (shape, size)))


def working_tissues(gm: Volume, wm: Volume, *, voxel_mm: float = WORKING_MM) -> Standard:
    """A person's tissues as they are matched: averaged to voxels of `voxel_mm` where they are finer."""
    return Standard(_at_most(gm, voxel_mm), _at_most(wm, voxel_mm))


def averaged(volume: Volume, grid: Grid, matrix: NDArray[np.float64] | None = None) -> Volume:
    """Bring a probability map to another grid, averaging over a coarser voxel rather than sampling it.

    `matrix`, shape (4, 4), is the pull matrix from the world of `grid` to that of `volume`, if they differ.
    """
    wanted = np.sqrt((grid[1][:3, :3] ** 2).sum(axis=0))
    # Width of a box in standard deviations; the source's own voxel is already averaged over.
    sigma = np.sqrt(np.maximum(wanted.mean() ** 2 - volume.voxel_size**2, 0) / 12) / volume.voxel_size
    data = ndimage.gaussian_filter(np.nan_to_num(volume.data).astype(np.float32), sigma)
    chain = np.eye(4) if matrix is None else matrix
    return Volume(resample(Volume(data, volume.affine), grid, chain, validity=False), grid[1])


def template_to_mni(
    gm: Volume,
    wm: Volume,
    *,
    grid: Volume | Warp | Grid,
    standard: Standard | None = None,
    lesion: Volume | None = None,
    working_mm: float = WORKING_MM,
    engine: Engine = "greedy",
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
    standard : Standard, optional
        Tissues of the target on a grid of about `working_mm`; those of
        ICBM152 unless given.
    lesion : Volume, optional
        Share of each voxel of template space that is no ordinary tissue:
        it is left out of the comparison, and what surrounds it carries the
        warp across (cost function masking; Brett 2001,
        https://doi.org/10.1006/nimg.2001.0845).
    working_mm : float
        Voxel size of the match.
    engine : {"greedy", "ants"}
        What makes the nonlinear match.
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
    standard = standard or standard_tissues(working_mm)
    own = working_tissues(gm, wm, voxel_mm=working_mm)
    linear = match_linear(standard, own)
    mask = _without_lesion(lesion, standard.gm, linear)
    if mask is not None:
        # The lesion's place is known now: once more without it.
        linear = match_linear(standard, own, mask=mask, initial=linear)
        mask = _without_lesion(lesion, standard.gm, linear)
    warp = match_tissues(standard, own, linear, mask=mask, engine=engine, iterations=iterations, smoothing=smoothing)
    return _judged(warp, linear, {"GM": (standard.gm, gm), "WM": (standard.wm, wm)}, grid_of(grid))


def match_linear(
    standard: Standard, own: Standard, *, mask: Mask | None = None, initial: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Affine pull matrix standard → own of a picture made of both tissues.

    Parameters
    ----------
    standard, own : Standard
    mask : ndarray of bool, optional
        Where the comparison counts, on the grid of `standard`.
    initial : ndarray, shape (4, 4), optional
        Pull matrix to start from.
    """
    return affine(_picture(standard), _picture(own), metric="SSD", fixed_mask=mask, initial=initial)


def match_tissues(
    standard: Standard,
    own: Standard,
    linear: NDArray[np.float64],
    *,
    mask: Mask | None = None,
    engine: Engine = "greedy",
    iterations: Sequence[int] = (60, 40, 20),
    smoothing: tuple[float, float] = (3.0, 0.3),
) -> Warp:
    """Diffeomorphic pull map standard → own of both tissues as two channels, after the affine match `linear`."""
    pairs = [standard.gm, standard.wm], [own.gm, own.wm]
    if engine == "ants":
        from plastimap.syn import syn

        return syn(*pairs, affine=linear, fixed_mask=mask, iterations=iterations, smoothing=smoothing)
    return deformable(*pairs, affine=linear, fixed_mask=mask, metric="SSD", iterations=iterations, smoothing=smoothing)


def _without_lesion(lesion: Volume | None, fixed: Volume, matrix: NDArray[np.float64]) -> Mask | None:
    if lesion is None or not (lesion.data > 0).any():
        return None
    return averaged(lesion, grid_of(fixed), matrix).data < LESION_SHARE


def _at_most(volume: Volume, voxel_mm: float) -> Volume:
    if volume.voxel_size.max() >= voxel_mm * 0.9:
        return Volume(np.nan_to_num(volume.data).astype(np.float32), volume.affine)
    factor = voxel_mm / volume.voxel_size
    shape = tuple(int(n) for n in np.ceil(np.array(volume.shape) / factor))
    affine = volume.affine @ np.diag([*factor, 1.0])
    affine[:3, 3] += volume.affine[:3, :3] @ ((factor - 1) / 2)
    return averaged(volume, (shape, affine))


def _picture(tissues: Standard) -> Volume:
    return Volume((0.5 * tissues.gm.data + tissues.wm.data).astype(np.float32), tissues.gm.affine)


def _judged(
    warp: Warp, linear: NDArray[np.float64], pairs: dict[str, tuple[Volume, Volume]], grid: Grid
) -> Normalisation:
    dice = {
        name: overlap(fixed.data, resample(own, fixed, warp, validity=False)) for name, (fixed, own) in pairs.items()
    }
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
    inverse = invert(warp, pairs["GM"][1])
    return Normalisation(compose(warp, grid), inverse, linear, dice, (low, high), folding, tuple(notes))


def overlap(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Dice coefficient of two probability maps of one shape, both cut at 0.5; 0 where both are empty."""
    first, second = one > 0.5, other > 0.5
    total = int(first.sum()) + int(second.sum())
    return 2 * float((first & second).sum()) / total if total else 0.0
