"""Working grids: isotropic, axis-aligned copies of a scan, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.drawn import inside_drawn
from plastimap.images import Volume, same_grid

FWHM_PER_SIGMA = 2.3548200450309493

ALONG = 1 - 1e-6
"""Cosine from which an axis counts as one of the world's: .08 degrees."""


def resample_isotropic(volume: Volume, resolution_mm: float, *, fill: float = 0.0, sharp: bool = True) -> Volume:
    """Resample a scan to an isotropic grid along the world's axes (RAS+).

    Parameters
    ----------
    volume : Volume
        Shape (X, Y, Z); any orientation, oblique too. Must be finite.
    resolution_mm : float
        Voxel edge of the new grid. Where the scan is finer it is smoothed
        first, so that the samples do not alias.
    fill : float, default 0
        Value outside the field of view.
    sharp : bool, default True
        Whether a scan on turned axes is sampled by splines, not linearly.

    Returns
    -------
    Volume
        float32, covering the whole field of view.
    """
    shape, affine = isotropic_grid(volume, resolution_mm)
    if shape == volume.shape and np.allclose(affine, volume.affine, atol=1e-6):
        return Volume(np.array(volume.data, dtype=np.float32), affine)
    data = antialias(np.asarray(volume.data, dtype=np.float32), volume.voxel_size, resolution_mm)
    linear = sample(data, volume.affine, shape, affine, fill=fill)
    if not (sharp and is_oblique(volume.affine)):
        return Volume(linear, affine)
    # Between turned axes most samples lie amid voxels, where linear means blur what a scan along the world's axes
    # keeps. Splines ring, though: nothing leaves the range of the scan, and what is nothing but air stays so.
    splined = sample(data, volume.affine, shape, affine, order=3, fill=fill)
    bounded = np.clip(splined, min(float(data.min()), fill), max(float(data.max()), fill))
    return Volume(np.where(linear == fill, linear, bounded).astype(np.float32), affine)


def is_oblique(affine: NDArray[np.float64]) -> bool:
    """Whether a scan's axes are turned against the world's, by more than storage order and direction."""
    directions = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    return bool((directions.max(axis=0) < ALONG).any())


def isotropic_grid(volume: Volume, resolution_mm: float) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and affine of the RAS+ grid of `resolution_mm` that covers the field of view of `volume`."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape], indexing="ij")).reshape(3, -1)
    world = volume.affine[:3, :3] @ corners + volume.affine[:3, 3:]
    low, high = world.min(axis=1), world.max(axis=1)
    steps = np.floor((high - low) / resolution_mm + 1e-6).astype(int) + 1
    affine = np.diag([resolution_mm] * 3 + [1.0])
    # What does not divide evenly is shared between both sides, so that a mirrored scan gets the mirrored grid.
    affine[:3, 3] = low + (high - low - (steps - 1) * resolution_mm) / 2
    return (int(steps[0]), int(steps[1]), int(steps[2])), affine


def antialias(data: NDArray[np.float32], voxel_size: NDArray[np.float64], resolution_mm: float) -> NDArray[np.float32]:
    """Smooth `data` to the point spread of `resolution_mm` voxels; unchanged along axes that are coarser."""
    # Variances of box-shaped voxels subtract: what is left is the width of the filter.
    variance = np.clip(resolution_mm**2 - voxel_size**2, 0.0, None) / 12.0
    sigma = np.sqrt(variance) / voxel_size
    if not sigma.any():
        return data
    return np.asarray(ndimage.gaussian_filter(data, sigma, mode="nearest", truncate=3.0), dtype=np.float32)


def sample(
    data: NDArray[np.generic],
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    target: NDArray[np.float64],
    *,
    order: int = 1,
    fill: float | None = 0.0,
) -> NDArray[np.float32]:
    """Sample `data` (voxel-to-world `affine`) on the grid (`shape`, `target`).

    Outside the field of view it is `fill`, or like the nearest voxel where that is None.
    """
    pull = np.linalg.inv(affine) @ target
    out = ndimage.affine_transform(
        np.asarray(data, dtype=np.float32),
        pull[:3, :3],
        offset=pull[:3, 3],  # pyright: ignore[reportArgumentType]
        output_shape=shape,
        order=order,
        mode="nearest" if fill is None else "constant",
        cval=fill or 0.0,
        prefilter=order > 1,
    )
    return np.asarray(out, dtype=np.float32)


def drawn_on(volume: Volume, masks: Sequence[Volume]) -> NDArray[np.bool_] | None:
    """Join masks that people have drawn, on the grid of `volume`; None without any.

    Inside is as :func:`plastimap.drawn.inside_drawn` says. A mask on another grid is taken by the nearest voxel.
    """
    joined: NDArray[np.bool_] | None = None
    for mask in masks:
        drawn = inside_drawn(mask.data).astype(np.float32)
        if not same_grid(mask, volume):
            drawn = sample(drawn, mask.affine, volume.shape, volume.affine, order=0)
        joined = drawn > 0 if joined is None else joined | (drawn > 0)
    return joined


def smooth_mm(data: NDArray[np.generic], voxel_size: NDArray[np.float64], fwhm_mm: float) -> NDArray[np.float32]:
    """Gaussian smoothing with a width in millimetres; zero outside the field of view."""
    sigma = fwhm_mm / FWHM_PER_SIGMA / np.asarray(voxel_size)
    smoothed = ndimage.gaussian_filter(np.asarray(data, dtype=np.float32), sigma, mode="constant", truncate=3.0)
    return np.asarray(smoothed, dtype=np.float32)


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest face-connected piece of a mask; an empty mask stays empty."""
    found: Any = ndimage.label(mask)
    labels, count = found
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax(), dtype=bool)


def within(mask: NDArray[np.bool_], voxel_size: NDArray[np.float64], distance_mm: float) -> NDArray[np.bool_]:
    """Grow `mask` by a ball of radius `distance_mm`."""
    distance = np.asarray(ndimage.distance_transform_edt(~mask, sampling=tuple(voxel_size)))
    return distance <= distance_mm


def closed(mask: NDArray[np.bool_], voxel_size: NDArray[np.float64], radius_mm: float) -> NDArray[np.bool_]:
    """Close fissures of `mask` up to twice `radius_mm` wide, and fill its holes."""
    # On a grid wide enough that the edge of the field of view does not count as tissue.
    margin = int(np.ceil(radius_mm / float(np.min(voxel_size)))) + 1
    wide = np.pad(mask, margin)
    grown = np.asarray(ndimage.binary_fill_holes(within(wide, voxel_size, radius_mm)), dtype=bool)
    shrunk = ~within(~grown, voxel_size, radius_mm)
    inner = (slice(margin, -margin),) * 3
    return np.asarray(ndimage.binary_fill_holes(shrunk[inner] | mask), dtype=bool)


def around(volume: Volume, mask: NDArray[np.bool_], margin_mm: float) -> tuple[slice, slice, slice]:
    """Find the box of voxels that holds `mask` with a margin, cut at the field of view."""
    found: list[slice] = []
    for axis in range(3):
        present = np.nonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))[0]
        margin = int(np.ceil(margin_mm / float(volume.voxel_size[axis])))
        found.append(slice(max(0, int(present[0]) - margin), int(present[-1]) + margin + 1))
    return found[0], found[1], found[2]


def cropped(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """Cut `volume` to a box of voxels; what remains keeps its place in the world."""
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    return Volume(volume.data[box], affine)
