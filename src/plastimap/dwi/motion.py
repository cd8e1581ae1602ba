"""Motion between the volumes of a diffusion series.

Volumes of one shell are aligned to each other first, by least squares: each to the mean of the others, then to what a
smooth model of the signal over directions, fitted to the others, predicts for it. That leaves one unknown motion per
shell, between its mean and the b = 0 image, whose contrast differs: it is found by normalised mutual information.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.dwi.alignment import FixedImage, Matrix, mean_displacement, rigid_parameters
from plastimap.dwi.gradients import normalised
from plastimap.dwi.tensor import tensor_design
from plastimap.images import Volume

COARSE_FWHM_MM = 8.0
"""Smoothing of the images for the first alignment, which has to bridge the motion."""

FINE_FWHM_MM = 5.0
"""Smoothing of the images for the later ones."""

MODEL_ROUNDS = 5
"""Rounds of model and alignment at most."""

STOP_MM = 0.05
"""A round that moves no volume by more is the last."""

LEAST_FOR_MODEL = 8
"""Volumes of a shell below which it is aligned to its mean only: the model has six unknowns."""

HIGHEST_LEVERAGE = 0.9
"""A volume that determines its own prediction to this degree says nothing about its motion."""

SHELL_WIDTH = 100.0
"""s/mm²: b-values closer than this to their neighbour belong to one shell."""

COMPARED_VOXELS = 25_000
"""Voxels at which images are compared; more cost time and change nothing."""

NMI_ITERATIONS = (30, 15)
"""Steps of the registration of a shell's mean to b = 0, coarse grid first."""

_FWHM_PER_SD = float(np.sqrt(8 * np.log(2)))

Rigid = Callable[..., Matrix]


@dataclass(frozen=True)
class MotionCorrected:
    """Result of :func:`correct_motion`.

    Attributes
    ----------
    data : ndarray of float32, shape (X, Y, Z, N)
        Every volume interpolated once (cubic spline), never negative; 0 beyond the measured field of view.
    bvecs : ndarray, shape (N, 3)
        Rotated with the head.
    parameters : ndarray, shape (N, 6)
        Translation of the brain's centre in mm, rotation vector in degrees (RAS).
    displacement : ndarray, shape (N,)
        Mean displacement of the brain's voxels in mm.
    transforms : ndarray, shape (N, 4, 4)
        Pull matrices: reference world → volume world, RAS mm.
    """

    data: NDArray[np.float32]
    bvecs: NDArray[np.float64]
    parameters: NDArray[np.float64]
    displacement: NDArray[np.float64]
    transforms: NDArray[np.float64]


