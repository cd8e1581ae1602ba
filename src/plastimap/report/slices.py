"""Cuts through volumes in world millimetres, tiled into one picture.

Panels are sampled along the world axes, so oblique and anisotropic grids, and
overlays on other grids, all land in the right place. Left is shown on the
left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume

Cut = tuple[int, float]
"""World axis across the cut (0 = sagittal, 1 = coronal, 2 = axial) and its position in mm."""

IN_PLANE = {0: (1, 2), 1: (0, 2), 2: (0, 1)}
"""World axes shown to the right and upwards, per axis of the cut."""

PANEL_PIXELS = 150
"""Pixels along the longest edge of a panel."""


@dataclass(frozen=True)
class View:
    """The box that every panel shows.

    Attributes
    ----------
    low, high : ndarray, shape (3,)
        Corners in world millimetres.
    step : float
        Millimetres per pixel.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    step: float


@dataclass(frozen=True)
class Mosaic:
    """Panels tiled into one picture.

    Attributes
    ----------
    pixels : ndarray, shape (rows, columns) or (rows, columns, 3)
        Row 0 is at the bottom. NaN = outside of the image.
    corners : tuple of (column, row)
        Lower left corner of each panel, in pixels.
    panel : tuple of int
        Height and width of a panel.
    """

    pixels: NDArray[np.float64]
    corners: tuple[tuple[int, int], ...]
    panel: tuple[int, int]


def view_of(volume: Volume, *, mask: NDArray[np.bool_] | None = None, margin_mm: float = 8.0) -> View:
    """Find the world box around `mask`, or around the values that are neither 0 nor NaN.

    Parameters
    ----------
    volume : Volume
        Image whose grid counts; 4D images are judged by their first volume.
    mask : ndarray of bool, optional
        Same spatial shape.
    margin_mm : float
        Air around the box.

    Returns
    -------
    View
    """
    data = volume.data if volume.data.ndim == 3 else volume.data[..., 0]
    wanted = mask if mask is not None and mask.any() else np.isfinite(data) & (data != 0)
    if not wanted.any():
        wanted = np.ones(data.shape, dtype=bool)
    edges = [np.flatnonzero(wanted.any(axis=tuple(a for a in range(3) if a != axis)))[[0, -1]] for axis in range(3)]
    corners = np.array(np.meshgrid(*edges, indexing="ij")).reshape(3, -1)
    world = volume.affine[:3, :3] @ corners + volume.affine[:3, 3:]
    low, high = world.min(axis=1) - margin_mm, world.max(axis=1) + margin_mm
    return View(low, high, float((high - low).max()) / PANEL_PIXELS)


def even_cuts(view: View, axis: int, count: int, *, inner: float = 0.62) -> list[Cut]:
    """`count` cuts across `axis`, evenly spaced over the `inner` share of the box."""
    middle = (view.low[axis] + view.high[axis]) / 2
    half = (view.high[axis] - view.low[axis]) / 2 * inner
    places = [middle] if count == 1 else np.linspace(middle - half, middle + half, count)
    return [(axis, float(place)) for place in places]


def three_rows(view: View, count: int) -> list[Cut]:
    """`count` cuts in each of the three planes: axial, coronal, sagittal."""
    return [cut for axis in (2, 1, 0) for cut in even_cuts(view, axis, count)]


@dataclass(frozen=True)
class _Sampled:
    """A volume ready for interpolation: values without NaN, and where they count."""

    values: NDArray[np.float32]
    valid: NDArray[np.float32] | None
    inverse: NDArray[np.float64]


def _prepared(volume: Volume) -> _Sampled:
    data = np.asarray(volume.data, dtype=np.float32)
    finite = np.isfinite(data)
    inverse = np.linalg.inv(volume.affine).astype(np.float64)
    if finite.all():
        return _Sampled(data, None, inverse)
    return _Sampled(np.where(finite, data, np.float32(0)), finite.astype(np.float32), inverse)


def sample(volume: Volume, view: View, cut: Cut, *, nearest: bool = False) -> NDArray[np.float64]:
    """Values of `volume` on one cut.

    Parameters
    ----------
    volume : Volume
        3D.
    view : View
        The box to show.
    cut : tuple
        Axis and position in mm.
    nearest : bool
        No interpolation (labels).

    Returns
    -------
    ndarray, shape (height, width)
        NaN outside of the image and where most of a pixel is NaN.
    """
    return _sample(_prepared(volume), view, cut, nearest)


