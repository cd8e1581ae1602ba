"""Random streams that have a name: the same seed and name give the same numbers, whatever else was drawn."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Make a generator that depends on `seed` and `names` alone."""
    keys = [name if isinstance(name, int) else zlib.crc32(name.encode()) for name in names]
    return np.random.default_rng([seed, *keys])


def smooth_field(rng: np.random.Generator, shape: tuple[int, int, int], *, sigma_voxels: float) -> NDArray[np.float64]:
    """Draw a Gaussian random field with unit standard deviation (over the ensemble), shape `shape`.

    Made by smoothing white noise over a wider grid, so that the edges are as
    random as the middle.
    """
    from scipy.ndimage import gaussian_filter

    pad = int(np.ceil(3 * sigma_voxels))
    noise = rng.standard_normal([n + 2 * pad for n in shape])
    smooth = gaussian_filter(noise, sigma_voxels, mode="wrap", truncate=3.0)
    # White noise smoothed by a Gaussian of σ voxels keeps a variance of 1/(2 σ √π)³.
    smooth *= (2 * sigma_voxels * np.sqrt(np.pi)) ** 1.5
    return smooth[tuple(slice(pad, pad + n) for n in shape)]
