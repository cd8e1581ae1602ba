"""Regions of a study: where they lie, how large they are, and what was noticed when they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from plastimap.images import Volume
from plastimap.report.inputs import StudyInputs
from plastimap.report.pictures import outlines_figure
from plastimap.report.slices import Cut
from plastimap.report.study_figures import Drawn
from plastimap.report.tables import Table, make_table

if TYPE_CHECKING:
    import pandas as pd

CUTS = 7
"""Per plane."""


def regions_picture(study: StudyInputs) -> Drawn | None:
    """Outlines of all regions over the mean image, in cuts that lie where the regions do."""
    found = {name: region for name, region in study.regions.items() if region.data.any()}
    sizes = _sizes(study)
    if study.background is None or not found or sizes is None:
        return None
    palette = colormaps["tab20"].colors  # type: ignore[attr-defined]
    colours = {name: to_hex(palette[number % len(palette)]) for number, name in enumerate(found)}
    figure = outlines_figure(
        study.background, found, title="Regions", cuts=CUTS, places=_places(list(found.values())), colours=colours
    )
    return Drawn(
        "regions",
        figure,
        sizes,
        f"Outlines of {len(found)} regions over the mean image",
        "The regions that are searched, before they are cut to tissue and hemisphere. Those that come from another "
        "space than the study's may lie off by millimetres: compare outline and anatomy.",
        raster=True,
    )


def regions_table(study: StudyInputs) -> Table | None:
    """Voxels of each region, per side and tissue."""
    sizes = _sizes(study)
    return None if sizes is None else make_table(sizes, caption="Voxels of each region, per side and tissue")


def _sizes(study: StudyInputs) -> pd.DataFrame | None:
    import pandas as pd

    voxels: Mapping[str, Mapping[str, int]] = study.rois.get("voxels") or {}
    if not voxels:
        return None
    return pd.DataFrame([{"region": name, **counts} for name, counts in voxels.items()])


def _places(regions: Sequence[Volume]) -> list[Cut]:
    """Cuts through even shares of the regions' voxels, along each axis."""
    points = np.concatenate([np.argwhere(r.data) @ r.affine[:3, :3].T + r.affine[:3, 3] for r in regions])
    shares = np.linspace(0.04, 0.96, CUTS)
    return [(axis, float(place)) for axis in (2, 1, 0) for place in np.quantile(points[:, axis], shares)]