def _sample(source: _Sampled, view: View, cut: Cut, nearest: bool) -> NDArray[np.float64]:
    from scipy.ndimage import map_coordinates

    axis, place = cut
    right, up = IN_PLANE[axis]
    columns = np.arange(view.low[right], view.high[right], view.step)
    rows = np.arange(view.low[up], view.high[up], view.step)
    world = np.empty((3, rows.size, columns.size))
    world[axis], world[right], world[up] = place, columns[None, :], rows[:, None]
    voxels = np.tensordot(source.inverse[:3, :3], world, axes=1) + source.inverse[:3, 3][:, None, None]
    order = 0 if nearest else 1
    # Half a voxel beyond the outer centres still belongs to the image: a single slice has no neighbours.
    edge = np.array(source.values.shape)[:, None, None] - 0.5
    inside = ((voxels >= -0.5) & (voxels <= edge)).all(axis=0)
    values = map_coordinates(source.values, voxels, order=order, mode="nearest").astype(np.float64)
    if source.valid is None:
        return np.where(inside, values, np.nan)
    weight = map_coordinates(source.valid, voxels, order=order, mode="nearest")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(inside & (weight > 0.5), values / weight, np.nan)


def mosaic(volume: Volume, view: View, cuts: Sequence[Cut], *, columns: int, nearest: bool = False) -> Mosaic:
    """Tile the `cuts` through a volume, `columns` per row, first row on top.

    Panels differ in size between planes; each is centred in a cell that holds
    the largest.
    """
    source = _prepared(volume)
    panels = [_sample(source, view, cut, nearest) for cut in cuts]
    height, width = max(p.shape[0] for p in panels), max(p.shape[1] for p in panels)
    rows = -(-len(panels) // columns)
    pixels = np.full((rows * height, columns * width), np.nan)
    corners: list[tuple[int, int]] = []
    for index, panel in enumerate(panels):
        left = (index % columns) * width
        bottom = (rows - 1 - index // columns) * height
        corners.append((left, bottom))
        top_gap, side_gap = (height - panel.shape[0]) // 2, (width - panel.shape[1]) // 2
        pixels[bottom + top_gap : bottom + top_gap + panel.shape[0],
               left + side_gap : left + side_gap + panel.shape[1]] = panel  # fmt: skip
    return Mosaic(pixels, tuple(corners), (height, width))


def projections(volume: Volume, view: View) -> tuple[NDArray[np.float64], ...]:
    """Largest absolute value (with its sign) along each world axis: sagittal, coronal, axial glass-brain views.

    Parameters
    ----------
    volume : Volume
        3D; NaN and 0 show nothing.
    view : View
        The box to show.

    Returns
    -------
    tuple of three ndarrays
        NaN where nothing lies along the ray.
    """
    data = np.nan_to_num(np.asarray(volume.data, dtype=np.float64))
    places = np.argwhere(data != 0)
    world = places @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    values = data[tuple(places.T)]
    order = np.argsort(np.abs(values))
    return tuple(_scatter(world[order], values[order], view, volume, axis) for axis in range(3))


def _scatter(world: NDArray[np.float64], values: NDArray[np.float64], view: View, volume: Volume, axis: int
             ) -> NDArray[np.float64]:  # fmt: skip
    right, up = IN_PLANE[axis]
    width = int(np.ceil((view.high[right] - view.low[right]) / view.step))
    height = int(np.ceil((view.high[up] - view.low[up]) / view.step))
    flat = np.full((height, width), np.nan)
    half = max(1, int(np.ceil(float(volume.voxel_size.max()) / view.step / 2)))
    columns = ((world[:, right] - view.low[right]) / view.step).astype(int)
    rows = ((world[:, up] - view.low[up]) / view.step).astype(int)
    # In order of size: where voxels overlap, the largest is painted last.
    for row, column, value in zip(rows, columns, values, strict=True):
        flat[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] = value
    return flat


def silhouettes(volume: Volume, view: View) -> tuple[NDArray[np.float64], ...]:
    """Shadow (1 inside, 0 outside) of the values that are neither 0 nor NaN, along each world axis.

    Sampled on a coarse set of cuts: an outline needs no more.
    """
    inside = _prepared(Volume((np.isfinite(volume.data) & (volume.data != 0)).astype(np.float32), volume.affine))
    shadows: list[NDArray[np.float64]] = []
    for axis in range(3):
        cuts = even_cuts(view, axis, 24, inner=1.0)
        shadows.append(np.max([np.nan_to_num(_sample(inside, view, cut, False)) for cut in cuts], axis=0))
    return tuple(shadows)


def display_window(values: NDArray[np.float64], *, low: float = 2.0, high: float = 98.0) -> tuple[float, float]:
    """Percentiles of the values that are neither NaN nor 0; (0, 1) where there are none."""
    inside = values[np.isfinite(values) & (values != 0)]
    if inside.size == 0:
        return 0.0, 1.0
    lower, upper = (float(edge) for edge in np.percentile(inside, (low, high)))
    return (lower, upper) if upper > lower else (lower - 0.5, upper + 0.5)
