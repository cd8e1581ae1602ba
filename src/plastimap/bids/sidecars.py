"""The JSON beside every map: units, sources, space, parameters, notes, software."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from plastimap.provenance import software


def map_sidecar(
    *,
    sources: Iterable[str | os.PathLike[str]],
    skull_stripped: bool | None,
    units: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    notes: Iterable[str] = (),
    resolution_mm: float | None = None,
    reference: str | None = None,
    description: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Metadata of a derived image.

    Parameters
    ----------
    sources : iterable of path-like
        Files it was made from; named as BIDS URIs.
    skull_stripped : bool or None
        Whether all but the brain is gone. Who shares an image goes by it: where a face may be left it is False. None
        for what is no picture of a head, such as a warp.
    units : str, optional
        ``Units`` of the values.
    parameters : mapping, optional
        Settings that the values depend on.
    notes : iterable of str
        Every fallback that was taken.
    resolution_mm : float, optional
        Voxel size of a standard space's grid.
    reference : str, optional
        The image that defines a space that is no standard template's.
    description : str, optional
        One sentence on what the values are.
    **more
        Further keys, as BIDS spells them.
    """
    content: dict[str, Any] = {
        "Description": description,
        "Units": units,
        "Sources": [source_uri(source) for source in sources],
        "SkullStripped": skull_stripped,
        "SpatialReference": source_uri(reference) if reference else None,
        "Resolution": f"{resolution_mm:g} mm isotropic" if resolution_mm else None,
        "Parameters": dict(parameters or {}),
        "Notes": list(notes),
        "Software": software(),
        **more,
    }
    return {key: value for key, value in content.items() if value is not None}


def source_uri(path: str | os.PathLike[str]) -> str:
    """BIDS URI of a file: ``bids::`` inside the output folder, ``bids:raw:`` for absolute paths of the raw dataset."""
    file = Path(path)
    if not file.is_absolute():
        return f"bids::{file.as_posix()}"
    # A dataset may lie anywhere; inside it, a file's name starts at its subject folder.
    parts = file.parts
    start = next((place for place, part in enumerate(parts[:-1]) if part.startswith("sub-")), len(parts) - 1)
    return "bids:raw:" + "/".join(parts[start:])
