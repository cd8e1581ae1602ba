"""The mean of many images, read one at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plastimap.images import ImageProblem, Volume, read_volume, same_grid
from plastimap.writing import PathLike


def mean_volume(files: Sequence[PathLike]) -> Volume:
    """Mean over images on one grid; NaN takes no part, and stays where every image has it.

    Raises
    ------
    ImageProblem
        When there is no image, or one lies on another grid.
    """
    if not files:
        raise ImageProblem("no image to average")
    first = read_volume(files[0])
    total, count = np.zeros(first.shape), np.zeros(first.shape, dtype=np.int64)
    for file in files:
        volume = read_volume(file)
        if not same_grid(first, volume):
            raise ImageProblem(f"{file}: lies on another grid than {files[0]}; bring all images to one grid")
        known = np.isfinite(volume.data)
        total[known] += volume.data[known]
        count += known
    mean = np.divide(total, count, out=np.full(first.shape, np.nan), where=count > 0)
    return Volume(mean.astype(np.float32), first.affine)
