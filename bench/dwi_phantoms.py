"""Diffusion series with known truth, for the benches: made from a seed and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FREE_WATER = 3.0
"""µm²/ms."""


@dataclass(frozen=True)
class Phantom:
    """A series, what it would be without noise, and where to look.

    Attributes
    ----------
    noisy, clean : ndarray of float32, shape (X, Y, Z, N)
    sigma : ndarray, shape (X, Y, Z)
        Standard deviation of the noise.
    mask : ndarray of bool, shape (X, Y, Z)
    bvals, bvecs : ndarray, shapes (N,), (N, 3)
        s/mm²; unit vectors along the image's axes.
    """

    noisy: NDArray[np.float32]
    clean: NDArray[np.float32]
    sigma: NDArray[np.float64]
    mask: NDArray[np.bool_]
    bvals: NDArray[np.float64]
    bvecs: NDArray[np.float64]


def half_sphere(n: int) -> NDArray[np.float64]:
    """Spread `n` axes over the half sphere (a Fibonacci lattice)."""
    k = np.arange(n) + 0.5
    z, turn = k / n, np.pi * (1 + 5**0.5) * k
    return np.stack([np.cos(turn) * np.sqrt(1 - z**2), np.sin(turn) * np.sqrt(1 - z**2), z], axis=1)


def scheme(n_b0: int, shells: dict[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """b-values (N,) and b-vectors (N, 3), the b = 0 volumes spread over the series."""
    b = np.concatenate([np.full(n, float(value)) for value, n in shells.items()])
    g = np.concatenate([half_sphere(n) for n in shells.values()])
    where = np.linspace(0, b.size, n_b0, endpoint=False).astype(int)
    return np.insert(b, where, 0.0), np.insert(g, where, 0.0, axis=0)


def ellipsoid(shape: tuple[int, int, int], share: float = 0.92) -> NDArray[np.bool_]:
    """Brain-like mask: an ellipsoid in plane that hardly narrows along z, as in a slab."""
    x, y, z = (np.linspace(-1, 1, n).reshape([-1 if a == d else 1 for d in range(3)]) for a, n in enumerate(shape))
    return np.asarray((x / (0.9 * share)) ** 2 + (y / share) ** 2 + 0.25 * z**2 <= 1)


def smooth_fields(shape: tuple[int, ...], count: int, sd: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """`count` Gaussian random fields of unit variance, shape (count, X, Y, Z)."""
    fields = np.stack([ndimage.gaussian_filter(rng.standard_normal(shape), sd) for _ in range(count)])
    return fields / fields.std(axis=(1, 2, 3), keepdims=True)


def tissue_signal(
    shape: tuple[int, int, int], bvals: NDArray[np.float64], bvecs: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Two crossing fibre populations, a grey compartment and free water, all varying smoothly; S0 near 1000."""
    first, second = (fibre / np.linalg.norm(fibre, axis=0) for fibre in (smooth_fields(shape, 3, 6, rng) for _ in "12"))
    weights = np.exp(1.5 * smooth_fields(shape, 4, 4, rng) + np.log([3, 1, 2, 0.5])[:, None, None, None])
    weights /= weights.sum(axis=0)
    density = 1000 * np.exp(0.15 * smooth_fields(shape, 1, 5, rng)[0])
    signal = np.empty((*shape, bvals.size), dtype=np.float32)
    for n, (b, g) in enumerate(zip(bvals * 1e-3, bvecs, strict=True)):
        along = [np.tensordot(g, fibre, axes=1) ** 2 for fibre in (first, second)]
        parts = [np.exp(-b * (0.35 + 1.35 * cosine)) for cosine in along] + [np.exp(-b * 0.8), np.exp(-b * FREE_WATER)]
        signal[..., n] = density * sum(weight * part for weight, part in zip(weights, parts, strict=True))
    return signal


