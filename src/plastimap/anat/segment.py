"""Grey matter, white matter, CSF: a mixture model with spatial priors and partial volume.

Every voxel is pure, or a mix of two tissues that meet (GM with WM, GM with
CSF). Pure tissues have normally distributed intensities (one mean and
variance each); a mix in the proportion α : 1 − α has the mean and variance
that the proportion gives. Priors say where a tissue may be, the mixture learns what it
looks like, by expectation–maximisation. Mixed voxels take part in that in
proportion. Thick voxels hold hardly any pure CSF, so that its intensity can hardly
be told from that of mixes. In the middle of the ventricles it can be read off; in
the sulci, where vessels and membranes run through it, CSF is brighter in weighted
images. How much what is read off counts depends on what else shows CSF: little where
the mask holds that between brain and skull, much otherwise. Masks of heads may hold
bone too, which is darker still: voxels teach by how much of them the template has.

References
----------
Ashburner & Friston 2005, doi:10.1016/j.neuroimage.2005.02.018 (mixture with
tissue priors); Shattuck et al. 2001, doi:10.1006/nimg.2000.0730 (intensity of mixes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.anat.mixture import Hold, SegmentationProblem, expected_shares, fit_mixture
from plastimap.anat.priors import TISSUES

SUREST_CSF_ML = 3.0
"""So much of the likeliest CSF (the middle of the ventricles) shows what CSF looks like."""

HOLD, HOLD_WHERE_VARIED = 1.0, 0.05
"""It counts as this share of all that the mixture takes for pure CSF. In coarse brains without skull, and where a mask
is too tight, GM would shrink by 6 % and more at .05; by 1 % at 1."""

LEAST_CSF_VOXELS = 20

PRIOR_FLOOR = 0.005
"""No tissue is impossible anywhere in the mask: the average brain is not this one."""

ITERATIONS = 60

FITTED_VOXELS = 75_000
"""The parameters are learned from about so many voxels, evenly spread; the result is for all."""


@dataclass(frozen=True)
class Segmentation:
    """Tissue probabilities on the grid of the image.

    Attributes
    ----------
    gm, wm, csf : ndarray of float32, shape (X, Y, Z)
        Expected share of the voxel. They sum to 1 inside the mask and are 0 outside.
    means, sds : dict of str to float
        Intensity of each pure tissue, in the unit of the image.
    iterations : int
        Number of iterations done.
    """

    gm: NDArray[np.float32]
    wm: NDArray[np.float32]
    csf: NDArray[np.float32]
    means: dict[str, float]
    sds: dict[str, float]
    iterations: int

    @property
    def probabilities(self) -> dict[str, NDArray[np.float32]]:
        """The three maps by tissue name."""
        return {"GM": self.gm, "WM": self.wm, "CSF": self.csf}


def segment(
    image: NDArray[np.floating],
    priors: Mapping[str, NDArray[np.floating]],
    *,
    mask: NDArray[np.bool_],
    voxel_volume_mm3: float = 1.0,
    varied_csf: bool = False,
    iterations: int = ITERATIONS,
) -> Segmentation:
    """Tissue probabilities of a brain.

    Parameters
    ----------
    image : ndarray, shape (X, Y, Z)
        One structural contrast in any unit, free of bias: T1w, R1, MTsat. Voxels that are not finite are
        judged by the priors alone.
    priors : mapping of str to ndarray, shape (X, Y, Z)
        ``"GM"``, ``"WM"``, ``"CSF"``, on the same grid. What the mask holds beside GM and WM counts as CSF; the prior
        of CSF itself says where it is surest, and the sum of all three how much a voxel tells about intensities.
    mask : ndarray of bool, shape (X, Y, Z)
        The brain with its CSF.
    voxel_volume_mm3 : float
        Volume of a voxel.
    varied_csf : bool
        Whether CSF may be brighter elsewhere than in the ventricles, and the mask holds enough of it to tell: in a
        weighted image of a head.
    iterations : int, optional
        At most.

    Returns
    -------
    Segmentation

    Raises
    ------
    SegmentationProblem
        When the mask is empty, a prior is missing, or the tissues have the same intensity.
    """
    spatial = _spatial_priors(priors, mask)
    values = np.asarray(image[mask], dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        raise SegmentationProblem("the image has no finite value inside the brain mask")
    csf = _csf_mean(values[finite], np.asarray(priors[TISSUES[2]][mask])[finite], voxel_volume_mm3)
    step = max(1, int(finite.sum()) // FITTED_VOXELS)
    trust = _trust(priors, mask)[finite][::step]
    hold = Hold(csf, HOLD_WHERE_VARIED if varied_csf else HOLD)
    mixture, done = fit_mixture(values[finite][::step], spatial[:, finite][:, ::step], trust, hold, iterations)
    shares = spatial / spatial.sum(axis=0)
    shares[:, finite] = expected_shares(values[finite], spatial[:, finite], mixture)
    maps = [_fill(share, mask) for share in shares]
    means: dict[str, float] = {name: float(mean) for name, mean in zip(TISSUES, mixture.means, strict=True)}
    sds: dict[str, float] = {name: float(sd) for name, sd in zip(TISSUES, np.sqrt(mixture.variances), strict=True)}
    return Segmentation(*maps, means=means, sds=sds, iterations=done)


def _fill(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    full = np.zeros(mask.shape, dtype=np.float32)
    full[mask] = values
    return full


def _spatial_priors(priors: Mapping[str, NDArray[np.floating]], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    missing = [name for name in TISSUES if name not in priors]
    if missing:
        raise SegmentationProblem(f"there is no prior for {' and '.join(missing)}")
    if not mask.any():
        raise SegmentationProblem("the brain mask is empty")
    gm, wm = (np.nan_to_num(np.asarray(priors[name][mask], dtype=np.float64)) for name in TISSUES[:2])
    csf = 1.0 - gm - wm
    spatial = np.clip(np.stack([gm, wm, csf]), PRIOR_FLOOR, 1.0)
    return spatial / spatial.sum(axis=0)


def _trust(priors: Mapping[str, NDArray[np.floating]], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How much of each voxel the template has, shape (voxels,); 1 everywhere where it has nothing at all."""
    known = [np.nan_to_num(np.asarray(priors[name][mask], dtype=np.float64)) for name in TISSUES]
    trust = np.clip(np.sum(known, axis=0), 0.0, 1.0)
    return trust if trust.any() else np.ones_like(trust)


def _csf_mean(values: NDArray[np.float64], prior: NDArray[np.floating], voxel_volume_mm3: float) -> float:
    count = max(LEAST_CSF_VOXELS, round(SUREST_CSF_ML * 1000 / voxel_volume_mm3))
    # Stable, so that ties fall the same way on every machine.
    surest = np.argsort(-prior, kind="stable")[:count]
    return float(np.median(values[surest]))
