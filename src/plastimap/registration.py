"""Registration of two images: picsl-greedy in memory, one thread, always the same result.

Results are pull maps in world millimetres (RAS): they take a point of the
fixed image to the point of the moving image that shows the same thing, which
is what :func:`plastimap.transforms.resample` wants.

References
----------
Yushkevich P. A. et al. (2016), fast automatic segmentation of hippocampal
subfields … in greedy registration, https://greedy.readthedocs.io
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.transforms import Warp, apply_matrix, grid_of, inverse, jacobian, resample, world_points
from plastimap.warpfiles import RAS_LPS

if TYPE_CHECKING:
    import SimpleITK

Metric = Literal["NMI", "NCC", "SSD"]

SEEDS = (1, 2, 3, 4)
"""Greedy jitters its sample points: fixed seeds make every call repeat itself. The next one is tried after a failure,
since the line search can leap away from a good position for one jitter and not for another."""

KEPT_INFORMATION = 0.9
"""A match whose images share less information than this fraction of what they shared at the start is a leap."""

ALIKE = 0.98
"""Correlation on a coarse grid at which a start is as good as any match."""

LARGEST_SCALE = 2.0
"""An affine match that stretches a head by more than this in any direction has failed."""

LEAST_OVERLAP = 0.5
"""Least share of the fixed image's foreground that must fall inside the moving image."""

MOST_FOLDING = 0.01
"""Largest share of voxels at which a deformable result may fold."""

COARSE_MM = 8.0
"""Voxel size at which starting positions are compared."""


class RegistrationProblem(RuntimeError):
    """Two images could not be matched; the message says how that showed."""


def rigid(
    fixed: Volume,
    moving: Volume,
    *,
    metric: Metric = "NMI",
    fixed_mask: NDArray[np.bool_] | None = None,
    initial: NDArray[np.float64] | None = None,
    fast: bool = False,
    iterations: Sequence[int] | None = None,
) -> NDArray[np.float64]:
    """Six-parameter match.

    Parameters
    ----------
    fixed, moving : Volume
        3D images; NaN counts as 0.
    metric : {"NMI", "NCC", "SSD"}
        Normalised mutual information (any contrast), local normalised
        cross-correlation, sum of squared differences (same intensities).
    fixed_mask : ndarray of bool, optional
        Where the images are compared, on the grid of `fixed`.
    initial : ndarray, shape (4, 4), optional
        Pull matrix to start from. Without it the better of *as the headers
        say* and *centres of mass together* is taken.
    fast : bool
        Leave out the finest level: about a third of the time, a tenth of a
        voxel of precision.
    iterations : sequence of int, optional
        Per level, coarsest first; 0 leaves a level out.

    Returns
    -------
    ndarray, shape (4, 4)
        Pull matrix: fixed world point to moving world point, RAS mm.

    Raises
    ------
    RegistrationProblem
        When an image is empty or the result is no plausible match.
    """
    levels = iterations or ((60, 30, 0) if fast else (60, 30, 15))
    return _linear(fixed, moving, 6, metric, fixed_mask, initial, levels)


def affine(
    fixed: Volume,
    moving: Volume,
    *,
    metric: Metric = "NMI",
    fixed_mask: NDArray[np.bool_] | None = None,
    initial: NDArray[np.float64] | None = None,
    fast: bool = False,
    iterations: Sequence[int] | None = None,
) -> NDArray[np.float64]:
    """Twelve-parameter match; parameters, result and errors as in :func:`rigid`."""
    levels = iterations or ((60, 30, 0) if fast else (60, 30, 15))
    # A given start may hold scales, which a rigid match would lose.
    start = initial
    if start is None:
        start = rigid(fixed, moving, metric=metric, fixed_mask=fixed_mask, fast=True)
    return _linear(fixed, moving, 12, metric, fixed_mask, start, levels)