def denoising_phantom(
    *,
    seed: int,
    shape: tuple[int, int, int] = (96, 96, 16),
    n_b0: int = 6,
    shells: dict[int, int] | None = None,
    snr: float = 20.0,
    noise: str = "white",
) -> Phantom:
    """Smooth multi-tensor signal with Rician noise.

    Parameters
    ----------
    seed : int
    shape : tuple of int
    n_b0 : int
    shells : dict
        b-value in s/mm² → directions; 60 at 1000 when not given.
    snr : float
        Of 1000, about the mean b = 0 signal.
    noise : {"white", "varying", "correlated"}
        Equal everywhere; rising by half of its mean towards the centre; smoothed in plane by 0.6 voxels FWHM-like width
        (as by zero-filling or interpolation at reconstruction).
    """
    rng = np.random.default_rng(seed)
    bvals, bvecs = scheme(n_b0, shells or {1000: 60})
    mask = ellipsoid(shape)
    clean = tissue_signal(shape, bvals, bvecs, rng) * mask[..., None]
    sigma = np.full(shape, 1000 / snr)
    if noise == "varying":
        x, y = (np.linspace(-1, 1, n) for n in shape[:2])
        sigma *= (0.75 + 0.5 * np.exp(-2 * (x[:, None] ** 2 + y**2)))[..., None]
    parts = rng.standard_normal((2, *clean.shape), dtype=np.float32)
    if noise == "correlated":
        parts = ndimage.gaussian_filter(parts, (0, 0.5, 0.5, 0, 0))
        parts /= parts.std()
    parts *= sigma[..., None]
    noisy = np.hypot(clean + parts[0], parts[1]).astype(np.float32)
    return Phantom(noisy, clean, sigma, mask, bvals, bvecs)


