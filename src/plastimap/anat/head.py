"""The brain in a whole head with neck."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plastimap import registration
from plastimap.anat.grids import around, closed, cropped, largest_piece, smooth_mm, within
from plastimap.anat.matching import SMOOTHING, WarpedPriors, match_priors, warp_priors
from plastimap.anat.priors import load_priors
from plastimap.anat.surface import Intensities, fill_surface, inflate
from plastimap.images import Volume

HEAD_HEIGHT_MM = 160.0
"""Brains end above this distance from the top of the head; below it is neck."""

CROWN_MM2 = 1500.0
"""The top of the head is the first slice with this much tissue: less may be an artefact or a hair band."""

REACH_MM = 20.0
"""Tissues are told apart up to this far outside the template's brain."""

RIM_MM = 8.0
"""Next to the brain, up to here, what is not brain is mostly bone."""

FIRST_RIM = (3.0, 1.5)
"""Where the intracranial space ends, millimetres outside the template's outline, and how sure that is, while the
template has been matched to the head as it is (it then lies tightly on the cortex)."""

SECOND_RIM = (2.25, 2.0)
"""The same once the template has been matched to the brain of the first round (it then lies a little wider)."""

NEAR_MM = 8.0
"""Images are compared this far outside the outline."""

BOX_MARGIN_MM = 24.0
"""The head is cut to the balloon with this margin: the balloon may have missed that much."""

SULCUS_MM = 10.0
"""Sulci up to this width are intracranial, however dark they are."""

PRIOR_FLOOR = 1e-3
EM_ITERATIONS = 25
SMOOTHING_MM = 3.0
"""The probability of brain is smoothed by this before the surface is drawn at one half."""


@dataclass(frozen=True)
class HeadBrain:
    """The brain of a head: its probability around it, and an affine pull matrix to the template."""

    probability: Volume
    matrix: NDArray[np.float64]


def brain_of_head(head: Volume) -> HeadBrain:
    """Find the brain in a whole head.

    Parameters
    ----------
    head : Volume
        T1-weighted, finite, isotropic voxels of 2–3 mm along the world's axes (RAS).

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
    balloon = balloon_brain(head)
    if not balloon.any():
        return HeadBrain(Volume(np.zeros(head.shape, dtype=np.float32), head.affine), np.eye(4))
    box = around(head, balloon, BOX_MARGIN_MM)
    head, balloon = cropped(head, box), balloon[box]
    bright = float(np.percentile(head.data[balloon], 99))
    clipped = Volume(np.clip(head.data, 0, bright).astype(np.float32), head.affine)

    matrix = _first_matrix(clipped, balloon, priors.t1)
    outline = warp_priors(priors, matrix, head).distance < 0
    near = within(outline, head.voxel_size, NEAR_MM)
    loose = registration.deformable(
        clipped, priors.t1, affine=matrix, fixed_mask=near, iterations=(60, 40, 0), smoothing=SMOOTHING
    )
    first, csf = brain_probability(head, warp_priors(priors, loose, head), rim=FIRST_RIM)
    tight = match_priors(clipped, first > 0.5, resolution_mm=resolution, csf_level=csf, initial=matrix)
    second, _ = brain_probability(head, warp_priors(priors, tight, head), rim=SECOND_RIM)
    return HeadBrain(Volume(second, head.affine), tight.matrix)


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


def _first_matrix(head: Volume, balloon: NDArray[np.bool_], template: Volume) -> NDArray[np.float64]:
    inside = Volume(np.where(balloon, head.data, 0).astype(np.float32), head.affine)
    near = within(balloon, head.voxel_size, NEAR_MM)
    shift = np.eye(4)
    shift[:3, 3] = registration.centre_of_mass(template) - registration.centre_of_mass(inside)
    return registration.affine(inside, template, metric="NCC", fixed_mask=near, initial=shift, fast=True)


def brain_probability(
    head: Volume, priors: WarpedPriors, *, rim: tuple[float, float]
) -> tuple[NDArray[np.float32], float]:
    """Probability that a voxel belongs to the intracranial space, from place and intensity.

    Parameters
    ----------
    head : Volume
        Shape (X, Y, Z).
    priors : WarpedPriors
        On the grid of `head`.
    rim : (float, float)
        Millimetres from the template's outline at which brain and non-brain are equally likely, and the scale
        of the logistic function around it.

    Returns
    -------
    probability : ndarray of float32, shape (X, Y, Z)
        Smoothed, one connected piece above one half.
    csf : float
        Mean intensity of CSF.
    """
    region = priors.distance < REACH_MM
    values = head.data[region].astype(np.float64)
    spatial = _head_priors(priors, region, rim)
    gm, wm = (_typical(values, spatial[k]) for k in (0, 1))
    spread = abs(wm - gm) / 2 + 1e-3 * abs(wm)
    # GM, WM, CSF; then bone and air, soft tissue, fat and vessels.
    start_means = np.array([gm, wm, 0.4 * gm, 0.1 * gm, gm, 1.5 * wm])
    start_sds = np.array([spread, spread, spread, 0.1 * gm, 0.3 * gm, 0.5 * wm])
    parts, means = _mixture(values, spatial, start_means, start_sds)
    probability = np.zeros(head.shape, dtype=np.float32)
    probability[region] = parts[:3].sum(axis=0)
    smoothed = smooth_mm(probability, head.voxel_size, SMOOTHING_MM)
    piece = closed(largest_piece(smoothed > 0.5), head.voxel_size, SULCUS_MM / 2)
    return np.where(piece, np.maximum(smoothed, 0.51), np.minimum(smoothed, 0.5)).astype(np.float32), float(means[2])


def _typical(values: NDArray[np.float64], prior: NDArray[np.float64]) -> float:
    return float(np.median(values[prior >= 0.8 * prior.max()]))


def _head_priors(priors: WarpedPriors, region: NDArray[np.bool_], rim: tuple[float, float]) -> NDArray[np.float64]:
    distance = priors.distance[region].astype(np.float64)
    inside = 1 / (1 + np.exp((distance - rim[0]) / rim[1]))
    gm = np.minimum(priors.gm[region], inside)
    wm = np.minimum(priors.wm[region], inside)
    bone = (1 - inside) * np.where(distance < RIM_MM, 0.7, 0.4)
    other = (1 - inside - bone) / 2
    spatial = np.stack([gm, wm, inside - gm - wm, bone, other, other])
    return np.clip(spatial, PRIOR_FLOOR, 1.0)


def _mixture(
    values: NDArray[np.float64], spatial: NDArray[np.float64], means: NDArray[np.float64], sds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    parts = spatial
    for _ in range(EM_ITERATIONS):
        distance = ((values - means[:, None]) / sds[:, None]) ** 2
        parts = spatial * np.exp(-0.5 * (distance - distance.min(axis=0))) / sds[:, None]
        parts /= parts.sum(axis=0)
        total = np.maximum(parts.sum(axis=1), 1e-9)
        means = parts @ values / total
        variances = np.array([part @ (values - mean) ** 2 for part, mean in zip(parts, means, strict=True)]) / total
        sds = np.sqrt(np.maximum(variances, (np.ptp(means) / 100) ** 2))
    return parts, means
