"""Which numbers of a scan deserve a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.report.inputs import ScanInputs
from plastimap.report.style import style_of
from plastimap.report.tables import number, scalars
from plastimap.usual import ADULT_TIV_ML, is_unusual

MOTION_LIMIT_MM = 2.0
"""Displacement of a diffusion volume from which it deserves a look: about one voxel."""

TISSUE_PURE = 0.9
"""Probability from which a voxel counts as pure tissue."""

LEAST_VOXELS = 20
"""Fewer pure voxels than this give no median."""

DISPLACEMENT_KEYS = ("displacement_mm", "displacement", "motion_displacement_mm")
PARAMETER_KEYS = ("parameters", "motion_parameters", "parameters_mm_deg")


@dataclass(frozen=True)
class Check:
    """One number with what is expected of it.

    Attributes
    ----------
    name, value, expected : str
        Ready to print; `expected` is empty where nothing is known.
    flag : str
        Empty = fine or unknown; otherwise one sentence.
    """

    name: str
    value: str
    expected: str = ""
    flag: str = ""


def tissue_medians(data: NDArray[Any], tissues: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Median of a map in nearly pure tissue.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        NaN = no value.
    tissues : mapping
        Tissue → probability on the same grid.

    Returns
    -------
    dict
        Tissue → median; tissues with fewer than `LEAST_VOXELS` pure voxels are left out.
    """
    medians: dict[str, float] = {}
    for name, probability in tissues.items():
        values = data[(probability >= TISSUE_PURE) & np.isfinite(data)]
        if values.size >= LEAST_VOXELS:
            medians[name] = float(np.median(values))
    return medians


def displacement_of(qa: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """Displacement per diffusion volume in a quality file, shape (N,), or None."""
    return _series(qa, DISPLACEMENT_KEYS, 1)


def parameters_of(qa: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """Six motion parameters per diffusion volume in a quality file, shape (N, 6), or None."""
    found = _series(qa, PARAMETER_KEYS, 2)
    return found if found is not None and found.shape[1] == 6 else None


def _series(qa: Mapping[str, Any], keys: Sequence[str], dimensions: int) -> NDArray[np.float64] | None:
    places = [qa, *(value for value in qa.values() if isinstance(value, Mapping))]
    for place in places:
        for key in keys:
            if isinstance(place.get(key), list) and place[key]:
                values = np.array(place[key], dtype=np.float64)
                if values.ndim == dimensions:
                    return values
    return None


def checks_of(scan: ScanInputs) -> list[Check]:
    """Every number of a scan: medians against usual ranges, motion, TIV, then whatever the quality files hold."""
    checks = [
        _median_check(name, tissue, value) for name, found in scan.medians.items() for tissue, value in found.items()
    ]
    moved = displacement_of(scan.qa.get("dwi", {}))
    if moved is not None:
        worst = float(np.nanmax(moved))
        flag = f"volume {int(np.nanargmax(moved))} moved {worst:.1f} mm" if worst > MOTION_LIMIT_MM else ""
        checks.append(Check("largest motion (mm)", number(worst), f"< {MOTION_LIMIT_MM:g}", flag))
    for stage, content in scan.qa.items():
        for name, value in scalars(content):
            checks.append(_qa_check(stage, name, value))
    return checks


def _median_check(map_name: str, tissue: str, value: float) -> Check:
    label = f"{style_of(map_name).label}, {tissue} median"
    expected = style_of(map_name).expected.get(tissue)
    if expected is None:
        return Check(label, number(value))
    low, high = expected
    far = is_unusual(map_name, tissue, value)
    flag = f"{'below' if value < low else 'above'} what is usual at 3 T" if far else ""
    return Check(label, number(value), f"{low:g}–{high:g}", flag)


def _qa_check(stage: str, name: str, value: Any) -> Check:
    if "tiv" in name.lower().replace("_", " ").split():
        low, high = ADULT_TIV_ML
        outside = isinstance(value, (int, float)) and not low <= value <= high
        return Check(f"{stage}: {name}", number(value), f"{low:g}–{high:g}", "unusual for an adult" if outside else "")
    return Check(f"{stage}: {name}", number(value))


def notes_of(scan: ScanInputs) -> list[str]:
    """Gather the notes of all stages of a scan: fallbacks and choices, one sentence each."""
    found: list[str] = []
    for stage, content in scan.qa.items():
        notes = content.get("notes", [])
        found += [f"{stage}: {note}" for note in ([notes] if isinstance(notes, str) else notes)]
    return list(dict.fromkeys(found))
