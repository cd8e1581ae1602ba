"""A scan's diffusion images on its structural one: rigid match, how good it is, and headers that are turned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from plastimap.images import Volume
from plastimap.registration import RegistrationProblem, centre_of_mass, overlap_share, rigid, shared_information
from plastimap.transforms import resample

LEAST_DICE = 0.85
"""Overlap of the two brain masks below which a match deserves a look, and other orientations are tried."""

LEAST_INSIDE = 0.5
"""Share of the smaller brain mask inside the other below which there is no match: nothing of it is passed on."""

LARGEST_TILT_DEG = 45.0
"""No head turns further between two scans of a session: the header does."""

CLEARLY_MORE = 1.1
"""A turned start has to win this much shared information over the one that the headers give."""

TRIED = 4
"""How many of the 24 turned starts are matched: those that share most information before."""

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Coregistration:
    """Where a scan's b = 0 image lies.

    Attributes
    ----------
    matrix : ndarray, shape (4, 4)
        Rigid pull matrix structural → b = 0.
    qa : dict
        ``coreg_mask_dice``, ``coreg_overlap`` (share of the structural brain inside the other's field of view),
        ``coreg_information_nats``, ``coreg_turned_deg`` (by how much the b = 0 image's header is turned; 0 = not).
    notes : tuple of str
    """

    matrix: Matrix
    qa: dict[str, Any]
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class _Pair:
    """Brains of both images, without what surrounds them, and where they are compared."""

    fixed: Volume
    moving: Volume
    compared: Mask | None

    def match(self) -> Matrix:
        return rigid(self.fixed, self.moving, metric="NMI", fixed_mask=self.compared)

    def match_turned(self, start: Matrix) -> Matrix:
        """Match from a turned start: it goes into the header first, since the search knows no half turns."""
        turned = Volume(self.moving.data, np.linalg.inv(start) @ self.moving.affine)
        return start @ rigid(self.fixed, turned, metric="NMI", fixed_mask=self.compared, initial=np.eye(4))

    def information(self, matrix: Matrix) -> float:
        return shared_information(self.fixed, self.moving, matrix)

    def dice(self, matrix: Matrix) -> tuple[float, float]:
        """Dice of the brains, and the share of the smaller one inside the other."""
        brain = self.fixed.data != 0
        other = Volume((self.moving.data != 0).astype(np.float32), self.moving.affine)
        brought = resample(other, self.fixed, matrix, order="nearest", validity=False) > 0
        both, sizes = int((brought & brain).sum()), (int(brought.sum()), int(brain.sum()))
        return 2 * both / max(sum(sizes), 1), both / max(min(sizes), 1)


def coregister(
    structural: Volume, mask: Mask, b0: Volume, b0_mask: Mask, *, lesion: Mask | None = None
) -> Coregistration:
    """Match a scan's b = 0 image to its structural one.

    The start is what the headers say, or centre of mass on centre of mass. Where the brains then overlap by a Dice
    below .85, the header may be turned: the 24 rotations that bring axes onto axes are tried, and the one that shares
    most information is taken where it shares clearly more. A mirrored header cannot be told this way: brains are
    nearly symmetric.

    Parameters
    ----------
    structural, b0 : Volume
    mask, b0_mask : ndarray of bool
        Brain masks on the two grids.
    lesion : ndarray of bool, optional
        On the structural grid: it and the voxels next to it are not compared.

    Raises
    ------
    RegistrationProblem
        When there is no match.
    """
    pair = _Pair(_brain(structural, mask), _brain(b0, b0_mask), _compared(lesion))
    matrix, problem = _first_match(pair)
    if matrix is None or pair.dice(matrix)[0] < LEAST_DICE:
        matrix = _turned_match(pair, matrix)
    if matrix is None:
        raise problem or RegistrationProblem("the diffusion images cannot be matched to the structural one")
    dice, inside = pair.dice(matrix)
    if inside < LEAST_INSIDE:
        raise RegistrationProblem(
            f"only {100 * inside:.0f} % of the diffusion images' brain lies on the structural one, at best: look at "
            "both images and their brain masks; give a better mask (desc-brain_mask), or leave the diffusion images out"
        )
    angle = float(np.degrees(Rotation.from_matrix(matrix[:3, :3]).magnitude()))
    turned = angle if angle > LARGEST_TILT_DEG else 0.0
    qa = {
        "coreg_mask_dice": dice,
        "coreg_overlap": overlap_share(matrix, pair.fixed, pair.moving),
        "coreg_information_nats": pair.information(matrix),
        "coreg_turned_deg": turned,
    }
    return Coregistration(matrix, qa, _notes(dice, turned, lesion is not None))


def _brain(image: Volume, mask: Mask) -> Volume:
    return Volume(np.where(mask, image.data, 0), image.affine)


def _compared(lesion: Mask | None) -> Mask | None:
    return None if lesion is None else ~np.asarray(ndimage.binary_dilation(lesion), dtype=bool)


def _first_match(pair: _Pair) -> tuple[Matrix | None, RegistrationProblem | None]:
    try:
        return pair.match(), None
    except RegistrationProblem as problem:
        return None, problem


def _turned_match(pair: _Pair, plain: Matrix | None) -> Matrix | None:
    """Best match from a turned start, where it is clearly better than the plain one (None = there is none)."""
    best, most = plain, 0.0 if plain is None else CLEARLY_MORE * pair.information(plain)
    for start in sorted(_turned_starts(pair), key=pair.information, reverse=True)[:TRIED]:
        try:
            matrix = pair.match_turned(start)
        except RegistrationProblem:
            continue
        if pair.information(matrix) > most:
            best, most = matrix, pair.information(matrix)
    return best


def _turned_starts(pair: _Pair) -> list[Matrix]:
    """Pull matrices that bring axes onto axes, and centre of mass onto centre of mass."""
    middle, other = centre_of_mass(pair.fixed), centre_of_mass(pair.moving)
    found: list[Matrix] = []
    for turn in Rotation.create_group("O"):
        start = np.eye(4)
        start[:3, :3] = turn.as_matrix()
        start[:3, 3] = other - start[:3, :3] @ middle
        found.append(start)
    return found


def _notes(dice: float, turned: float, lesioned: bool) -> tuple[str, ...]:
    notes = ["lesions were left out of the match"] if lesioned else []
    if turned > 0:
        notes.append(
            f"the diffusion images' header is turned by about {turned:.0f} degrees against the structural one; matched "
            "all the same, but which side is left is not certain: check the conversion from DICOM"
        )
    if dice < LEAST_DICE:
        notes.append(
            f"the brain masks of the diffusion and the structural image overlap by Dice {dice:.2f} only: "
            "look at the match on the person's page"
        )
    return tuple(notes)
