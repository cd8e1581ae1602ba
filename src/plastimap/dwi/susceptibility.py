"""Displacement by susceptibility in a diffusion series, from a second phase encoding or from a field map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.dwi._sampling import spline_displaced
from plastimap.dwi.alignment import FixedImage, Frame, Matrix, Vector
from plastimap.dwi.resampling import Distortion, resampled
from plastimap.dwi.reversed_phase import displacement_of_pair
from plastimap.images import Volume
from plastimap.transforms import mean_displacement

ROUNDS = 5
"""Of displacement and head motion between the two phase encodings, at most."""

MOTION_LEVEL = 2
"""Voxels put together where the displacement only serves to find the motion."""

STOP_MM = 0.05
"""A round in which the head moves by less is the last."""

LEAST_SURE_MM = 0.3
"""A last round that moves the head by more is told of."""

ALIGNED_FWHM_MM = 3.5
"""Smoothing of the images between which head motion is sought."""

COMPARED_VOXELS = 20_000
"""As in :mod:`plastimap.dwi.motion`."""

FIELD_ITERATIONS = (60, 30, 0)
"""Steps of the registration of the field map's magnitude, coarse grid first; the finest adds nothing to it."""

LEAST_MOVE_MM = 3.0
"""Head motion since the field map is taken into account from here on: by so much registrations of b = 0 images to
gradient echoes differ among themselves, and over such distances a field changes little."""

NO_MAGNITUDE = "the field map has no magnitude image: the head is taken to have lain still since"

Rigid = Callable[..., Matrix]


@dataclass(frozen=True)
class ReversedPhase:
    """A b = 0 image with the opposite phase encoding.

    Attributes
    ----------
    b0 : Volume, shape (X, Y, Z)
        In the same scanner coordinates; its grid may be another.
    ratio : float
        Its readout time over that of the series.
    """

    b0: Volume
    ratio: float = 1.0


@dataclass(frozen=True)
class FieldMap:
    """A map of the field.

    Attributes
    ----------
    hz : Volume, shape (X, Y, Z)
        Unwrapped, finite everywhere (:mod:`plastimap.dwi.field_map`).
    readout_s : float
        ``TotalReadoutTime`` of the series.
    magnitude : Volume or None
        Image on the grid of `hz`, by which the head is found; without it scanner coordinates are trusted.
    """

    hz: Volume
    readout_s: float
    magnitude: Volume | None = None


def find_distortion(
    reference: Volume, source: ReversedPhase | FieldMap, *, phase_encoding: str, mask: NDArray[np.bool_]
) -> Distortion:
    """Displacement in a series, on its own grid.

    Parameters
    ----------
    reference : Volume, shape (X, Y, Z)
        b = 0 image of the series in its reference position, as it was distorted.
    source : ReversedPhase or FieldMap
    phase_encoding : {"i", "i-", "j", "j-", "k", "k-"}
        BIDS ``PhaseEncodingDirection`` of the series.
    mask : ndarray of bool, shape (X, Y, Z)
        Brain in the reference.

    Returns
    -------
    Distortion
    """
    if isinstance(source, FieldMap):
        return from_field(reference, source, phase_encoding=phase_encoding, mask=mask)
    return from_pair(reference, source, axis="ijk".index(phase_encoding[0]), mask=mask)


def from_pair(reference: Volume, source: ReversedPhase, *, axis: int, mask: NDArray[np.bool_]) -> Distortion:
    """Displacement under which two b = 0 images of opposite phase encoding agree.

    The head may have moved between them: displacement and motion are sought in turn. A shift of the head along the
    axis of phase encoding cannot be told from a field that is everywhere the same; it counts as the latter.
    """
    from scipy import ndimage

    size = np.linalg.norm(reference.affine[:3, :3], axis=0)
    direction = reference.affine[:3, axis] / size[axis]
    voxels = np.argwhere(ndimage.binary_dilation(mask, iterations=2)).astype(np.float64)
    frame = Frame(reference.affine, voxels[:: max(1, round(len(voxels) / COMPARED_VOXELS))])
    # Displacements are in voxels what field and readout time make them; here they are compared in millimetres.
    other = np.linalg.norm(source.b0.affine[:3, :3], axis=0)
    along = int(np.argmax(np.abs(direction @ source.b0.affine[:3, :3]) / other))
    source = replace(source, ratio=source.ratio * other[along] / size[axis])
    order = (*(d for d in range(3) if d != axis), axis)
    forward, lengths = _lines(reference.data, axis), size[list(order)]

    def shift_mm(pull: Matrix, finest: int) -> NDArray[np.float64]:
        backward = _lines(_on_grid(source.b0, pull, reference), axis)
        found = displacement_of_pair(forward, backward, ratio=source.ratio, voxel_size=lengths, finest=finest)
        return np.moveaxis(found, 2, axis) * size[axis]

    pull, moved = np.eye(4), float("inf")
    for _ in range(ROUNDS):
        step = _head_step(reference, source, pull, shift_mm(pull, MOTION_LEVEL), direction, frame)
        moved, pull = mean_displacement(step, frame.points), pull @ step
        if moved < STOP_MM:
            break
    notes = (
        () if moved < LEAST_SURE_MM else (f"head motion between the two phase encodings is known to {moved:.1f} mm",)
    )
    shift = shift_mm(pull, 1).astype(np.float32)
    return Distortion(shift, direction, reference.affine, "reversed", notes)


