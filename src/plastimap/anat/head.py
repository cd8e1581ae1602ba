"""The brain in a whole head with neck.

The template is stripped at the cortex; how far the intracranial space is
expected to go beyond it depends on the place (:mod:`plastimap.anat.rim`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap import registration
from plastimap.anat.bias import log_bias_field, without_bias
from plastimap.anat.grids import around, closed, cropped, largest_piece, smooth_mm, within
from plastimap.anat.matching import SMOOTHING, WarpedPriors, match_priors, warp_priors
from plastimap.anat.priors import Priors, load_priors
from plastimap.anat.rim import expected_rim
from plastimap.anat.surface import Intensities, fill_surface, inflate
from plastimap.images import Volume
from plastimap.transforms import Warp

HEAD_HEIGHT_MM = 160.0
"""Brains end above this distance from the top of the head; below it is neck."""

CROWN_MM2 = 1500.0
"""The top of the head is the first slice with this much tissue: less may be an artefact or a hair band."""

REACH_MM = 20.0
"""Tissues are told apart up to this far outside the template's brain."""

BONE_MM = 6.0
"""Beyond the intracranial space, up to here, what is not brain is mostly bone."""

FIRST_RIM, FIRST_SCALE = 3.0, 1.5
"""Where the intracranial space ends, millimetres outside the template's outline, and how sure that is (the scale of a
logistic function), while the template has been matched to the head as it is: it then lies tightly on the cortex."""

SECOND_SCALE = 2.0
"""How sure the end is once the template has been matched to the brain of the first round."""

NEAR_MM = 8.0
"""Images are compared this far outside the outline."""

BOX_MARGIN_MM = 24.0
"""The head is cut to the balloon with this margin: the balloon may have missed that much."""

SULCUS_MM = 10.0
"""Sulci up to this width are intracranial, however dark they are."""

PRIOR_FLOOR = 1e-3
EM_ITERATIONS = 25
FITTED_VOXELS = 60_000
"""The mixture is learned from about so many voxels, evenly spread."""

SMOOTHING_MM = 3.0
"""The probability of brain is smoothed by this before the surface is drawn at one half."""


@dataclass(frozen=True)
class HeadBrain:
    """The brain of a head.

    Attributes
    ----------
    probability : Volume
        Of being intracranial, around the brain.
    warp : Warp or None
        Pull map from the scan to the template; None where no brain was found.
    log_field : Volume or None
        Logarithm of the bias field around the brain; None for quantitative maps.
    """

    probability: Volume
    warp: Warp | None = None
    log_field: Volume | None = None


def brain_of_head(
    head: Volume,
    *,
    quantitative: bool,
    lesion: NDArray[np.bool_] | None = None,
    outer: NDArray[np.bool_] | None = None,
) -> HeadBrain:
    """Find the brain in a whole head.

    Parameters
    ----------
    head : Volume
        T1-weighted, finite, isotropic voxels of 2–3 mm along the world's axes (RAS).
    quantitative : bool
        True for maps in physical units, which have no bias field.
    lesion : ndarray of bool, on the grid of `head`, optional
        Not to be matched with the template.
    outer : ndarray of bool, on the grid of `head`, optional
        Where there cannot be any brain, such as in the scalp.

    Returns
    -------
    HeadBrain

    Raises
    ------
    plastimap.registration.RegistrationProblem
        When the template cannot be matched.
    """
    resolution = float(head.voxel_size[0])
    priors = load_priors(resolution)
    possible = np.ones(head.shape, dtype=bool) if outer is None else ~outer
    balloon = balloon_brain(Volume(np.where(possible, head.data, 0).astype(np.float32), head.affine)) & possible
    if not balloon.any():
        return HeadBrain(Volume(np.zeros(head.shape, dtype=np.float32), head.affine))
    box = around(head, balloon, BOX_MARGIN_MM)
    possible = possible[box]
    sound = possible if lesion is None else possible & ~lesion[box]
    head, balloon = cropped(head, box), balloon[box]
    matrix, loose = _first_match(head, balloon, priors, sound)
    warped = warp_priors(priors, loose, head)
    first, csf = brain_probability(head, warped, rim_mm=FIRST_RIM, scale_mm=FIRST_SCALE, possible=possible)
    inside = first > 0.5
    field = None
    if not quantitative:
        field = Volume(log_bias_field(head, inside & sound), head.affine)
        head = without_bias(head, field)
    tight = match_priors(head, inside, resolution_mm=resolution, csf_level=csf, initial=matrix, sound=sound)
    warped = warp_priors(priors, tight, head)
    # In quantitative maps CSF is as dark as bone (MTsat), or bone is mere noise: in cisterns nothing would end the rim.
    rim = expected_rim(tight, head, cisterns=not quantitative)
    second, _ = brain_probability(
        head, warped, rim_mm=rim, scale_mm=SECOND_SCALE, sulci_within_mm=rim, possible=possible
    )
    return HeadBrain(Volume(second, head.affine), tight, field)


