"""One scan: what the scanner would give for one person in one session."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.simulate.anatomy import (
    TISSUES,
    Grid,
    Morphology,
    Template,
    fibre_direction,
    load_template,
    random_morphology,
    rigid,
    scanner_grid,
    to_template,
)
from plastimap.simulate.people import Person, Session, change, scan_label
from plastimap.simulate.places import Growth, blob
from plastimap.simulate.randomness import stream
from plastimap.simulate.signals import mt_spgr, rician, spgr, tensor_attenuation
from plastimap.simulate.spec import SimulationSpec

Array = NDArray[np.float64]

PARAMETERS: dict[str, dict[str, float]] = {
    "R1": {"GM": 0.65, "WM": 1.05, "CSF": 0.25},
    "R2s": {"GM": 17.0, "WM": 22.0, "CSF": 3.0},
    "MTsat": {"GM": 0.9, "WM": 1.8, "CSF": 0.05},
    "PD": {"GM": 80.0, "WM": 69.0, "CSF": 100.0},
    "FA": {"GM": 0.10, "WM": 0.65, "CSF": 0.0},
    "MD": {"GM": 0.80, "WM": 0.72, "CSF": 3.0},
    "b0": {"GM": 1.2, "WM": 1.0, "CSF": 2.0},
    "T1w": {"GM": 0.7, "WM": 1.0, "CSF": 0.25},
}
"""Tissue parameters at 3 T: 1/s, 1/s, p.u., p.u., –, 10⁻³ mm²/s, and relative signals."""

NOISE_COUNTS = 20.0
"""Standard deviation of the noise in the stored integers: fine enough that rounding adds nothing."""

DWI_TILT_DEG, ANAT_TILT_DEG = -6.0, 4.0
BRAIN_FRACTION = 1e-3
"""Voxels with less brain than this carry no signal."""


@dataclass(frozen=True)
class Scan:
    """Images of one scan.

    Attributes
    ----------
    label : str
    echoes : dict
        Weighting → (X, Y, Z, echoes), float32.
    echo_times_s : dict
    affine : ndarray, shape (4, 4)
        Of the echoes and the T1w image.
    b1, t1w, dwi : Volume or None
        B1+ in percent of the nominal flip angle (0 outside the head); T1w;
        diffusion (X, Y, Z, volumes).
    bvals, bvecs : ndarray, shapes (N,), (3, N)
        s/mm²; FSL's convention (voxel axes, first axis reversed for a
        positive determinant).
    dwi_motion : ndarray, shape (N, 6)
        Shifts (mm) and turns (degrees) of the head per volume.
    """

    label: str
    echoes: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    echo_times_s: dict[str, tuple[float, ...]] = field(default_factory=dict)
    affine: Array = field(default_factory=lambda: np.eye(4))
    b1: Volume | None = None
    t1w: Volume | None = None
    dwi: Volume | None = None
    bvals: Array = field(default_factory=lambda: np.zeros(0))
    bvecs: Array = field(default_factory=lambda: np.zeros((3, 0)))
    dwi_motion: Array = field(default_factory=lambda: np.zeros((0, 6)))


@dataclass(frozen=True)
class Head:
    """A person in a session: everything that decides what lies at a scanner point."""

    template: Template
    morphology: Morphology
    person: Person
    session: Session
    spec: SimulationSpec
    growths: tuple[Growth, ...]

    def tissue_at(self, points: Array, pose: Array) -> Tissue:
        """Tissue at scanner points (3, N)."""
        mni = to_template(points, pose, self.morphology, self.growths)
        return Tissue(mni, self.template.at(mni), self)


@dataclass(frozen=True)
class Tissue:
    """MNI positions (3, N) and fractions (3, N: GM, WM, CSF) of some points of a head."""

    mni: Array
    fractions: Array
    head: Head

    def inside(self) -> NDArray[np.bool_]:
        """Points with brain."""
        return self.fractions.sum(axis=0) > BRAIN_FRACTION

    def only(self, keep: NDArray[np.bool_]) -> Tissue:
        """Keep some points."""
        return replace(self, mni=self.mni[:, keep], fractions=self.fractions[:, keep])

    def parameter(self, quantity: str, tissue: str) -> Array:
        """Give a tissue parameter per point: base value, the person's offset, planted changes."""
        head = self.head
        value = PARAMETERS[quantity][tissue] * head.person.offsets.get(f"{quantity}_{tissue}", 1.0)
        values = np.full(self.mni.shape[1], value)
        for effect in head.spec.effects:
            amount = change(effect, head.person, head.session.day, head.spec)
            if (effect.map, effect.tissue) == (quantity, tissue) and amount:
                distance = np.linalg.norm(self.mni - np.asarray(effect.centre)[:, None], axis=0)
                values *= 1 + amount * blob(distance, radius=effect.radius, edge=effect.edge)
        return values