def deformable(
    fixed: Volume | Sequence[Volume],
    moving: Volume | Sequence[Volume],
    *,
    affine: NDArray[np.float64] | None = None,
    fixed_mask: NDArray[np.bool_] | None = None,
    metric: Metric = "NCC",
    radius: int = 2,
    iterations: Sequence[int] = (60, 40, 15),
    smoothing: tuple[float, float] = (2.0, 0.5),
    weights: Sequence[float] | None = None,
    diffeomorphic: bool = True,
) -> Warp:
    """Smooth nonlinear match.

    Parameters
    ----------
    fixed, moving : Volume, or equally long sequences of them
        Several pairs are matched together (channels); all of one side share a
        grid.
    affine : ndarray, shape (4, 4), optional
        Pull matrix of a linear match that goes before; it becomes the
        `matrix` of the result.
    fixed_mask : ndarray of bool, optional
        Where the images are compared.
    metric : {"NCC", "SSD", "NMI"}
    radius : int
        Of the NCC window, in voxels.
    iterations : sequence of int
        Per level, coarsest first.
    smoothing : (float, float)
        Standard deviations in voxels of the smoothing of each update and of
        the whole displacement.
    weights : sequence of float, optional
        Of the channels.
    diffeomorphic : bool
        Integrate a stationary velocity, so that the map can be inverted;
        else add up displacements (greedy's own way, cheaper).

    Returns
    -------
    Warp
        On the grid of `fixed`.

    Raises
    ------
    RegistrationProblem
        When an image is empty, or the result folds.
    """
    pairs = list(zip(_channels(fixed), _channels(moving), strict=True))
    for pair in pairs:
        check_content(*pair)
    images: dict[str, Any] = {"warp": None}
    words = ["-d 3 -o warp -wp 0 -noise 0", f"-m {_metric_words(metric, radius)}", f"-n {_levels(iterations)}"]
    words.append(f"-s {smoothing[0]}vox {smoothing[1]}vox")
    if diffeomorphic:
        words.append("-sv")
    for number, (one, other) in enumerate(pairs):
        images[f"fixed{number}"], images[f"moving{number}"] = to_itk(one), to_itk(other)
        weight = 1.0 if weights is None else weights[number]
        words.append(f"-w {weight} -i fixed{number} moving{number}")
    matrix = np.eye(4) if affine is None else affine
    found = _greedy(words, images, mask=_mask_volume(pairs[0][0], fixed_mask), transform=("-it", matrix))
    field = _field_from_itk(found["warp"])
    result = Warp(field, pairs[0][0].affine, matrix)
    check_folding(result)
    return result


