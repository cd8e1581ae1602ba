"""Sessions of real heads with known changes, positions and noise: what the benches of space are scored on.

A head is an image with a brain mask. A session is that head, pulled once (cubic) through a known deformation and a
known position of the head, with noise of its own. The deformation is defined in the head's own space, so that the
Jacobian determinant between any two sessions is known wherever it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from plastimap.icbm import standard_image
from plastimap.images import Volume, read_volume
from plastimap.transforms import Grid, Warp, grid_of, jacobian, resample, world_points

SHARED = Path(__file__).parents[2] / "shared"

SEGMENTED = "reference/spm12-segment"
HEADS = {
    "colin": (f"{SEGMENTED}/single_subj/T1w.nii.gz", f"{SEGMENTED}/single_subj"),
    "siemens": ("data/real-siemens-1subject/sub-01/anat/sub-01_T1w.nii.gz", f"{SEGMENTED}/real-siemens-1subject"),
    "adult": ("data/real-t1w-adult/sub-01/anat/sub-01_T1w.nii.gz", f"{SEGMENTED}/real-t1w-adult"),
}
"""Image, and folder of its brain mask and tissues, below the folder of shared data."""

ROOM_MM = 14.0
"""Room around the brain that is kept of a head."""

DETAIL = (0.25, 0.5)
"""Spatial frequencies, in cycles per voxel, that count as detail."""

BLUR_MM = 11.0
"""Standard deviation of the Gaussian that makes a random field a deformation."""


@dataclass(frozen=True)
class Head:
    """One head: image (99.5th percentile in the brain at 1), mask, and the tissues GM, WM, CSF."""

    image: Volume
    mask: NDArray[np.bool_]
    tissues: dict[str, Volume]


@dataclass(frozen=True)
class Session:
    """One simulated scan.

    Attributes
    ----------
    image : Volume
    mask : ndarray of bool
        The head's mask, moved along.
    pull : tuple
        Session → head: the position (matrix), then the deformation (Warp), as a chain.
    """

    image: Volume
    mask: NDArray[np.bool_]
    pull: tuple[NDArray[np.float64], Warp]


@lru_cache(maxsize=3)
def head(name: str, shared: Path, voxel_mm: float, block_mm: float | None = None) -> Head:
    """Read a head, cut to its brain with some room, on voxels of `voxel_mm`; ICBM152 where the data are not there.

    With `block_mm` the brain is cut to a cube of that edge on the right of its middle.
    """
    if not (shared / HEADS[name][0]).exists():
        return _standard_head(voxel_mm, block_mm)
    image = read_volume(shared / HEADS[name][0])
    folder = shared / HEADS[name][1]
    mask = read_volume(folder / "deepbet_mask.nii.gz")
    tissues = {t: read_volume(folder / f"c{n}.nii.gz") for n, t in enumerate(("GM", "WM", "CSF"), start=1)}
    return _cut(image, mask, tissues, voxel_mm, block_mm)


def _standard_head(voxel_mm: float, block_mm: float | None) -> Head:
    image, gm, wm = (standard_image(name) for name in ("t1", "gm", "wm"))
    brain = Volume((image.data > 0.1).astype(np.float32), image.affine)
    csf = Volume(np.clip(brain.data - gm.data - wm.data, 0, 1), image.affine)
    return _cut(image, brain, {"GM": gm, "WM": wm, "CSF": csf}, voxel_mm, block_mm)


def _cut(image: Volume, mask: Volume, tissues: dict[str, Volume], voxel_mm: float, block_mm: float | None) -> Head:
    if block_mm is not None:
        mask = _block(mask, block_mm)
    # A Gaussian with the variance of the box that the coarser voxel averages over.
    sigma = np.sqrt(np.maximum(voxel_mm**2 - image.voxel_size**2, 0) / 12) / image.voxel_size
    points = world_points(grid_of(mask))[:, mask.data > 0.5]
    low, high = points.min(axis=1) - ROOM_MM, points.max(axis=1) + ROOM_MM
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = low
    grid = (tuple(int(n) for n in np.ceil((high - low) / voxel_mm) + 1), affine)

    def at(volume: Volume, order: int) -> Volume:
        smooth = Volume(ndimage.gaussian_filter(volume.data.astype(np.float32), sigma), volume.affine)
        return Volume(resample(smooth, grid, np.eye(4), order=order, validity=False), affine)  # type: ignore[arg-type]

    brain = at(Volume((mask.data > 0.5).astype(np.float32), mask.affine), 1).data > 0.5
    picture = np.maximum(at(image, 3).data, 0)
    picture /= np.percentile(picture[brain], 99.5)
    scale = {name: max(float(volume.data.max()), 1e-9) for name, volume in tissues.items()}
    shares = {t: Volume(np.clip(at(v, 1).data / scale[t], 0, 1), affine) for t, v in tissues.items()}
    return Head(Volume(picture.astype(np.float32), affine), brain, shares)


def _block(mask: Volume, edge_mm: float) -> Volume:
    points = world_points(grid_of(mask))
    middle = points[:, mask.data > 0.5].mean(axis=1) + np.array([edge_mm / 2, 0, 0.2 * edge_mm])
    inside = (np.abs(points - middle.reshape(3, 1, 1, 1)) < edge_mm / 2).all(axis=0)
    return Volume(mask.data * inside, mask.affine)


def random_change(where: Head, rng: np.random.Generator, *, sd: float) -> Warp:
    """Smooth random deformation whose log-Jacobian in the brain has the standard deviation `sd`."""
    shape, affine = grid_of(where.image)
    sigma = BLUR_MM / where.image.voxel_size
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=tuple(shape)), sigma) for _ in range(3)], axis=-1)
    for _ in range(3):
        spread = np.log(np.maximum(jacobian(Warp(field.astype(np.float32), affine)), 1e-3))[where.mask].std()
        field *= sd / spread if spread < 1 else 1e-2
    return Warp(field.astype(np.float32), affine)


def swelling(grid: Grid, centre: Sequence[float], *, amount: float, width_mm: float) -> Warp:
    """Pull map whose determinant is 1 + `amount` at `centre` and falls off as a Gaussian does (divergence of d)."""
    away = world_points(grid) - np.asarray(centre, dtype=np.float64).reshape(3, 1, 1, 1)
    profile = np.exp(-(away**2).sum(axis=0) / (2 * width_mm**2))
    return Warp(np.moveaxis(amount / 3 * away * profile, 0, -1).astype(np.float32), grid[1])


def position(
    rng: np.random.Generator, centre: NDArray[np.float64], *, degrees: float = 2.0, mm: float = 2.0
) -> NDArray[np.float64]:
    """Random rigid matrix: a turn about `centre` and a shift, of these standard deviations."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rng.normal(0, degrees, 3), degrees=True).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + rng.normal(0, mm, 3)
    return matrix


