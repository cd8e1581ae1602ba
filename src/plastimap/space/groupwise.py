"""Deformations of several sessions around their midpoint, all at once.

All sessions are warped to a common place, their mean is the reference, and
each takes a Gauss-Newton step towards it (:mod:`plastimap.space.elastic`).
The residuals to the mean add up to zero, so do the steps: the midpoint stays
where it is, and no session is privileged. The sum of squared residuals to the
mean equals that over all pairs of sessions, so that the mean's noise, which
is part of each session's own, does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from plastimap.images import Volume
from plastimap.space import elastic
from plastimap.space.sessions import Session, blurred
from plastimap.transforms import Chain, Grid, Warp, displacement_at, grid_of, invert, resample, world_points

Array = NDArray[np.float32]

ALL_SOUND = 0.99
"""Share of sound voxels under the interpolation kernel from which a pulled value counts: all, but for rounding."""


@dataclass(frozen=True)
class Settings:
    """How stiff, how long.

    Attributes
    ----------
    stiffness : float
        Weight of the bending energy, per mm^3: larger means smoother. Chosen on simulated pairs: more noise wants
        less than this, less noise more (``bench/space_longitudinal.py``).
    smoothing : float
        Standard deviation in voxels of a Gaussian on all images before comparison.
    coarse_steps, fine_steps : int
        Gauss-Newton steps at twice the voxel size and at the voxel size.
    solver_steps : int
        Conjugate-gradient iterations in each.
    intensity_mm : float
        FWHM of the smooth multiplicative difference in intensity between
        sessions that is estimated alongside; 0 = none. What it leaves looks like growth: a region of 24 mm that
        brightens by 5 % seemed to grow by 3.3 % with 20 mm, by 1.5 % with 10; below, edges lose what tells change.
    margin_mm : float
        Room around the brain in which the deformation may fade.
    """

    stiffness: float = 60.0
    smoothing: float = 0.6
    coarse_steps: int = 3
    fine_steps: int = 3
    solver_steps: int = 12
    intensity_mm: float = 10.0
    margin_mm: float = 12.0


def deform(
    sessions: Sequence[Session],
    matrices: Sequence[NDArray[np.float64]],
    weight: Volume,
    *,
    settings: Settings,
    reference: Session | None = None,
) -> list[Warp]:
    """Displacements of all sessions, before their rigid matrices.

    Parameters
    ----------
    sessions : sequence of Session
    matrices : sequence of ndarray, shape (4, 4)
        Rigid pull matrices, template to session.
    weight : Volume
        Where the comparison counts, on the template's grid.
    settings : Settings
    reference : Session, optional
        A template that stands still, in place of the mean, for one session to
        join: its displacements then need not add up to zero.

    Returns
    -------
    list of Warp
        On the template's grid, with the rigid matrix as `matrix`.
    """
    fields = [np.zeros((3, 1, 1, 1), dtype=np.float32) for _ in sessions]
    box: Grid = ((1, 1, 1), weight.affine)
    for factor, steps in ((2, settings.coarse_steps), (1, settings.fine_steps)):
        finer = padded_box(weight, factor=factor, margin_mm=settings.margin_mm)
        level = _Level(sessions, matrices, weight, finer, factor, settings, reference)
        fields, box = level.run([_on_grid(field, box, finer) for field in fields], steps), finer
    return [
        Warp(np.moveaxis(_on_grid(field, box, grid_of(weight)), 0, -1), weight.affine, matrix)
        for field, matrix in zip(fields, matrices, strict=True)
    ]


def padded_box(weight: Volume, *, factor: int, margin_mm: float) -> Grid:
    """Make a box around where `weight` is not 0, `factor` times as coarse, of sizes that suit Fourier transforms."""
    margin = np.ceil(margin_mm / weight.voxel_size)
    found = np.argwhere(weight.data > 0)
    first, last = found.min(axis=0) - margin, found.max(axis=0) + margin
    wanted = np.ceil((last - first + 1) / factor)
    shape = tuple(int(fft.next_fast_len(int(n), real=True) or n) for n in wanted)
    # Voxel centres of the coarse grid lie on those of the fine one.
    first -= np.floor((np.array(shape) * factor - (last - first + 1)) / 2)
    affine = weight.affine @ np.diag([factor, factor, factor, 1.0])
    affine[:3, 3] = weight.affine[:3, :3] @ first + weight.affine[:3, 3]
    return shape, affine


def _on_grid(field: Array, box: Grid, grid: Grid) -> Array:
    warp = Warp(np.moveaxis(field, 0, -1), box[1])
    return displacement_at(warp, world_points(grid)).astype(np.float32)


class _Level:
    """Everything that stays the same while one resolution is worked on."""

    def __init__(
        self,
        sessions: Sequence[Session],
        matrices: Sequence[NDArray[np.float64]],
        weight: Volume,
        box: Grid,
        factor: int,
        settings: Settings,
        reference: Session | None,
    ) -> None:
        voxel = np.sqrt((box[1][:3, :3] ** 2).sum(axis=0))
        width = 0.0 if factor == 1 else float(voxel.mean() * 1.2)
        self.sessions = [session.smoothed(width) for session in sessions] if width else list(sessions)
        still = reference.smoothed(width) if reference is not None and width else reference
        self.matrices = matrices
        self.box = box
        self.settings = settings
        self.spectrum = elastic.bending_spectrum(tuple(box[0]), voxel, settings.stiffness)
        self.mask = resample(weight, box, np.eye(4), validity=False)
        self.inside = self.mask > 0.5
        self.intensity_sigma = settings.intensity_mm / np.sqrt(8 * np.log(2)) / voxel
        self.seen = [np.ones_like(self.inside) for _ in sessions]
        self.reference = still
        self.still: list[Array] | None = None

    def run(self, start: list[Array], steps: int) -> list[Array]:
        displacement = start
        self.seen = self._seen(start)
        if self.reference is not None:
            self.still = self._standing(self.reference, start[0])
        for _ in range(steps):
            displacement = self._step(displacement)
        return displacement

    def _step(self, displacement: list[Array]) -> list[Array]:
        gradients: list[Array] = []
        residuals: list[list[Array]] = [[] for _ in displacement]
        raw = [
            self._pull(session, [Warp(np.moveaxis(field, 0, -1), self.box[1]), matrix])
            for session, field, matrix in zip(self.sessions, displacement, self.matrices, strict=True)
        ]
        # A template that stands still may show a scar, or end, where the session does not: what is not compared has no
        # say in what is next to it. Sessions among themselves show the same beyond the margin, which helps at its edge.
        counts = self.seen if self.still is None else [seen & self.inside for seen in self.seen]
        for channel in range(len(raw[0])):
            images = [image[channel] for image in raw]
            target = self._target(images, None if self.still is None else self.still[channel])
            images = self._even(images, target)
            noise = elastic.smallest(elastic.noise_level([target - i for i in images], self.inside), images)
            scale = (np.sqrt(self.mask) / noise).astype(np.float32)
            smooth = self._smooth(target)
            gradients.append(elastic.world_gradient(smooth, self.box[1]) * scale)
            for number, image in enumerate(images):
                residuals[number].append(self._smooth((target - image) * counts[number]) * scale)
        moved = [
            field + elastic.step(gradients, residual, field, self.spectrum, self.settings.solver_steps)
            for field, residual in zip(displacement, residuals, strict=True)
        ]
        if self.still is not None:
            return moved
        middle = np.asarray(np.mean(moved, axis=0), dtype=np.float32)
        return [field - middle for field in moved]

    def _standing(self, reference: Session, start: Array) -> list[Array]:
        """Show the template as the session is seen: on the session's grid by cubic splines, then pulled as it is.

        Linear interpolation blurs the session, more in some places than in others; compared with a template that it
        did not blur, the difference in sharpness is taken for growth and shrinkage.
        """
        session, matrix = self.sessions[0], self.matrices[0]
        warp, grid = Warp(np.moveaxis(start, 0, -1), self.box[1], matrix), (session.weight.shape, session.affine)
        back = invert(warp, grid)
        shown = [
            Volume(resample(Volume(channel, reference.affine), grid, back, order=3), session.affine)
            for channel in reference.channels
        ]
        pulled = [resample(volume, self.box, warp) for volume in shown]
        plain = self._pull(reference, np.eye(4))
        return [np.where(np.isfinite(image), image, same) for image, same in zip(pulled, plain, strict=True)]

    def _seen(self, start: list[Array]) -> list[NDArray[np.bool_]]:
        """Per session, where it shows sound tissue: inside its field of view, beside its lesions."""
        shares = [
            resample(
                Volume(session.sound, session.affine), self.box, Warp(np.moveaxis(field, 0, -1), self.box[1], matrix),
                validity=False,
            )
            for session, field, matrix in zip(self.sessions, start, self.matrices, strict=True)
        ]  # fmt: skip
        return [share >= ALL_SOUND for share in shares]

    def _pull(self, session: Session, chain: Chain) -> list[Array]:
        return [
            resample(Volume(channel, session.affine), self.box, chain, validity=False) for channel in session.channels
        ]

    def _smooth(self, image: Array) -> Array:
        return blurred(image, self.settings.smoothing)

    def _target(self, images: list[Array], still: Array | None) -> Array:
        if still is not None:
            return still
        count = np.sum(self.seen, axis=0)
        total = np.sum(
            [np.where(seen | (count == 0), image, 0) for seen, image in zip(self.seen, images, strict=True)],
            axis=0, dtype=np.float64,
        )  # fmt: skip
        return np.asarray(total / np.where(count == 0, len(images), count), dtype=np.float32)

    def _even(self, images: list[Array], target: Array) -> list[Array]:
        """Take out smooth multiplicative differences to the target."""
        if not self.settings.intensity_mm:
            return images
        energy = blurred(self.mask * target**2, self.intensity_sigma)
        floor = 0.02 * float(energy.max())
        ratios = [
            blurred((self.mask * target * (image - target)).astype(np.float32), self.intensity_sigma) / (energy + floor)
            for image in images
        ]
        return [(image - target * ratio).astype(np.float32) for image, ratio in zip(images, ratios, strict=True)]
