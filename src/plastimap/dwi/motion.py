"""Motion and eddy currents between the volumes of a diffusion series, and slices that lost their signal.

Volumes of one shell are aligned to each other first, by least squares: each to the mean of the others, then to what a
Gaussian process over directions predicts for it from the others. Voxels whose signal depends on the direction count
little, for their contrast looks like motion. That leaves one unknown motion per shell, between its mean and the b = 0
image, whose contrast differs: it is found by normalised mutual information.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.denoise import without_nan
from plastimap.dwi._series import Series, Shell, turned, turns_of
from plastimap.dwi.alignment import FixedImage, Matrix, eddy_and_turn, eddy_matrix, rigid_parameters, rotated
from plastimap.dwi.gradients import normalised
from plastimap.dwi.qspace import LEAST_FOR_MODEL, prediction_weights
from plastimap.dwi.resampling import Distortion
from plastimap.dwi.slices import replace_lost
from plastimap.images import Volume
from plastimap.transforms import mean_displacement

COARSE_FWHM_MM = 8.0
"""Smoothing of the images for the first alignment, which has to bridge the motion."""

FINE_FWHM_MM = 2.5
"""Smoothing of the images for the later ones: about a voxel, so that noise does not make the derivatives."""

MEAN_FWHM_MM = (COARSE_FWHM_MM, COARSE_FWHM_MM, 5.0, 3.5, FINE_FWHM_MM, FINE_FWHM_MM)
"""Smoothing in the rounds of alignment to the mean of the others. Where it is fine, few voxels mix tissue whose signal
depends on the direction with other tissue."""

TRUST_FLOOR = 0.1
"""Variance over directions, as a share of the median one, above which a voxel's weight falls."""

MODEL_ROUNDS = 4
"""Rounds of model and alignment at most. Few, for motion that is a smooth function of the direction looks like contrast
to the model, and many rounds drift there (twenty at b = 2500 to 0.35 mm from 0.25)."""

STOP_MM = 0.01
"""A round that moves no volume by more is the last."""

SHELL_WIDTH = 100.0
"""s/mm²: b-values closer than this to their neighbour belong to one shell."""

NMI_ITERATIONS = (60, 30, 15)
"""Steps of the registration of a shell's mean to b = 0, coarse grid first."""

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
    data = without_nan(volume.data)
    if data.ndim != 4 or data.shape[3] != b.size or g.shape != (b.size, 3) or where.shape != data.shape[:3]:
        raise ValueError(
            f"data {data.shape}, {b.size} b-values, b-vectors {g.shape}, mask {where.shape} do not go together"
        )
    b0 = np.flatnonzero(b <= b0_threshold)
    if not b0.size or not where.any():
        raise ValueError("motion correction needs a b = 0 volume and a brain mask that is not empty")
    phase = phase_axis(phase_encoding, volume.affine)
    notes = () if phase is not None else ("eddy currents are not corrected: no PhaseEncodingDirection",)
    series = Series(data, volume.affine, where)
    _align_b0(series, b0)
    outliers: list[tuple[int, int]] = []
    for members in shells(b, b0_threshold):
        shell = Shell(members, g[members], phase)
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


def _align_b0(series: Series, b0: NDArray[np.intp]) -> None:
    for fwhm in (COARSE_FWHM_MM, FINE_FWHM_MM):
        fixed = FixedImage(series.frame.seen_with_slopes(series.smoothed(b0[0], fwhm), np.eye(4)), series.frame)
        for i in b0[1:]:
            series.align(fixed, i, fwhm)


def _align_shell(series: Series, shell: Shell) -> list[tuple[int, int]]:
    """Align the volumes of a shell to each other; the slices that were replaced on the way."""
    members = shell.members
    if members.size < 2:
        return []
    mean = (np.ones((members.size, members.size)) - np.eye(members.size)) / (members.size - 1)
    for number, fwhm in enumerate(MEAN_FWHM_MM):
        # Eddy currents wait for the second round: the first has to bridge the motion.
        _round(series, shell if number else replace(shell, phase=None), fwhm, mean)
    if members.size < LEAST_FOR_MODEL:
        return []
    _round(series, shell, FINE_FWHM_MM)
    outliers = replace_lost(series, shell)
    for _ in range(MODEL_ROUNDS - 1):
        if _round(series, shell, FINE_FWHM_MM) < STOP_MM:
            break
    return outliers


def _round(series: Series, shell: Shell, fwhm: float, weights: NDArray[np.float64] | None = None) -> float:
    """Align every volume to its prediction from the others; the largest movement in mm."""
    members = shell.members
    seen = np.stack([series.frame.seen_with_slopes(series.smoothed(i, fwhm), series.transforms[i]) for i in members])
    if weights is None:
        weights = prediction_weights(turned(series, shell), seen[:, 0])
    predictions = np.tensordot(weights.astype(np.float32), seen, axes=1)
    trust = _trust(seen[:, 0]) if members.size >= LEAST_FOR_MODEL else None
    moved = [
        series.align(FixedImage(prediction, series.frame, phase=shell.phase, trust=trust), i, fwhm)
        for i, prediction in zip(members, predictions, strict=True)
    ]
    return max(moved)


def _trust(seen: NDArray[np.float32]) -> NDArray[np.float64]:
    """Weights (n,) of voxels by how little their signal (N, n) depends on the direction.

    What a prediction lacks of a volume's contrast looks like motion, the same for all volumes of like directions, so
    that none of them corrects it. It lies where the contrast is: in white matter, more so the higher the b-value.
    """
    variance = seen.var(axis=0, dtype=np.float64)
    weights = (variance / (float(np.median(variance)) or 1.0) + TRUST_FLOOR) ** -2.0
    return weights / weights.mean()


def _centre_eddy(series: Series, shell: Shell, phase: NDArray[np.float64]) -> None:
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


def _shell_to_b0(series: Series, members: NDArray[np.intp], b0: NDArray[np.intp], rigid: Rigid) -> None:
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
    series: Series,
    bvecs: NDArray[np.float64],
    phase: NDArray[np.float64] | None,
    outliers: tuple[tuple[int, int], ...],
    notes: tuple[str, ...],
    distortion: Distortion | None,
) -> MotionCorrected:
    transforms, brain = np.stack(series.transforms), series.brain
    turns = turns_of(series.transforms, phase)
    # Of a volume's matrix the head's motion is what remains without the stretch about the brain's centre.
    motions = transforms.copy()
    motions[:, :3, :3] = turns
    motions[:, :3, 3] = transforms[:, :3, :3] @ brain.centre + transforms[:, :3, 3] - turns @ brain.centre
    eddy = np.zeros((len(transforms), 3))
    if phase is not None:
        eddy = np.stack([eddy_and_turn(m, phase)[0] for m in transforms])
    return MotionCorrected(
        data=series.shown(distortion),
        bvecs=rotated(bvecs, turns),
        parameters=np.stack([rigid_parameters(m, brain.centre) for m in motions]),
        eddy=eddy,
        displacement=np.array([mean_displacement(m, brain.points) for m in transforms]),
        transforms=transforms,
        outliers=outliers,
        distortion=distortion,
        notes=notes,
    )