def _head_step(
    reference: Volume, source: ReversedPhase, pull: Matrix, shift: NDArray, direction: Vector, frame: Frame
) -> Matrix:
    """Motion of the head that remains between the two restored images, none of it along `direction`."""
    from scipy import ndimage

    shifts = (shift, -source.ratio * shift)
    images = (reference.data.astype(np.float32), _on_grid(source.b0, pull, reference))
    sd = ALIGNED_FWHM_MM / np.sqrt(8 * np.log(2)) / np.linalg.norm(reference.affine[:3, :3], axis=0)
    smooth: list[NDArray[np.float32]] = []
    for image, own in zip(images, shifts, strict=True):
        distortion = Distortion(own.astype(np.float32), direction, reference.affine, "reversed")
        restored: Any = ndimage.gaussian_filter(resampled(image, np.eye(4), reference.affine, distortion), sd)
        smooth.append(np.asarray(restored, dtype=np.float32))
    # The displacement has already evened out what motion did along the axis, so that tells nothing of it.
    fixed = FixedImage(frame.seen_with_slopes(smooth[0], np.eye(4)), frame, blind=direction)
    step = fixed.align(smooth[1], np.eye(4))
    travel = step[:3, :3] @ frame.centre + step[:3, 3] - frame.centre
    step[:3, 3] -= direction * (travel @ direction)
    return step


def from_field(
    reference: Volume, source: FieldMap, *, phase_encoding: str, mask: NDArray[np.bool_], rigid: Rigid | None = None
) -> Distortion:
    """Displacement that a field in Hz makes: field × readout time voxels, with the sign of the phase encoding.

    The head is found by registration of the field map's magnitude to the b = 0 image, first as it is, then restored.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Brain in the reference.
    rigid : callable, optional
        As in :func:`plastimap.dwi.motion.correct_motion`.
    """
    from scipy import ndimage

    axis = "ijk".index(phase_encoding[0])
    size = float(np.linalg.norm(reference.affine[:3, axis]))
    direction = reference.affine[:3, axis] / size
    mm_per_hz = source.readout_s * size * (-1 if phase_encoding.endswith("-") else 1)

    def at(pull: Matrix) -> Distortion:
        matrix = np.linalg.inv(source.hz.affine) @ pull @ reference.affine
        hz = ndimage.affine_transform(
            source.hz.data.astype(np.float32), matrix, output_shape=reference.data.shape, order=1, mode="nearest"
        )
        return Distortion((mm_per_hz * hz).astype(np.float32), direction, reference.affine, "field_map")

    if source.magnitude is None:
        return replace(at(np.eye(4)), notes=(NO_MAGNITUDE,))
    pull = np.eye(4)
    for _ in range(2):
        restored = resampled(reference.data.astype(np.float32), np.eye(4), reference.affine, at(pull))
        fixed = Volume(restored, reference.affine)
        pull = (rigid or _registered)(fixed, source.magnitude, metric="NMI", initial=pull, iterations=FIELD_ITERATIONS)
    moved = mean_displacement(pull, Frame(reference.affine, np.argwhere(mask).astype(np.float64)).points)
    if moved < LEAST_MOVE_MM:
        return at(np.eye(4))
    return replace(at(pull), notes=(f"the field map was moved by {moved:.1f} mm, as the head since",))


def _registered(*volumes: Volume, **options: Any) -> Matrix:
    from plastimap.registration import rigid

    return rigid(*volumes, **options)


def _lines(image: NDArray, axis: int) -> NDArray[np.float64]:
    """Turn an image so that its lines along `axis` come last."""
    return np.ascontiguousarray(np.moveaxis(image, axis, 2), dtype=np.float64)


def _on_grid(moving: Volume, pull: Matrix, reference: Volume) -> NDArray[np.float32]:
    """Show an image on the grid of another, under a pull matrix."""
    from scipy import ndimage

    matrix = np.linalg.inv(moving.affine) @ pull @ reference.affine
    if np.allclose(matrix, np.eye(4), atol=1e-6) and moving.data.shape == reference.data.shape:
        return moving.data.astype(np.float32)
    output: Any = np.float32
    coefficients = ndimage.spline_filter(moving.data.astype(np.float32), order=3, output=output, mode="mirror")
    zero = np.zeros(reference.data.shape, np.float32)
    return np.maximum(spline_displaced(coefficients, matrix, zero, np.zeros(3)), 0)
