"""Pictures of volumes: structural image with outlines, quantitative maps, statistical maps over the mean image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.report.slices import (
    Cut,
    Mosaic,
    View,
    display_window,
    even_cuts,
    mosaic,
    projections,
    silhouettes,
    three_rows,
    view_of,
)
from plastimap.report.style import CONTOUR_COLOURS, INK, SOFT, new_figure, style_of

PLANES = {0: "x", 1: "y", 2: "z"}
WIDTH = 9.0
"""Inches; every picture has this width, so that they align on the page."""

TITLE_HEIGHT, ROW_GAP, GLASS_HEIGHT = 0.36, 0.12, 2.5
"""Inches of the parts of a picture."""

KEYS_ABOVE, KEYS_BELOW, KEY_HEIGHT = 4, 4, 0.22
"""Names of outlines beside the title, at most; else in rows of so many below the picture, each so many inches high."""

PICTURE_SHARE = 0.9
"""Share of the width that maps take; their colour bars take the rest."""


def outlines_figure(
    image: Volume, outlines: Mapping[str, Volume], *, mask: NDArray[np.bool_] | None = None, title: str, cuts: int = 7,
    places: Sequence[Cut] | None = None, colours: Mapping[str, str] = CONTOUR_COLOURS
) -> Figure:  # fmt: skip
    """Show an image in three planes with outlines of masks and tissues.

    Parameters
    ----------
    image : Volume
        3D, shown in grey.
    outlines : mapping
        Name (``brain``, ``GM``, ``WM``, …) → probability or mask on any grid; the outline is drawn at 0.5.
    mask : ndarray of bool, optional
        What the view is centred on (shape of `image`).
    title : str
        Above the picture.
    cuts : int
        Cuts per plane.
    places : sequence of Cut, optional
        `cuts` in each of the three planes; evenly spaced unless given.
    colours : mapping
        Name → colour of its outline.

    Returns
    -------
    Figure
    """
    view = view_of(image, mask=mask)
    places = three_rows(view, cuts) if places is None else places
    tiles = mosaic(image, view, places, columns=cuts)
    keys = {name: colours.get(name, "#CC79A7") for name in outlines}
    above = len(keys) <= KEYS_ABOVE
    figure, axes = _canvas(tiles, title, below=0.0 if above else KEY_HEIGHT * -(-len(keys) // KEYS_BELOW))
    _grey(axes, tiles)
    for name, outline in outlines.items():
        inside = np.nan_to_num(mosaic(outline, view, places, columns=cuts).pixels)
        if inside.max() > 0.5 > inside.min():
            axes.contour(inside, levels=[0.5], colors=[keys[name]], linewidths=0.8)
    _label_cuts(axes, tiles, places)
    _legend(figure, keys, above=above)
    return figure


def maps_figure(maps: Mapping[str, Volume], *, mask: Volume | None = None, title: str) -> Figure:
    """Quantitative maps, one row each, with colour bar and the usual range of grey and white matter.

    Parameters
    ----------
    maps : mapping
        Map name (R1, FA, …) → volume; all are shown at the same places.
    mask : Volume, optional
        Brain mask on the maps' grid: what the view is centred on. Values outside of it are not shown.
    title : str
        Above the picture.

    Returns
    -------
    Figure
    """
    first = next(iter(maps.values()))
    usable = mask is not None and mask.shape == first.shape
    view = view_of(first, mask=np.asarray(mask.data) > 0.5 if mask is not None and usable else None)
    places = [*even_cuts(view, 2, 3), *even_cuts(view, 1, 2, inner=0.3), *even_cuts(view, 0, 2, inner=0.35)]
    tiles = {name: mosaic(volume, view, places, columns=len(places)) for name, volume in maps.items()}
    height, width = next(iter(tiles.values())).pixels.shape
    row = WIDTH * PICTURE_SHARE * height / width
    total = (row + ROW_GAP) * len(maps) + TITLE_HEIGHT
    figure = new_figure(WIDTH, total, arranged=False)
    _title(figure, title, total)
    for index, (name, tile) in enumerate(tiles.items()):
        bottom = (total - TITLE_HEIGHT - (index + 1) * (row + ROW_GAP) + ROW_GAP) / total
        axes = figure.add_axes((0.0, bottom, PICTURE_SHARE, row / total))
        bar = figure.add_axes((PICTURE_SHARE + 0.022, bottom + 0.06 * row / total, 0.013, 0.88 * row / total))
        _map_row(figure, axes, bar, name, tile)
        _label_cuts(axes, tile, places if index == 0 else [])
    return figure


def _map_row(figure: Figure, axes: Axes, beside: Axes, name: str, tile: Mosaic) -> None:
    style = style_of(name)
    low, high = style.window or (0.0, display_window(tile.pixels)[1])
    _blank(axes)
    axes.imshow(np.ma.masked_invalid(tile.pixels), cmap=on_black(style.colours), vmin=low, vmax=high, origin="lower",
                interpolation="nearest")  # fmt: skip
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), style.colours), cax=beside)
    bar.ax.tick_params(labelsize=8)
    bar.set_label(style.label, fontsize=9)
    for tissue, (lower, upper) in style.expected.items():
        # A bracket on the bar's left edge: where this tissue's median is usually found.
        bar.ax.plot([-0.25, -0.25], [lower, upper], color=CONTOUR_COLOURS[tissue], linewidth=4, clip_on=False,
                    solid_capstyle="butt")  # fmt: skip


def colour_figure(direction: Volume, fa: Volume, *, title: str, cuts: int = 7) -> Figure:
    """Show the main diffusion direction in colour (red left–right, green front–back, blue up–down), as bright as FA.

    Parameters
    ----------
    direction : Volume
        Shape (X, Y, Z, 3).
    fa : Volume
        Shape (X, Y, Z), same grid. Directions that are not unit vectors count as weighted already.
    title : str
        Above the picture.
    cuts : int
        Cuts per plane.
    """
    vectors = np.abs(np.nan_to_num(np.asarray(direction.data, dtype=np.float64)))
    length = np.linalg.norm(vectors, axis=-1)
    unit = bool(np.median(length[length > 0]) > 0.9) if (length > 0).any() else False
    bright = vectors * np.clip(np.nan_to_num(fa.data), 0, 1)[..., None] if unit else vectors
    view = view_of(fa)
    places = [*even_cuts(view, 2, cuts), *even_cuts(view, 1, cuts)]
    channels = [mosaic(Volume(bright[..., c], direction.affine), view, places, columns=cuts) for c in range(3)]
    pixels = np.clip(np.nan_to_num(np.stack([channel.pixels for channel in channels], axis=-1)) / 0.8, 0, 1)
    figure, axes = _canvas(channels[0], title)
    axes.imshow(pixels, origin="lower")
    _label_cuts(axes, channels[0], places)
    return figure


def clusters_figure(t_map: Volume, shown: NDArray[np.bool_], background: Volume, *, title: str,
                    threshold: float, peaks: NDArray[np.float64] | None = None, cuts: int = 7) -> Figure:  # fmt: skip
    """Significant clusters: three see-through projections, then cuts where they lie, over the mean image.

    Parameters
    ----------
    t_map : Volume
        t values.
    shown : ndarray of bool
        Voxels of significant clusters, shape of `t_map`.
    background : Volume
        Mean structural image, any grid.
    title : str
        Above the picture.
    threshold : float
        Cluster-forming |t|: lower end of the colours.
    peaks : ndarray, shape (n, 3), optional
        World mm of the peaks; the cuts pass through the strongest of them first.
    cuts : int
        Number of cuts.
    """
    inside = Volume(np.where(shown, t_map.data, np.nan), t_map.affine)
    view = view_of(background)
    largest = float(np.nanmax(np.abs(inside.data), initial=threshold + 1.0))
    norm = TwoSlopeNorm(0.0, -largest, largest)
    places = cuts_through(inside, view, peaks, cuts)
    tiles = mosaic(background, view, places, columns=len(places))
    over = mosaic(inside, view, places, columns=len(places), nearest=True)
    row = WIDTH * tiles.pixels.shape[0] / tiles.pixels.shape[1]
    total = TITLE_HEIGHT + GLASS_HEIGHT + row + 0.75
    figure = new_figure(WIDTH, total, arranged=False)
    _title(figure, title, total)
    pictures = zip(silhouettes(background, view), projections(inside, view), strict=True)
    for axis, (shadow, values) in enumerate(pictures):
        place = (axis / 3 + 0.02, (row + 0.75) / total, 1 / 3 - 0.04, (GLASS_HEIGHT - 0.3) / total)
        _glass(figure.add_axes(place), shadow, values, norm, axis)
    axes = figure.add_axes((0.0, 0.65 / total, 1.0, row / total))
    _blank(axes)
    _grey(axes, tiles)
    image = axes.imshow(over.pixels, cmap="PuOr_r", norm=norm, origin="lower", interpolation="nearest")
    _label_cuts(axes, tiles, places)
    bar = figure.colorbar(image, cax=figure.add_axes((0.3, 0.42 / total, 0.4, 0.13 / total)), orientation="horizontal")
    signed = inside.data[shown]
    bar.ax.set_xlim(-largest if (signed < 0).any() else threshold, largest if (signed > 0).any() else -threshold)
    bar.set_label(f"t, cluster-forming |t| ≥ {threshold:.2f}", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def cuts_through(inside: Volume, view: View, peaks: NDArray[np.float64] | None, count: int) -> list[Cut]:
    """Axial cuts through the given peaks (strongest first, none twice), filled up evenly over what is shown."""
    heights: list[float] = []
    for height in [] if peaks is None else peaks[:, 2]:
        if len(heights) < count and all(abs(height - other) > 3 for other in heights):
            heights.append(float(height))
    places = np.argwhere(np.isfinite(inside.data) & (inside.data != 0))
    if places.size:
        z = places @ inside.affine[2, :3] + inside.affine[2, 3]
        for height in np.linspace(z.min(), z.max(), 4 * count):
            if len(heights) < count and all(abs(height - other) > 8 for other in heights):
                heights.append(float(height))
    for _, height in even_cuts(view, 2, 4 * count):
        if len(heights) < count and all(abs(height - other) > 8 for other in heights):
            heights.append(height)
    return [(2, height) for height in sorted(heights)]


def _glass(axes: Axes, shadow: NDArray[np.float64], values: NDArray[np.float64], norm: TwoSlopeNorm, axis: int
           ) -> None:  # fmt: skip
    rows, columns = min(shadow.shape[0], values.shape[0]), min(shadow.shape[1], values.shape[1])
    _blank(axes)
    axes.imshow(np.zeros((rows, columns)), cmap="Greys", vmin=0, vmax=1, origin="lower")
    axes.contourf(shadow[:rows, :columns], levels=[0.5, 2], colors=["#eef1f4"])
    axes.contour(shadow[:rows, :columns], levels=[0.5], colors=[SOFT], linewidths=0.9)
    axes.imshow(values[:rows, :columns], cmap="PuOr_r", norm=norm, origin="lower", zorder=5)
    axes.set_title(("from the side", "from behind", "from above")[axis], fontsize=8, fontweight="normal", color=SOFT)
    ends = ("back", "front") if axis == 0 else ("L", "R")
    for place, text, side in ((0.0, ends[0], "left"), (1.0, ends[1], "right")):
        axes.text(place, 0.02, text, transform=axes.transAxes, ha=side, fontsize=8, color=SOFT)


def _canvas(tiles: Mosaic, title: str, *, below: float = 0.0) -> tuple[Figure, Axes]:
    rows, columns = tiles.pixels.shape[:2]
    total = WIDTH * rows / columns + TITLE_HEIGHT + below
    figure = new_figure(WIDTH, total, arranged=False)
    _title(figure, title, total)
    axes = figure.add_axes((0.0, below / total, 1.0, 1 - (TITLE_HEIGHT + below) / total))
    _blank(axes)
    return figure, axes


def _title(figure: Figure, title: str, total: float) -> None:
    figure.text(0.008, 1 - 0.5 * TITLE_HEIGHT / total, title, fontsize=11, fontweight="bold", va="center", color=INK)


def on_black(name: str) -> Colormap:
    """Return a colour map that shows missing values in black."""
    return colormaps[name].with_extremes(bad="black")


def _grey(axes: Axes, tiles: Mosaic) -> None:
    low, high = display_window(tiles.pixels, low=1, high=99.5)
    pixels = np.ma.masked_invalid(tiles.pixels)
    axes.imshow(pixels, cmap=on_black("gray"), vmin=min(low, 0.0), vmax=high, origin="lower", interpolation="nearest")


def _blank(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _label_cuts(axes: Axes, tiles: Mosaic, cuts: Sequence[Cut]) -> None:
    height, width = tiles.panel
    for (left, bottom), (axis, place) in zip(tiles.corners, cuts, strict=False):
        text = f"{PLANES[axis]} = {place:.0f}"
        axes.text(left + 3, bottom + height - 3, text, color="white", fontsize=7, va="top", ha="left")
        if axis != 0 and left == 0:
            axes.text(left + 3, bottom + 3, "L", color="white", fontsize=8, va="bottom")
            axes.text(left + width - 3, bottom + 3, "R", color="white", fontsize=8, va="bottom", ha="right")


def _legend(figure: Figure, keys: Mapping[str, str], *, above: bool) -> None:
    if not keys:
        return
    lines = [Line2D([], [], color=colour, linewidth=3) for colour in keys.values()]
    place, columns = ("upper right", len(keys)) if above else ("lower center", min(len(keys), KEYS_BELOW))
    # Yellow and sky blue vanish on white: the names stay dark, only the keys carry the colour.
    figure.legend(lines, list(keys), loc=place, ncols=columns, fontsize=8, labelcolor=INK, frameon=False,
                  handlelength=1.2, borderaxespad=0.3)  # fmt: skip
