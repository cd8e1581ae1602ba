"""One scan from image to tissues: mask, bias, priors, tissue probabilities, intracranial volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from plastimap.anat.bias import correct_bias
from plastimap.anat.brainmask import BrainMask, brain_mask
from plastimap.anat.matching import WarpedPriors, match_priors, warp_priors
from plastimap.anat.priors import TISSUES, load_priors
from plastimap.anat.segment import segment
from plastimap.anat.tiv import intracranial_volume, tissue_volumes
from plastimap.images import Volume
from plastimap.transforms import folding_share, jacobian

MATCHING_MM = (2.0, 3.0)
"""Finest and coarsest voxel size at which the priors are matched."""

RIM_MM = 1.5
"""The brain's space reaches this far outside the template's brain, where a scan without skull does not show its end."""

LOW_DICE = 0.7
"""Overlap of warped priors and result below which a match deserves a look."""


class AnatomyProblem(ValueError):
    """A scan that cannot be segmented; the message says why."""


@dataclass(frozen=True)
class ScanAnatomy:
    """What one structural scan tells.

    Attributes
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Brain with its CSF.
    gm, wm, csf : ndarray of float32, shape (X, Y, Z)
        Tissue probabilities; 0 outside the mask, where they sum to 1 inside.
    tiv_ml : float
        Intracranial volume: GM + WM + CSF.
    corrected : ndarray of float32, shape (X, Y, Z)
        The image without its bias field; the image as it was where it is quantitative.
    priors_dice : dict of str to float
        Overlap at one half of each warped prior with the tissue found.
    notes : tuple of str
        What a person should know.
    qa : dict of str to float
        Volumes in ml, tissue means, Jacobian range and folding of the priors' warp.
    """

    mask: NDArray[np.bool_]
    gm: NDArray[np.float32]
    wm: NDArray[np.float32]
    csf: NDArray[np.float32]
    tiv_ml: float
    corrected: NDArray[np.float32]
    priors_dice: dict[str, float]
    notes: tuple[str, ...] = ()
    qa: dict[str, float] = field(default_factory=dict)

    @property
    def probabilities(self) -> dict[str, NDArray[np.float32]]:
        """The tissue maps by name."""
        return {"GM": self.gm, "WM": self.wm, "CSF": self.csf}


def segment_scan(
    volume: Volume,
    *,
    quantitative: bool,
    mask: NDArray[np.bool_] | None = None,
    skull_stripped: bool | None = None,
    mask_method: Callable[[Volume], BrainMask] | None = None,
) -> ScanAnatomy:
    """Segment one structural scan.

    Parameters
    ----------
    volume : Volume
        Shape (X, Y, Z); T1w, R1 or MTsat (white matter brightest). NaN is missing.
    quantitative : bool
        True for maps in physical units: no bias correction then.
    mask : ndarray of bool, shape (X, Y, Z), optional
        The brain with its CSF, where somebody has drawn it.
    skull_stripped : bool, optional
        Whether the scan shows a brain only; judged from it unless given.
    mask_method : callable, optional
        Takes the volume and returns a :class:`~plastimap.anat.brainmask.BrainMask`, in place of our own brain
        extraction.

    Returns
    -------
    ScanAnatomy

    Raises
    ------
    AnatomyProblem
        When the scan is not 3D or the mask does not fit it.
    plastimap.anat.brainmask.BrainMaskProblem
        When no brain is found.
    plastimap.registration.RegistrationProblem
        When the priors cannot be matched.
    """
    found = _mask_of(volume, mask, skull_stripped, mask_method)
    finite = np.isfinite(volume.data)
    corrected = np.array(volume.data, dtype=np.float32) if quantitative else correct_bias(volume, found.mask)
    image = _bounded(corrected, found.mask & finite)
    resolution = float(np.clip(volume.voxel_size.min(), *MATCHING_MM))
    brain = Volume(image, volume.affine)
    warp = match_priors(brain, found.mask, resolution_mm=resolution, initial=found.matrix, refine=False)
    # The priors are smooth: those of the matching grid serve every finer scan.
    priors = warp_priors(load_priors(resolution), warp, volume)
    inside = found.mask
    if found.method == "foreground":
        inside = _with_dark_rim(inside, priors, volume.data)
    result = segment(image, priors.probabilities, mask=inside, voxel_volume_mm3=volume.voxel_volume)
    dice = _prior_overlap(priors, result.probabilities, inside)
    determinant = jacobian(warp)
    template = warp_priors(load_priors(resolution), warp, warp).distance < 0
    qa = {
        **{f"{name}_ml": value for name, value in tissue_volumes(result.probabilities, volume.voxel_volume).items()},
        **{f"{name}_mean": value for name, value in result.means.items()},
        "jacobian_min": float(determinant[template].min()),
        "jacobian_max": float(determinant[template].max()),
        "folding_share": folding_share(determinant, template),
        "invalid_share": float(1 - finite[inside].mean()),
    }
    return ScanAnatomy(
        mask=inside,
        gm=result.gm,
        wm=result.wm,
        csf=result.csf,
        tiv_ml=intracranial_volume(result.probabilities, volume.voxel_volume),
        corrected=corrected,
        priors_dice=dice,
        notes=found.notes + _warnings(dice),
        qa=qa,
    )


def _mask_of(
    volume: Volume,
    mask: NDArray[np.bool_] | None,
    skull_stripped: bool | None,
    mask_method: Callable[[Volume], BrainMask] | None,
) -> BrainMask:
    if volume.data.ndim != 3:
        raise AnatomyProblem(f"the scan has {volume.data.ndim} dimensions, where 3 are wanted")
    if mask is not None:
        if mask.shape != volume.shape:
            raise AnatomyProblem(f"the brain mask has shape {mask.shape}, its scan {volume.shape}")
        if not mask.any():
            raise AnatomyProblem("the brain mask is empty")
        return BrainMask(np.asarray(mask, dtype=bool), "given", ("the brain mask was given",))
    if mask_method is not None:
        return mask_method(volume)
    return brain_mask(volume, skull_stripped=skull_stripped)


def _with_dark_rim(mask: NDArray[np.bool_], priors: WarpedPriors, data: NDArray[np.floating]) -> NDArray[np.bool_]:
    # CSF is as dark as air in MTsat: where a foreground ends is no sign of where the brain's space does. What was
    # cut away (exactly 0, or NaN) is not brought back.
    measured = np.isfinite(data) & (data != 0)
    return mask | (measured & (priors.distance < RIM_MM))


def _bounded(image: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float32]:
    # Vessels and failed fits reach far beyond tissue; at the bounds they still are the extremes.
    low, high = np.percentile(image[usable], [0.1, 99.9])
    return np.clip(image, low, high).astype(np.float32)


def _prior_overlap(
    priors: WarpedPriors, found: dict[str, NDArray[np.float32]], mask: NDArray[np.bool_]
) -> dict[str, float]:
    expected = dict(priors.probabilities)
    expected["CSF"] = np.where(mask, 1 - priors.gm - priors.wm, 0).astype(np.float32)
    return {name: _dice(expected[name] > 0.5, found[name] > 0.5) for name in TISSUES}


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2.0 * int((one & other).sum()) / total if total else 0.0


def _warnings(dice: dict[str, float]) -> tuple[str, ...]:
    return tuple(
        f"{name}: warped prior and result overlap by only {dice[name]:.2f} (Dice); look at the picture"
        for name in ("GM", "WM")
        if dice[name] < LOW_DICE
    )