def balloon_brain(head: Volume) -> NDArray[np.bool_]:
    """See the brain as the deformable surface does; `head` as in :func:`brain_of_head`."""
    size = float(head.voxel_size[0])
    limits, tissue = _limits_and_tissue(head.data)
    piece = largest_piece(np.asarray(ndimage.binary_opening(tissue), dtype=bool))
    crown = np.nonzero(piece.sum(axis=(0, 1)) * size**2 > CROWN_MM2)[0]
    top = int(crown.max()) if crown.size else head.shape[2] - 1
    piece[:, :, : max(0, top - round(HEAD_HEIGHT_MM / size))] = False
    weight = np.where(piece, np.clip(head.data, limits.low, limits.high) - limits.low, 0)
    centre = np.array(ndimage.center_of_mass(weight))
    radius = float((3 * piece.sum() / (4 * np.pi)) ** (1 / 3)) * size
    typical = _median_around(head.data, centre, 0.7 * radius / size, limits)
    refined = Intensities(limits.low, limits.high, limits.threshold, typical)
    points = inflate(head.data, size, centre, radius, refined)
    return fill_surface(points, head.shape)


def _limits_and_tissue(data: NDArray[np.float32]) -> tuple[Intensities, NDArray[np.bool_]]:
    low, high = (float(value) for value in np.percentile(data[data > 0], [2, 98]))
    # A scan without air around the head has no dark end; then everything counts from zero.
    low = low if low < 0.1 * high else 0.0
    threshold = low + 0.1 * (high - low)
    return Intensities(low, high, threshold, (low + high) / 2), data > threshold


def _median_around(data: NDArray[np.float32], centre: NDArray[np.float64], radius: float, limits: Intensities) -> float:
    axes = np.ogrid[tuple(slice(0, n) for n in data.shape)]
    square = sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True))
    values = data[(square < radius**2) & (data > limits.low) & (data < limits.high)]
    return float(np.median(values)) if values.size else limits.typical


def _first_match(
    head: Volume, balloon: NDArray[np.bool_], priors: Priors, sound: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], Warp]:
    """Match the template to what the balloon holds: affine, then loosely deformed within the whole head."""
    bright = float(np.percentile(head.data[balloon], 99))
    clipped = Volume(np.clip(head.data, 0, bright).astype(np.float32), head.affine)
    inside = Volume(np.where(balloon, clipped.data, 0).astype(np.float32), head.affine)
    near = within(balloon, head.voxel_size, NEAR_MM) & sound
    shift = np.eye(4)
    shift[:3, 3] = registration.centre_of_mass(priors.t1) - registration.centre_of_mass(inside)
    matrix = registration.affine(inside, priors.t1, metric="NCC", fixed_mask=near, initial=shift, fast=True)
    outline = warp_priors(priors, matrix, head).distance < 0
    near = within(outline, head.voxel_size, NEAR_MM) & sound
    loose = registration.deformable(
        clipped, priors.t1, affine=matrix, fixed_mask=near, iterations=(60, 40, 0), smoothing=SMOOTHING
    )
    return matrix, loose


