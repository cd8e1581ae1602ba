"""One scan from image to tissues: mask, bias, priors, tissue probabilities, intracranial volume."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from plastimap.anat.bias import log_bias_field, without_bias
from plastimap.anat.brainmask import BrainMask, BrainMaskProblem, brain_mask, looks_like_head
from plastimap.anat.damage import lesion_notes, with_lesion
from plastimap.anat.grids import sample
from plastimap.anat.matching import WarpedPriors, match_priors, warp_priors
from plastimap.anat.network import deepbet_is_installed, deepbet_mask
from plastimap.anat.priors import TISSUES, Priors, load_priors
from plastimap.anat.segment import segment
from plastimap.anat.tiv import intracranial_volume, tissue_volumes
from plastimap.anat.verdict import AnatomyProblem, dice_of, refuse_destroyed, refuse_failed, warnings_of
from plastimap.images import Volume
from plastimap.transforms import Warp, folding_share, jacobian

MaskMethod = Literal["auto", "deepbet", "classical"]

MATCHING_MM = (2.0, 3.0)
"""Finest and coarsest voxel size at which the priors are matched."""

RIM_MM = 1.5
"""The brain's space reaches this far outside the template's brain, where a scan without skull does not show its end."""


@dataclass(frozen=True)
class ScanAnatomy:
    """What one structural scan tells.

    Attributes
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Brain with its CSF.
    gm, wm, csf : ndarray of float32, shape (X, Y, Z)
        Tissue probabilities; 0 outside the mask and in a lesion, elsewhere inside they sum to 1.
    tiv_ml : float
        Intracranial volume: GM + WM + CSF, and the lesion.
    corrected : ndarray of float32, shape (X, Y, Z)
        The image without its bias field; the image as it was where it is quantitative.
    priors_dice : dict of str to float
        Overlap at one half of each warped prior with the tissue found.
    mask_method : str
        Where the mask came from; see :class:`~plastimap.anat.brainmask.BrainMask`.
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
    mask_method: str = "given"
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
    lesion: NDArray[np.bool_] | None = None,
    skull_stripped: bool | None = None,
    mask_method: MaskMethod = "auto",
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
    lesion : ndarray of bool, shape (X, Y, Z), optional
        Where tissue is destroyed, or metal hides it. What of it lies in the template's brain belongs to the brain,
        but is neither matched with the template, nor looked at for the tissues' intensities, nor given a tissue.
    skull_stripped : bool, optional
        Whether the scan shows a brain only; judged from it unless given.
    mask_method : {"auto", "deepbet", "classical"}
        How the brain of a whole head is found where no mask is given; ``"auto"`` takes the network where the extra
        ``plastimap[deep]`` is installed.

    Returns
    -------
    ScanAnatomy

    Raises
    ------
    AnatomyProblem
        When the scan is not 3D, a mask does not fit it, or the tissues found are not where any brain has them.
    plastimap.anat.brainmask.BrainMaskProblem
        When no brain is found.
    plastimap.registration.RegistrationProblem
        When the priors cannot be matched.
    """
    _check(volume, mask, lesion)
    sound = np.ones(volume.shape, dtype=bool) if lesion is None else ~lesion
    found = find_brain(
        volume, quantitative=quantitative, mask=mask, lesion=lesion, skull_stripped=skull_stripped, method=mask_method
    )
    refuse_destroyed(found.mask, sound)
    usable = found.mask & sound
    corrected = _corrected(volume, usable, found.log_field, quantitative=quantitative)
    image = _bounded(corrected, usable & np.isfinite(corrected))
    warp = found.warp or _match(Volume(image, volume.affine), found.mask, sound)
    # The priors are smooth: those of the matching grid serve every finer scan.
    library = load_priors(_matching_mm(volume))
    # How far the template goes matters outside the mask only where its rim is not to be seen.
    priors = warp_priors(library, warp, volume, mask=None if found.method == "foreground" else found.mask | ~sound)
    inside = found.mask if found.method != "foreground" else _with_dark_rim(found.mask, priors, volume.data)
    inside = with_lesion(inside, lesion, priors.distance, rim_mm=RIM_MM)
    result = segment(
        image,
        priors.probabilities,
        mask=inside & sound,
        voxel_volume_mm3=volume.voxel_volume,
        varied_csf=not quantitative and _in_head(found, volume, skull_stripped),
    )
    dice = _prior_overlap(priors, result.probabilities, inside & sound)
    refuse_failed(dice)
    lesion_ml = float((inside & ~sound).sum()) * volume.voxel_volume / 1000
    tiv_ml = intracranial_volume(result.probabilities, volume.voxel_volume) + lesion_ml
    qa = {
        **{f"{name}_ml": value for name, value in tissue_volumes(result.probabilities, volume.voxel_volume).items()},
        **{f"{name}_mean": value for name, value in result.means.items()},
        **_warp_qa(warp, library, Volume(inside.astype(np.float32), volume.affine)),
        "invalid_share": float(1 - np.isfinite(volume.data)[inside].mean()),
        "lesion_ml": lesion_ml,
    }
    return ScanAnatomy(
        mask=inside,
        gm=result.gm,
        wm=result.wm,
        csf=result.csf,
        tiv_ml=tiv_ml,
        corrected=corrected,
        priors_dice=dice,
        mask_method=found.method,
        notes=(
            *found.notes,
            *lesion_notes(lesion, inside, volume.voxel_volume),
            *warnings_of(dice, tiv_ml, qa["mask_dice"]),
        ),
        qa=qa,
    )


def find_brain(
    volume: Volume,
    *,
    quantitative: bool,
    mask: NDArray[np.bool_] | None = None,
    lesion: NDArray[np.bool_] | None = None,
    skull_stripped: bool | None = None,
    method: MaskMethod = "auto",
) -> BrainMask:
    """Take the user's mask, else let the network draw it where it is installed, else find it our way.

    Parameters and errors as in :func:`segment_scan`. What the network cannot do is noted, and done our way.
    """
    if mask is not None:
        return BrainMask(np.asarray(mask, dtype=bool), "given", ("the brain mask was given",))
    notes: tuple[str, ...] = ()
    wanted = method == "deepbet" or (method == "auto" and deepbet_is_installed())
    if wanted and skull_stripped is None:
        skull_stripped = not looks_like_head(volume)
    if wanted and not skull_stripped:
        try:
            drawn = deepbet_mask(volume)
        except BrainMaskProblem as problem:
            if method == "deepbet":
                raise
            notes = (f"{problem}; the brain was found by the classical method",)
        else:
            return drawn
    found = brain_mask(volume, quantitative=quantitative, skull_stripped=skull_stripped, lesion=lesion)
    return replace(found, notes=notes + found.notes)


def _in_head(found: BrainMask, volume: Volume, skull_stripped: bool | None) -> bool:
    # Whoever drew the mask: tissues must not differ between sessions for having been given one or not.
    if found.method != "given":
        return found.method != "foreground"
    return looks_like_head(volume) if skull_stripped is None else not skull_stripped


def _check(volume: Volume, mask: NDArray[np.bool_] | None, lesion: NDArray[np.bool_] | None) -> None:
    if volume.data.ndim != 3:
        raise AnatomyProblem(f"the scan has {volume.data.ndim} dimensions, where 3 are wanted")
    for name, given in (("brain", mask), ("lesion", lesion)):
        if given is not None and given.shape != volume.shape:
            raise AnatomyProblem(f"the {name} mask has shape {given.shape}, its scan {volume.shape}")
    if mask is not None and not mask.any():
        raise AnatomyProblem("the brain mask is empty")


def _corrected(
    volume: Volume, usable: NDArray[np.bool_], log_field: Volume | None, *, quantitative: bool
) -> NDArray[np.float32]:
    if quantitative:
        return np.array(volume.data, dtype=np.float32)
    field = log_field or Volume(log_bias_field(volume, usable), volume.affine)
    return np.asarray(without_bias(volume, field).data, dtype=np.float32)


def _matching_mm(volume: Volume) -> float:
    return float(np.clip(volume.voxel_size.min(), *MATCHING_MM))


def _match(brain: Volume, mask: NDArray[np.bool_], sound: NDArray[np.bool_]) -> Warp:
    return match_priors(brain, mask, resolution_mm=_matching_mm(brain), sound=None if sound.all() else sound)


def _warp_qa(warp: Warp, library: Priors, mask: Volume) -> dict[str, float]:
    determinant = jacobian(warp)
    distance = warp_priors(library, warp, warp).distance
    template = distance < 0
    brain, seen = (
        sample(data, mask.affine, distance.shape, warp.affine) > 0.5 for data in (mask.data, np.ones(mask.shape))
    )
    return {
        "mask_dice": dice_of(brain, (distance < RIM_MM) & seen),
        "jacobian_min": float(determinant[template].min()),
        "jacobian_max": float(determinant[template].max()),
        "folding_share": folding_share(determinant, template),
    }


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
    return {name: dice_of(expected[name] > 0.5, found[name] > 0.5) for name in TISSUES}
