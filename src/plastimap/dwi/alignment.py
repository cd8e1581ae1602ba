"""Alignment of images of equal contrast: Gauss–Newton on the sum of squares.

Inverse-compositional form (Baker 2004, doi:10.1023/B:VISI.0000011205.11775.fd): the derivatives belong to the fixed
image, so they are computed once, and one step costs one interpolation of the moving image.

A volume's pull matrix is E R: a rigid motion R of the head, then what eddy currents do to the image of the moved head,
E = 1 + u eᵀ about the isocentre: a scale and two shears along the phase-encoding axis u.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from plastimap.dwi._sampling import sample

LARGEST_STEPS = 15
"""Steps after which an alignment stops in any case."""

STOP_MM = 0.01
"""An alignment stops when a step moves the brain's edge by less."""

HEAD_RADIUS_MM = 60.0
"""Distance at which a rotation or a shear is turned into a displacement."""

LARGEST_ROTATION = 0.2
"""Radians; a larger single step is cut to this, for it would come from a failed linearisation."""

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """Where images on one grid are compared.

    Attributes
    ----------
    affine : ndarray, shape (4, 4)
    voxels : ndarray of float64, shape (n, 3)
    """

    affine: Matrix
    voxels: NDArray[np.float64]

    @cached_property
    def to_voxel(self) -> Matrix:
        """World to voxels, shape (4, 4)."""
        return np.asarray(np.linalg.inv(self.affine), dtype=np.float64)

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """World millimetres of the voxels, shape (n, 3)."""
        return self.voxels @ self.affine[:3, :3].T + self.affine[:3, 3]

    @cached_property
    def centre(self) -> Vector:
        """Mean of the points, shape (3,)."""
        return self.points.mean(axis=0)

    def seen(self, image: NDArray[np.float32], pull: Matrix) -> NDArray[np.float32]:
        """Values (n,) of an image on this grid, as its pull matrix shows it."""
        return sample(image, self.to_voxel @ pull @ self.affine, self.voxels)

    def seen_with_slopes(self, image: NDArray[np.float32], pull: Matrix) -> NDArray[np.float32]:
        """Values and derivatives along the voxel axes (per voxel) of an image under its pull matrix; shape (4, n)."""
        matrix = self.to_voxel @ pull @ self.affine
        found = [sample(image, matrix, self.voxels)]
        for axis in range(3):
            step = 0.5 * matrix[:, axis]
            moved = [matrix.copy() for _ in "-+"]
            moved[0][:, 3] -= step
            moved[1][:, 3] += step
            found.append(sample(image, moved[1], self.voxels) - sample(image, moved[0], self.voxels))
        return np.stack(found)


class FixedImage:
    """An image to which others are aligned, prepared: its values and derivatives in a frame.

    Parameters
    ----------
    seen : ndarray, shape (4, n)
        Values and derivatives along the voxel axes, of a smooth image; the moving images have to be equally smooth.
    frame : Frame
    phase : ndarray, shape (3,), optional
        Phase-encoding axis in the world, of length 1; without it the alignment is rigid.
    blind : ndarray, shape (3,), optional
        Unit vector in the world along which differences tell nothing, for something else has evened them out.
    trust : ndarray, shape (n,), optional
        Weights of the squared differences; all alike when not given.
    """

    def __init__(
        self,
        seen: NDArray,
        frame: Frame,
        *,
        phase: Vector | None = None,
        blind: Vector | None = None,
        trust: NDArray[np.float64] | None = None,
    ) -> None:
        self._frame, self._phase = frame, phase
        self._values: NDArray[np.float64] = seen[0].astype(np.float64)
        # What the values weigh in a gain; the gain that fits best is their share in it.
        self._heavy = self._values if trust is None else self._values * trust
        slopes = seen[1:].T.astype(np.float64) @ frame.to_voxel[:3, :3]
        if blind is not None:
            slopes = slopes - np.outer(slopes @ blind, blind)
        around = frame.points - frame.centre
        # Columns: derivative by translation, by rotation about the centre, by scale and shears, and by brightness.
        columns = [slopes, np.cross(around, slopes), self._values]
        if phase is not None:
            columns.insert(2, (slopes @ phase)[:, None] * around)
        jacobian = np.column_stack(columns)
        # Least norm, not an inverse: an image of no structure in some direction then asks for no motion along it.
        # Columns are brought to one length first, for millimetres and radians differ.
        length = np.maximum(np.linalg.norm(jacobian, axis=0), 1e-12)
        unit = jacobian / length
        heavy = unit.T if trust is None else unit.T * trust
        self._solver: NDArray[np.float64] = (
            np.linalg.pinv(heavy @ unit, rcond=1e-10, hermitian=True) @ heavy / length[:, None]
        )

    def align(self, moving: NDArray[np.float32], start: Matrix) -> Matrix:
        """Pull matrix (fixed world → moving world, RAS mm) that brings `moving`, on the same grid, onto this image."""
        matrix, centre = start, self._frame.centre
        for _ in range(LARGEST_STEPS):
            found = self._frame.seen(moving, matrix).astype(np.float64)
            gain = float(found @ self._heavy) / max(float(self._values @ self._heavy), 1e-300)
            if gain <= 0:
                break
            estimate = (self._solver @ (found / gain - self._values)).astype(np.float64)
            shift, turn, stretch = estimate[:3], estimate[3:6], np.zeros(3)
            turn *= min(1.0, LARGEST_ROTATION / max(float(np.linalg.norm(turn)), 1e-12))
            step = rigid_matrix(shift, turn, centre)
            if self._phase is not None:
                stretch = estimate[6:9]
                step = eddy_matrix(stretch, self._phase, centre) @ step
            matrix = matrix @ np.linalg.inv(step)
            if self._phase is not None:
                matrix = nearest_pull(matrix, self._phase, centre)
            moved = np.linalg.norm(shift) + HEAD_RADIUS_MM * (np.linalg.norm(turn) + np.linalg.norm(stretch))
            if moved < STOP_MM:
                break
        return matrix


