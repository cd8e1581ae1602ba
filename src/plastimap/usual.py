"""Usual values of maps in the tissue of healthy adults at 3 T, shared by quality checks and report."""

from __future__ import annotations

from collections.abc import Mapping

USUAL: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "R1": {"GM": (0.60, 0.70), "WM": (0.95, 1.15)},
    "R2s": {"GM": (15.0, 18.0), "WM": (20.0, 25.0)},
    "MTsat": {"GM": (0.8, 1.0), "WM": (1.6, 2.0)},
    "PD": {"GM": (77.0, 85.0), "WM": (68.0, 70.0)},
    "FA": {"GM": (0.08, 0.22), "WM": (0.32, 0.55)},
    "MD": {"GM": (0.75, 1.00), "WM": (0.65, 0.85)},
    "AD": {"GM": (0.85, 1.20), "WM": (1.00, 1.35)},
    "RD": {"GM": (0.70, 0.95), "WM": (0.45, 0.70)},
}
"""Medians by map (in its units) and tissue. MPM from the hMRI literature, PD of white matter by calibration; tensor
maps as typical at b = 1000 s/mm²."""

MARGIN = 0.15
"""Share by which a median may leave its usual range before it is flagged: sequences and resolutions differ."""

ADULT_TIV_ML = (1000.0, 2000.0)
"""Intracranial volumes of adults; what lies outside deserves a look."""

PLAUSIBLE_TIV_ML = (900.0, 2100.0)
"""Intracranial volumes outside are rare from the age of two on: rather, the mask is wrong."""


def is_unusual(map_name: str, tissue: str, median: float) -> bool:
    """Whether a median lies outside the usual range by more than the margin; False where nothing is known.

    Parameters
    ----------
    map_name, tissue : str
        Such as ``R1`` and ``WM``.
    median : float
        In the map's units.

    Returns
    -------
    bool
    """
    usual = USUAL.get(map_name, {}).get(tissue)
    return usual is not None and not usual[0] * (1 - MARGIN) <= median <= usual[1] * (1 + MARGIN)
