"""A scan's echoes, sorted by repetition, contrast and echo time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from plastimap.images import Volume, same_grid
from plastimap.mpm.protocol import Protocol


def group_repetitions(
    volumes: Sequence[Volume], acquisition: Mapping[str, Sequence[Any]]
) -> tuple[list[dict[str, list[NDArray[Any]]]], Protocol]:
    """Sort echo images by repetition, contrast and echo time.

    Parameters
    ----------
    volumes : sequence of Volume
        Echo images on one grid.
    acquisition : mapping
        ``weighting`` (PDw, T1w, MTw), ``echo_time_s``, ``flip_angle_deg``, ``tr_s`` and, where there are repetitions,
        ``run`` of each image, in the same order.

    Returns
    -------
    repetitions : list of dict of str to list of ndarray
        In the order of their run numbers.
    protocol : Protocol

    Raises
    ------
    ValueError
        When images differ in grid, one contrast has several flip angles or repetition times, or repetitions differ in
        their echoes.
    """
    if not all(same_grid(volumes[0], volume) for volume in volumes):
        raise ValueError("the echoes lie on different grids; use images of one reconstruction")
    runs = [run or 0 for run in acquisition.get("run", [None] * len(volumes))]
    repetitions: list[dict[str, list[NDArray[Any]]]] = []
    times: list[dict[str, list[float]]] = []
    for run in sorted(set(runs)):
        echoes: dict[str, list[NDArray[Any]]] = {}
        own: dict[str, list[float]] = {}
        for i in sorted(range(len(volumes)), key=lambda i: acquisition["echo_time_s"][i]):
            if runs[i] == run:
                echoes.setdefault(acquisition["weighting"][i], []).append(volumes[i].data)
                own.setdefault(acquisition["weighting"][i], []).append(acquisition["echo_time_s"][i])
        repetitions.append(echoes)
        times.append(own)
    if any(own != times[0] for own in times):
        raise ValueError(f"the repetitions differ in their echoes: {times}; let one count (input.repeated_runs)")
    return repetitions, Protocol(times[0], _one_each(acquisition, "flip_angle_deg"), _one_each(acquisition, "tr_s"))


def _one_each(acquisition: Mapping[str, Sequence[Any]], key: str) -> dict[str, float]:
    """Find the single value of a parameter per contrast."""
    found: dict[str, set[float]] = {}
    for weighting, value in zip(acquisition["weighting"], acquisition[key], strict=True):
        found.setdefault(weighting, set()).add(value)
    several = {weighting: sorted(values) for weighting, values in found.items() if len(values) > 1}
    if several:
        raise ValueError(f"{key} differs between echoes of one contrast: {several}")
    return {weighting: values.pop() for weighting, values in found.items()}
