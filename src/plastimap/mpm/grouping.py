"""A scan's echoes, sorted by contrast and echo time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from plastimap.images import Volume, same_grid
from plastimap.mpm.protocol import Protocol


def group_echoes(
    volumes: Sequence[Volume], acquisition: Mapping[str, Sequence[Any]]
) -> tuple[dict[str, list[NDArray[Any]]], Protocol]:
    """Sort echo images by contrast and echo time.

    Parameters
    ----------
    volumes : sequence of Volume
        Echo images on one grid.
    acquisition : mapping
        ``weighting`` (PDw, T1w, MTw), ``echo_time_s``, ``flip_angle_deg`` and ``tr_s`` of each image, in the same
        order.

    Returns
    -------
    dict of str to list of ndarray, Protocol

    Raises
    ------
    ValueError
        When images differ in grid, or one contrast has several flip angles or repetition times.
    """
    if not all(same_grid(volumes[0], volume) for volume in volumes):
        raise ValueError("the echoes lie on different grids; use images of one reconstruction")
    order = sorted(range(len(volumes)), key=lambda i: acquisition["echo_time_s"][i])
    echoes: dict[str, list[NDArray[Any]]] = {}
    times: dict[str, list[float]] = {}
    for i in order:
        echoes.setdefault(acquisition["weighting"][i], []).append(volumes[i].data)
        times.setdefault(acquisition["weighting"][i], []).append(acquisition["echo_time_s"][i])
    return echoes, Protocol(times, _one_each(acquisition, "flip_angle_deg"), _one_each(acquisition, "tr_s"))


def _one_each(acquisition: Mapping[str, Sequence[Any]], key: str) -> dict[str, float]:
    """Find the single value of a parameter per contrast."""
    found: dict[str, set[float]] = {}
    for weighting, value in zip(acquisition["weighting"], acquisition[key], strict=True):
        found.setdefault(weighting, set()).add(value)
    several = {weighting: sorted(values) for weighting, values in found.items() if len(values) > 1}
    if several:
        raise ValueError(f"{key} differs between echoes of one contrast: {several}")
    return {weighting: values.pop() for weighting, values in found.items()}
