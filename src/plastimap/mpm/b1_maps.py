"""From the images of a B1+ acquisition, whichever its method, to the ratio on the grid of the echoes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume, same_grid
from plastimap.mpm import b1_methods
from plastimap.mpm.alignment import flat_head, head_displacement, match_heads
from plastimap.mpm.b1 import SMOOTHING_FWHM_MM, b1_coverage, b1_on_grid, b1_ratio, plausible_ratio

Images = Sequence[NDArray[Any]]
Acquisition = Mapping[str, Any]
Found = tuple[NDArray[np.floating], tuple[str, ...]]

LARGEST_SHIFT_MM = 20.0
"""Heads move by millimetres within a session; B1+ images are coarse and distorted, so a match can go astray."""

WELL_COVERED = 0.99
"""Share of the mask with a measured value below which a note says how much was filled in."""


def measured_b1(
    volumes: Sequence[Volume],
    acquisition: Acquisition,
    grid: Volume,
    *,
    mask: NDArray[np.bool_] | None = None,
    head: Volume | None = None,
    fwhm_mm: float = SMOOTHING_FWHM_MM,
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Compute the B1+ ratio of one acquisition and bring it to another grid.

    Parameters
    ----------
    volumes : sequence of Volume
        The images of the acquisition, on one grid.
    acquisition : mapping
        ``method``: the BIDS suffix, one of :data:`METHODS`. Per image, in the order of `volumes`: ``acq``, ``echo``,
        ``flip`` (entities of the name), ``flip_angle_deg``, ``tr_s``, ``mixing_time_s``, ``units`` (None where the
        sidecar has none).
    grid : Volume
        The grid wanted; its data are not looked at.
    mask : ndarray of bool, optional
        On `grid`: where the ratio is needed. With it, a note says how much of it was filled in.
    head : Volume, optional
        The head where the echoes saw it (:func:`plastimap.mpm.alignment.reference_head`). With it, motion since the
        acquisition of B1+ is undone, where that has an image of the head: the field goes with the head that loads the
        coil. A ready map has none.
    fwhm_mm : float
        Full width at half maximum of the smoothing kernel; 0 for none.

    Returns
    -------
    ratio : ndarray of float32, shape of `grid`
        Actual / nominal flip angle, finite everywhere.
    notes : tuple of str
        What was assumed.

    Raises
    ------
    ValueError
        When images or parameters are missing, or the result is implausible; the message says what to change.
    """
    method = METHODS.get(acquisition["method"])
    if method is None:
        raise ValueError(f"unknown B1+ acquisition {acquisition['method']!r}; known are {', '.join(METHODS)}")
    if not volumes:
        raise ValueError(f"{acquisition['method']}: no image is there; add the files, or leave B1+ out")
    if not all(same_grid(volumes[0], volume) for volume in volumes):
        raise ValueError(f"the {acquisition['method']} images lie on different grids; use one reconstruction")
    ratio, notes = method([volume.data for volume in volumes], acquisition)
    affine, said = volumes[0].affine, ()
    if head is not None and acquisition["method"] in ANATOMY:
        affine, said = _placed(volumes, ANATOMY[acquisition["method"]](acquisition), head)
    native, notes = Volume(ratio, affine), (*notes, *said)
    if mask is not None and (coverage := b1_coverage(native, grid, mask)) < WELL_COVERED:
        notes = (*notes, f"B1+ was measured in {100 * coverage:.0f} % of the voxels, and filled in smoothly elsewhere")
    return b1_on_grid(native, grid, fwhm_mm=fwhm_mm), notes


