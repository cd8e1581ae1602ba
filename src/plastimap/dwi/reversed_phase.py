"""Displacement by susceptibility, from two images that were phase-encoded in opposite directions.

A field shifts signal along the phase-encoding axis, in one image forwards and in the other backwards, and piles it up
or thins it out. Of all smooth displacements that one is taken under which both images, moved back and with their
intensities restored, agree (Chang 1992, doi:10.1109/42.141651; Ruthotto 2012, doi:10.1088/0031-9155/57/18/5715).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.dwi._sampling import shifted_lines

SMOOTHNESS = 0.02
"""Weight of the squared slopes of the displacement (voxels per voxel) against squared differences of images whose
bright voxels are 1."""

LEVELS = (4, 2, 1)
"""Voxels put together, coarse first."""

LEAST_VOXELS = 8
"""An axis with fewer is not made coarser."""

NEWTON_STEPS = 12
"""Steps per level at most."""

STOP_VOXELS = 0.01
"""A step that moves no voxel by more ends a level."""

SOLVER_STEPS = 40
"""Conjugate-gradient steps per step at most."""

SOLVER_TOLERANCE = 0.02
"""... which ends where the residual has fallen to this share."""

MOST_SLOPE = 0.95
"""Displacements change by less than this from voxel to voxel: at 1 the image would fold."""

HALVINGS = 6
"""Of a step that does not lower the cost."""

Image = NDArray[np.float64]


def displacement_of_pair(
    forward: NDArray, backward: NDArray, *, ratio: float = 1.0, voxel_size: ArrayLike = 1.0, finest: int = 1
) -> Image:
    """Displacement along the last axis that explains two images of one object.

    Parameters
    ----------
    forward, backward : ndarray, shape (X, Y, Z)
        What lies at z is seen at z + d in the first, with its signal divided by 1 + ∂d/∂z, and at z − ratio · d in the
        second. They may differ in gain.
    ratio : float
        Displacement in the second image over that in the first.
    voxel_size : array_like
        Edges, shape (3,) or one for all.
    finest : int
        Of :data:`LEVELS`, the last one that is used; a coarse displacement costs an eighth.

    Returns
    -------
    ndarray, shape (X, Y, Z)
        Displacement d in voxels of the first image, on the grid of the object as it is.
    """
    size = np.broadcast_to(np.asarray(voxel_size, dtype=np.float64), 3)
    bright = float(np.percentile(forward, 98)) or 1.0
    images = [np.nan_to_num(np.asarray(image, dtype=np.float64)) / bright for image in (forward, backward)]
    images[1] *= images[0].sum() / max(float(images[1].sum()), 1e-12)
    before = (1, 1, 1)
    found = np.zeros(before)
    for level in (level for level in LEVELS if level >= finest):
        factors = tuple(level if n // level >= LEAST_VOXELS else 1 for n in forward.shape)
        pair = _Pair(coarser(images[0], factors), coarser(images[1], factors), ratio, tuple(size * factors))
        found = _settled(pair, _finer(found, before, factors, pair.forward.shape))
        before = factors
    return found if finest == 1 else _finer(found, before, (1, 1, 1), forward.shape)


def slope(image: Image) -> Image:
    """Central differences along the last axis; one-sided at the ends."""
    return np.gradient(image, axis=-1)


def coarser(image: Image, factors: tuple[int, ...]) -> Image:
    """Means of blocks of voxels; the border goes on where blocks are not full."""
    pads = [(0, -n % factor) for n, factor in zip(image.shape, factors, strict=True)]
    padded = np.pad(image, pads, mode="edge")
    split = [part for n, factor in zip(padded.shape, factors, strict=True) for part in (n // factor, factor)]
    return padded.reshape(split).mean(axis=(1, 3, 5))


def _finer(coarse: Image, before: tuple[int, ...], factors: tuple[int, ...], shape: tuple[int, ...]) -> Image:
    """Bring a displacement from one level to the next: linear interpolation between the blocks' centres."""
    from scipy import ndimage

    ratios = [one / other for one, other in zip(before, factors, strict=True)]
    places = [(np.arange(n) + 0.5) / ratio - 0.5 for n, ratio in zip(shape, ratios, strict=True)]
    grid = np.meshgrid(*places, indexing="ij")
    return ndimage.map_coordinates(coarse, grid, order=1, mode="nearest") * ratios[2]


