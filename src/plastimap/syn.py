"""ANTs' symmetric normalisation (Avants 2008, doi:10.1016/j.media.2007.06.004), the alternative to greedy.

The extra ``plastimap[ants]`` (antspyx, Apache-2.0) brings it. One thread and a fixed seed: the result repeats itself.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.registration import RegistrationProblem, check_content, check_folding, to_itk
from plastimap.transforms import Warp
from plastimap.warpfiles import read_warp, write_matrix

RADIUS = 2
"""Of the window of local cross-correlation, in voxels."""

STEP = 0.2
"""Of the gradient, in voxels: ANTs' usual one."""

SEED = 1
THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"


def syn(
    fixed: Sequence[Volume],
    moving: Sequence[Volume],
    *,
    affine: NDArray[np.float64],
    fixed_mask: NDArray[np.bool_] | None = None,
    iterations: Sequence[int] = (60, 40, 20),
    smoothing: tuple[float, float] = (3.0, 0.3),
) -> Warp:
    """Smooth nonlinear match of several pairs of images at once, by local cross-correlation.

    Parameters
    ----------
    fixed, moving : sequence of Volume, equally long
        All of one side share a grid.
    affine : ndarray, shape (4, 4)
        Pull matrix of a linear match that goes before; it becomes the `matrix` of the result.
    fixed_mask : ndarray of bool, optional
        Where the images are compared.
    iterations : sequence of int
        Per level, coarsest first.
    smoothing : (float, float)
        Standard deviations in voxels of the smoothing of each update and of the whole displacement.

    Returns
    -------
    Warp
        On the grid of `fixed`.

    Raises
    ------
    RegistrationProblem
        When ANTs is not installed, an image is empty, no match is found, or the result folds.
    """
    ants = _ants()
    for pair in zip(fixed, moving, strict=True):
        check_content(*pair)
    first, *others = [(_image(ants, one), _image(ants, other)) for one, other in zip(fixed, moving, strict=True)]
    mask = None if fixed_mask is None else _image(ants, Volume(fixed_mask.astype(np.float32), fixed[0].affine))
    with tempfile.TemporaryDirectory(prefix="plastimap-") as folder:
        start = Path(folder, "start.txt")
        write_matrix(start, affine)
        try:
            found = ants.registration(
                *first, type_of_transform="SyNOnly", initial_transform=[str(start)], outprefix=f"{folder}/syn",
                mask=mask, multivariate_extras=[("CC", *pair, 1.0, RADIUS) for pair in others] or None,
                syn_metric="CC", syn_sampling=RADIUS, reg_iterations=tuple(iterations), grad_step=STEP,
                flow_sigma=smoothing[0], total_sigma=smoothing[1], random_seed=SEED,
            )  # fmt: skip
        except (RuntimeError, ValueError) as error:
            raise RegistrationProblem(f"ANTs could not match the images: {error}") from error
        field = read_warp(next(file for file in found["fwdtransforms"] if "Warp" in Path(file).name))
    result = Warp(field.displacement, fixed[0].affine, affine)
    check_folding(result)
    return result


def _ants() -> Any:
    # Read when the library is loaded.
    os.environ[THREADS] = "1"
    try:
        return __import__("ants")
    except ImportError as error:
        raise RegistrationProblem("ANTs is not installed; pip install 'plastimap[ants]'") from error


def _image(ants: Any, volume: Volume) -> Any:
    import SimpleITK

    image = to_itk(volume)
    data = SimpleITK.GetArrayFromImage(image).T
    direction = np.reshape(image.GetDirection(), (3, 3))
    return ants.from_numpy(data, origin=image.GetOrigin(), spacing=image.GetSpacing(), direction=direction)
