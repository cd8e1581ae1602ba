"""Gaps of every person on the inflated fsaverage5 surface: numbers as GIFTI, and a picture.

The surface is turned into pixels once per view; a person's picture is then a look-up, so that hundreds take seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.surface import SIDES, Region, fsaverage5_mesh, vertex_values
from plastimap.writing import PathLike, replacing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

VIEWS = (("L", "lateral"), ("L", "medial"), ("R", "medial"), ("R", "lateral"))
PIXEL_MM = 0.8
SUBDIVISIONS = 7
"""Per edge of a triangle (up to 6 mm long), so that no pixel stays empty."""

COLOURS = "RdBu_r"
SHADE = 0.45
"""How much darker a face is that is seen from the side."""

COMMON_SHARE = 0.98
"""Share of gaps that the colours tell apart; stronger ones take the last colour."""


@dataclass(frozen=True)
class View:
    """One hemisphere from one side.

    Attributes
    ----------
    vertex : ndarray of int, shape (rows, columns)
        The vertex that is seen in every pixel; −1 = background.
    light : ndarray, shape (rows, columns)
        1 = the surface is seen from the front, less towards its rim.
    """

    vertex: NDArray[np.int64]
    light: Array


@lru_cache(maxsize=4)
def view_of(hemisphere: str, view: str) -> View:
    """Project nilearn's inflated surface along x, the nearest face in front.

    Parameters
    ----------
    hemisphere : {"L", "R"}
    view : {"lateral", "medial"}
    """
    coordinates, faces = fsaverage5_mesh(hemisphere, "infl")
    # The camera stands on the side of the hemisphere, or on the other one: front is to its left or right.
    camera = (-1 if hemisphere == "L" else 1) * (1 if view == "lateral" else -1)
    weights = _inside_triangle(SUBDIVISIONS)
    points = np.einsum("sc,fcd->fsd", weights, coordinates[faces])
    corners = coordinates[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    light = np.abs(normal[:, 0]) / np.maximum(np.linalg.norm(normal, axis=1), 1e-9)
    across, up, near = camera * points[..., 1].ravel(), points[..., 2].ravel(), camera * points[..., 0].ravel()
    column = np.rint((across - across.min()) / PIXEL_MM).astype(np.intp)
    row = np.rint((up.max() - up) / PIXEL_MM).astype(np.intp)
    # Of what falls on one pixel the last stays, so the nearest goes last.
    order = np.argsort(near, kind="stable")
    seen = np.full((row.max() + 1, column.max() + 1), -1, dtype=np.int64)
    bright = np.ones(seen.shape)
    seen[row[order], column[order]] = faces[:, weights.argmax(axis=1)].ravel()[order]
    bright[row[order], column[order]] = np.repeat(light, len(weights))[order]
    return View(seen, bright)


def _inside_triangle(parts: int) -> Array:
    """Barycentric weights of evenly spaced points, shape (points, 3)."""
    pairs = [(i, j) for i in range(parts + 1) for j in range(parts + 1 - i)]
    return np.array([(i, j, parts - i - j) for i, j in pairs], dtype=np.float64) / parts


def surface_figure(
    values: Mapping[str, ArrayLike], *, limit: float, title: str = "", names: Mapping[str, str] = SIDES
) -> Figure:
    """Draw gaps on both hemispheres, from outside and inside.

    Parameters
    ----------
    values : mapping of str to array-like, shape (10242,)
        ``L``, ``R`` → years per vertex; NaN = grey.
    limit : float
        Years at the ends of the colours.
    title : str
    names : mapping of str to str
        What ``L`` and ``R`` are called.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    scale = ScalarMappable(Normalize(-limit, limit), colormaps[COLOURS].with_extremes(bad="0.75"))
    figure = Figure(figsize=(8, 2.1), layout="constrained")
    panels = figure.subplots(1, len(VIEWS))
    for axes, (side, view) in zip(panels, VIEWS, strict=True):
        shown = view_of(side, view)
        colours = scale.to_rgba(np.append(np.asarray(values[side], dtype=np.float64), np.nan)[shown.vertex])
        colours[..., :3] *= (1 - SHADE + SHADE * shown.light)[..., None]
        axes.imshow(np.where((shown.vertex < 0)[..., None], 1.0, colours))
        axes.set_axis_off()
        axes.set_title(f"{names[side]}, {view}", fontsize=7)
    figure.colorbar(scale, ax=panels, label="corrected gap (years)", shrink=0.8)
    if title:
        figure.suptitle(title, fontsize=9)
    return figure