def scaled(change: Warp, share: float) -> Warp:
    """`share` of a deformation."""
    return Warp(change.displacement * np.float32(share), change.affine)


def session(
    where: Head, change: Warp, place: NDArray[np.float64], rng: np.random.Generator, *, noise: float
) -> Session:
    """Scan a head after `change` (pull map session → head) in the position `place`, with Gaussian noise."""
    grid = grid_of(where.image)
    pull = (np.linalg.inv(place), change)
    image = resample(where.image, grid, pull, order=3, validity=False)
    image += rng.normal(0, noise, image.shape).astype(np.float32)
    mask = resample(Volume(where.mask.astype(np.float32), grid[1]), grid, pull, validity=False) > 0.5
    return Session(Volume(image, grid[1]), mask, pull)


def centre_of(where: Head) -> NDArray[np.float64]:
    """World millimetres of the brain's middle, shape (3,)."""
    return np.asarray(world_points(grid_of(where.image))[:, where.mask].mean(axis=1))


def log_jacobian_to_head(scan: Session) -> NDArray[np.float32]:
    """Log determinant of the map session → head, on the session's grid."""
    place, change = scan.pull
    logs = Volume(np.log(jacobian(change)), change.affine)
    return resample(logs, scan.image, place, validity=False)


def detail(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """Fourier coefficients of an image inside a mask (tapered) from a quarter to half a cycle per voxel, flat."""
    known = np.nan_to_num(image)
    inside = ndimage.gaussian_filter(ndimage.binary_erosion(mask, iterations=2).astype(np.float32), 1.5)
    waves = np.fft.fftn((known - known[mask].mean()) * inside)
    squares = [np.fft.fftfreq(n) ** 2 for n in mask.shape]
    radius = np.sqrt(squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :])
    return waves[(radius >= DETAIL[0]) & (radius < DETAIL[1])]
