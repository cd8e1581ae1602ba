"""Rigid alignment of images of equal contrast: Gauss–Newton on the sum of squares.

Inverse-compositional form (Baker 2004, doi:10.1023/B:VISI.0000011205.11775.fd): the derivatives belong to the fixed
image, so they are computed once, and one step costs one interpolation of the moving image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_STEPS = 15
"""Steps after which an alignment stops in any case."""

STOP_MM = 0.01
"""An alignment stops when a step moves the brain's edge by less."""

HEAD_RADIUS_MM = 60.0
"""Distance at which a rotation is turned into a displacement."""

LARGEST_ROTATION = 0.2
"""Radians; a larger single step is cut to this, for it would come from a failed linearisation."""

Matrix = NDArray[np.float64]


class FixedImage:
    """An image to which others are aligned, prepared: its values and derivatives at the voxels of a mask.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Smooth; the moving images have to be equally smooth.
    affine : ndarray, shape (4, 4)
    voxels : ndarray of int, shape (n, 3)
        Where the images are compared.
    """

    def __init__(self, data: NDArray, affine: Matrix, voxels: NDArray[np.intp]) -> None:
        place = tuple(voxels.T)
        self._to_voxel = np.linalg.inv(affine)
        self._points = voxels @ affine[:3, :3].T + affine[:3, 3]
        self._centre = self._points.mean(axis=0)
        self._values: NDArray[np.float64] = data[place].astype(np.float64)
        gradients: Any = np.gradient(data.astype(np.float64))
        slopes = np.stack([gradient[place] for gradient in gradients], axis=1)
        slopes = slopes @ self._to_voxel[:3, :3]
        # Columns: derivative by translation, by rotation about the centre, and by brightness.
        jacobian = np.column_stack([slopes, np.cross(self._points - self._centre, slopes), self._values])
        # Least norm, not an inverse: an image of no structure in some direction then asks for no motion along it.
        self._solver: NDArray[np.float64] = (
            np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-10, hermitian=True) @ jacobian.T
        )

    def align(self, moving: NDArray, start: Matrix) -> Matrix:
        """Pull matrix (fixed world → moving world, RAS mm) that brings `moving`, on the same grid, onto this image."""
        from scipy import ndimage

        matrix = start
        for _ in range(LARGEST_STEPS):
            to_moving = self._to_voxel @ matrix
            points = self._points @ to_moving[:3, :3].T + to_moving[:3, 3]
            found = ndimage.map_coordinates(moving, points.T, output=np.float64, order=1, mode="nearest")
            gain = float(found @ self._values) / float(self._values @ self._values)
            if gain <= 0:
                break
            estimate = (self._solver @ (found / gain - self._values)).astype(np.float64)
            shift, turn = estimate[:3], estimate[3:6]
            turn *= min(1.0, LARGEST_ROTATION / max(float(np.linalg.norm(turn)), 1e-12))
            step = rigid_matrix(shift, turn, self._centre)
            matrix = matrix @ np.linalg.inv(step)
            if np.linalg.norm(shift) + HEAD_RADIUS_MM * np.linalg.norm(turn) < STOP_MM:
                break
        return matrix


def rigid_matrix(shift: NDArray[np.float64], turn: NDArray[np.float64], centre: NDArray[np.float64]) -> Matrix:
    """Rotation by the vector `turn` (radians) about `centre`, then translation by `shift` (mm); shape (4, 4)."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    matrix[:3, 3] = shift + centre - matrix[:3, :3] @ centre
    return matrix


def rigid_parameters(matrix: Matrix, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take a rigid matrix apart: translation of `centre` in mm and rotation vector in degrees, shape (6,)."""
    from scipy.spatial.transform import Rotation

    shift = matrix[:3, :3] @ centre + matrix[:3, 3] - centre
    return np.concatenate([shift, np.rad2deg(Rotation.from_matrix(matrix[:3, :3]).as_rotvec())])


def mean_displacement(matrix: Matrix, points: NDArray[np.float64]) -> float:
    """Mean distance in mm by which `matrix` moves world points of shape (n, 3)."""
    moved = points @ matrix[:3, :3].T + matrix[:3, 3]
    return float(np.linalg.norm(moved - points, axis=1).mean())
