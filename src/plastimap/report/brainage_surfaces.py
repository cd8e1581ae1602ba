"""Regions' values on nilearn's fsaverage5 surfaces, as pictures and as GIFTI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plastimap.brainage.parcels import folded
from plastimap.brainage.surface import SIDES, fsaverage5_mesh, read_labels

Region = tuple[str, str]

COLOURS = "RdBu_r"


def region_vertices(
    section: Mapping[str, Any], parcels: Mapping[str, Sequence[str]], regions: Sequence[Region]
) -> dict[str, NDArray[np.int64]]:
    """Number of the region of every vertex, per hemisphere; empty where the configuration names no labels.

    Parameters
    ----------
    section : mapping
        ``brainage`` of the configuration: ``surface_left``, ``surface_right``.
    parcels : mapping
        Of the model's card: ``names``, ``hemispheres``, ``networks``.
    regions : sequence of (network, hemisphere)
    """
    files = {side: section.get(f"surface_{SIDES[side]}") for side in SIDES}
    if not all(files.values()):
        return {}
    place = {region: number for number, region in enumerate(regions)}
    columns = zip(parcels["names"], parcels["networks"], parcels["hemispheres"], strict=True)
    region_of = {folded(name): place.get((network, side), -1) for name, network, side in columns}
    found: dict[str, NDArray[np.int64]] = {}
    for side, file in files.items():
        marks, names = read_labels(str(file))
        numbers = np.array([region_of.get(folded(f"{side.lower()}h_{name}"), -1) for name in names] + [-1])
        found[side] = numbers[marks]
    return found


def vertex_values(
    values: Mapping[Region, float], vertices: Mapping[str, NDArray[np.int64]], regions: Sequence[Region]
) -> dict[str, NDArray[np.float32]]:
    """Value of every vertex, per hemisphere; NaN where there is none."""
    numbers = np.array([values.get(region, np.nan) for region in regions] + [np.nan], dtype=np.float32)
    return {side: numbers[marks] for side, marks in vertices.items()}


def surface_figure(
    values: Mapping[Region, float], vertices: Mapping[str, NDArray[np.int64]], regions: Sequence[Region]
) -> Figure:
    """Both hemispheres from outside and inside.

    Parameters
    ----------
    values : mapping of (network, hemisphere) to float
        Years.
    vertices : mapping
        As :func:`region_vertices` gives it.
    regions : sequence of (network, hemisphere)
    """
    from nilearn.plotting import plot_surf_stat_map

    data = vertex_values(values, vertices, regions)
    limit = max(1.0, float(np.nanmax(np.abs(np.concatenate(list(data.values()))))))
    figure = Figure(figsize=(9, 2.6))
    shown = [("L", "lateral"), ("L", "medial"), ("R", "medial"), ("R", "lateral")]
    for number, (side, view) in enumerate(shown, 1):
        axes = figure.add_subplot(1, 4, number, projection="3d")
        coordinates, faces = fsaverage5_mesh(side, "infl")
        plot_surf_stat_map(
            [coordinates, faces], stat_map=np.nan_to_num(data[side]), hemi=SIDES[side], view=view, axes=axes,
            figure=figure, colorbar=number == len(shown), vmin=-limit, vmax=limit, cmap=COLOURS, threshold=None,
        )  # fmt: skip
    return figure
