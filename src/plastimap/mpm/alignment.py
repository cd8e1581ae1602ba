"""Motion between the PD-, T1- and MT-weighted acquisitions.

They are measured one after the other, minutes apart. A head that moves between them puts different tissue into the
ratio that R1 is; so the contrasts are matched, and the echoes of the later ones interpolated once onto the grid of the
first. They are matched by the mean of their echoes, which has less noise than the signal at TE = 0, freed of the
receive field and of the air around the head: both stay where they are when the head moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.mpm.foreground import foreground
from plastimap.mpm.protocol import WEIGHTINGS
from plastimap.transforms import mean_displacement

SPLINE = 3
"""Degree of the interpolation: linear would blur two contrasts against the third."""

FIELD_FWHM_MM = 40.0
"""What varies more slowly than this is taken for the receive field, and divided out for the match."""

RIM_MM = 5.0
"""The match looks at the head and so much of its surroundings."""

LARGE_MM = 3.0
"""Mean displacement above which a note asks for a look: echoes of one contrast may be blurred by then, too."""


@dataclass(frozen=True)
class AlignedContrasts:
    """Result of :func:`align_contrasts`.

    Attributes
    ----------
    echoes : dict of str to list of ndarray
        As given, for the reference; float32 on its grid for the others, NaN beyond what was measured.
    transforms : dict of str to ndarray, shape (4, 4)
        Pull matrices of what was moved: world of the reference → world of the contrast, RAS mm.
    displacement_mm : dict of str to float
        Mean displacement of the voxels that are not air.
    notes : tuple of str
    """

    echoes: dict[str, list[NDArray]]
    transforms: dict[str, NDArray[np.float64]]
    displacement_mm: dict[str, float]
    notes: tuple[str, ...]


def align_contrasts(
    echoes: Mapping[str, Sequence[NDArray]],
    affine: NDArray[np.float64],
    *,
    lesion: NDArray[np.bool_] | None = None,
) -> AlignedContrasts:
    """Bring all contrasts to the position of the first.

    Parameters
    ----------
    echoes : mapping of str to sequence of ndarray
        Images of shape (X, Y, Z) per contrast on one grid.
    affine : ndarray, shape (4, 4)
        Of the images.
    lesion : ndarray of bool, shape (X, Y, Z), optional
        What takes no part in the match: contrasts differ there by more than tissue.

    Returns
    -------
    AlignedContrasts
        A contrast that cannot be matched stays where it is; a note says why.
    """
    from plastimap.registration import RegistrationProblem

    # The contrast that is used first stays where it is.
    reference = next((name for name in WEIGHTINGS if name in echoes), next(iter(echoes)))
    fixed = flat_head(echoes[reference], affine, lesion=lesion)
    moved = {reference: list(echoes[reference])}
    transforms: dict[str, NDArray[np.float64]] = {}
    displacement: dict[str, float] = {}
    unmatched: list[str] = []
    for name in echoes:
        if name == reference:
            continue
        try:
            matrix = match_heads(fixed, flat_head(echoes[name], affine, lesion=lesion))
        except RegistrationProblem as problem:
            # A slab or a phantom may have nothing to match; its maps are worth more than none.
            unmatched.append(f"{name} could not be matched to {reference} ({problem}); it was left where it is")
            moved[name] = list(echoes[name])
            continue
        transforms[name] = matrix
        displacement[name] = head_displacement(matrix, fixed)
        moved[name] = [_moved(image, matrix, affine) for image in echoes[name]]
    return AlignedContrasts(
        echoes={name: moved[name] for name in echoes},
        transforms=transforms,
        displacement_mm=displacement,
        notes=(
            *unmatched,
            *(
                f"{name} lay {value:.1f} mm from {reference} (mean over the head); it was moved, but look at the maps"
                for name, value in displacement.items()
                if value > LARGE_MM
            ),
        ),
    )


def match_heads(fixed: Volume, moving: Volume) -> NDArray[np.float64]:
    """Rigid pull matrix from one flat head to another: world of the first → world of the second, RAS mm.

    What is NaN in the first, and next to it, is not looked at.

    Raises
    ------
    RegistrationProblem
        When they cannot be matched.
    """
    from scipy import ndimage

    from plastimap.registration import rigid

    rim = np.asarray(ndimage.distance_transform_edt(fixed.data == 0, sampling=fixed.voxel_size)) <= RIM_MM
    rim &= np.logical_not(ndimage.binary_dilation(np.isnan(fixed.data)))
    return rigid(fixed, moving, metric="NMI", fixed_mask=rim, initial=np.eye(4))


def head_displacement(matrix: NDArray[np.float64], head: Volume) -> float:
    """Mean displacement, in mm, of the voxels of a flat head by a pull matrix."""
    points = np.argwhere(head.data > 0) @ head.affine[:3, :3].T + head.affine[:3, 3]
    return mean_displacement(matrix, points) if len(points) else 0.0


def reference_head(
    volumes: Sequence[Volume], weightings: Sequence[str], *, lesion: NDArray[np.bool_] | None = None
) -> Volume:
    """Flat head of the contrast that stays where it is (PDw, where there is one).

    Parameters
    ----------
    volumes : sequence of Volume
        Echo images on one grid.
    weightings : sequence of str
        Of each image.
    lesion : ndarray of bool, optional
    """
    first = next((name for name in WEIGHTINGS if name in weightings), weightings[0])
    images = [volume.data for volume, name in zip(volumes, weightings, strict=True) if name == first]
    return flat_head(images, volumes[0].affine, lesion=lesion)


def flat_head(
    images: Sequence[NDArray], affine: NDArray[np.float64], *, lesion: NDArray[np.bool_] | None = None
) -> Volume:
    """Mean of images on one grid without air and receive field: 0 in the air, near 1 in the head, NaN in a lesion."""
    from scipy import ndimage

    mean: NDArray[np.float32] = np.stack([np.nan_to_num(image) for image in images]).mean(axis=0, dtype=np.float32)
    lost = np.zeros(mean.shape, dtype=bool) if lesion is None else lesion
    mean[lost] = 0
    head = foreground({"mean": [mean]}) & ~lost
    inside = np.where(head, mean, 0)
    sd = FIELD_FWHM_MM / np.sqrt(8 * np.log(2)) / Volume(mean, affine).voxel_size
    field = ndimage.gaussian_filter(inside, sd) / np.maximum(ndimage.gaussian_filter(head.astype(np.float32), sd), 1e-3)
    flat = np.divide(inside, field, out=np.zeros_like(inside), where=head & (field > 0))
    return Volume(np.where(lost, np.float32(np.nan), flat), affine)


def moved_field(field: NDArray, matrix: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Bring a smooth field that was measured beside a contrast to where :func:`align_contrasts` took the contrast."""
    from scipy import ndimage

    to_moving = np.linalg.inv(affine) @ matrix @ affine
    return np.asarray(ndimage.affine_transform(field, to_moving, order=1, mode="nearest"), dtype=np.float32)


def _moved(image: NDArray, matrix: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    from scipy import ndimage

    to_moving = np.linalg.inv(affine) @ matrix @ affine
    finite = np.isfinite(image)
    filled = np.where(finite, image, 0).astype(np.float32)
    values = np.array(ndimage.affine_transform(filled, to_moving, order=SPLINE, mode="nearest"), dtype=np.float32)
    # What was not measured is not made up: next to holes of the image, or beyond the half of its outermost voxels.
    known = ndimage.affine_transform(finite.astype(np.float32), to_moving, order=1, mode="nearest")
    inside = ndimage.affine_transform(np.ones(image.shape, np.float32), to_moving, order=1, mode="grid-constant")
    values[(np.asarray(known) < 1 - 1e-3) | (np.asarray(inside) < 0.5)] = np.nan
    return values
