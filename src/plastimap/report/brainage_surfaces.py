"""Mean brain age gaps on the surface in the study's page: of everybody, and of every group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.pictures import group_gaps, region_gaps, surface_figure
from plastimap.brainage.surface import SIDES, Region, vertex_values
from plastimap.report.study_figures import Drawn

if TYPE_CHECKING:
    import pandas as pd

LESION_SIDES = {"L": "ipsilesional", "R": "contralesional"}
"""What is drawn left and right."""


def surface_means(
    ages: pd.DataFrame,
    groups: Mapping[str, str],
    vertices: Mapping[str, NDArray[np.int64]],
    regions: Sequence[Region],
) -> list[Drawn]:
    """Mean gap of regions on fsaverage5: of hemispheres, and of the sides of the lesion where there are.

    Parameters
    ----------
    ages : DataFrame
        As :func:`plastimap.brainage.results.long_table`.
    groups : mapping of str to str
        Participant → group; two or more are drawn beside the mean of all, on its scale of colours.
    vertices : mapping of str to ndarray
        ``L``, ``R`` → number of the region of every vertex, −1 = none; empty = nothing is drawn.
    regions : sequence of (network, hemisphere)
    """
    if not vertices:
        return []
    lesioned = ages[ages["side"].notna()]
    kinds = [("brainage_surface", "hemisphere", ages)]
    kinds += [("brainage_sides", "side", lesioned)] if len(lesioned) else []
    drawn: list[Drawn] = []
    for name, column, part in kinds:
        means = {"": region_gaps(part, column), **group_gaps(part, groups, column)}
        limit = float(np.nanmax([np.abs(one).max() for one in means.values()], initial=1.0))
        for group, gaps in means.items():
            drawn.append(_drawn(f"{name}_{group}".rstrip("_"), group, gaps, column, vertices, regions, limit))
    return drawn


def _drawn(
    file: str,
    group: str,
    gaps: pd.Series,
    column: str,
    vertices: Mapping[str, NDArray[np.int64]],
    regions: Sequence[Region],
    limit: float,
) -> Drawn:
    names = LESION_SIDES if column == "side" else SIDES
    place = {side: names[side] if column == "side" else side for side in SIDES}
    values = {region: float(gaps.get((region[0], place[region[1]]), np.nan)) for region in regions
              if region[1] in place}  # fmt: skip
    figure = surface_figure(vertex_values(values, vertices, regions), limit=limit, names=names)
    of_whom = f"of {group.replace('-', ' ', 1)}" if group else "of everybody"
    words = "left and right hemisphere"
    if column == "side":
        words = "ipsilesional (drawn left) and contralesional (drawn right)"
    caption = f"Mean corrected gap (years) of every network {of_whom}, {words}, on the inflated fsaverage5 surface."
    title = f"Brain age gap on the surface {of_whom}, {words}"
    return Drawn(file, figure, gaps.reset_index(), title, caption, raster=True)