def _placed(
    volumes: Sequence[Volume], places: Sequence[int], head: Volume
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Affine of the B1+ images after the head's motion is undone, and what to say of it."""
    from plastimap.registration import RegistrationProblem

    affine = volumes[0].affine
    own = flat_head([volumes[i].data for i in places], affine)
    try:
        matrix = match_heads(head, own)
    except RegistrationProblem as problem:
        return affine, (f"B1+ could not be matched to the echoes ({problem}); it was left where it is",)
    shift = head_displacement(matrix, head)
    if shift > LARGEST_SHIFT_MM:
        return affine, (f"B1+ was not moved: a match that shifts the head by {shift:.0f} mm is not believed",)
    return np.linalg.inv(matrix) @ affine, (f"B1+ was moved by {shift:.1f} mm (mean over the head) onto the echoes",)


def _ready_map(images: Images, acquisition: Acquisition) -> Found:
    units = acquisition["units"][0] or ""
    return b1_ratio(images[0], units, nominal_flip_deg=acquisition["flip_angle_deg"][0]), ()


def _afi(images: Images, acquisition: Acquisition) -> Found:
    flips, times = _needed(acquisition, "flip_angle_deg"), _needed(acquisition, "tr_s")
    if len(set(flips)) > 1:
        raise ValueError(f"TB1AFI: both images have one flip angle; the sidecars say {_list(flips)}; correct FlipAngle")
    ratio = b1_methods.afi(images, times, flip_deg=flips[0])
    remedy = "check FlipAngle and RepetitionTimeExcitation of both images, or leave the set out"
    return plausible_ratio(ratio, read_as="TB1AFI", remedy=remedy), ()


def _double_angle(images: Images, acquisition: Acquisition) -> Found:
    ratio = b1_methods.double_angle(images, _needed(acquisition, "flip_angle_deg"))
    notes = ("B1+ by the double angle method: full recovery between pulses was assumed (TR of several T1)",)
    remedy = "check FlipAngle of both images, or leave the set out"
    return plausible_ratio(ratio, read_as="TB1DAM", remedy=remedy), notes


def _epi(images: Images, acquisition: Acquisition) -> Found:
    spin, stimulated = (_at_echo(images, acquisition, echo) for echo in (1, 2))
    unpaired = sorted(spin.keys() ^ stimulated.keys(), key=str)
    if unpaired:
        raise ValueError(f"TB1EPI: not both echo-1 and echo-2 at flip {_list(unpaired)}; add the missing images")
    # What the sidecar of a spin echo says (nothing, the angle, or its double) does not count.
    last = [i for i, echo in enumerate(acquisition["echo"]) if echo == 2]
    nominal = dict(
        zip([acquisition["flip"][i] for i in last], _needed(acquisition, "flip_angle_deg", last), strict=True)
    )
    mixing = sorted(set(_needed(acquisition, "mixing_time_s", last)))
    if len(mixing) > 1:
        raise ValueError(f"TB1EPI: one mixing time is wanted; the sidecars say {_list(mixing)} s; correct MixingTime")
    ratio = b1_methods.epi_echoes(
        list(spin.values()),
        [stimulated[flip] for flip in spin],
        flip_deg=[nominal[flip] for flip in spin],
        mixing_time=mixing[0],
    )
    notes = [
        f"B1+ from {len(spin)} pairs of spin and stimulated echoes: T1 {1000 * b1_methods.EPI_T1_S:g} ms was assumed",
        "the B1+ images were not corrected for distortion by a field map",
    ]
    if len(spin) < b1_methods.EPI_ANGLES:
        notes.append(f"fewer than {b1_methods.EPI_ANGLES} nominal flip angles: B1+ may be ambiguous near 90°")
    remedy = "check FlipAngle (of the stimulated echo's pulse) and MixingTime, or leave the set out"
    return plausible_ratio(ratio, read_as="TB1EPI", remedy=remedy), tuple(notes)


def _turbo_flash(images: Images, acquisition: Acquisition) -> Found:
    anatomical, flip_map = (_labelled(acquisition, label) for label in ("anat", "famp"))
    flip = acquisition["flip_angle_deg"][flip_map]
    if flip is None:
        raise ValueError(
            "TB1TFL: no FlipAngle for the flip angle map; add that of the saturation pulse (degrees) to its sidecar"
        )
    ratio = b1_methods.turbo_flash(images[anatomical], images[flip_map], flip_deg=flip)
    remedy = "its FlipAngle must be that of the saturation pulse (often 80 or 90), not of the readout"
    return plausible_ratio(ratio, read_as=f"TB1TFL of nominal {flip:g}°", remedy=remedy), ()


def _rf_map(images: Images, acquisition: Acquisition) -> Found:
    anatomical, flip_map = (_labelled(acquisition, label) for label in ("anat", "famp"))
    ratio = b1_methods.rf_map(images[anatomical], images[flip_map])
    notes = (f"B1+ by rf_map: a nominal flip angle of {b1_methods.RFM_NOMINAL_DEG:g}° was assumed",)
    remedy = "acq-famp must hold the scanner's values (2048 is 0°), not rescaled ones"
    return plausible_ratio(ratio, read_as="TB1RFM", remedy=remedy), notes


METHODS: dict[str, Callable[[Images, Acquisition], Found]] = {
    "TB1map": _ready_map,
    "TB1AFI": _afi,
    "TB1EPI": _epi,
    "TB1TFL": _turbo_flash,
    "TB1RFM": _rf_map,
    "TB1DAM": _double_angle,
}
"""How each BIDS suffix becomes a ratio on its own grid (NaN where there is none), and what was assumed."""

ANATOMY: dict[str, Callable[[Acquisition], list[int]]] = {
    "TB1AFI": lambda acquisition: _least(acquisition, "tr_s"),
    "TB1EPI": lambda acquisition: [i for i, echo in enumerate(acquisition["echo"]) if echo == 1],
    "TB1TFL": lambda acquisition: [_labelled(acquisition, "anat")],
    "TB1RFM": lambda acquisition: [_labelled(acquisition, "anat")],
    "TB1DAM": lambda acquisition: _least(acquisition, "flip_angle_deg"),
}
"""Images of an acquisition that show the head: a ready map comes without."""

_KEYS = {"flip_angle_deg": "FlipAngle", "tr_s": "RepetitionTimeExcitation", "mixing_time_s": "MixingTime"}


def _needed(acquisition: Acquisition, key: str, places: Sequence[int] | None = None) -> list[float]:
    """Values of the images at some places (all, when not given); an error where one is missing."""
    values = list(acquisition[key]) if places is None else [acquisition[key][i] for i in places]
    if None in values:
        raise ValueError(f"{acquisition['method']}: no {_KEYS[key]} for some of its images; add it to their sidecars")
    return values


def _at_echo(images: Images, acquisition: Acquisition, echo: int) -> dict[int | None, NDArray[Any]]:
    """Images of one echo by the ``flip`` of their names."""
    return {flip: images[i] for i, flip in enumerate(acquisition["flip"]) if acquisition["echo"][i] == echo}


def _least(acquisition: Acquisition, key: str) -> list[int]:
    """Place of the image with the least value of a parameter."""
    values = _needed(acquisition, key)
    return [values.index(min(values))]


def _labelled(acquisition: Acquisition, label: str) -> int:
    """Place of the image whose ``acq`` begins with a label."""
    found = [i for i, name in enumerate(acquisition["acq"]) if (name or "").startswith(label)]
    if len(found) != 1:
        raise ValueError(f"{acquisition['method']}: one image with acq-{label} is wanted, and there are {len(found)}")
    return found[0]


def _list(values: Sequence[Any]) -> str:
    return ", ".join(str(value) for value in values)
