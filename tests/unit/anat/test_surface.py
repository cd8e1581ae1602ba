"""The deformable surface, on a ball with a skull and a scalp."""

from __future__ import annotations

import numpy as np

from plastimap.anat.surface import Intensities, fill_surface, icosphere, inflate


def test_sphere_is_closed_and_faces_outwards() -> None:
    vertices, faces, neighbours = icosphere(2)
    edges = {tuple(sorted(pair)) for face in faces.tolist() for pair in zip(face, [*face[1:], face[0]], strict=True)}
    assert len(vertices) - len(edges) + len(faces) == 2
    assert (np.linalg.det(vertices[faces]) > 0).all()
    degree = [len(set(row)) for row in neighbours.tolist()]
    assert sorted(set(degree)) == [5, 6]
    assert degree.count(5) == 12
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1)


def test_filled_sphere_has_its_volume() -> None:
    vertices, _, _ = icosphere()
    mask = fill_surface(vertices * 15 + 20, (41, 41, 41))
    # Voxels count by their centres; triangles cut the ball's corners by less than a percent.
    assert abs(mask.sum() / (4 / 3 * np.pi * 15**3) - 1) < 0.015


def test_balloon_stops_at_the_skull() -> None:
    size = 2.0
    axes = np.ogrid[:100, :100, :100]
    # An ellipsoid "brain", a dark gap, a bright scalp.
    radius = np.sqrt(sum(((axis - 50) * size / r) ** 2 for axis, r in zip(axes, (65.0, 80.0, 60.0), strict=True)))
    head = np.where(radius < 1, 100.0, np.where(radius < 1.15, 15.0, np.where(radius < 1.3, 120.0, 2.0)))
    limits = Intensities(low=2.0, high=120.0, threshold=13.8, typical=100.0)
    points = inflate(head.astype(np.float32), size, np.array([52.0, 48.0, 50.0]), 75.0, limits, iterations=300)
    mask, brain = fill_surface(points, head.shape), radius < 1
    dice = 2 * (mask & brain).sum() / (mask.sum() + brain.sum())
    # Off-centre start; the surface may lie a voxel inside the gap.
    assert dice > 0.95