@dataclass(frozen=True)
class _Pair:
    """The two images of a level, and what a displacement costs there."""

    forward: Image
    backward: Image
    ratio: float
    size: tuple[float, ...]

    @cached_property
    def _splines(self) -> tuple[Image, Image]:
        from scipy import ndimage

        own, other = (ndimage.spline_filter1d(image, axis=-1, mode="mirror") for image in (self.forward, self.backward))
        return np.asarray(own), np.asarray(other)

    @cached_property
    def stiffness(self) -> tuple[float, ...]:
        """Weights of the slopes along the axes: per millimetre they count alike."""
        return tuple(SMOOTHNESS * (self.size[2] / edge) ** 2 for edge in self.size)

    def seen(self, shift: Image) -> tuple[Image, Image, Image]:
        """Difference of the restored images; its derivatives by the displacement and by the displacement's slope."""
        own, other = self._splines
        change = slope(shift)
        first, first_slope = shifted_lines(own, shift)
        second, second_slope = shifted_lines(other, -self.ratio * shift)
        gain, other_gain = 1 + change, 1 - self.ratio * change
        difference = first * gain - second * other_gain
        return difference, first_slope * gain + self.ratio * second_slope * other_gain, first + self.ratio * second

    def cost(self, shift: Image) -> float:
        """Squared difference plus smoothness; infinite where a displacement would fold an image."""
        if np.abs(slope(shift)).max() * max(1.0, self.ratio) > MOST_SLOPE:
            return float("inf")
        return float((self.seen(shift)[0] ** 2).sum() + (shift * self.stiff(shift)).sum())

    def stiff(self, shift: Image) -> Image:
        """Half of the derivative of the sum of squared slopes."""
        total = np.zeros_like(shift)
        for axis, weight in enumerate(self.stiffness):
            steps = weight * np.diff(shift, axis=axis)
            low, high = (tuple(part if d == axis else slice(None) for d in range(3)) for part in (_LOW, _HIGH))
            total[low] -= steps
            total[high] += steps
        return total


_LOW, _HIGH = slice(None, -1), slice(1, None)


def _settled(pair: _Pair, shift: Image) -> Image:
    """Gauss–Newton steps from a displacement to the least cost of a level."""
    cost = pair.cost(shift)
    for _ in range(NEWTON_STEPS):
        difference, by_shift, by_slope = pair.seen(shift)

        def normal(step: Image, a: Image = by_shift, c: Image = by_slope) -> Image:
            along = a * step + c * slope(step)
            return a * along + slope_transposed(c * along) + pair.stiff(step)

        downhill = -(by_shift * difference + slope_transposed(by_slope * difference) + pair.stiff(shift))
        diagonal = by_shift**2 + 0.5 * by_slope**2 + 2 * sum(pair.stiffness)
        step = conjugate_gradients(normal, downhill, diagonal)
        for _ in range(HALVINGS):
            if (tried := pair.cost(shift + step)) < cost:
                break
            step = step / 2
        else:
            break
        shift, cost = shift + step, tried
        if np.abs(step).max() < STOP_VOXELS:
            break
    return shift


def slope_transposed(image: Image) -> Image:
    """Transpose of :func:`slope`."""
    result = np.zeros_like(image)
    inner = 0.5 * image[..., 1:-1]
    result[..., 2:] += inner
    result[..., :-2] -= inner
    for end, before in ((0, 1), (-1, -2)):
        sign = -1 if end == 0 else 1
        result[..., end] += sign * image[..., end]
        result[..., before] -= sign * image[..., end]
    return result


def conjugate_gradients(normal: Callable[[Image], Image], right: Image, diagonal: Image) -> Image:
    """Solve a positive definite system nearly, preconditioned by its diagonal (Hestenes 1952)."""
    found, rest = np.zeros_like(right), right.copy()
    ready = rest / diagonal
    direction, power = ready.copy(), float((rest * ready).sum())
    goal = SOLVER_TOLERANCE**2 * power
    for _ in range(SOLVER_STEPS):
        if power <= goal or power <= 0:
            break
        image = normal(direction)
        length = power / float((direction * image).sum())
        found += length * direction
        rest -= length * image
        ready = rest / diagonal
        power, last = float((rest * ready).sum()), power
        direction = ready + power / last * direction
    return found
