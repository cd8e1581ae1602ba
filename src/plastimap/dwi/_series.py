"""The volumes of a series while they are being aligned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.dwi.alignment import FixedImage, Frame, Matrix, eddy_and_turn, rotated
from plastimap.dwi.resampling import Distortion, resampled
from plastimap.transforms import mean_displacement

COMPARED_VOXELS = 50_000
"""Voxels at which images are compared: most of a brain at 3 mm. At b = 2500 with little signal 20,000 did worse."""

_FWHM_PER_SD = float(np.sqrt(8 * np.log(2)))


@dataclass(frozen=True)
class Shell:
    """Volumes of one shell, their b-vectors in the scanner's frame, and the phase-encoding axis."""

    members: NDArray[np.intp]
    bvecs: NDArray[np.float64]
    phase: NDArray[np.float64] | None


class Series:
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
        self._smoothed: dict[int, tuple[float, NDArray[np.float32]]] = {}

    def smoothed(self, index: int, fwhm: float) -> NDArray[np.float32]:
        """A volume, smoothed; the last of its smoothed copies is kept."""
        from scipy import ndimage

        kept = self._smoothed.get(int(index))
        if kept is None or kept[0] != fwhm:
            smooth = ndimage.gaussian_filter(self.volumes[index], fwhm * self._sd_per_mm)
            kept = self._smoothed[int(index)] = fwhm, np.asarray(smooth, dtype=np.float32)
        return kept[1]

    def shown(self, distortion: Distortion | None) -> NDArray[np.float32]:
        """All volumes in the reference position, each interpolated once; shape (X, Y, Z, N)."""
        self._smoothed.clear()
        result = np.empty((*self.volumes[0].shape, len(self.volumes)), dtype=np.float32)
        for n, (image, pull) in enumerate(zip(self.volumes, self.transforms, strict=True)):
            result[..., n] = resampled(image, pull, self.affine, distortion)
        return result

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
        self._smoothed.pop(int(index), None)


def turned(series: Series, shell: Shell) -> NDArray[np.float64]:
    """b-vectors of the shell in the head's axes."""
    return rotated(shell.bvecs, turns_of([series.transforms[i] for i in shell.members], shell.phase))


def turns_of(transforms: list[Matrix], phase: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Rotations (N, 3, 3) of pull matrices."""
    return np.stack([m[:3, :3] if phase is None else eddy_and_turn(m, phase)[1] for m in transforms])
