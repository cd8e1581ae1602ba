"""The priors brought to a scan: affine, then smoothly deformed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap import registration
from plastimap.anat.grids import around, cropped, resample_isotropic, sample, within
from plastimap.anat.priors import TISSUES, Priors, load_priors
from plastimap.images import Volume
from plastimap.transforms import Grid, Transform, Warp, apply_matrix, grid_of, resample, transform_points

TEMPLATE_CSF = 0.3
"""Intensity of CSF in the template. Below it there is no structure to match."""

MARGIN_MM = 6.0
"""The images are compared this far outside the brain too: its outline is the strongest feature."""

SMOOTHING = (2.5, 1.0)
"""Of each update and of the whole displacement, in voxels: stiff, since an average brain has no gyri of its own."""

OUTSIDE_MM = 80.0
"""Distance from the brain that stands for *beyond the template*."""


@dataclass(frozen=True)
class WarpedPriors:
    """The priors on the grid of a scan.

    Attributes
    ----------
    gm, wm, csf : ndarray of float32, shape (X, Y, Z)
        Probabilities.
    distance : ndarray of float32, shape (X, Y, Z)
        Millimetres from the template's brain surface, negative inside.
    """

    gm: NDArray[np.float32]
    wm: NDArray[np.float32]
    csf: NDArray[np.float32]
    distance: NDArray[np.float32]

    @property
    def probabilities(self) -> dict[str, NDArray[np.float32]]:
        """The tissue priors by name."""
        return dict(zip(TISSUES, (self.gm, self.wm, self.csf), strict=True))


def match_priors(
    brain: Volume,
    mask: NDArray[np.bool_],
    *,
    resolution_mm: float,
    csf_level: float | None = None,
    initial: NDArray[np.float64] | None = None,
    sound: NDArray[np.bool_] | None = None,
    iterations: Sequence[int] = (60, 40, 0),
) -> Warp:
    """Match the template to a brain.

    Parameters
    ----------
    brain : Volume
        T1-like contrast (WM > GM > CSF): T1w, R1, MTsat. NaN counts as CSF.
    mask : ndarray of bool
        The brain; what lies outside is not looked at.
    resolution_mm : float
        Voxel size at which to match.
    csf_level : float, optional
        Intensity of CSF; a low percentile of the brain unless given.
    initial : ndarray, shape (4, 4), optional
        Pull matrix scan to template of an earlier match; it is improved before the deformable one.
    sound : ndarray of bool, optional
        Where scan and template show the same thing; elsewhere, as in a lesion, they are not compared.
    iterations : sequence of int
        Of the deformable match, coarsest level first.

    Returns
    -------
    Warp
        Pull map from the scan's world to the template's.

    Raises
    ------
    plastimap.registration.RegistrationProblem
        When the two cannot be matched.
    """
    template = _parenchyma_template(load_priors(resolution_mm))
    fixed, inside = _parenchyma(brain, mask, resolution_mm, csf_level)
    near = within(inside, fixed.voxel_size, MARGIN_MM)
    if sound is not None:
        near &= sample((~sound).astype(np.float32), brain.affine, fixed.shape, fixed.affine) < 0.5
    box = around(fixed, near, 2 * resolution_mm)
    fixed, near = cropped(fixed, box), near[box]
    if initial is None:
        start = _centred(fixed, template)
        matrix = registration.affine(fixed, template, metric="NCC", fixed_mask=near, initial=start, fast=True)
    else:
        matrix = initial @ _correction(fixed, template, near, initial)
    return registration.deformable(
        fixed, template, affine=matrix, fixed_mask=near, iterations=iterations, smoothing=SMOOTHING
    )


def warp_priors(
    priors: Priors, warp: Transform, grid: Volume | Warp | Grid, *, mask: NDArray[np.bool_] | None = None
) -> WarpedPriors:
    """Priors pulled through `warp` to `grid`; outside `mask`, where given, they are 0 and far away."""
    shape, affine = grid_of(grid)
    where = np.ones(tuple(shape), dtype=bool) if mask is None else mask
    # The way to the template is the same for all priors and is gone once.
    index = np.stack(np.nonzero(where)).astype(np.float64)
    points = transform_points(warp, affine[:3, :3] @ index + affine[:3, 3:])
    voxels = apply_matrix(np.asarray(np.linalg.inv(priors.gm.affine), dtype=np.float64), points)
    pulled = [_pull(volume, voxels, where, 0.0) for volume in (priors.gm, priors.wm, priors.csf)]
    return WarpedPriors(*pulled, distance=_pull(priors.distance, voxels, where, OUTSIDE_MM))


def _pull(volume: Volume, voxels: NDArray[np.float64], where: NDArray[np.bool_], outside: float) -> NDArray[np.float32]:
    result = np.full(where.shape, outside, dtype=np.float32)
    result[where] = ndimage.map_coordinates(volume.data, voxels, order=1, mode="constant", cval=outside)
    return result


def _parenchyma_template(priors: Priors) -> Volume:
    data = np.where(priors.brain.data, np.clip(priors.t1.data - TEMPLATE_CSF, 0, None), 0)
    return Volume(data.astype(np.float32), priors.t1.affine)


def _parenchyma(
    brain: Volume, mask: NDArray[np.bool_], resolution_mm: float, csf_level: float | None
) -> tuple[Volume, NDArray[np.bool_]]:
    # CSF and everything outside become 0 alike: how wide the CSF is must not pull at the cortex.
    values = brain.data[mask & np.isfinite(brain.data)]
    low = float(np.percentile(values, 5)) if csf_level is None else csf_level
    high = float(np.percentile(values, 99.5))
    data = np.nan_to_num(np.asarray(brain.data, dtype=np.float32), nan=low, posinf=high, neginf=low)
    cut = Volume(np.where(mask, np.clip(data, low, high) - low, 0).astype(np.float32), brain.affine)
    fixed = resample_isotropic(cut, resolution_mm)
    inside = sample(mask.astype(np.float32), brain.affine, fixed.shape, fixed.affine) > 0.5
    return fixed, inside


def _correction(
    fixed: Volume, template: Volume, near: NDArray[np.bool_], initial: NDArray[np.float64]
) -> NDArray[np.float64]:
    # An affine match begins with a rigid one, which would give up the scale found before. The template is therefore
    # pulled to the scan first, and what is left is matched from the identity.
    pulled = Volume(resample(template, fixed, initial, validity=False), fixed.affine)
    return registration.affine(fixed, pulled, metric="NCC", fixed_mask=near, initial=np.eye(4), fast=True)


def _centred(fixed: Volume, template: Volume) -> NDArray[np.float64]:
    shift = np.eye(4)
    shift[:3, 3] = registration.centre_of_mass(template) - registration.centre_of_mass(fixed)
    return shift
