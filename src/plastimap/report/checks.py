"""Which numbers of a scan deserve a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.anat.verdict import LOW_DICE, LOW_MASK_DICE
from plastimap.registration import MOST_FOLDING
from plastimap.report.inputs import ScanInputs
from plastimap.report.style import style_of
from plastimap.report.tables import number, scalars
from plastimap.space.coregister import LEAST_DICE
from plastimap.space.mni import LEAST_DICE as LEAST_TARGET_DICE
from plastimap.usual import ADULT_TIV_ML, is_unusual

MOTION_LIMIT_MM = 2.0
"""Displacement of a diffusion volume from which it deserves a look: about one voxel."""

TISSUE_PURE = 0.9
"""Probability from which a voxel counts as pure tissue."""

LEAST_VOXELS = 20
"""Fewer pure voxels than this give no median."""

LEAST_INFORMATION_NATS = 0.25
"""Information that the diffusion and the structural image share. Where they match it is .29 or more (a 3 T scan, and
simulated ones); with the header of that scan turned by a quarter or half it is .19 to .24."""

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


@dataclass(frozen=True)
class Limit:
    """From where on a number of a quality file deserves a look.

    Attributes
    ----------
    least, most : float
        Below the one, or above the other.
    says : str
        The flag.
    """

    says: str
    least: float = -np.inf
    most: float = np.inf

    @property
    def expected(self) -> str:
        """The limit, ready to print."""
        return f"≥ {self.least:g}" if np.isfinite(self.least) else f"≤ {self.most:g}"

    def is_passed(self, value: float) -> bool:
        """Whether a value lies beyond; NaN does."""
        return not self.least <= value <= self.most


_COREG, _SPACE = "dwi to structural", "space"
_APART = "the diffusion images may not lie on the structural one; look at their overlay"
_FOLDED = "the deformation folds"

LIMITS = {
    (_COREG, "coreg mask dice"): Limit(_APART, least=LEAST_DICE),
    (_COREG, "coreg information nats"): Limit(_APART, least=LEAST_INFORMATION_NATS),
    (_COREG, "coreg turned deg"): Limit("the diffusion images' header is turned; which side is left?", most=0),
    **{("anat", f"priors dice {name}"): Limit("a poor match to the template", least=LOW_DICE) for name in ("GM", "WM")},
    ("anat", "mask dice"): Limit("not the template's brain; look at the mask", least=LOW_MASK_DICE),
    ("anat", "folding share"): Limit(_FOLDED, most=MOST_FOLDING),
    **{(_SPACE, f"dice {name}"): Limit("a poor match to the target", least=LEAST_TARGET_DICE) for name in ("GM", "WM")},
    (_SPACE, "session folding share"): Limit(_FOLDED, most=MOST_FOLDING),
}
"""By stage and number, as quality files call them."""


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
    limit = LIMITS.get((stage, name))
    if limit is not None:
        flag = limit.says if isinstance(value, (int, float)) and limit.is_passed(value) else ""
        return Check(f"{stage}: {name}", number(value), limit.expected, flag)
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
