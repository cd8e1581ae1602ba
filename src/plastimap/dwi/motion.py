"""Motion and eddy currents between the volumes of a diffusion series, and slices that lost their signal.

Volumes of one shell are aligned to each other first, by least squares: each to the mean of the others, then to what a
Gaussian process over directions predicts for it from the others. That leaves one unknown motion per shell, between its
mean and the b = 0 image, whose contrast differs: it is found by normalised mutual information.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.dwi.alignment import (
    FixedImage,
    Frame,
    Matrix,
    eddy_and_turn,
    eddy_matrix,
    rigid_parameters,
)
from plastimap.dwi.gradients import normalised
from plastimap.dwi.qspace import LEAST_FOR_MODEL, prediction_weights
from plastimap.dwi.resampling import Distortion, resampled
from plastimap.images import Volume
from plastimap.transforms import mean_displacement

COARSE_FWHM_MM = 8.0
"""Smoothing of the images for the first alignment, which has to bridge the motion."""

FINE_FWHM_MM = 3.5
"""Smoothing of the images for the later ones."""

COARSE_ROUNDS = 3
"""Rounds of alignment to the mean of the others at most."""

MODEL_ROUNDS = 5
"""Rounds of model and alignment at most."""

STOP_MM = 0.05
"""A round that moves no volume by more is the last."""

SHELL_WIDTH = 100.0
"""s/mm²: b-values closer than this to their neighbour belong to one shell."""

COMPARED_VOXELS = 20_000
"""Voxels at which images are compared; more cost time and change nothing."""

NMI_ITERATIONS = (60, 30, 15)
"""Steps of the registration of a shell's mean to b = 0, coarse grid first."""

OUTLIER_SD = 4.0
"""A slice that lies so many robust standard deviations below its prediction has lost signal."""

LEAST_LOSS = 0.1
"""... if it also lost this share of it."""

LEAST_SLICE_SHARE = 0.3
"""Slices with less than this share of the fullest slice's signal are not judged: they show little but the border."""

_FWHM_PER_SD = float(np.sqrt(8 * np.log(2)))

Rigid = Callable[..., Matrix]
Undistort = Callable[[Volume], Distortion]


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """A series whose volumes lie on each other.

    Attributes
    ----------
    data : ndarray of float32, shape (X, Y, Z, N)
        Every volume interpolated once, never negative; 0 beyond the measured field of view.
    bvecs : ndarray, shape (N, 3)
        World axes; rotated with the head.
    parameters : ndarray, shape (N, 6)
        Translation in mm, rotation vector in degrees (RAS, about the brain's centre; those of FSL's eddy as it gives
        them).
    eddy : ndarray, shape (N, 3)
        Displacement along the phase-encoding axis per mm along x, y, z; 0 where eddy currents were not modelled.
    displacement : ndarray, shape (N,)
        Mean displacement of the brain's voxels in mm.
    outliers : tuple of (volume, slice)
        Slices along the third axis that had lost signal and were replaced by their prediction.
    notes : tuple of str
    """

    data: NDArray[np.float32]
    bvecs: NDArray[np.float64]
    parameters: NDArray[np.float64]
    eddy: NDArray[np.float64]
    displacement: NDArray[np.float64]
    outliers: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MotionCorrected(Aligned):
    """Result of :func:`correct_motion`.

    Attributes
    ----------
    transforms : ndarray, shape (N, 4, 4)
        Pull matrices: reference world → volume world, RAS mm.
    distortion : Distortion or None
        Displacement by susceptibility that was taken back in the same interpolation.
    """

    transforms: NDArray[np.float64]
    distortion: Distortion | None


