"""Spatial transforms: apply, compose, invert, store; one interpolation for a whole chain.

Every transform here is a **pull map**: it takes a point of the grid on which a
result is wanted (world millimetres, RAS) to the point of the source image from
which the value is taken. A chain is listed in the order in which a point
travels: ``[target → template, template → session]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.images import Volume

VALIDITY_THRESHOLD = 0.5
"""Least share of valid source voxels under the interpolation kernel for a result to count as valid."""

Grid = tuple[Sequence[int], NDArray[np.float64]]
"""Where voxels lie: (shape (X, Y, Z), affine (4, 4))."""


class TransformProblem(ValueError):
    """A transform that cannot be used, with the reason in plain words."""


@dataclass(frozen=True)
class Warp:
    """A pull map: point p goes to ``matrix @ (p + displacement(p))``.

    Attributes
    ----------
    displacement : ndarray of float32, shape (X, Y, Z, 3)
        Millimetres, RAS. Between voxels it is interpolated linearly; beyond
        the grid the nearest edge counts.
    affine : ndarray, shape (4, 4)
        0-based voxel indices of the displacement to world millimetres (RAS).
    matrix : ndarray, shape (4, 4)
        Applied after the displacement; identity unless given.
    """

    displacement: NDArray[np.float32]
    affine: NDArray[np.float64]
    matrix: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))

    def __post_init__(self) -> None:
        if self.displacement.ndim != 4 or self.displacement.shape[3] != 3:
            raise TransformProblem(f"a displacement has shape (X, Y, Z, 3), not {self.displacement.shape}")

    @property
    def grid(self) -> Grid:
        """Shape and affine of the grid on which the displacement is stored."""
        return self.displacement.shape[:3], self.affine


Transform = Warp | NDArray[np.float64]
"""A warp, or an affine pull matrix of shape (4, 4)."""

Chain = Transform | Sequence[Transform]
"""One transform, or several in the order in which a point travels."""

Order = Literal[0, 1, 2, 3, "nearest"]
"""Degree of the interpolating spline; ``"nearest"`` is 0."""


def grid_of(where: Volume | Warp | Grid) -> Grid:
    """Shape and affine of a volume, a warp, or a grid itself."""
    if isinstance(where, Volume):
        return where.shape, where.affine
    if isinstance(where, Warp):
        return where.grid
    return where


def world_points(grid: Grid) -> NDArray[np.float64]:
    """World millimetres of all voxel centres, shape (3, X, Y, Z)."""
    shape, affine = grid
    axes = [np.arange(n, dtype=np.float64) for n in shape]
    # Sums of three small vectors by broadcasting are cheaper than a product with all voxel indices.
    parts = [affine[:3, d].reshape(3, 1, 1, 1) * _along(axes[d], d) for d in range(3)]
    return parts[0] + parts[1] + parts[2] + affine[:3, 3].reshape(3, 1, 1, 1)


def _along(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    shape = [1, 1, 1, 1]
    shape[axis + 1] = values.size
    return values.reshape(shape)


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of an affine matrix, float64."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def apply_matrix(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of shape (3, ...) under an affine matrix of shape (4, 4)."""
    moved = matrix[:3, :3] @ points.reshape(3, -1) + matrix[:3, 3:]
    return moved.reshape(points.shape)


