"""One interpolation per volume: head motion, eddy currents and susceptibility in a single step.

A voxel x of the head in its reference position lies at R x in a volume. The field moves with the head, the direction
of phase encoding p does not, so susceptibility shifts it to R x + d(x) p, and eddy currents E act on that. The volume
M = E R of the alignment was found between images that were shifted alike, so it stands for E R here, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.dwi._sampling import spline_displaced, spline_resampled
from plastimap.dwi.alignment import Matrix, Vector, eddy_and_turn

LEAST_GAIN = 0.05
"""Restored intensities are at least this share of those seen: below it, signal of several places lies in one voxel."""


@dataclass(frozen=True)
class Distortion:
    """Displacement by susceptibility on the grid of a series, as its reference position sees it.

    Attributes
    ----------
    shift_mm : ndarray of float32, shape (X, Y, Z)
        What lies at a voxel is seen so many millimetres further along `axis`.
    axis : ndarray, shape (3,)
        Unit vector in the world: the image axis of phase encoding, towards larger indices.
    affine : ndarray, shape (4, 4)
    source : {"reversed", "field_map"}
        What it was made from.
    notes : tuple of str
    """

    shift_mm: NDArray[np.float32]
    axis: Vector
    affine: Matrix
    source: str
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def slopes(self) -> NDArray[np.float32]:
        """Derivatives of the displacement along the voxel axes, mm per voxel; shape (3, X, Y, Z)."""
        found = [
            np.gradient(self.shift_mm, axis=axis) if n > 1 else np.zeros_like(self.shift_mm)
            for axis, n in enumerate(self.shift_mm.shape)
        ]
        return np.stack(found)

    def gain(self, direction: Vector) -> NDArray[np.float32]:
        """Change of a voxel's volume, 1 + ∇d · direction, kept from folding; shape (X, Y, Z)."""
        along = np.linalg.solve(self.affine[:3, :3], direction).astype(np.float32)
        return np.maximum(1 + np.tensordot(along, self.slopes, axes=1), np.float32(LEAST_GAIN))


def resampled(
    image: NDArray[np.float32], pull: Matrix, affine: Matrix, distortion: Distortion | None = None
) -> NDArray[np.float32]:
    """Show a volume in the reference position: cubic spline, times the volume that a voxel gained by distortion.

    Parameters
    ----------
    image : ndarray, shape (X, Y, Z)
    pull : ndarray, shape (4, 4)
        Reference world → volume world, RAS mm.
    affine : ndarray, shape (4, 4)
    distortion : Distortion, optional
        Susceptibility, taken back in the same interpolation.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        Never negative; 0 beyond the measured field of view.
    """
    from scipy import ndimage

    to_moving = np.linalg.inv(affine) @ pull @ affine
    if distortion is None and np.allclose(to_moving, np.eye(4), atol=1e-6):
        return image.copy()
    output: Any = np.float32
    coefficients = ndimage.spline_filter(image, order=3, output=output, mode="mirror")
    size = np.float32(np.linalg.det(pull[:3, :3]))
    if distortion is None:
        return np.maximum(spline_resampled(coefficients, to_moving), 0) * size
    # The axis as the head sees it, and, after eddy currents, as the volume does.
    seen_by_head = eddy_and_turn(pull, distortion.axis)[1].T @ distortion.axis
    along = np.linalg.solve(affine[:3, :3], pull[:3, :3] @ seen_by_head)
    found = spline_displaced(coefficients, to_moving, distortion.shift_mm, along)
    return np.maximum(found, 0) * size * distortion.gain(seen_by_head)