def correct_motion(
    volume: Volume,
    bvals: ArrayLike,
    bvecs: ArrayLike,
    *,
    mask: NDArray[np.bool_],
    b0_threshold: float = 50,
    phase_encoding: str | None = None,
    undistort: Undistort | None = None,
    rigid: Rigid | None = None,
) -> MotionCorrected:
    """Align all volumes to the first b = 0 volume.

    Parameters
    ----------
    volume : Volume, shape (X, Y, Z, N)
    bvals : array_like, shape (N,)
        s/mm².
    bvecs : array_like, shape (N, 3)
        Unit vectors in **world** axes (:func:`~plastimap.dwi.gradients.fsl_to_world`).
    mask : ndarray of bool, shape (X, Y, Z)
        Brain in the first b = 0 volume.
    b0_threshold : float
        s/mm²; at or below it a volume counts as b = 0.
    phase_encoding : {"i", "i-", "j", "j-", "k", "k-"}, optional
        BIDS ``PhaseEncodingDirection``. Without it eddy currents are not corrected, and a note says so.
    undistort : callable, optional
        Gives the displacement by susceptibility for the mean aligned b = 0 image; volumes are then interpolated with
        it, once. Without it they stay as distorted as they are.
    rigid : callable, optional
        ``rigid(fixed, moving, *, metric, initial, iterations) -> pull matrix`` for images of different contrast;
        :func:`plastimap.registration.rigid` when not given.

    Returns
    -------
    MotionCorrected

    Raises
    ------
    ValueError
        When shapes do not go together, there is no b = 0 volume, or the mask is empty.
    """
    b, g = np.asarray(bvals, dtype=np.float64), normalised(bvecs)
    where = np.asarray(mask, dtype=bool)
    data = np.nan_to_num(volume.data.astype(np.float32))
    if data.ndim != 4 or data.shape[3] != b.size or g.shape != (b.size, 3) or where.shape != data.shape[:3]:
        raise ValueError(
            f"data {data.shape}, {b.size} b-values, b-vectors {g.shape}, mask {where.shape} do not go together"
        )
    b0 = np.flatnonzero(b <= b0_threshold)
    if not b0.size or not where.any():
        raise ValueError("motion correction needs a b = 0 volume and a brain mask that is not empty")
    phase = phase_axis(phase_encoding, volume.affine)
    notes = () if phase is not None else ("eddy currents are not corrected: no PhaseEncodingDirection",)
    series = _Series(data, volume.affine, where)
    _align_b0(series, b0)
    outliers: list[tuple[int, int]] = []
    for members in shells(b, b0_threshold):
        shell = _Shell(members, g[members], phase)
        outliers += _align_shell(series, shell)
        if phase is not None and members.size >= LEAST_FOR_MODEL:
            _centre_eddy(series, shell, phase)
        _shell_to_b0(series, members, b0, rigid or _default_rigid())
    distortion = undistort(Volume(series.mean(b0), volume.affine)) if undistort else None
    return _result(series, g, phase, tuple(sorted(outliers)), notes, distortion)


def phase_axis(phase_encoding: str | None, affine: Matrix) -> NDArray[np.float64] | None:
    """Unit vector (3,) in the world along the image axis that BIDS names; its sign means nothing here.

    Raises
    ------
    ValueError
        When it names no axis.
    """
    if phase_encoding is None:
        return None
    if phase_encoding.rstrip("-") not in ("i", "j", "k"):
        raise ValueError(f"PhaseEncodingDirection is {phase_encoding!r}; one of i, i-, j, j-, k, k- is wanted")
    axis = affine[:3, "ijk".index(phase_encoding[0])]
    return axis / np.linalg.norm(axis)


def shells(bvals: NDArray[np.float64], b0_threshold: float) -> list[NDArray[np.intp]]:
    """Find the diffusion-weighted volumes of each shell; b-values near each other are one shell."""
    order = np.argsort(bvals, kind="stable")
    order = order[bvals[order] > b0_threshold]
    breaks = 1 + np.flatnonzero(np.diff(bvals[order]) > SHELL_WIDTH)
    return [np.sort(shell) for shell in np.split(order, breaks) if shell.size]


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


@dataclass(frozen=True)
class _Shell:
    """Volumes of one shell, their b-vectors in the scanner's frame, and the phase-encoding axis."""

    members: NDArray[np.intp]
    bvecs: NDArray[np.float64]
    phase: NDArray[np.float64] | None