def ringing_phantom(
    *, seed: int, shape: tuple[int, int, int] = (96, 96, 16), n_volumes: int = 66, snr: float = 50.0, fine: int = 4
) -> Phantom:
    """Slices with sharp borders, measured in a k-space that ends: ringing, and a little Rician noise.

    The truth is the mean of the fine image over each voxel. All volumes show the same slices with other contrasts.
    """
    rng = np.random.default_rng(seed)
    bvals, bvecs = scheme(6, {1000: n_volumes - 6})
    fine_shape = (shape[0] * fine, shape[1] * fine)
    x, y = (np.linspace(-1, 1, n) for n in fine_shape)
    outline = (x[:, None] / 0.78) ** 2 + (y / 0.88) ** 2 <= 1
    clean = np.empty((*shape, n_volumes), dtype=np.float32)
    rung = np.empty_like(clean)
    for z in range(shape[2]):
        field = smooth_fields((*fine_shape, 1), 2, 5 * fine, rng)[..., 0]
        # Three tissues with sharp borders; the attenuations are those of grey and white matter and of fluid.
        label = np.where(field[0] > 0.5, 2, np.where(field[1] > 0, 1, 0))
        classes = np.stack([outline & (label == k) for k in range(3)])
        means = classes.reshape(3, shape[0], fine, shape[1], fine).mean(axis=(2, 4))
        spectra = np.fft.fftshift(np.fft.fft2(classes), axes=(1, 2))
        first, second = ((n * fine - n) // 2 for n in shape[:2])
        # The voxel's centre is that of its fine ones, half a fine voxel less than half a voxel from the corner.
        cut = spectra[:, first : first + shape[0], second : second + shape[1]] / fine**2
        k, m = (np.fft.fftshift(np.fft.fftfreq(n)) for n in shape[:2])
        centre = np.exp(2j * np.pi * (k[:, None] + m) * (0.5 - 0.5 / fine))
        seen = np.fft.ifft2(np.fft.ifftshift(cut * centre, axes=(1, 2)))
        for n, b in enumerate(bvals * 1e-3):
            cosine = np.clip(bvecs[n, 2], -1, 1) ** 2
            signals = [1000 * np.exp(-b * 0.8), 800 * np.exp(-b * (0.4 + 1.2 * cosine)), 2000 * np.exp(-b * FREE_WATER)]
            clean[:, :, z, n] = np.tensordot(signals, means, axes=1)
            rung[:, :, z, n] = np.abs(np.tensordot(signals, seen, axes=1))
    sigma = np.full(shape, 1000 / snr)
    parts = rng.normal(0, 1000 / snr, (2, *clean.shape)).astype(np.float32)
    noisy = np.hypot(rung + parts[0], parts[1]).astype(np.float32)
    reach = ndimage.binary_dilation(clean[..., 0] > 1, np.ones((5, 5, 1)))
    return Phantom(noisy, clean, sigma, np.asarray(reach), bvals, bvecs)


@dataclass(frozen=True)
class MovingPhantom:
    """A series of a moving head with eddy currents and dropped slices, and the truth about it.

    Attributes
    ----------
    noisy : ndarray of float32, shape (X, Y, Z, N)
    still : ndarray of float32, shape (X, Y, Z, N)
        The head at rest, without distortion or noise.
    affine : ndarray, shape (4, 4)
    bvals, bvecs : ndarray, shapes (N,), (N, 3)
        s/mm²; world axes.
    brain : ndarray of bool, shape (X, Y, Z)
    pulls : ndarray, shape (N, 4, 4)
        Reference world → volume world.
    dropped : frozenset of (volume, slice)
    """

    noisy: NDArray[np.float32]
    still: NDArray[np.float32]
    affine: NDArray[np.float64]
    bvals: NDArray[np.float64]
    bvecs: NDArray[np.float64]
    brain: NDArray[np.bool_]
    pulls: NDArray[np.float64]
    dropped: frozenset[tuple[int, int]]


def rotation(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix (3, 3) of a rotation vector in radians."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(vector).as_matrix()


def true_pull(
    rng: np.random.Generator,
    g: NDArray[np.float64],
    coupling: NDArray[np.float64],
    centre: NDArray[np.float64],
    *,
    mm: float,
    degrees: float,
) -> NDArray[np.float64]:
    """Motion up to `mm` and `degrees` in a random direction, then eddy currents: shears and scale along y, and a shift.

    `coupling`, shape (4, 3), turns the gradient into the three stretches and the shift; a tenth of it is chance.
    """
    shift, turn = (rng.normal(size=3) for _ in range(2))
    shift *= mm * rng.uniform(0, 1) / np.linalg.norm(shift)
    turn *= np.deg2rad(degrees) * rng.uniform(0, 1) / np.linalg.norm(turn)
    head = np.eye(4)
    head[:3, :3] = rotation(turn)
    head[:3, 3] = shift + centre - head[:3, :3] @ centre
    eddy, terms = np.eye(4), coupling @ g + 0.1 * np.linalg.norm(g) * np.abs(coupling).max(axis=1) * rng.normal(size=4)
    eddy[1, :3] += terms[:3]
    eddy[1, 3] = terms[3] - terms[:3] @ centre
    return eddy @ head


def moving_phantom(
    *,
    seed: int,
    voxel_mm: float = 3.0,
    resolution: float = 1.2,
    n_b0: int = 3,
    shells: dict[int, int] | None = None,
    snr: float = 25.0,
    mm: float = 5.0,
    degrees: float = 5.0,
    eddy: float = 0.02,
    n_dropped: int = 8,
) -> MovingPhantom:
    """The ICBM152's tissues with tensors, moved and distorted as one affine map per volume, phase-encoded along y.

    Parameters
    ----------
    resolution : float
        Width at half maximum of the point spread, in voxels; 1.2 is that of a k-space that ends.
    eddy : float
        Largest stretch at b = 1000 per component of the gradient; 0.02 moves the brain's edge by 1.4 mm.
    n_dropped : int
        Slices, one each in so many volumes, that lost 40 to 90 % of their signal.
    """
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template

    rng = np.random.default_rng(seed)
    grey, white = load_mni152_gm_template(resolution=2), load_mni152_wm_template(resolution=2)
    inside = load_mni152_brain_mask(resolution=2).get_fdata()
    gm, wm = (np.clip(image.get_fdata(), 0, 1) * inside for image in (grey, white))
    csf = np.clip(inside - gm - wm, 0, 1)
    # Signals are sums over tissues, and directions vary slowly: what blurs the tissues blurs the image.
    sd = resolution * voxel_mm / 2.0 / np.sqrt(8 * np.log(2))
    gm, wm, csf = (ndimage.gaussian_filter(tissue, sd) for tissue in (gm, wm, csf))
    fibres = smooth_fields(inside.shape, 3, 8, rng)
    fibres /= np.linalg.norm(fibres, axis=0)
    spline = [ndimage.spline_filter(part) for part in (gm, wm, csf, *fibres)]

    bvals, bvecs = scheme(n_b0, shells or {1000: 27})
    # Half of the axes the other way round, as many vendors have them: the tensor does not mind, eddy currents do.
    bvecs = bvecs * np.where(rng.random(bvals.size) < 0.5, -1, 1)[:, None]
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    extent = np.array(inside.shape) * 2.0
    shape = tuple(int(n) for n in np.ceil((extent + 6) / voxel_mm))
    affine[:3, 3] = grey.affine[:3, 3] - 3.0
    grid = np.indices(shape).reshape(3, -1)
    world = affine[:3, :3] @ grid + affine[:3, 3:]
    to_template = np.linalg.inv(grey.affine)
    coupling = rng.uniform(-eddy, eddy, (4, 3)) * np.array([1, 1, 1, 60])[:, None]

    def signal(points: NDArray[np.float64], b: float, g: NDArray[np.float64]) -> NDArray[np.float64]:
        place = to_template[:3, :3] @ points + to_template[:3, 3:]
        parts = [ndimage.map_coordinates(one, place, prefilter=False) for one in spline]
        tissue, fibre = np.clip(parts[:3], 0, 1), np.stack(parts[3:])
        cosine = (g @ fibre / np.maximum(np.linalg.norm(fibre, axis=0), 1e-6)) ** 2
        attenuated = (1.2 * np.exp(-0.85 * b), np.exp(-b * (0.35 + 1.3 * cosine)), 2.5 * np.exp(-FREE_WATER * b))
        return 500 * sum(one * other for one, other in zip(tissue, attenuated, strict=True))

    place = to_template[:3, :3] @ world + to_template[:3, 3:]
    brain = (ndimage.map_coordinates(inside, place, order=1) > 0.5).reshape(shape)
    centre = world[:, brain.ravel()].mean(axis=1)
    noisy, still, pulls = np.empty((2, *shape, bvals.size), dtype=np.float32), None, []
    noisy, still = noisy
    for n, (b, g) in enumerate(zip(bvals * 1e-3, bvecs, strict=True)):
        # Eddy currents follow the gradient's amplitude, whose square makes b at one timing.
        pull = np.eye(4) if n == 0 else true_pull(rng, g * np.sqrt(b), coupling, centre, mm=mm, degrees=degrees)
        back = np.linalg.inv(pull)
        head_axes = rotation_of(pull).T @ g
        still[..., n] = signal(world, b, g).reshape(shape)
        moved = signal(back[:3, :3] @ world + back[:3, 3:], b, head_axes) / np.linalg.det(pull[:3, :3])
        noisy[..., n] = moved.reshape(shape)
        pulls.append(pull)
    dropped = set()
    for n in rng.choice(np.flatnonzero(bvals > 0), n_dropped, replace=False):
        z = int(rng.integers(shape[2] // 4, 3 * shape[2] // 4))
        noisy[:, :, z, n] *= rng.uniform(0.1, 0.6)
        dropped.add((int(n), z))
    parts = rng.normal(0, 500 / snr, (2, *noisy.shape)).astype(np.float32)
    noisy = np.hypot(noisy + parts[0], parts[1])
    return MovingPhantom(noisy, still, affine, bvals, bvecs, brain, np.stack(pulls), frozenset(dropped))


def rotation_of(pull: NDArray[np.float64]) -> NDArray[np.float64]:
    """The head's rotation in a pull matrix whose distortion is along y alone: its x and z rows show it."""
    x, z = pull[0, :3], pull[2, :3]
    return np.stack([x, np.cross(z, x), z])