def head_of(spec: SimulationSpec, person: Person, session: Session) -> Head:
    """Make the head of a person in a session; the shape depends on the seed and the person alone."""
    return Head(
        template=load_template(spec.voxel_mm),
        morphology=random_morphology(spec.seed, person.label, sd_mm=spec.morphology_mm, scale=person.scale),
        person=person,
        session=session,
        spec=spec,
        growths=tuple(
            Growth(effect.centre, effect.radius, effect.edge, amount)
            for effect in spec.effects
            if effect.map == "vbm" and (amount := change(effect, person, session.day, spec))
        ),
    )


def simulate_scan(spec: SimulationSpec, person: Person, session: Session, *, noise: bool = True) -> Scan:
    """Simulate everything that `spec.include` asks for.

    Partial volume: signals (not parameters) of pure GM, WM and CSF are mixed
    by their fractions. The true map of a mixed voxel is therefore what a fit
    of the noise-free signals gives (``noise=False``).

    Parameters
    ----------
    spec : SimulationSpec
    person, session
        From :func:`~plastimap.simulate.people.people` and ``sessions``.
    noise : bool
        False: without noise, also in the B1 map; :func:`add_noise` adds it.

    Returns
    -------
    Scan
    """
    head = head_of(spec, person, session)
    rng = stream(spec.seed, "session", person.label, session.label)
    pose = rigid(_within(rng, spec.position_mm, spec.position_deg))
    dwi_pose = rigid(_within(rng, spec.position_mm / 2, spec.position_deg / 2)) @ pose
    coil = _receive_coil(rng)
    transmit = _transmit_gain(spec, person, rng)
    scan = Scan(label=scan_label(person, session))
    if "mpm" in spec.include or "t1w" in spec.include or "b1" in spec.include:
        scan = _anatomical(scan, head, pose, coil, transmit)
    if "dwi" in spec.include:
        scan = _diffusion(scan, head, dwi_pose, coil, rng)
    return add_noise(scan, spec) if noise else scan


def add_noise(scan: Scan, spec: SimulationSpec) -> Scan:
    """Rician noise for images, Gaussian for the B1 map; depends on the noise seed and the scan's label alone."""
    seed = spec.seed if spec.noise_seed is None else spec.noise_seed

    def noisy(volume: Volume | None, name: str) -> Volume | None:
        if volume is None:
            return None
        return Volume(rician(volume.data, NOISE_COUNTS, stream(seed, "noise", scan.label, name)), volume.affine)

    echoes = {
        weighting: rician(data, NOISE_COUNTS, stream(seed, "noise", scan.label, weighting))
        for weighting, data in scan.echoes.items()
    }
    b1 = scan.b1
    if b1 is not None:
        factor = 1 + spec.b1_noise * stream(seed, "noise", scan.label, "b1").standard_normal(b1.data.shape)
        b1 = Volume((b1.data * factor).astype(np.float32), b1.affine)
    return replace(scan, echoes=echoes, b1=b1, t1w=noisy(scan.t1w, "t1w"), dwi=noisy(scan.dwi, "dwi"))


def _within(rng: np.random.Generator, mm: float, degrees: float) -> Array:
    return np.concatenate([rng.uniform(-mm, mm, 3), rng.uniform(-degrees, degrees, 3)])


def _receive_coil(rng: np.random.Generator) -> Array:
    """Slopes of the log receive field: three linear, one radial."""
    return np.concatenate([rng.uniform(-0.12, 0.12, 3), [rng.uniform(0.1, 0.2)]])


def receive_field(points: Array, coil: Array) -> Array:
    """Receive sensitivity at scanner points (3, N), about 0.7 to 1.3, higher near the coil."""
    unit = points / 90.0
    return np.exp(coil[:3] @ unit + coil[3] * ((unit**2).sum(axis=0) - 0.6))