class _Series:
    """The volumes, their current pull matrices, and smoothed copies of them."""

    def __init__(self, data: NDArray[np.float32], affine: Matrix, mask: NDArray[np.bool_]) -> None:
        from scipy import ndimage

        self.volumes = [np.ascontiguousarray(data[..., n]) for n in range(data.shape[3])]
        self.affine, self.mask = affine, mask
        self.transforms = [np.eye(4) for _ in self.volumes]
        self._sd_per_mm = 1 / _FWHM_PER_SD / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        # The brain's border holds most of what motion changes; a rim of air around it belongs to the comparison.
        compared = np.argwhere(ndimage.binary_dilation(mask, iterations=2)).astype(np.float64)
        self.frame = Frame(affine, compared[:: max(1, round(len(compared) / COMPARED_VOXELS))])
        self.brain = Frame(affine, np.argwhere(mask).astype(np.float64))
        self._smoothed: dict[tuple[int, float], NDArray[np.float32]] = {}

    def smoothed(self, index: int, fwhm: float) -> NDArray[np.float32]:
        from scipy import ndimage

        key = (int(index), fwhm)
        if key not in self._smoothed:
            smooth = ndimage.gaussian_filter(self.volumes[index], fwhm * self._sd_per_mm)
            self._smoothed[key] = np.asarray(smooth, dtype=np.float32)
        return self._smoothed[key]

    def mean(self, indices: NDArray[np.intp]) -> NDArray[np.float32]:
        """Mean of volumes as their current pull matrices show them (linear interpolation)."""
        shape = self.volumes[0].shape
        everywhere = Frame(self.affine, np.indices(shape).reshape(3, -1).T.astype(np.float64))
        total = sum(everywhere.seen(self.volumes[i], self.transforms[i]) for i in indices)
        return (np.asarray(total) / len(indices)).astype(np.float32).reshape(shape)

    def align(self, fixed: FixedImage, index: int, fwhm: float) -> float:
        """Align a volume to a prepared image; by how many mm this moved it."""
        before = self.transforms[index]
        self.transforms[index] = fixed.align(self.smoothed(index, fwhm), before)
        return mean_displacement(np.linalg.inv(before) @ self.transforms[index], self.frame.points)

    def replace_slices(self, index: int, slices: list[int], values: NDArray[np.float32]) -> None:
        """Put predicted slices (X, Y, n) in the place of measured ones."""
        volume = self.volumes[index].copy()
        volume[:, :, slices] = values
        self.volumes[index] = volume
        for key in [key for key in self._smoothed if key[0] == index]:
            del self._smoothed[key]


def _align_b0(series: _Series, b0: NDArray[np.intp]) -> None:
    for fwhm in (COARSE_FWHM_MM, FINE_FWHM_MM):
        fixed = FixedImage(series.frame.seen_with_slopes(series.smoothed(b0[0], fwhm), np.eye(4)), series.frame)
        for i in b0[1:]:
            series.align(fixed, i, fwhm)


def _align_shell(series: _Series, shell: _Shell) -> list[tuple[int, int]]:
    """Align the volumes of a shell to each other; the slices that were replaced on the way."""
    members = shell.members
    if members.size < 2:
        return []
    mean = (np.ones((members.size, members.size)) - np.eye(members.size)) / (members.size - 1)
    for number in range(COARSE_ROUNDS):
        # Eddy currents wait for the second round: the first has to bridge the motion.
        calm = shell if number else replace(shell, phase=None)
        if _round(series, calm, COARSE_FWHM_MM, mean) < STOP_MM:
            break
    if members.size < LEAST_FOR_MODEL:
        return []
    _round(series, shell, FINE_FWHM_MM)
    outliers = _replace_outliers(series, shell)
    for _ in range(MODEL_ROUNDS - 1):
        if _round(series, shell, FINE_FWHM_MM) < STOP_MM:
            break
    return outliers


