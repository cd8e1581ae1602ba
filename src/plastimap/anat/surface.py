"""A balloon in the head: the deformable surface of Smith 2002, doi:10.1002/hbm.10062."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SUBDIVISIONS = 4
"""Of an icosahedron: 2,562 vertices, about 4 mm apart on a brain."""

ITERATIONS = 600
"""Enough for the slowest vertex at the vertex distance above; more moves the surface by less than .1 mm."""

RADIUS_MIN_MM, RADIUS_MAX_MM = 3.33, 10.0
"""Radii of curvature between which smoothing goes from full to none (Smith 2002)."""

DEPTH_DARK_MM, DEPTH_BRIGHT_MM = 20.0, 10.0
"""How far inwards the darkest and the brightest intensity are looked for (Smith 2002)."""


@dataclass(frozen=True)
class Intensities:
    """Robust intensity limits of a head.

    Attributes
    ----------
    low, high : float
        2nd and 98th percentile of the head.
    threshold : float
        A tenth of the way between them: above air and bone.
    typical : float
        Median of the brain.
    """

    low: float
    high: float
    threshold: float
    typical: float


@lru_cache(maxsize=2)
def icosphere(subdivisions: int = SUBDIVISIONS) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Make a unit sphere of triangles.

    Returns
    -------
    vertices : ndarray, shape (V, 3)
    faces : ndarray, shape (F, 3)
        Counter-clockwise seen from outside.
    neighbours : ndarray, shape (V, 6)
        The adjacent vertices; where there are five only, the first one is repeated at the end.
    """
    vertices, faces = _icosahedron()
    vertices = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    for _ in range(subdivisions):
        vertices, faces = _split(vertices, faces)
    return vertices, faces, _neighbours(faces, len(vertices))


def _icosahedron() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    golden = (1 + 5**0.5) / 2
    corners = [np.roll([0.0, a, b * golden], turn) for turn in range(3) for a in (-1, 1) for b in (-1, 1)]
    vertices = np.array(corners)
    adjacent = np.abs(np.linalg.norm(vertices[:, None] - vertices, axis=2) - 2.0) < 1e-9
    triples = [t for t in combinations(range(12), 3) if all(adjacent[pair] for pair in combinations(t, 2))]
    faces = np.array(triples)
    inward = np.linalg.det(vertices[faces]) < 0
    faces[inward] = faces[inward][:, ::-1]
    return vertices, faces