def write_people(
    folder: PathLike,
    ages: pd.DataFrame,
    vertices: Mapping[str, NDArray[np.int64]],
    regions: Sequence[Region],
    *,
    groups: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Write pictures and GIFTI of everybody, of the mean of all and of every group; say of how many people's scans.

    Scans share one scale of colours; the means, which are far smaller than the gaps of people, have their own.

    Parameters
    ----------
    folder : path-like
    ages : DataFrame
        As :func:`plastimap.brainage.results.long_table`.
    vertices : mapping of str to ndarray
        ``L``, ``R`` → number of the region of every vertex; −1 = none.
    regions : sequence of (network, hemisphere)
    groups : mapping of str to str
        Participant → group; who is in none is in the mean of all alone. A single group has no picture of its own.
    """
    place = Path(folder)
    local = ages[ages["hemisphere"].isin(list(SIDES))]
    keys = [key for key in ("participant_id", "session") if key in ages]
    scans = {_label(name): part for name, part in local.groupby(keys, dropna=False)}
    means = {"mean": region_gaps(local), **group_gaps(local, groups)}
    shared = _limit(float(local["pad_corrected"].abs().quantile(COMMON_SHARE)))
    strongest = _limit(max(float(one.abs().max()) for one in means.values()))
    for name, gaps in [*means.items(), *((name, region_gaps(part)) for name, part in scans.items())]:
        values = vertex_values({region: float(gaps.get(region, np.nan)) for region in regions}, vertices, regions)
        for side, one in values.items():
            _write_gifti(place / f"{name}_hemi-{side}_space-fsaverage5_stat-gap.shape.gii", one, side)
        with replacing(place / f"{name}_gap.png") as beside:
            limit = strongest if name in means else shared
            surface_figure(values, limit=limit, title=name).savefig(beside, format="png", dpi=110)
    return len(scans)


def region_gaps(ages: pd.DataFrame, place: str = "hemisphere") -> pd.Series:
    """Mean corrected gap per network and place over people, who count once however often they were scanned."""
    people = ages.groupby(["network", place, "participant_id"])["pad_corrected"].mean()
    return people.groupby(level=["network", place]).mean()


def group_gaps(ages: pd.DataFrame, groups: Mapping[str, str], place: str = "hemisphere") -> dict[str, pd.Series]:
    """:func:`region_gaps` of every group, by the name that its files have; nothing unless there are two."""
    mine = ages["participant_id"].map(dict(groups))
    names = sorted(mine.dropna().unique())
    if len(names) < 2:
        return {}
    bare = [re.sub("[^A-Za-z0-9]", "", name) for name in names]
    # Names that are alike without their signs are told apart by a number.
    files = [name if name and bare.count(name) == 1 else f"{name}{number}" for number, name in enumerate(bare, 1)]
    return {f"group-{file}": region_gaps(ages[mine == name], place) for file, name in zip(files, names, strict=True)}


def _limit(years: float) -> float:
    return max(1.0, years) if np.isfinite(years) else 1.0


def _label(keys: tuple[Any, ...]) -> str:
    person, *session = keys
    return f"{person}_ses-{session[0]}" if session and isinstance(session[0], str) else str(person)


def _write_gifti(file: Path, values: NDArray[np.float32], side: str) -> None:
    """Write one number per vertex."""
    from nibabel.gifti.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

    meta = GiftiMetaData({"AnatomicalStructurePrimary": f"Cortex{SIDES[side].title()}"})
    array = GiftiDataArray(values, intent="NIFTI_INTENT_SHAPE", datatype="NIFTI_TYPE_FLOAT32")
    with replacing(file) as beside:
        beside.write_bytes(GiftiImage(meta=meta, darrays=[array]).to_bytes())
