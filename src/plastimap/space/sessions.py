"""One session's images made ready for registration: filled, limited, weighted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.images import Volume

MARGIN_MM = 6.0
"""How far around the brain an image counts, where it has content there: the brain's surface lies inside."""

CONTENT_SHARE = 0.5
"""Least share of voxels around the mask with finite, non-zero values for an image to count as not masked."""

LIMITS_PERCENT = (0.5, 99.5)
"""Percentiles inside the mask; values are held within them, widened by a tenth of their distance."""


class TemplateProblem(ValueError):
    """Sessions that cannot be brought into one template; the message says which and why."""


@dataclass(frozen=True)
class Session:
    """Images of one session on one grid, without gaps.

    Attributes
    ----------
    channels : tuple of ndarray of float32, shape (X, Y, Z)
        Finite everywhere: gaps are filled from the nearest valid voxel.
    weight : ndarray of float32, shape (X, Y, Z)
        1 where the images can be trusted, 0 elsewhere.
    sound : ndarray of float32, shape (X, Y, Z)
        0 in a lesion and next to it, where the channels are filled from what surrounds it; 1 elsewhere.
    affine : ndarray, shape (4, 4)
    """

    channels: tuple[NDArray[np.float32], ...]
    weight: NDArray[np.float32]
    sound: NDArray[np.float32]
    affine: NDArray[np.float64]

    def volume(self) -> Volume:
        """Return the first channel."""
        return Volume(self.channels[0], self.affine)

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """Edge lengths of a voxel in mm, shape (3,)."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))

    def smoothed(self, fwhm_mm: float) -> Session:
        """Smooth all channels by a Gaussian of `fwhm_mm`."""
        sigma = fwhm_mm / np.sqrt(8 * np.log(2)) / self.voxel_size
        smooth = tuple(blurred(channel, sigma) for channel in self.channels)
        return Session(smooth, self.weight, self.sound, self.affine)

    def centre(self) -> NDArray[np.float64]:
        """Centre of the weight in world mm, shape (3,)."""
        return self.affine[:3, :3] @ np.array(ndimage.center_of_mass(self.weight)) + self.affine[:3, 3]

    def content(self) -> tuple[float, ...]:
        """Numbers that put sessions in an order which does not depend on how they were listed."""
        return tuple(float(channel[self.weight > 0].sum(dtype=np.float64)) for channel in self.channels)


def blurred(image: NDArray[np.float32], sigma: float | NDArray[np.float64]) -> NDArray[np.float32]:
    """Gaussian of `sigma` voxels, cut at three standard deviations."""
    return np.asarray(ndimage.gaussian_filter(image, sigma, truncate=3), dtype=np.float32)


def prepare(
    volume: Volume, mask: NDArray[np.bool_], *, scale: float = 1.0, lesion: NDArray[np.bool_] | None = None
) -> Session:
    """Make a session from its image(s) and brain mask.

    Parameters
    ----------
    volume : Volume
        Shape (X, Y, Z), or (X, Y, Z, C) for C contrasts; NaN where invalid.
    mask : ndarray of bool, shape (X, Y, Z)
    scale : float
        The images are multiplied by it.
    lesion : ndarray of bool, shape (X, Y, Z), optional
        Where the image shows no ordinary tissue: it and the voxels next to it
        are not compared, and filled from what surrounds them.

    Raises
    ------
    TemplateProblem
        When mask and image do not belong together, nothing valid is inside,
        or the lesion covers all of it.
    """
    if mask.shape != volume.shape:
        raise TemplateProblem(f"a mask of shape {mask.shape} beside an image of shape {volume.shape}")
    data = volume.data[..., np.newaxis] if volume.data.ndim == 3 else volume.data
    valid = np.asarray(np.isfinite(data).all(axis=-1))
    if not (valid & mask).any():
        raise TemplateProblem("no valid voxel inside a session's mask")
    trusted, usable = _trusted(data, valid, mask.astype(bool), volume.voxel_size)
    sound = _sound(lesion, volume.shape)
    inside = mask & valid & sound
    if not inside.any():
        raise TemplateProblem("a lesion mask covers all of a session's brain mask; draw it around the lesion alone")
    channels = tuple(_filled(data[..., n], usable & sound, inside) * np.float32(scale) for n in range(data.shape[-1]))
    return Session(channels, (trusted & sound).astype(np.float32), sound.astype(np.float32), volume.affine)


def _sound(lesion: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if lesion is None:
        return np.ones(shape, dtype=bool)
    if lesion.shape != shape:
        raise TemplateProblem(f"a lesion mask of shape {lesion.shape} beside an image of shape {shape}")
    return ~np.asarray(ndimage.binary_dilation(lesion), dtype=bool)


def _trusted(
    data: NDArray[np.floating], valid: NDArray[np.bool_], mask: NDArray[np.bool_], voxel_size: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the images are compared, and where they have values to compute with."""
    wider = np.asarray(ndimage.distance_transform_edt(~mask, sampling=voxel_size)) <= MARGIN_MM
    shell = wider & ~mask
    content = valid & (data != 0).all(axis=-1)
    if shell.any() and content[shell].mean() >= CONTENT_SHARE:
        return wider & valid, valid
    # A skull-stripped image ends at its mask, and that end is no anatomy: slopes there are kept out.
    inner = np.asarray(ndimage.binary_erosion(mask & valid, border_value=1), dtype=bool)
    return inner, mask & valid


def _filled(data: NDArray[np.floating], usable: NDArray[np.bool_], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    low, high = np.percentile(data[inside], LIMITS_PERCENT)
    spare = 0.1 * (high - low)
    nearest = np.asarray(ndimage.distance_transform_edt(~usable, return_distances=False, return_indices=True))
    return np.clip(data[tuple(nearest)], low - spare, high + spare).astype(np.float32)
