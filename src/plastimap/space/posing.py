"""Rigid positions of several sessions around their own mean space, none privileged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from plastimap.registration import rigid
from plastimap.space.elastic import world_gradient
from plastimap.space.sessions import Session
from plastimap.transforms import Grid, apply_matrix, world_points

Matrix = NDArray[np.float64]

SMOOTHING_MM = (6.0, 3.0, 0.0)
"""FWHM of the images at successive stages of the joint refinement."""

STEPS = (4, 4, 4)
"""Gauss-Newton steps at each stage."""


def first_positions(sessions: Sequence[Session], reference: int) -> list[Matrix]:
    """Pull matrices from one session to all, by registration of the first channel; identity for itself.

    Raises
    ------
    RegistrationProblem
        When a session cannot be matched.
    """
    fixed = sessions[reference]
    return [
        np.eye(4)
        if number == reference
        else rigid(fixed.volume(), moving.volume(), fixed_mask=_dilated(fixed.weight > 0))
        for number, moving in enumerate(sessions)
    ]


def _dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(ndimage.binary_dilation(mask), dtype=bool)


def centred(matrices: Sequence[Matrix], centres: Sequence[NDArray[np.float64]]) -> list[Matrix]:
    """Positions around their mean: no rotation, and no shift of the head's centre, on average.

    Parameters
    ----------
    matrices : sequence of ndarray, shape (4, 4)
        Pull matrices from one common space to each session.
    centres : sequence of ndarray, shape (3,)
        Of the head in each session's world.

    Returns
    -------
    list of ndarray
        Pull matrices from the mean space to each session.
    """
    middle = np.mean(centres, axis=0)
    turns = Rotation.from_matrix(np.stack([matrix[:3, :3] for matrix in matrices]))
    correction = np.eye(4)
    correction[:3, :3] = turns.mean().inv().as_matrix()
    mean_linear = np.mean([matrix[:3, :3] for matrix in matrices], axis=0)
    mean_shift = np.mean([matrix[:3, 3] for matrix in matrices], axis=0)
    correction[:3, 3] = np.linalg.solve(mean_linear, middle - mean_shift) - correction[:3, :3] @ middle
    return [matrix @ correction for matrix in matrices]


def refine(
    sessions: Sequence[Session],
    matrices: Sequence[Matrix],
    grid: Grid,
    weight: NDArray[np.float32],
    *,
    reference: Session | None = None,
) -> list[Matrix]:
    """Improve positions jointly: each session against the mean of all, the mean moving along.

    Parameters
    ----------
    sessions : sequence of Session
    matrices : sequence of ndarray, shape (4, 4)
        Pull matrices, template world to session world.
    grid : (shape, affine)
        Of the template.
    weight : ndarray, shape of `grid`
        0 where nothing counts.
    reference : Session, optional
        A template that stands still, in place of the mean; on `grid`.

    Returns
    -------
    list of ndarray, shape (4, 4)
    """
    found = [matrix.copy() for matrix in matrices]
    # Slopes need one voxel more than the comparison.
    around = _dilated(weight > 0)
    points = world_points(grid)[:, around]
    for width, steps in zip(SMOOTHING_MM, STEPS, strict=True):
        smooth = [session.smoothed(width) for session in sessions]
        still = None if reference is None else reference.smoothed(width)
        for _ in range(steps):
            values = [_at_points(s, matrix, points) for s, matrix in zip(smooth, found, strict=True)]
            target = np.mean(values, axis=0) if still is None else _at_points(still, np.eye(4), points)
            motions = _motions(values, target, points, around, weight, grid[1])
            found = [matrix @ motion for matrix, motion in zip(found, motions, strict=True)]
    return found


def _at_points(session: Session, matrix: Matrix, points: NDArray[np.float64]) -> NDArray[np.float64]:
    voxels = apply_matrix(np.linalg.inv(session.affine) @ matrix, points)
    return np.stack(
        [ndimage.map_coordinates(c, voxels, order=1, mode="nearest", output=np.float64) for c in session.channels]
    )


def _motions(
    values: Sequence[NDArray[np.float64]],
    target: NDArray[np.float64],
    points: NDArray[np.float64],
    around: NDArray[np.bool_],
    weight: NDArray[np.float32],
    affine: NDArray[np.float64],
) -> list[Matrix]:
    share = weight[around].astype(np.float64)
    centre = np.average(points, axis=1, weights=share)
    arm = points - centre[:, None]
    curvature = np.zeros((6, 6))
    slopes_against = [np.zeros(6) for _ in values]
    for channel, line in enumerate(target):
        image = np.zeros(around.shape, dtype=np.float32)
        image[around] = line
        slopes = world_gradient(image, affine)[:, around].astype(np.float64)
        # A small turn w about the centre moves a point by w x arm; the image changes by w . (arm x slope).
        columns = np.vstack([np.cross(arm, slopes, axis=0), slopes])
        weighted = columns * (share / max(_variance(line, share), 1e-30))
        curvature += weighted @ columns.T
        for number, value in enumerate(values):
            slopes_against[number] += weighted @ (line - value[channel])
    inverted = np.asarray(np.linalg.pinv(curvature), dtype=np.float64)
    return [rigid_motion(inverted @ right, centre) for right in slopes_against]


def _variance(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    return float(np.average((values - np.average(values, weights=weights)) ** 2, weights=weights))


def rigid_motion(parameters: NDArray[np.float64], centre: NDArray[np.float64]) -> Matrix:
    """Matrix of a turn (rotation vector in rad) about `centre` and a shift (mm), parameters of shape (6,)."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(parameters[:3]).as_matrix()
    motion[:3, 3] = parameters[3:] + centre - motion[:3, :3] @ centre
    return motion
