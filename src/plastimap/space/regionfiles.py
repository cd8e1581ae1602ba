"""Images and transforms of regions, read from files: of a probabilistic atlas only the volumes that are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plastimap.images import ImageProblem, Volume, check_geometry, open_image
from plastimap.transforms import Chain
from plastimap.warpfiles import read_matrix, read_warp
from plastimap.writing import PathLike


def read_region(path: PathLike, volumes: int | Sequence[int] | None = None) -> Volume:
    """Read a region's image; of a 4D one the largest value of the volumes named.

    Parameters
    ----------
    path : path-like
        3D, or 4D with one region per volume.
    volumes : int or sequence of int, optional
        Of a 4D image, counted from 0.

    Returns
    -------
    Volume, shape (X, Y, Z)

    Raises
    ------
    ImageProblem
        When the file cannot be read, or has not the volumes asked for.
    """
    image = open_image(path)
    affine = check_geometry(image, path)
    wanted = None if volumes is None else [int(n) for n in np.atleast_1d(np.asarray(volumes))]
    count = image.shape[3] if len(image.shape) == 4 else 0
    if wanted is None and count > 1:
        raise ImageProblem(f"{path}: has {count} volumes; say which one a region is with volume: 0 to {count - 1}")
    if wanted is not None and not all(0 <= n < max(count, 1) for n in wanted):
        raise ImageProblem(f"{path}: has volumes 0 to {max(count, 1) - 1}, not {wanted}")
    try:
        if not count:
            return Volume(np.asarray(image.dataobj, dtype=np.float32), affine)
        parts = [np.asarray(image.dataobj[..., n], dtype=np.float32) for n in wanted or [0]]
    except (OSError, EOFError, ValueError) as error:
        raise ImageProblem(f"{path}: the image data cannot be read ({error}); copy or convert it again") from error
    return Volume(np.asarray(np.max(parts, axis=0), dtype=np.float32), affine)


def read_chain(path: PathLike) -> Chain:
    """Read a transform: an ITK displacement field (NIfTI), or an ITK affine (text)."""
    return read_warp(path) if str(path).endswith((".nii", ".nii.gz")) else read_matrix(path)


def region_images(regions: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Volume], dict[str, Chain]]:
    """Images and transforms of the regions that have them, by name."""
    images = {str(r["name"]): read_region(r["image"], r.get("volume")) for r in regions if r.get("image")}
    chains = {str(r["name"]): read_chain(r["transform"]) for r in regions if r.get("transform")}
    return images, chains