def _split(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    middle = vertices[unique].mean(axis=1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    ab, bc, ca = np.split(len(vertices) + index.ravel(), 3)
    a, b, c = faces.T
    parts = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return np.vstack([vertices, middle]), np.concatenate([np.stack(part, axis=1) for part in parts])


def _neighbours(faces: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    starts = np.searchsorted(pairs[:, 0], np.arange(count))
    degree = np.bincount(pairs[:, 0], minlength=count)
    column = np.where(np.arange(6) < degree[:, None], np.arange(6), 0)
    return pairs[starts[:, None] + column, 1]


def inflate(
    data: NDArray[np.float32],
    voxel_mm: float,
    centre: NDArray[np.float64],
    radius_mm: float,
    limits: Intensities,
    *,
    fraction: float = 0.5,
    iterations: int = ITERATIONS,
) -> NDArray[np.float64]:
    """Grow a sphere until it meets the dark rim around the brain.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Intensities on an isotropic grid.
    voxel_mm : float
        Voxel edge.
    centre : ndarray, shape (3,)
        Voxel coordinates of the start.
    radius_mm : float
        Radius of the head's sphere; growth starts at half of it.
    limits : Intensities
        Robust limits of the head.
    fraction : float, default 0.5
        Where between the dark and the bright limit the surface stops; smaller means a larger brain.
    iterations : int, optional
        Number of steps.

    Returns
    -------
    ndarray, shape (V, 3)
        Vertices in voxel coordinates; their triangles are those of :func:`icosphere`.
    """
    sphere, faces, neighbours = icosphere()
    five = neighbours[:, 5] == neighbours[:, 0]
    weights = np.full(neighbours.shape, 1 / 6)
    weights[five] = [0.2] * 5 + [0.0]
    points = sphere * (radius_mm / 2) + np.asarray(centre) * voxel_mm
    stiff = (1 / RADIUS_MIN_MM + 1 / RADIUS_MAX_MM) / 2
    steep = 6 / (1 / RADIUS_MIN_MM - 1 / RADIUS_MAX_MM)
    for _ in range(iterations):
        around = points[neighbours]
        to_mean = (around * weights[:, :, None]).sum(axis=1) - points
        normal = _vertex_normals(points, faces)
        along = (to_mean * normal).sum(axis=1)
        edge = float(np.linalg.norm(around - points[:, None], axis=2).mean())
        # Curvature 1 / r = 2 |s_n| / l²: strong bends are smoothed, gentle ones are let be.
        smooth = (1 + np.tanh(steep * (2 * np.abs(along) / edge**2 - stiff))) / 2
        push = 0.05 * edge * _pressure(data, points, normal, voxel_mm, limits, fraction)
        points = points + 0.5 * (to_mean - along[:, None] * normal) + (smooth * along + push)[:, None] * normal
    return points / voxel_mm


def _vertex_normals(points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    a, b, c = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    face = np.cross(b - a, c - a)
    total = [
        sum(np.bincount(faces[:, k], weights=face[:, axis], minlength=len(points)) for k in range(3))
        for axis in range(3)
    ]
    normal = np.stack(total, axis=1)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def _pressure(
    data: NDArray[np.float32],
    points: NDArray[np.float64],
    normal: NDArray[np.float64],
    voxel_mm: float,
    limits: Intensities,
    fraction: float,
) -> NDArray[np.float64]:
    """Outward pressure per vertex, −2..2: positive inside the brain, negative outside."""
    depths = np.arange(1.0, DEPTH_DARK_MM + 1e-9, max(1.0, voxel_mm / 2))
    places = (points[:, None] - depths[None, :, None] * normal[:, None]) / voxel_mm
    index = np.clip(np.rint(places).astype(np.int64), 0, np.array(data.shape) - 1)
    values = data[index[..., 0], index[..., 1], index[..., 2]].astype(np.float64)
    dark = np.clip(values.min(axis=1), limits.low, limits.typical)
    bright = np.clip(values[:, depths <= DEPTH_BRIGHT_MM].max(axis=1), limits.threshold, limits.typical)
    local = (bright - limits.low) * fraction + limits.low
    return 2 * (dark - local) / np.maximum(bright - limits.low, 1e-12)


def fill_surface(points: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Mark the voxels whose centres lie inside the closed surface with vertices `points` (voxel coordinates)."""
    _, faces, _ = icosphere()
    corners = points[faces]
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-12)
    longest = float(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max())
    steps = max(2, int(np.ceil(longest / 0.5)))
    i, j = np.meshgrid(np.arange(steps + 1), np.arange(steps + 1), indexing="ij")
    inside = i + j <= steps
    mix = np.stack([i[inside], j[inside], steps - i[inside] - j[inside]], axis=1) / steps
    places = np.einsum("mk,fkd->fmd", mix, corners)
    voxels = np.rint(places).astype(np.int64)
    beyond = ((voxels - places) * outward[:, None]).sum(axis=2).ravel()
    voxels = voxels.reshape(-1, 3)
    seen = ((voxels >= 0) & (voxels < np.array(shape))).all(axis=1)
    flat = np.ravel_multi_index(tuple(voxels[seen].T), shape)
    size = int(np.prod(shape))
    shell = np.bincount(flat, minlength=size).reshape(shape) > 0
    # A voxel that the surface crosses belongs to the side on which its centre lies.
    outside = np.bincount(flat, weights=beyond[seen], minlength=size).reshape(shape) > 0
    filled = np.asarray(ndimage.binary_fill_holes(shell), dtype=bool)
    return filled & ~(shell & outside)