def to_itk(volume: Volume) -> SimpleITK.Image:
    """Turn a 3D volume into a SimpleITK image of float32 (LPS); NaN becomes 0.

    Raises
    ------
    RegistrationProblem
        When the volume's axes are not orthogonal: ITK knows no shears.
    """
    import SimpleITK

    lps = RAS_LPS @ volume.affine
    spacing = volume.voxel_size
    direction = lps[:3, :3] / spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise RegistrationProblem("the image's axes are not at right angles; resample it to an orthogonal grid")
    data = np.nan_to_num(volume.data.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing([float(size) for size in spacing])
    image.SetOrigin([float(value) for value in lps[:3, 3]])
    image.SetDirection([float(value) for value in _orthonormal(direction).ravel()])
    return image


def _orthonormal(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    # Headers hold float32: ITK refuses what is off by more than 1e-6.
    left, _, right = np.linalg.svd(direction)
    return left @ right


def _field_from_itk(image: SimpleITK.Image) -> NDArray[np.float32]:
    import SimpleITK

    lps = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0, 3)
    return np.ascontiguousarray(lps * np.array([-1.0, -1.0, 1.0]), dtype=np.float32)


def _channels(volumes: Volume | Sequence[Volume]) -> list[Volume]:
    return [volumes] if isinstance(volumes, Volume) else list(volumes)


def _linear(
    fixed: Volume,
    moving: Volume,
    freedom: int,
    metric: Metric,
    fixed_mask: NDArray[np.bool_] | None,
    initial: NDArray[np.float64] | None,
    levels: Sequence[int],
) -> NDArray[np.float64]:
    check_content(fixed, moving)
    start = starting_position(fixed, moving) if initial is None else initial
    problems: list[RegistrationProblem] = []
    for seed in SEEDS:
        matrix = _linear_once(fixed, moving, freedom, metric, fixed_mask, start, levels, seed)
        try:
            _check_matrix(matrix, fixed, moving)
            _check_leap(matrix, start, fixed, moving)
        except RegistrationProblem as problem:
            problems.append(problem)
        else:
            return matrix
    # Images that are all but equal leave the optimiser nothing to climb: its first step can only lead away.
    if _correlation(fixed, moving, start) > ALIKE:
        return start
    raise problems[0]


def _linear_once(
    fixed: Volume,
    moving: Volume,
    freedom: int,
    metric: Metric,
    fixed_mask: NDArray[np.bool_] | None,
    start: NDArray[np.float64],
    levels: Sequence[int],
    seed: int,
) -> NDArray[np.float64]:
    images: dict[str, Any] = {"fixed": to_itk(fixed), "moving": to_itk(moving), "matrix": None}
    words = [f"-d 3 -a -dof {freedom} -i fixed moving -o matrix -seed {seed}"]
    words += [f"-m {_metric_words(metric, 2)}", f"-n {_levels(levels)}"]
    found = _greedy(words, images, mask=_mask_volume(fixed, fixed_mask), transform=("-ia", start))
    matrix = np.asarray(found["matrix"], dtype=np.float64)
    if freedom == 6 and np.isfinite(matrix).all():
        matrix[:3, :3] = _orthonormal(matrix[:3, :3])
    return matrix


def _metric_words(metric: Metric, radius: int) -> str:
    return f"NCC {radius}x{radius}x{radius}" if metric == "NCC" else metric


def _levels(iterations: Sequence[int]) -> str:
    return "x".join(str(int(count)) for count in iterations)


def _mask_volume(fixed: Volume, mask: NDArray[np.bool_] | None) -> Volume | None:
    if mask is None:
        return None
    if mask.shape != fixed.shape:
        raise RegistrationProblem(f"the mask has shape {mask.shape}, its image {fixed.shape}")
    if not mask.any():
        raise RegistrationProblem("the mask of the fixed image is empty")
    return Volume(mask.astype(np.float32), fixed.affine)


def _greedy(
    words: list[str], images: dict[str, Any], *, mask: Volume | None, transform: tuple[str, NDArray[np.float64]]
) -> Any:
    from picsl_greedy import Greedy3D

    said = io.StringIO()
    words = [*words, "-threads 1 -V 0"]
    if mask is not None:
        images["mask"] = to_itk(mask)
        words.append("-gm mask")
    with tempfile.TemporaryDirectory(prefix="plastimap-") as folder:
        # Matrices are the one thing that greedy reads from disk only.
        start = Path(folder) / "start.mat"
        np.savetxt(start, transform[1], fmt="%.17g")
        engine = Greedy3D()
        try:
            with _quiet():
                engine.execute(" ".join([*words, transform[0], str(start)]), out=said, err=said, **images)
        except RuntimeError as error:
            raise RegistrationProblem(f"greedy could not match the images: {error}") from error
    return engine


@contextmanager
def _quiet() -> Generator[None]:
    """Keep what the optimiser's Fortran heritage writes to the process's own stdout and stderr from showing."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for number, handle in zip((1, 2), kept, strict=True):
            os.dup2(handle, number)
            os.close(handle)
        os.close(nowhere)


def starting_position(fixed: Volume, moving: Volume) -> NDArray[np.float64]:
    """Pull matrix to start from: identity, or centre of mass to centre of mass, whichever correlates more."""
    shift = np.eye(4)
    shift[:3, 3] = centre_of_mass(moving) - centre_of_mass(fixed)
    at_rest, moved = (_correlation(fixed, moving, candidate) for candidate in (np.eye(4), shift))
    return shift if moved > at_rest else np.eye(4)


def _correlation(fixed: Volume, moving: Volume, matrix: NDArray[np.float64]) -> float:
    """Correlation of absolute values on a coarse grid; -1 where nothing of the moving image falls on it."""
    grid = _coarse_grid(fixed)
    image = resample(fixed, grid, np.eye(4), validity=False)
    other = resample(moving, grid, matrix, validity=False)
    return float(np.corrcoef(np.abs(image).ravel(), np.abs(other).ravel())[0, 1]) if other.std() else -1.0


def centre_of_mass(volume: Volume) -> NDArray[np.float64]:
    """Centre of |intensity| in world millimetres, shape (3,)."""
    weight = np.abs(np.nan_to_num(volume.data.astype(np.float64)))
    axes = [weight.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    index = [float(np.average(np.arange(line.size), weights=line)) for line in axes]
    return volume.affine[:3, :3] @ np.array(index) + volume.affine[:3, 3]


def check_content(fixed: Volume, moving: Volume) -> None:
    """Refuse what is no 3D image or has one value only (RegistrationProblem)."""
    for name, volume in (("fixed", fixed), ("moving", moving)):
        if volume.data.ndim != 3:
            raise RegistrationProblem(f"the {name} image has {volume.data.ndim} dimensions, where 3 are wanted")
        values = volume.data[np.isfinite(volume.data)]
        if values.size == 0 or values.min() == values.max():
            raise RegistrationProblem(f"the {name} image is empty: all its values are the same")


def _check_matrix(matrix: NDArray[np.float64], fixed: Volume, moving: Volume) -> None:
    if not np.isfinite(matrix).all():
        raise RegistrationProblem("the match is not a finite matrix")
    scales = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    if scales.max() > LARGEST_SCALE or scales.min() < 1 / LARGEST_SCALE or np.linalg.det(matrix[:3, :3]) < 0:
        raise RegistrationProblem(f"the match stretches the image by factors {np.round(scales, 2).tolist()}")
    overlap = overlap_share(matrix, fixed, moving)
    if overlap < LEAST_OVERLAP:
        raise RegistrationProblem(f"only {100 * overlap:.0f} % of the fixed image falls inside the moving one")


def _check_leap(matrix: NDArray[np.float64], start: NDArray[np.float64], fixed: Volume, moving: Volume) -> None:
    before, after = (shared_information(fixed, moving, candidate) for candidate in (start, matrix))
    if after < KEPT_INFORMATION * before:
        raise RegistrationProblem(
            f"the match is worse than its start: {after:.2f} of shared information, {before:.2f} before"
        )


def shared_information(fixed: Volume, moving: Volume, matrix: NDArray[np.float64], *, bins: int = 24) -> float:
    """Mutual information in nats of two images on a coarse grid, under a pull matrix.

    Parameters
    ----------
    fixed, moving : Volume
    matrix : ndarray, shape (4, 4)
    bins : int
        Of the joint histogram, per image.
    """
    grid = _coarse_grid(fixed)
    one = resample(fixed, grid, np.eye(4), validity=False).ravel()
    other = resample(moving, grid, matrix, validity=False).ravel()
    joint = np.histogram2d(one, other, bins=bins)[0] / one.size
    alone = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / alone[there])).sum())


def _coarse_grid(fixed: Volume) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    extent = np.array(fixed.shape) * fixed.voxel_size
    shape = tuple(int(n) for n in np.maximum(np.ceil(extent / COARSE_MM), 4))
    return shape, fixed.affine @ np.diag([*(np.array(fixed.shape) / np.array(shape)), 1.0])


def overlap_share(matrix: NDArray[np.float64], fixed: Volume, moving: Volume) -> float:
    """Share of the fixed image's foreground (non-zero, finite) that a pull matrix takes into the moving image's box."""
    foreground = np.nan_to_num(fixed.data) != 0
    points = world_points(grid_of(fixed))[:, foreground][:, ::7]
    voxels = apply_matrix(inverse(moving.affine) @ matrix, points)
    last = np.array(moving.shape).reshape(3, 1) - 0.5
    inside = ((voxels >= -0.5) & (voxels <= last)).all(axis=0)
    return float(inside.mean()) if inside.size else 0.0


def check_folding(warp: Warp) -> None:
    """Refuse a deformable result that is not finite or folds (RegistrationProblem)."""
    if not np.isfinite(warp.displacement).all():
        raise RegistrationProblem("the match has displacements that are not finite")
    folded = float(np.mean(jacobian(Warp(warp.displacement, warp.affine)) <= 0))
    if folded > MOST_FOLDING:
        raise RegistrationProblem(f"the match folds at {100 * folded:.1f} % of the voxels")