def correct_motion(
    volume: Volume,
    bvals: ArrayLike,
    bvecs: ArrayLike,
    *,
    mask: NDArray[np.bool_],
    b0_threshold: float = 50,
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
    series = _Series(data, volume.affine, where)

    for i in b0[1:]:
        for fwhm in (COARSE_FWHM_MM, FINE_FWHM_MM):
            fixed = series.fixed(series.smoothed(b0[0], fwhm))
            series.transforms[i] = fixed.align(series.smoothed(i, fwhm), series.transforms[i])
    mean_b0 = Volume(series.mean(b0), volume.affine)
    for shell in shells(b, b0_threshold):
        _align_shell(series, shell, b[shell], g[shell])
        _shell_to_b0(series, shell, mean_b0, rigid or _default_rigid())

    points = series.world_points()
    centre = points.mean(axis=0)
    transforms = np.stack(series.transforms)
    return MotionCorrected(
        data=np.stack([_interpolated(data[..., i], m, volume.affine) for i, m in enumerate(transforms)], axis=-1),
        bvecs=rotated(g, transforms),
        parameters=np.stack([rigid_parameters(m, centre) for m in transforms]),
        displacement=np.array([mean_displacement(m, points) for m in transforms]),
        transforms=transforms,
    )


def shells(bvals: NDArray[np.float64], b0_threshold: float) -> list[NDArray[np.intp]]:
    """Find the diffusion-weighted volumes of each shell; b-values near each other are one shell."""
    order = np.argsort(bvals, kind="stable")
    order = order[bvals[order] > b0_threshold]
    breaks = 1 + np.flatnonzero(np.diff(bvals[order]) > SHELL_WIDTH)
    return [np.sort(shell) for shell in np.split(order, breaks) if shell.size]


def rotated(bvecs: NDArray[np.float64], transforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """b-vectors (N, 3) as the head saw them: turned back by the rotation of each pull matrix (Leemans 2009).

    A volume's pull matrix turns a fibre u of the reference into R u in that volume. The signal depends on
    g · R u = (Rᵀ g) · u, so Rᵀ g is the gradient to use with the reference.
    """
    return np.einsum("nji,nj->ni", transforms[:, :3, :3], bvecs)


class _Series:
    """The volumes, their current pull matrices, and smoothed copies of them."""

    def __init__(self, data: NDArray[np.float32], affine: Matrix, mask: NDArray[np.bool_]) -> None:
        from scipy import ndimage

        self.data, self.affine, self.mask = data, affine, mask
        self.transforms = [np.eye(4) for _ in range(data.shape[3])]
        self._sd_per_mm = 1 / _FWHM_PER_SD / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        # The brain's border holds most of what motion changes; a rim of air around it belongs to the comparison.
        compared = np.argwhere(ndimage.binary_dilation(mask, iterations=2))
        self.voxels = compared[:: max(1, round(len(compared) / COMPARED_VOXELS))]
        self._smoothed: dict[tuple[int, float], NDArray[np.float32]] = {}

    def smoothed(self, index: int, fwhm: float) -> NDArray[np.float32]:
        from scipy import ndimage

        key = (int(index), fwhm)
        if key not in self._smoothed:
            smooth = ndimage.gaussian_filter(self.data[..., index], fwhm * self._sd_per_mm)
            self._smoothed[key] = np.asarray(smooth, dtype=np.float32)
        return self._smoothed[key]

    def aligned(self, index: int, fwhm: float | None = None) -> NDArray[np.float32]:
        """One volume, smoothed or not, as its current pull matrix shows it (linear interpolation)."""
        from scipy import ndimage

        image = self.data[..., index] if fwhm is None else self.smoothed(index, fwhm)
        matrix = np.linalg.inv(self.affine) @ self.transforms[index] @ self.affine
        return np.asarray(ndimage.affine_transform(image, matrix, order=1, mode="nearest"), dtype=np.float32)

    def mean(self, indices: Sequence[int] | NDArray[np.intp]) -> NDArray[np.float32]:
        return np.mean([self.aligned(i) for i in indices], axis=0)

    def fixed(self, image: NDArray) -> FixedImage:
        return FixedImage(image, self.affine, self.voxels)

    def world_points(self) -> NDArray[np.float64]:
        voxels = np.argwhere(self.mask)
        return voxels @ self.affine[:3, :3].T + self.affine[:3, 3]


def _align_shell(series: _Series, shell: NDArray[np.intp], bvals: NDArray, bvecs: NDArray) -> None:
    """Align the volumes of a shell to each other."""
    if shell.size < 2:
        return
    images = [series.aligned(i, COARSE_FWHM_MM) for i in shell]
    total = np.sum(images, axis=0)
    for i, image in zip(shell, images, strict=True):
        fixed = series.fixed((total - image) / (shell.size - 1))
        series.transforms[i] = fixed.align(series.smoothed(i, COARSE_FWHM_MM), series.transforms[i])
    if shell.size < LEAST_FOR_MODEL:
        return
    points = series.world_points()
    for _ in range(MODEL_ROUNDS):
        moved = [0.0]
        images = np.stack([series.aligned(i, FINE_FWHM_MM) for i in shell])
        turned = rotated(bvecs, np.stack([series.transforms[i] for i in shell]))
        for k, prediction in enumerate(_predicted_by_others(images, bvals, turned)):
            if prediction is None:
                continue
            i = shell[k]
            before = series.transforms[i]
            series.transforms[i] = series.fixed(prediction).align(series.smoothed(i, FINE_FWHM_MM), before)
            moved.append(mean_displacement(np.linalg.inv(before) @ series.transforms[i], points))
        if max(moved) < STOP_MM:
            break


def _predicted_by_others(
    images: NDArray[np.float32], bvals: NDArray[np.float64], bvecs: NDArray[np.float64]
) -> list[NDArray[np.float32] | None]:
    """Predict each volume by a tensor-shaped model of the logarithms, fitted to the other volumes of the shell.

    Within a shell ln S0 cannot be told from the mean diffusivity, so the model has six terms and needs no b = 0 volume.
    Leaving a volume out costs nothing: with the hat matrix H, (ŷ − h y)/(1 − h) is the prediction without it.
    """
    design = tensor_design(bvals * 1e-3, bvecs)[:, :6]
    hat = design @ np.linalg.pinv(design)
    floor = max(1e-3 * float(np.percentile(images, 98)), np.finfo(np.float32).tiny)
    logs = np.log(np.maximum(images, floor)).reshape(len(images), -1)
    fitted = (hat.astype(np.float32) @ logs).reshape(images.shape)
    logs = logs.reshape(images.shape)
    leverages = np.diag(hat)
    # Air has no logarithm worth fitting: predictions stay within twice the brightest thing seen.
    highest = np.log(2 * max(float(images.max()), floor))
    return [
        np.exp(np.minimum((fitted[k] - h * logs[k]) / (1 - h), highest)) if h < HIGHEST_LEVERAGE else None
        for k, h in enumerate(leverages)
    ]


def _shell_to_b0(series: _Series, shell: NDArray[np.intp], mean_b0: Volume, rigid: Rigid) -> None:
    """Move a whole shell onto the b = 0 image."""
    mean = Volume(series.mean(shell), series.affine)
    common = rigid(mean_b0, mean, metric="NMI", initial=np.eye(4), iterations=NMI_ITERATIONS)
    for i in shell:
        series.transforms[i] = series.transforms[i] @ common


def _default_rigid() -> Rigid:
    from plastimap.registration import rigid

    return rigid


def _interpolated(image: NDArray[np.float32], matrix: Matrix, affine: Matrix) -> NDArray[np.float32]:
    """Show a volume as its pull matrix says: cubic spline, 0 more than half a voxel beyond the field of view."""
    from scipy import ndimage

    to_moving = np.linalg.inv(affine) @ matrix @ affine
    if np.allclose(to_moving, np.eye(4), atol=1e-6):
        return image.copy()
    result = np.array(ndimage.affine_transform(image, to_moving, order=3, mode="nearest"), dtype=np.float32)
    grid = np.meshgrid(*[np.arange(n) for n in image.shape], indexing="ij", sparse=True)
    for axis, n in enumerate(image.shape):
        place = sum((to_moving[axis, k] * grid[k] for k in range(3)), start=np.asarray(to_moving[axis, 3]))
        result[(place < -0.5) | (place > n - 0.5)] = 0
    return np.maximum(result, 0)