def _transmit_gain(spec: SimulationSpec, person: Person, rng: np.random.Generator) -> Array:
    """Centre value, radial fall, three slopes: mostly the person's, a little the session's."""
    own = stream(spec.seed, "transmit", person.label)
    gain = np.concatenate([[own.uniform(1.10, 1.15), own.uniform(0.22, 0.28)], own.uniform(-0.03, 0.03, 3)])
    return gain * (1 + rng.uniform(-0.02, 0.02))


def transmit_field(points: Array, gain: Array) -> Array:
    """B1+ (actual / nominal flip angle) at points (3, N) of the person's space, between 0.8 and 1.2."""
    unit = points / np.array([95.0, 105.0, 95.0])[:, None]
    return np.clip(gain[0] - gain[1] * (unit**2).sum(axis=0) + gain[2:] @ unit, 0.8, 1.2)


def _anatomical(scan: Scan, head: Head, pose: Array, coil: Array, transmit: Array) -> Scan:
    spec = head.spec
    grid = scanner_grid(spec.voxel_mm, spec.margin_mm, tilt_deg=ANAT_TILT_DEG)
    points = grid.points()
    tissue = head.tissue_at(points, pose)
    inside = tissue.inside()
    tissue, points = tissue.only(inside), points[:, inside]
    receive = receive_field(points, coil)
    b1 = transmit_field(pose[:3, :3] @ points + pose[:3, 3:], transmit)
    echoes: dict[str, NDArray[np.float32]] = {}
    times: dict[str, tuple[float, ...]] = {}
    if "mpm" in spec.include:
        for weighting, count in spec.echoes.items():
            times[weighting] = tuple(spec.echo_spacing_ms * 1e-3 * (number + 1) for number in range(count))
            decay = _echo_train(tissue, weighting, times[weighting], b1, spec) * receive[:, None]
            echoes[weighting] = _image(decay * mpm_gain(spec), inside, grid)
    t1w = None
    if "t1w" in spec.include:
        signal = sum(PARAMETERS["T1w"][name] * tissue.fractions[row] for row, name in enumerate(TISSUES))
        t1w = Volume(_image(signal * receive * spec.snr * NOISE_COUNTS, inside, grid), grid.affine)
    measured = _b1_map(head, pose, transmit) if "b1" in spec.include else None
    return replace(scan, echoes=echoes, echo_times_s=times, affine=grid.affine, b1=measured, t1w=t1w)


def _echo_train(
    tissue: Tissue, weighting: str, times: tuple[float, ...], b1: Array, spec: SimulationSpec
) -> NDArray[np.float64]:
    """Signals (points, echoes), tissue signals mixed by fraction, without receive field."""
    total = np.zeros((b1.size, len(times)))
    flip, tr = spec.flips_deg[weighting], spec.tr_ms * 1e-3
    for row, name in enumerate(TISSUES):
        density, r1 = tissue.parameter("PD", name), tissue.parameter("R1", name)
        if weighting == "MTw":
            saturation = tissue.parameter("MTsat", name)
            start = mt_spgr(density, r1, saturation, flip_deg=flip, tr_s=tr, b1=b1, c=spec.b1_c)
        else:
            start = spgr(density, r1, flip_deg=flip, tr_s=tr, b1=b1)
        decay = np.exp(-np.outer(tissue.parameter("R2s", name), times))
        total += (tissue.fractions[row] * start)[:, None] * decay
    return total


def mpm_gain(spec: SimulationSpec) -> float:
    """Give the stored counts per unit of signal: pure WM at the first PDw echo has `snr` times the noise."""
    white = {quantity: PARAMETERS[quantity]["WM"] for quantity in ("PD", "R1", "R2s")}
    start = spgr(white["PD"], white["R1"], flip_deg=spec.flips_deg["PDw"], tr_s=spec.tr_ms * 1e-3)
    return float(spec.snr * NOISE_COUNTS / (start * np.exp(-white["R2s"] * spec.echo_spacing_ms * 1e-3)))


def _b1_map(head: Head, pose: Array, transmit: Array) -> Volume:
    # Coarser than the echoes, as measured B1 maps are, and 0 outside the head.
    spec = head.spec
    grid = scanner_grid(max(4.0, spec.voxel_mm + 1), spec.margin_mm, tilt_deg=ANAT_TILT_DEG)
    points = grid.points()
    inside = head.tissue_at(points, pose).inside()
    own = pose[:3, :3] @ points[:, inside] + pose[:3, 3:]
    return Volume(_image(100 * transmit_field(own, transmit), inside, grid), grid.affine)


