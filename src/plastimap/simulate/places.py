"""Where and when a planted change happens: blobs, time shapes, and a local growth with a known Jacobian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def blob(distance_mm: ArrayLike, *, radius: float, edge: float) -> Array:
    """Weight of a place at a distance from its centre: 1 inside, 0 outside, raised cosine of width `edge` between.

    Half-way down at `radius`.
    """
    distance = np.asarray(distance_mm, dtype=np.float64)
    if edge == 0:
        return (distance <= radius).astype(np.float64)
    phase = np.clip((distance - (radius - edge / 2)) / edge, 0, 1)
    return 0.5 * (1 + np.cos(np.pi * phase))


def time_shape(days: ArrayLike, *, term: str, first: float, last: float) -> Array:
    """Course of a planted change: 0 on the first day; 1 on the last (linear) or midway, 0 on the last (quadratic)."""
    share = (np.asarray(days, dtype=np.float64) - first) / (last - first)
    return share if term == "linear" else 4 * share * (1 - share)


def loadings(days: Sequence[float], *, term: str) -> dict[str, float]:
    """Find what a unit change adds to the fitted terms of the coding "quadratic after linear".

    Least squares on [1, t, t² orthogonal to 1 and t] over `days`.

    Returns
    -------
    dict
        ``linear`` (per day) and, with three days or more, ``quadratic`` (per
        day²). A quadratic change (peak midway) has a negative quadratic
        loading, and a small linear one where the days are uneven.
    """
    times = np.asarray(days, dtype=np.float64)
    course = time_shape(times, term=term, first=float(times[0]), last=float(times[-1]))
    line = np.stack([np.ones_like(times), times - times.mean()], axis=1)
    found = {"linear": float(np.linalg.lstsq(line, course, rcond=None)[0][1])}
    if len(times) > 2:
        square = times**2
        square = square - line @ np.linalg.lstsq(line, square, rcond=None)[0]
        found["quadratic"] = float(square @ course / (square @ square))
    return found


@dataclass(frozen=True)
class Growth:
    """A radial diffeomorphism that expands tissue by a given fraction around a place.

    A point at distance ρ from the centre moves to r with
    r³ = 3 ∫₀^ρ s² (1 + ε b(s)) ds, so the Jacobian determinant at ρ is exactly
    1 + ε b(ρ): what grows is pushed outwards, and nothing outside is squeezed
    (the shift outside falls with the squared distance).

    Attributes
    ----------
    centre : tuple of float
        MNI millimetres.
    radius, edge : float
        Of the blob b, mm.
    fraction : float
        ε.
    """

    centre: tuple[float, float, float]
    radius: float
    edge: float
    fraction: float

    def pull(self, points: NDArray[Any]) -> Array:
        """Template points that lie at `points` (3, N) of the grown anatomy."""
        offset = np.asarray(points, dtype=np.float64) - np.asarray(self.centre)[:, None]
        grown = np.sqrt(np.einsum("in,in->n", offset, offset))
        original, moved = self._table()
        # Beyond the table nothing grows: both cubes differ by a constant.
        surplus = moved[-1] ** 3 - original[-1] ** 3
        outside = np.cbrt(np.maximum(grown**3 - surplus, 0.0))
        source = np.where(grown <= moved[-1], np.interp(grown, moved, original), outside)
        # At the centre itself 0/0 stands for the limit, the factor of a uniform growth.
        factor = np.divide(source, grown, out=np.full_like(grown, (1 + self.fraction) ** (-1 / 3)), where=grown > 1e-9)
        return np.asarray(self.centre)[:, None] + offset * factor

    def _table(self) -> tuple[Array, Array]:
        original = np.linspace(0, self.radius + self.edge / 2, 2001)
        middle = 0.5 * (original[1:] + original[:-1])
        density = 1 + self.fraction * blob(middle, radius=self.radius, edge=self.edge)
        cubes = np.concatenate([[0.0], np.cumsum(density * np.diff(original**3))])
        return original, np.cbrt(cubes)
