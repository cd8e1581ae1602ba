"""A person's template: the midpoint of all sessions, and how each session differs from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume, same_grid
from plastimap.space import posing
from plastimap.space.groupwise import Settings, deform
from plastimap.space.sessions import Session, TemplateProblem, prepare
from plastimap.space.tissues import field_of_view
from plastimap.transforms import Grid, TransformProblem, Warp, grid_of, jacobian, resample, world_points

STRIP_MM = 6.0
"""Room left around the sessions' masks on a template grid that had to be made anew."""

MOST_FOLDING = 1e-3
"""Largest share of brain voxels at which a session's deformation may fold."""

TRACE = 1e-6
"""Weight of a session in the template image where it shows a lesion: it counts where no session shows more."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Midpoint:
    """The common space of one person's sessions.

    Attributes
    ----------
    template : Volume
        Mean of all sessions in the midpoint space, contrasts as they came in;
        NaN where no session has a value.
    mask : ndarray of bool
        Mean of the sessions' masks, cut at one half.
    transforms : tuple of Warp
        Per session, pull map template → session (displacement, then rigid).
    jacobians : tuple of ndarray of float32
        Per session, determinant of that map: above 1 where the session is
        larger than the midpoint.
    notes : tuple of str
        What a reader of the results should know.
    """

    template: Volume
    mask: Mask
    transforms: tuple[Warp, ...]
    jacobians: tuple[NDArray[np.float32], ...]
    notes: tuple[str, ...] = ()


def midpoint(
    volumes: Sequence[Volume],
    *,
    masks: Sequence[Mask],
    lesions: Sequence[Mask | None] | None = None,
    equalise: bool = False,
    settings: Settings | None = None,
) -> Midpoint:
    """Unbiased template of one person's sessions.

    Rigid positions come from registration and are then improved jointly
    around their mean; deformations are found for all sessions at once with
    displacements that add up to zero (:mod:`plastimap.space.groupwise`). The
    order of the sessions has no influence.

    Parameters
    ----------
    volumes : sequence of Volume
        One per session: the structural contrast, shape (X, Y, Z), or several
        contrasts on one grid, shape (X, Y, Z, C). NaN = invalid.
    masks : sequence of ndarray of bool, shape (X, Y, Z)
        Brain masks on the volumes' own grids.
    lesions : sequence of (ndarray of bool or None), optional
        Per session, where no comparison is made; the deformation is carried
        across by what surrounds it, and the template shows the sessions that
        are sound there (all of them where none is).
    equalise : bool
        True for weighted images (T1w) in arbitrary units: sessions are scaled
        to a common median inside the mask first.
    settings : Settings, optional
        Stiffness and number of steps of the deformation.

    Returns
    -------
    Midpoint
        One session alone: the identity on its own grid.

    Raises
    ------
    TemplateProblem
        When there is no session, masks do not fit, or a deformation folds.
    RegistrationProblem
        When two sessions cannot be matched at all.
    """
    _check(volumes, masks)
    if len(volumes) == 1:
        return _alone(volumes[0], masks[0])
    holes = [None] * len(volumes) if lesions is None else list(lesions)
    scales = _scales(volumes, masks, holes) if equalise else [1.0] * len(volumes)
    sessions = [prepare(v, m, scale=s, lesion=o) for v, m, s, o in zip(volumes, masks, scales, holes, strict=True)]
    order = sorted(range(len(sessions)), key=lambda number: sessions[number].content())
    warps = _align([sessions[i] for i in order], _template_grid(volumes, masks), settings or Settings())
    transforms = tuple(warps[order.index(number)] for number in range(len(volumes)))
    template = _mean_image(volumes, scales, sessions, transforms, order)
    return _judged(template, _mean_mask(volumes, masks, transforms, order), transforms)


def register_session(
    template: Volume,
    session: Volume,
    *,
    template_mask: Mask,
    session_mask: Mask,
    template_lesion: Mask | None = None,
    session_lesion: Mask | None = None,
    equalise: bool = False,
    settings: Settings | None = None,
) -> tuple[Warp, NDArray[np.float32]]:
    """Bring one more session into a template that stays as it is.

    Parameters
    ----------
    template, session : Volume
        The same contrast(s).
    template_mask, session_mask : ndarray of bool
        Brain masks on the two grids.
    template_lesion, session_lesion : ndarray of bool, optional
        Where the two are not compared: on the template's grid and on the session's.
    equalise, settings
        As in :func:`midpoint`.

    Returns
    -------
    transform : Warp
        Pull map template → session.
    jacobian : ndarray of float32, shape of `template`
        Its determinant.

    Raises
    ------
    TemplateProblem, RegistrationProblem
        As in :func:`midpoint`.
    """
    _check([template, session], [template_mask, session_mask])
    scale, lesions = 1.0, [template_lesion, session_lesion]
    if equalise:
        to_template, to_session = _scales([template, session], [template_mask, session_mask], lesions)
        scale = to_session / to_template
    fixed = prepare(template, template_mask, lesion=template_lesion)
    moving = prepare(session, session_mask, scale=scale, lesion=session_lesion)
    grid = grid_of(template)
    start = posing.first_positions([fixed, moving], 0)[1]
    weight = _common_weight([fixed, moving], [np.eye(4), start], grid)
    matrix = posing.refine([moving], [start], grid, weight, reference=fixed)[0]
    weight = _common_weight([fixed, moving], [np.eye(4), matrix], grid)
    shared = Volume(weight, template.affine)
    try:
        warp = deform([moving], [matrix], shared, settings=settings or Settings(), reference=fixed)[0]
    except TransformProblem as problem:
        raise TemplateProblem(f"the session cannot be matched to the template: {problem}") from problem
    determinant = jacobian(warp)
    _check_folding(determinant, template_mask, "the session")
    return warp, determinant


def _check(volumes: Sequence[Volume], masks: Sequence[Mask]) -> None:
    if not volumes:
        raise TemplateProblem("a template needs at least one session")
    if len(masks) != len(volumes):
        raise TemplateProblem(f"{len(volumes)} sessions, but {len(masks)} masks")
    contrasts = {volume.data.shape[3:] for volume in volumes}
    if len(contrasts) > 1:
        raise TemplateProblem(f"the sessions differ in their number of contrasts: {sorted(contrasts)}")


def _alone(volume: Volume, mask: Mask) -> Midpoint:
    still = Warp(np.zeros((*volume.shape, 3), dtype=np.float32), volume.affine)
    ones = np.ones(volume.shape, dtype=np.float32)
    note = "one session only: the template is the session itself"
    template = Volume(volume.data.astype(np.float32), volume.affine)
    return Midpoint(template, mask.astype(bool), (still,), (ones,), (note,))


def _scales(volumes: Sequence[Volume], masks: Sequence[Mask], lesions: Sequence[Mask | None]) -> list[float]:
    sound = [m if hole is None else m & ~hole for m, hole in zip(masks, lesions, strict=True)]
    medians = np.array([_first_median(v, m) for v, m in zip(volumes, sound, strict=True)])
    if (medians <= 0).any():
        raise TemplateProblem("a session's median inside its mask is not positive: its image cannot be scaled")
    return [float(scale) for scale in np.exp(np.log(medians).mean()) / medians]


def _first_median(volume: Volume, mask: Mask) -> float:
    first = volume.data if volume.data.ndim == 3 else volume.data[..., 0]
    inside = first[mask.astype(bool)]
    return float(np.nanmedian(inside)) if np.isfinite(inside).any() else 0.0


def _template_grid(volumes: Sequence[Volume], masks: Sequence[Mask]) -> Grid:
    """Take the grid that all sessions share; else an upright one around all masks, of their median voxel size."""
    if all(same_grid(volumes[0], volume) for volume in volumes):
        return volumes[0].shape, volumes[0].affine
    size = np.median([_upright_size(volume) for volume in volumes], axis=0)
    corners = [_mask_corners(v, m) for v, m in zip(volumes, masks, strict=True)]
    low = np.min([c[0] for c in corners], axis=0) - STRIP_MM
    high = np.max([c[1] for c in corners], axis=0) + STRIP_MM
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = low
    return tuple(int(n) for n in np.ceil((high - low) / size) + 1), affine


def _upright_size(volume: Volume) -> NDArray[np.float64]:
    # Voxel edge lengths in the order of the world axes to which they are nearest.
    nearest = np.argmax(np.abs(volume.affine[:3, :3]), axis=0)
    size = np.empty(3)
    size[:] = volume.voxel_size.mean()
    size[nearest] = volume.voxel_size
    return size


def _mask_corners(volume: Volume, mask: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = world_points(grid_of(volume))[:, mask.astype(bool)]
    return points.min(axis=1), points.max(axis=1)


def _align(sessions: list[Session], grid: Grid, settings: Settings) -> list[Warp]:
    centres = [session.centre() for session in sessions]
    matrices = posing.centred(posing.first_positions(sessions, len(sessions) // 2), centres)
    matrices = posing.refine(sessions, matrices, grid, _common_weight(sessions, matrices, grid))
    matrices = posing.centred(matrices, centres)
    weight = Volume(_common_weight(sessions, matrices, grid), grid[1])
    if not (weight.data > 0).any():
        raise TemplateProblem("the sessions' masks have nothing in common after alignment")
    return deform(sessions, matrices, weight, settings=settings)


def _common_weight(
    sessions: Sequence[Session], matrices: Sequence[NDArray[np.float64]], grid: Grid
) -> NDArray[np.float32]:
    """Where all sessions can be trusted."""
    weight = np.ones(tuple(grid[0]), dtype=np.float32)
    for session, matrix in zip(sessions, matrices, strict=True):
        weight *= resample(Volume(session.weight, session.affine), grid, matrix, validity=False)
    return np.where(weight > 0.5, weight, 0).astype(np.float32)


def _mean_image(
    volumes: Sequence[Volume],
    scales: Sequence[float],
    sessions: Sequence[Session],
    transforms: Sequence[Warp],
    order: Sequence[int],
) -> Volume:
    """Mean over the sessions that show sound tissue; over all of them where none does."""
    grid = transforms[0].grid
    total = np.zeros((*grid[0], *volumes[0].data.shape[3:]))
    share = np.zeros_like(total)
    # Sums run in the order of content, so that they do not depend on the order of listing.
    for number in order:
        # Cubic: linear interpolation would leave two sessions' mean with less detail than either of them.
        image = resample(volumes[number], grid, transforms[number], order=3) * np.float32(scales[number])
        weight = np.isfinite(image).astype(np.float64)
        if not sessions[number].sound.all():
            sound = Volume(sessions[number].sound, sessions[number].affine)
            trust = np.maximum(resample(sound, grid, transforms[number], validity=False), TRACE)
            weight *= trust.reshape(*trust.shape, *(1,) * (weight.ndim - 3))
        total += np.where(weight > 0, image, 0) * weight
        share += weight
    template = np.divide(total, share, out=np.full_like(total, np.nan), where=share > 0)
    return Volume(template.astype(np.float32), grid[1])


def _mean_mask(
    volumes: Sequence[Volume], masks: Sequence[Mask], transforms: Sequence[Warp], order: Sequence[int]
) -> Mask:
    """Where at least half of the sessions whose field of view holds a place call it brain."""
    grid = transforms[0].grid
    brain, seen = np.zeros(tuple(grid[0])), np.zeros(tuple(grid[0]))
    for number in order:
        mask = Volume(masks[number].astype(np.float32), volumes[number].affine)
        brain += resample(mask, grid, transforms[number], validity=False)
        seen += field_of_view(volumes[number], transforms[number])
    return brain > 0.5 * seen


def _judged(template: Volume, mask: Mask, transforms: tuple[Warp, ...]) -> Midpoint:
    jacobians = tuple(jacobian(warp) for warp in transforms)
    for number, determinant in enumerate(jacobians):
        _check_folding(determinant, mask, f"session {number + 1} of {len(transforms)}")
    return Midpoint(template, mask, transforms, jacobians)


def _check_folding(determinant: NDArray[np.float32], mask: Mask, name: str) -> None:
    folded = float(np.mean(determinant[mask] <= 0)) if mask.any() else 0.0
    if folded > MOST_FOLDING:
        raise TemplateProblem(f"the deformation of {name} folds at {100 * folded:.1f} % of the brain")