def mean_displacement(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    """Mean distance in mm by which an affine matrix moves world points of shape (n, 3)."""
    moved = points @ matrix[:3, :3].T + matrix[:3, 3]
    return float(np.linalg.norm(moved - points, axis=1).mean())


def transform_points(chain: Chain, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of shape (3, ...) in world millimetres, pulled through a chain of transforms."""
    for step in as_steps(chain):
        if isinstance(step, Warp):
            points = points + displacement_at(step, points)
            step = step.matrix
        points = apply_matrix(step, points)
    return points


def as_steps(chain: Chain) -> list[Transform]:
    """Check a chain and list its transforms.

    Raises
    ------
    TransformProblem
        When an item is neither a Warp nor a finite matrix of shape (4, 4).
    """
    steps = [chain] if isinstance(chain, (Warp, np.ndarray)) else list(chain)
    for step in steps:
        if isinstance(step, Warp):
            continue
        if np.shape(step) != (4, 4) or not np.isfinite(step).all():
            raise TransformProblem(f"a transform is a Warp or a finite (4, 4) matrix, not of shape {np.shape(step)}")
    return steps


def displacement_at(warp: Warp, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacement of `warp` in millimetres at world points of shape (3, ...)."""
    voxels = apply_matrix(inverse(warp.affine), points)
    parts = [
        ndimage.map_coordinates(warp.displacement[..., d], voxels, order=1, mode="nearest", output=np.float64)
        for d in range(3)
    ]
    return np.stack(parts)


def resample(
    volume: Volume,
    grid: Volume | Warp | Grid,
    transform: Chain,
    *,
    order: Order = 1,
    validity: bool = True,
) -> NDArray[np.float32]:
    """Values of `volume` on another grid, interpolated once.

    Value and validity (finite or not) are interpolated together and the
    result is divided by the share of valid voxels, so that NaN neither
    spreads nor turns into 0. Splines of degree 2 and 3 ring at gaps: for them
    the gaps of a quantitative map are filled from the nearest valid voxel,
    and validity says where the result holds.

    Parameters
    ----------
    volume : Volume
        Shape (X, Y, Z), or (X, Y, Z, N) for N images on one grid.
    grid : Volume, Warp or (shape, affine)
        Where values are wanted.
    transform : Warp, ndarray (4, 4), or a sequence of them
        Pull map(s) from the world of `grid` to the world of `volume`, in the
        order in which a point travels.
    order : {1, 0, 2, 3, "nearest"}
        Degree of the spline; 1 is trilinear.
    validity : bool
        True: quantitative map; invalid and outside are NaN. False:
        probability, mask or modulated volume; non-finite and outside are 0.

    Returns
    -------
    ndarray of float32, shape of `grid` (and N)
    """
    shape, affine = grid_of(grid)
    voxels = _source_voxels((shape, affine), as_steps(transform), volume.affine)
    degree = 0 if order == "nearest" else order
    if volume.data.ndim == 3:
        return _interpolate(volume.data, voxels, degree, validity)
    columns = [_interpolate(volume.data[..., n], voxels, degree, validity) for n in range(volume.data.shape[3])]
    return np.stack(columns, axis=-1)


def _source_voxels(grid: Grid, steps: list[Transform], source: NDArray[np.float64]) -> NDArray[np.float64]:
    points = transform_points(steps, world_points(grid))
    voxels = apply_matrix(inverse(source), points)
    # A point that misses a voxel centre by rounding alone must not count as outside at the edge.
    nearest = np.rint(voxels)
    close = np.abs(voxels - nearest) < 1e-5
    voxels[close] = nearest[close]
    return voxels


def _interpolate(data: NDArray[Any], voxels: NDArray[np.float64], order: int, validity: bool) -> NDArray[np.float32]:
    finite = np.isfinite(data)
    smooth = validity and order > 1
    filled = _filled(data, finite) if smooth else np.where(finite, data, 0).astype(np.float32)
    values = _sampled(filled, voxels, order, "nearest" if smooth else "grid-constant")
    if not validity:
        return values
    share = _sampled(finite.astype(np.float32), voxels, min(order, 1), "grid-constant")
    valid = share >= VALIDITY_THRESHOLD
    if smooth:
        return np.where(valid, values, np.float32(np.nan))
    return np.divide(values, share, out=np.full_like(values, np.nan), where=valid)


def _filled(data: NDArray[Any], finite: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Gaps take the nearest valid value: a spline rings at every step, and dividing by a share would not undo it."""
    if finite.all() or not finite.any():
        return np.where(finite, data, 0).astype(np.float32)
    nearest = np.asarray(ndimage.distance_transform_edt(~finite, return_distances=False, return_indices=True))
    return np.asarray(data[tuple(nearest)], dtype=np.float32)


def _sampled(data: NDArray[np.float32], voxels: NDArray[np.float64], order: int, edge: str) -> NDArray[np.float32]:
    # "grid-constant" lets values fade over the last voxel's half instead of stopping at its centre.
    sampled = ndimage.map_coordinates(data, voxels, order=order, mode=edge, output=np.float32)
    return np.asarray(sampled, dtype=np.float32)


def compose(chain: Chain, grid: Volume | Warp | Grid) -> Warp:
    """One warp on `grid` that does what a chain does, matrices included.

    Parameters
    ----------
    chain : Warp, ndarray (4, 4), or a sequence of them
        In the order in which a point travels.
    grid : Volume, Warp or (shape, affine)
        Where the composed displacement is stored.
    """
    shape, affine = grid_of(grid)
    points = world_points((shape, affine))
    moved = transform_points(chain, points) - points
    return Warp(np.moveaxis(moved, 0, -1).astype(np.float32), affine)


def jacobian(warp: Warp) -> NDArray[np.float32]:
    """Compute the determinant of a pull map's derivative, shape (X, Y, Z).

    Central differences inside, one-sided at the edge. Greater than 1 where the
    source is larger than the target: the volume of a target voxel times the
    determinant is the volume of source that it draws from.
    """
    gradient = jacobian_matrix(warp)
    (a, b, c), (d, e, f), (g, h, i) = gradient
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return (determinant * np.linalg.det(warp.matrix[:3, :3])).astype(np.float32)


def jacobian_matrix(warp: Warp) -> NDArray[np.float32]:
    """Compute the derivative of ``p + displacement(p)``, shape (3, 3, X, Y, Z): component, then world axis."""
    to_voxel = np.linalg.inv(warp.affine[:3, :3]).astype(np.float32)
    result = np.empty((3, 3, *warp.displacement.shape[:3]), dtype=np.float32)
    for component in range(3):
        slopes = _index_slopes(warp.displacement[..., component])
        for axis in range(3):
            result[component, axis] = sum(slopes[k] * to_voxel[k, axis] for k in range(3))
        result[component, component] += 1
    return result


def _index_slopes(values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values) for axis in range(3)]


def invert(warp: Warp, grid: Volume | Warp | Grid | None = None, *, iterations: int = 60) -> Warp:
    """Invert a pull map by fixed-point iteration.

    Parameters
    ----------
    warp : Warp
        From the world of its own grid to another world.
    grid : Volume, Warp or (shape, affine), optional
        Where the inverse is stored, in that other world. The grid of `warp`
        serves when it has no matrix.
    iterations : int
        At most; a point is done when it moves by less than 1e-4 mm.

    Returns
    -------
    Warp

    Raises
    ------
    TransformProblem
        When the iteration does not settle: the warp folds.
    """
    target = grid_of(warp if grid is None else grid)
    points = world_points(target)
    start = apply_matrix(inverse(warp.matrix), points).reshape(3, -1)
    found, error = _fixed_points(warp, start, iterations)
    voxel = float(np.sqrt((warp.affine[:3, :3] ** 2).sum(axis=0)).min())
    unsettled = float(np.mean(error > 0.25 * voxel))
    if unsettled > 1e-3:
        raise TransformProblem(f"the warp folds and has no inverse at {100 * unsettled:.1f} % of the grid")
    moved = found.reshape(points.shape) - points
    return Warp(np.moveaxis(moved, 0, -1).astype(np.float32), target[1])


def _fixed_points(
    warp: Warp, start: NDArray[np.float64], iterations: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points x of shape (3, N) with x + d(x) = start, and how far each was off at last."""
    found, error = start.copy(), np.full(start.shape[1], np.inf)
    length = np.ones(start.shape[1])
    left = np.arange(start.shape[1])
    for _ in range(iterations):
        step = start[:, left] - found[:, left] - displacement_at(warp, found[:, left])
        size = np.abs(step).max(axis=0)
        # Where the map stretches by more than 2 a full step overshoots: shorter ones settle.
        length[left] = np.where(size > 0.9 * error[left], np.maximum(0.5 * length[left], 0.1), length[left])
        found[:, left] += length[left] * step
        error[left] = size
        left = left[size >= 1e-4]
        if not left.size:
            break
    return found, error


def folding_share(determinant: NDArray[np.floating], mask: NDArray[np.bool_] | None = None) -> float:
    """Share of voxels (inside `mask`) where a Jacobian determinant is not positive."""
    values = determinant if mask is None else determinant[mask]
    return float(np.mean(~(values > 0))) if values.size else 0.0