def rigid_matrix(shift: Vector, turn: Vector, centre: Vector) -> Matrix:
    """Rotation by the vector `turn` (radians) about `centre`, then translation by `shift` (mm); shape (4, 4)."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    matrix[:3, 3] = shift + centre - matrix[:3, :3] @ centre
    return matrix


def eddy_matrix(stretch: Vector, phase: Vector, centre: Vector) -> Matrix:
    """Displacement along the unit vector `phase` by `stretch` · (point − centre); shape (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] += np.outer(phase, stretch)
    matrix[:3, 3] = -phase * (stretch @ centre)
    return matrix


def eddy_and_turn(matrix: Matrix, phase: Vector) -> tuple[Vector, NDArray[np.float64]]:
    """Take the linear part of a pull matrix, E R with E = 1 + u eᵀ, apart.

    E leaves what is at right angles to u as it is, so there the matrix shows R itself; of R's rows in a basis that
    holds u the third follows from two.

    Returns
    -------
    stretch : ndarray, shape (3,)
    turn : ndarray, shape (3, 3)
    """
    basis = np.linalg.svd(phase[None])[2]
    basis[0] = phase
    basis[2] *= np.sign(np.linalg.det(basis))
    left, _, right = np.linalg.svd(basis[1:] @ matrix[:3, :3], full_matrices=False)
    second, third = left @ right
    rows = np.stack([np.cross(second, third), second, third])
    turn = basis.T @ rows
    return turn @ matrix[:3, :3].T @ phase - phase, turn


def nearest_pull(matrix: Matrix, phase: Vector, centre: Vector) -> Matrix:
    """A pull matrix of the form E R that takes `centre` to where `matrix` takes it."""
    stretch, turn = eddy_and_turn(matrix, phase)
    result = np.eye(4)
    result[:3, :3] = (np.eye(3) + np.outer(phase, stretch)) @ turn
    result[:3, 3] = matrix[:3, :3] @ centre + matrix[:3, 3] - result[:3, :3] @ centre
    return result


def rigid_parameters(matrix: Matrix, centre: Vector) -> NDArray[np.float64]:
    """Take a rigid matrix apart: translation of `centre` in mm and rotation vector in degrees, shape (6,)."""
    from scipy.spatial.transform import Rotation

    shift = matrix[:3, :3] @ centre + matrix[:3, 3] - centre
    return np.concatenate([shift, np.rad2deg(Rotation.from_matrix(matrix[:3, :3]).as_rotvec())])


def rotated(bvecs: NDArray[np.float64], turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """b-vectors (N, 3) as the head saw them: turned back by the rotation of each pull matrix (Leemans 2009).

    A volume's pull matrix turns a fibre u of the reference into R u in that volume. The signal depends on
    g · R u = (Rᵀ g) · u, so Rᵀ g is the gradient to use with the reference.

    Parameters
    ----------
    bvecs : ndarray, shape (N, 3)
    turns : ndarray, shape (N, 3, 3) or (N, 4, 4)
        Rotations; of rigid matrices the linear part is used.
    """
    return np.einsum("nji,nj->ni", turns[:, :3, :3], bvecs)
