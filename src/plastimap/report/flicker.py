"""A session before and after registration, drawn so that sessions can be alternated on one spot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from plastimap.images import Volume
from plastimap.report.slices import Cut, Mosaic, View, display_window, even_cuts, mosaic, view_of
from plastimap.report.style import INK, new_figure

WIDTH, TITLE_HEIGHT, GAP = 9.0, 0.3, 0.012

Pair = tuple[Volume | None, Volume | None]


def views_of(scans: Sequence[Pair]) -> tuple[View, View] | None:
    """Boxes of the first session with both images: what all sessions are shown in, so that movement is seen."""
    for native, warped in scans:
        if native is not None and warped is not None:
            return view_of(native), view_of(warped)
    return None


def flicker_figure(native: Volume, warped: Volume, views: tuple[View, View], *, target: str) -> Figure:
    """Draw one session: left as scanned, right in the target space, in three planes each.

    Parameters
    ----------
    native : Volume
        Structural image on its own grid, placed by its header.
    warped : Volume
        The session in the target space.
    views : tuple of View
        The same for all sessions (:func:`views_of`).
    target : str
        Name of the target space.

    Returns
    -------
    Figure
        Pictures of two sessions have the same size and places.
    """
    halves = [_three_planes(image, view) for image, view in zip((native, warped), views, strict=True)]
    columns = sum(half.pixels.shape[1] for half in halves)
    rows = max(half.pixels.shape[0] for half in halves)
    scale = WIDTH * (1 - GAP) / columns
    total = rows * scale + TITLE_HEIGHT
    figure = new_figure(WIDTH, total, arranged=False)
    left = 0.0
    for half, title in zip(halves, ("before: as scanned", f"after: in {target}"), strict=True):
        height, width = half.pixels.shape[:2]
        place = (left, 1 - (TITLE_HEIGHT + height * scale) / total, width * scale / WIDTH, height * scale / total)
        axes = figure.add_axes(place)
        axes.set_axis_off()
        low, high = display_window(half.pixels, low=1, high=99.5)
        shown = np.nan_to_num(half.pixels)
        axes.imshow(shown, cmap="gray", vmin=min(low, 0.0), vmax=high, origin="lower", interpolation="nearest",
                    aspect="auto")  # fmt: skip
        figure.text(left + 0.004, 1 - 0.5 * TITLE_HEIGHT / total, title, fontsize=9, va="center", color=INK)
        left += width * scale / WIDTH + GAP
    return figure


def _three_planes(image: Volume, view: View) -> Mosaic:
    cuts: list[Cut] = [cut for axis in (2, 1, 0) for cut in even_cuts(view, axis, 1)]
    return mosaic(image, view, cuts, columns=3)
