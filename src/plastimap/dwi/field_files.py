"""Read the images that show a series' distortion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from plastimap.dwi.field_map import continued, field_in_hz, in_radians
from plastimap.dwi.gradients import read_bvals
from plastimap.dwi.susceptibility import FieldMap, ReversedPhase
from plastimap.images import Volume, read_volume
from plastimap.writing import PathLike


def read_field(
    files: Sequence[PathLike],
    bval: Sequence[PathLike] = (),
    *,
    kind: Literal["reversed", "phasediff", "fieldmap"],
    readout_ratio: float = 1.0,
    readout_s: float | None = None,
    echo_difference_s: float | None = None,
    units: str | None = None,
    b0_threshold: float = 50,
) -> ReversedPhase | FieldMap:
    """Make the source of a correction from its files.

    Parameters
    ----------
    files : sequence of path-like
        The image, then the magnitude where there is one.
    bval : sequence of path-like
        b-values of a reversed series, if it has any: its first b = 0 volume is taken. Without them the first volume.
    kind : {"reversed", "phasediff", "fieldmap"}
    readout_ratio : float
        Readout time of the reversed image over that of the series.
    readout_s : float, optional
        Of the series; field maps need it.
    echo_difference_s : float, optional
        Of a phase difference.
    units : {"Hz", "rad/s"}, optional
        Of a ready field map.
    b0_threshold : float
        s/mm².
    """
    image = read_volume(files[0])
    if kind == "reversed":
        return ReversedPhase(Volume(_first_b0(image, bval, b0_threshold), image.affine), readout_ratio)
    magnitude = read_volume(files[1]) if len(files) > 1 else None
    if readout_s is None:
        raise ValueError("a field map becomes a displacement by TotalReadoutTime; add it to the series' sidecar")
    if kind == "fieldmap":
        hz = np.nan_to_num(image.data.astype(np.float64)) / (2 * np.pi if units == "rad/s" else 1)
        known = hz != 0 if magnitude is None else np.nan_to_num(magnitude.data.astype(np.float64)) ** 2 * (hz != 0)
        smooth = continued(hz, known.astype(np.float64), image.voxel_size)
        return FieldMap(Volume(smooth, image.affine), readout_s, magnitude)
    if magnitude is None or not echo_difference_s:
        raise ValueError(f"{files[0]}: a phase difference needs magnitude1, EchoTime1 and EchoTime2")
    hz = field_in_hz(
        in_radians(image.data), magnitude.data, echo_difference_s=echo_difference_s, voxel_size=image.voxel_size
    )
    return FieldMap(Volume(hz, image.affine), readout_s, magnitude)


def _first_b0(image: Volume, bval: Sequence[PathLike], b0_threshold: float) -> Any:
    if image.data.ndim == 3:
        return image.data.astype(np.float32)
    b0 = np.flatnonzero(read_bvals(bval[0]) <= b0_threshold) if bval else np.zeros(1, dtype=int)
    if not b0.size:
        raise ValueError(
            "the series with the opposite phase encoding has no b = 0 volume; set dwi.susceptibility: none"
        )
    return np.ascontiguousarray(image.data[..., b0[0]], dtype=np.float32)