def _round(series: _Series, shell: _Shell, fwhm: float, weights: NDArray[np.float64] | None = None) -> float:
    """Align every volume to its prediction from the others; the largest movement in mm."""
    members = shell.members
    seen = np.stack([series.frame.seen_with_slopes(series.smoothed(i, fwhm), series.transforms[i]) for i in members])
    if weights is None:
        weights = prediction_weights(_turned(series, shell), seen[:, 0])
    predictions = np.tensordot(weights.astype(np.float32), seen, axes=1)
    moved = [
        series.align(FixedImage(prediction, series.frame, phase=shell.phase), i, fwhm)
        for i, prediction in zip(members, predictions, strict=True)
    ]
    return max(moved)


def _turned(series: _Series, shell: _Shell) -> NDArray[np.float64]:
    """b-vectors of the shell in the head's axes."""
    return rotated(shell.bvecs, _turns([series.transforms[i] for i in shell.members], shell.phase))


def _turns(transforms: list[Matrix], phase: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Rotations (N, 3, 3) of pull matrices."""
    return np.stack([m[:3, :3] if phase is None else eddy_and_turn(m, phase)[1] for m in transforms])


def _replace_outliers(series: _Series, shell: _Shell) -> list[tuple[int, int]]:
    """Put predictions in the place of slices that lost signal; which these are.

    A lost slice also spoils predictions, so the search is repeated once the first ones have been replaced.
    """
    found: set[tuple[int, int]] = set()
    frame = series.frame
    for _ in range(2):
        seen = np.stack([frame.seen(series.volumes[i], series.transforms[i]) for i in shell.members])
        weights = prediction_weights(_turned(series, shell), seen)
        lost = lost_slices(*_slice_sums(series, shell, weights @ seen))
        new = {(int(shell.members[k]), int(z)) for k, z in np.argwhere(lost)} - found
        for index in sorted({volume for volume, _ in new}):
            slices = sorted(z for volume, z in new if volume == index)
            series.replace_slices(index, slices, _predicted_slices(series, shell, weights, index, slices))
        found |= new
        if not new:
            break
    return sorted(found)


def _slice_sums(
    series: _Series, shell: _Shell, predicted: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over the compared voxels that each volume (rows) measured in each slice (columns).

    Returns
    -------
    measured, expected : ndarray, shape (n, Z)
    """
    frame, depth = series.frame, series.volumes[0].shape[2]
    rows: tuple[list[NDArray], list[NDArray]] = ([], [])
    for i, prediction in zip(shell.members, predicted, strict=True):
        matrix = frame.to_voxel @ series.transforms[i] @ frame.affine
        place = np.rint(frame.voxels @ matrix[2, :3] + matrix[2, 3]).astype(int)
        inside = (place >= 0) & (place < depth)
        measured = _from_slices(series.volumes[i], matrix, frame.voxels, place)
        for sums, values in zip(rows, (measured, prediction), strict=True):
            sums.append(np.bincount(place[inside], values[inside], minlength=depth))
    measured, expected = (np.stack(sums) for sums in rows)
    return measured, expected


def _from_slices(
    image: NDArray[np.float32], matrix: Matrix, voxels: NDArray[np.float64], place: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Nearest voxels of an image under an affine map; interpolation would mix a lost slice with its neighbours."""
    x, y = (
        np.clip(np.rint(voxels @ matrix[d, :3] + matrix[d, 3]).astype(int), 0, image.shape[d] - 1) for d in range(2)
    )
    return image[x, y, np.clip(place, 0, image.shape[2] - 1)]


def lost_slices(measured: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Slices that hold too little signal.

    Parameters
    ----------
    measured, expected : ndarray, shape (n, Z)
        Sums of measured and predicted signal per volume and slice.

    Returns
    -------
    ndarray of bool, shape (n, Z)
    """
    judged = expected > LEAST_SLICE_SHARE * max(float(np.median(expected.max(axis=1))), np.finfo(float).tiny)
    change = np.where(judged, measured / np.where(judged, expected, 1) - 1, 0.0)
    if not judged.any():
        return judged
    # Where all volumes lie beside their predictions, as at the border of the field of view, that is no loss.
    change -= np.median(change, axis=0)
    # A slice whose volumes all lie far from their predictions is one that the model does not know well.
    spread = 1.4826 * np.maximum(np.median(np.abs(change), axis=0), np.median(np.abs(change[judged])))
    return judged & (change < -np.maximum(OUTLIER_SD * spread, LEAST_LOSS))


def _predicted_slices(
    series: _Series, shell: _Shell, weights: NDArray[np.float64], index: int, slices: list[int]
) -> NDArray[np.float32]:
    """What the others predict for slices of a volume, at the volume's own voxels; shape (X, Y, n)."""
    shape = (*series.volumes[0].shape[:2], len(slices))
    grid = np.stack(np.meshgrid(*map(np.arange, shape[:2]), slices, indexing="ij"), axis=-1)
    frame = Frame(series.affine, grid.reshape(-1, 3).astype(np.float64))
    back = np.linalg.inv(series.transforms[index])
    row = weights[int(np.flatnonzero(shell.members == index)[0])]
    total = np.zeros(len(frame.voxels))
    for weight, i in zip(row, shell.members, strict=True):
        total += weight * frame.seen(series.volumes[i], series.transforms[i] @ back)
    return np.maximum(total, 0).reshape(shape).astype(np.float32)


def _centre_eddy(series: _Series, shell: _Shell, phase: NDArray[np.float64]) -> None:
    """Take the distortion that all volumes of a shell share out of their matrices.

    Volumes that are only compared with each other agree on a space that is as distorted as they are on average. Eddy
    currents are proportional to the gradient, so what the stretches have beside a term linear in the b-vectors, their
    intercept, is not theirs.
    """
    stretches = np.stack([eddy_and_turn(series.transforms[i], phase)[0] for i in shell.members])
    design = np.column_stack([np.ones(len(stretches)), shell.bvecs])
    if np.linalg.cond(design) > 20:
        return
    shared = np.linalg.lstsq(design, stretches, rcond=None)[0][0]
    back = np.linalg.inv(eddy_matrix(shared, phase, series.frame.centre))
    for i in shell.members:
        series.transforms[i] = series.transforms[i] @ back


def _shell_to_b0(series: _Series, members: NDArray[np.intp], b0: NDArray[np.intp], rigid: Rigid) -> None:
    """Move a whole shell onto the b = 0 image."""
    fixed, moving = (Volume(series.mean(indices), series.affine) for indices in (b0, members))
    # Over the whole image: near the brain alone, with fluid bright in one and dark in the other, information draws the
    # two apart (by 1 mm along z in measured series of b = 2500).
    common = rigid(fixed, moving, metric="NMI", initial=np.eye(4), iterations=NMI_ITERATIONS)
    for i in members:
        series.transforms[i] = series.transforms[i] @ common


def _default_rigid() -> Rigid:
    from plastimap.registration import rigid

    return rigid


def _result(
    series: _Series,
    bvecs: NDArray[np.float64],
    phase: NDArray[np.float64] | None,
    outliers: tuple[tuple[int, int], ...],
    notes: tuple[str, ...],
    distortion: Distortion | None,
) -> MotionCorrected:
    transforms, brain = np.stack(series.transforms), series.brain
    turns = _turns(series.transforms, phase)
    # Of a volume's matrix the head's motion is what remains without the stretch about the brain's centre.
    motions = transforms.copy()
    motions[:, :3, :3] = turns
    motions[:, :3, 3] = transforms[:, :3, :3] @ brain.centre + transforms[:, :3, 3] - turns @ brain.centre
    eddy = np.zeros((len(transforms), 3))
    if phase is not None:
        eddy = np.stack([eddy_and_turn(m, phase)[0] for m in transforms])
    return MotionCorrected(
        data=np.stack(
            [resampled(v, m, series.affine, distortion) for v, m in zip(series.volumes, transforms, strict=True)],
            axis=-1,
        ),
        bvecs=rotated(bvecs, turns),
        parameters=np.stack([rigid_parameters(m, brain.centre) for m in motions]),
        eddy=eddy,
        displacement=np.array([mean_displacement(m, brain.points) for m in transforms]),
        transforms=transforms,
        outliers=outliers,
        distortion=distortion,
        notes=notes,
    )