def _image(values: NDArray[Any], inside: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """Values of the inside points (N, …) back in the matrix, 0 elsewhere."""
    image = np.zeros((inside.size, *values.shape[1:]), dtype=np.float32)
    image[inside] = values
    return image.reshape((*grid.shape, *values.shape[1:]))


def gradient_table(spec: SimulationSpec) -> tuple[Array, Array]:
    """b-values (N,) and unit gradient directions (3, N) in the scanner's frame; b = 0 spread over the run."""
    values = np.concatenate([np.full(count, bvalue) for bvalue, count in spec.shells.items()] or [np.zeros(0)])
    vectors = np.concatenate([half_sphere(count) for count in spec.shells.values()] or [np.zeros((3, 0))], axis=1)
    where = np.linspace(0, values.size, spec.n_b0, endpoint=False).astype(int)
    return np.insert(values, where, 0.0), np.insert(vectors, where, 0.0, axis=1)


def half_sphere(count: int) -> Array:
    """Evenly spread unit vectors (3, count) of a half sphere (Fibonacci lattice)."""
    number = np.arange(count)
    height = (number + 0.5) / count
    turn = number * np.pi * (3 - np.sqrt(5))
    width = np.sqrt(1 - height**2)
    return np.stack([width * np.cos(turn), width * np.sin(turn), height])


def fsl_vectors(vectors: Array, affine: Array) -> Array:
    """Scanner-frame directions (3, N) in FSL's convention for an image with this affine."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    turned = axes.T @ vectors
    if np.linalg.det(axes) > 0:
        turned[0] = -turned[0]
    # No "-0" in text files.
    return turned + 0.0


def _diffusion(scan: Scan, head: Head, pose: Array, coil: Array, rng: np.random.Generator) -> Scan:
    spec = head.spec
    grid = scanner_grid(spec.voxel_mm, spec.margin_mm, tilt_deg=DWI_TILT_DEG)
    bvals, vectors = gradient_table(spec)
    motion = np.stack([_within(rng, spec.dwi_motion_mm, spec.dwi_motion_deg) for _ in bvals])
    points = grid.points()
    # Once with room to move: the volumes below look only where brain can be.
    near = _near_brain(head, pose, points, spec)
    close = points[:, near]
    gain = spec.snr * NOISE_COUNTS * receive_field(close, coil)
    images = np.zeros((points.shape[1], bvals.size), dtype=np.float32)
    for volume, bvalue in enumerate(bvals):
        moved = rigid(motion[volume]) @ pose
        tissue = head.tissue_at(close, moved)
        # The head turned by `moved`; the gradient did not.
        gradient = moved[:3, :3] @ vectors[:, volume]
        images[near, volume] = gain * _diffusion_signal(tissue, gradient, float(bvalue))
    data = images.reshape(*grid.shape, bvals.size)
    bvecs = fsl_vectors(vectors, grid.affine)
    return replace(scan, dwi=Volume(data, grid.affine), bvals=bvals, bvecs=bvecs, dwi_motion=motion)


def _near_brain(head: Head, pose: Array, points: Array, spec: SimulationSpec) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_dilation

    grid = scanner_grid(spec.voxel_mm, spec.margin_mm, tilt_deg=DWI_TILT_DEG)
    inside = head.tissue_at(points, pose).inside().reshape(grid.shape)
    reach = spec.dwi_motion_mm * np.sqrt(3) + np.deg2rad(spec.dwi_motion_deg) * np.sqrt(3) * 110
    wide: Any = binary_dilation(inside, iterations=max(1, int(np.ceil(reach / spec.voxel_mm))))
    return wide.ravel()


def _diffusion_signal(tissue: Tissue, gradient: Array, bvalue: float) -> Array:
    """Signal per point relative to WM at b = 0: tissue signals mixed by fraction."""
    direction = fibre_direction(tissue.mni)
    cosine = gradient @ direction
    total = np.zeros(cosine.size)
    for row, name in enumerate(TISSUES):
        anisotropy, mean = tissue.parameter("FA", name), tissue.parameter("MD", name)
        attenuation = tensor_attenuation(anisotropy, mean, cosine, bvalue=bvalue)
        total += tissue.fractions[row] * PARAMETERS["b0"][name] * attenuation
    return total