def brain_probability(
    head: Volume,
    priors: WarpedPriors,
    *,
    rim_mm: float | NDArray[np.float64],
    scale_mm: float,
    sulci_within_mm: float | NDArray[np.float64] = np.inf,
    possible: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], float]:
    """Probability that a voxel belongs to the intracranial space, from place and intensity.

    Parameters
    ----------
    head : Volume
        Shape (X, Y, Z).
    priors : WarpedPriors
        On the grid of `head`.
    rim_mm : float or ndarray, shape (X, Y, Z)
        Distance from the template's outline at which brain and non-brain are equally likely.
    scale_mm : float
        Scale of the logistic function around it.
    sulci_within_mm : float or ndarray, shape (X, Y, Z), optional
        Distance from the template's outline up to which what is dark between brain may be a sulcus.
    possible : ndarray of bool, shape (X, Y, Z), optional
        Where there may be brain.

    Returns
    -------
    probability : ndarray of float32, shape (X, Y, Z)
        Smoothed, one connected piece above one half.
    csf : float
        Mean intensity of CSF.
    """
    region = priors.distance < REACH_MM
    values = head.data[region].astype(np.float64)
    beyond = (priors.distance - rim_mm)[region].astype(np.float64)
    spatial = _head_priors(priors.gm[region], priors.wm[region], beyond, scale_mm)
    gm, wm = (_typical(values, spatial[k]) for k in (0, 1))
    spread = abs(wm - gm) / 2 + 1e-3 * abs(wm)
    # GM, WM, CSF; then bone and air, soft tissue, fat and vessels.
    means = np.array([gm, wm, 0.4 * gm, 0.1 * gm, gm, 1.5 * wm])
    sds = np.array([spread, spread, spread, 0.1 * gm, 0.3 * gm, 0.5 * wm])
    step = max(1, values.size // FITTED_VOXELS)
    for _ in range(EM_ITERATIONS):
        means, sds = _updated(values[::step], spatial[:, ::step], means, sds)
    probability = np.zeros(head.shape, dtype=np.float32)
    probability[region] = _shares(values, spatial, means, sds)[:3].sum(axis=0)
    if possible is not None:
        probability[~possible] = 0
    smoothed = smooth_mm(probability, head.voxel_size, SMOOTHING_MM)
    piece = largest_piece(smoothed > 0.5)
    piece |= closed(piece, head.voxel_size, SULCUS_MM / 2) & (priors.distance < sulci_within_mm)
    piece = np.asarray(ndimage.binary_fill_holes(piece), dtype=bool)
    return np.where(piece, np.maximum(smoothed, 0.51), np.minimum(smoothed, 0.5)).astype(np.float32), float(means[2])


def _typical(values: NDArray[np.float64], prior: NDArray[np.float64]) -> float:
    return float(np.median(values[prior >= 0.8 * prior.max()]))


def _head_priors(
    gm: NDArray[np.float32], wm: NDArray[np.float32], beyond: NDArray[np.float64], scale_mm: float
) -> NDArray[np.float64]:
    inside = 1 / (1 + np.exp(beyond / scale_mm))
    grey, white = (np.minimum(prior.astype(np.float64), inside) for prior in (gm, wm))
    bone = (1 - inside) * np.where(beyond < BONE_MM, 0.7, 0.4)
    other = (1 - inside - bone) / 2
    return np.clip(np.stack([grey, white, inside - grey - white, bone, other, other]), PRIOR_FLOOR, 1.0)


def _shares(
    values: NDArray[np.float64], spatial: NDArray[np.float64], means: NDArray[np.float64], sds: NDArray[np.float64]
) -> NDArray[np.float64]:
    distance = ((values - means[:, None]) / sds[:, None]) ** 2
    parts = spatial * np.exp(-0.5 * (distance - distance.min(axis=0))) / sds[:, None]
    return parts / parts.sum(axis=0)


def _updated(
    values: NDArray[np.float64], spatial: NDArray[np.float64], means: NDArray[np.float64], sds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    parts = _shares(values, spatial, means, sds)
    total = np.maximum(parts.sum(axis=1), 1e-9)
    means = parts @ values / total
    # Counted from the middle of the values, so that little is lost in the difference of squares.
    centre = values.mean()
    variances = parts @ (values - centre) ** 2 / total - (means - centre) ** 2
    return means, np.sqrt(np.maximum(variances, (np.ptp(means) / 100) ** 2))
