"""Tissue priors: the ICBM152 2009a symmetric average that nilearn ships (BIDS space ``MNI152NLin2009aSym``).

The package data hold a skull-stripped T1 average and the probabilities of
grey and white matter at 1 mm. There is no CSF map; CSF is what the brain
holds beside grey and white matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.anat.grids import resample_isotropic
from plastimap.icbm import standard_image
from plastimap.images import Volume

TISSUES: tuple[str, ...] = ("GM", "WM", "CSF")
"""Order of the tissue classes wherever they are stacked."""

CSF_RIM_MM = 3.0
"""The average is stripped tightly at the cortex; CSF (and nothing else) continues this far outside it."""


@dataclass(frozen=True)
class Priors:
    """The template and its tissue probabilities on one grid.

    Attributes
    ----------
    gm, wm, csf : Volume
        Probabilities in 0..1. Inside the brain they sum to 1; CSF fades out
        over a rim around it.
    t1 : Volume
        Skull-stripped T1-weighted average, 0..1.
    distance : Volume
        Millimetres from the brain's surface, negative inside.
    brain : Volume
        Boolean mask of the brain as the template was stripped.
    """

    gm: Volume
    wm: Volume
    csf: Volume
    t1: Volume
    distance: Volume
    brain: Volume


@lru_cache(maxsize=4)
def load_priors(resolution_mm: float = 2.0) -> Priors:
    """Load the ICBM152 priors on an isotropic grid.

    Parameters
    ----------
    resolution_mm : float, default 2
        Voxel edge. Coarser grids are low-pass filtered before sampling, so
        that a voxel holds the mean over its extent.

    Returns
    -------
    Priors
        Arrays are read-only, since they are shared between callers.

    References
    ----------
    Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033.
    """
    images = [standard_image("gm"), standard_image("wm"), standard_image("t1")]
    affine = images[0].affine
    gm, wm, t1 = (image.data for image in images)
    # The T1 average is zero exactly where it was stripped.
    brain = np.asarray(ndimage.binary_fill_holes(t1 > 0))
    on_grid = [resample_isotropic(Volume(data, affine), resolution_mm) for data in (gm, wm, t1)]
    inside = resample_isotropic(Volume(brain.astype(np.float32), affine), resolution_mm)
    mask = inside.data > 0.5
    distance = _signed_distance(mask, resolution_mm)
    share = np.maximum(inside.data, np.clip(1.0 - distance / CSF_RIM_MM, 0.0, 1.0))
    csf = np.clip(share - on_grid[0].data - on_grid[1].data, 0.0, 1.0)
    arrays = (on_grid[0].data, on_grid[1].data, csf, on_grid[2].data, distance, mask)
    return Priors(*(_frozen(data, inside.affine) for data in arrays))


def _signed_distance(brain: NDArray[np.bool_], resolution_mm: float) -> NDArray[np.float32]:
    # Distances run between voxel centres; the surface lies half a voxel before the first of them.
    half = 0.5 * resolution_mm
    outside = np.asarray(ndimage.distance_transform_edt(~brain), dtype=np.float32) * resolution_mm
    inside = np.asarray(ndimage.distance_transform_edt(brain), dtype=np.float32) * resolution_mm
    return np.where(brain, half - inside, outside - half).astype(np.float32)


def _frozen(data: NDArray[np.generic], affine: NDArray[np.float64]) -> Volume:
    data.flags.writeable = False
    affine.flags.writeable = False
    return Volume(data, affine)
