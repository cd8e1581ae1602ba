"""Interactive viewers of result maps, each one file that opens from disk: nilearn's view with keys and words added."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.report.inputs import ResultImage
from plastimap.report.pages import render
from plastimap.shipped import workflow_file

VIEWER_MM = 2.0
"""Voxel size of what is embedded: fine enough to judge a cluster, and half a megabyte."""

CONTROLS = "workflow/report/viewer.js"
"""Keyboard, readout and peaks; wants the viewer as ``window.brain``."""

_MADE, _KEPT = "var brain = brainsprite(", "var brain = window.brain = brainsprite("
"""How nilearn starts its viewer, and how its keyboard can get hold of it."""


class ViewerProblem(RuntimeError):
    """nilearn writes its viewer in another way than this module knows."""


@dataclass(frozen=True)
class Viewer:
    """A page with one result map.

    Attributes
    ----------
    file : str
        Name in ``report/viewer``.
    title : str
    peaks : tuple of (x, y, z)
    """

    file: str
    title: str
    peaks: tuple[tuple[float, float, float], ...]


def viewer_page(result: ResultImage, background: Volume, *, title: str) -> str:
    """Make a viewer of one t map over the mean image.

    Parameters
    ----------
    result : ResultImage
        What is below its threshold is see-through.
    background : Volume
        Mean structural image.
    title : str

    Returns
    -------
    str
        A complete HTML document with everything inside.
    """
    from nilearn.plotting import view_img

    t_map = np.nan_to_num(np.asarray(result.t_map.data, dtype=np.float32))
    with warnings.catch_warnings():
        # nilearn warns of what masked arrays do inside NumPy.
        warnings.simplefilter("ignore")
        view = view_img(
            _image(t_map, result.t_map.affine),
            bg_img=_thinned(background),
            threshold=result.threshold,
            cmap="PuOr_r",
            cut_coords=result.peaks[0] if result.peaks else None,
            title=None,
            colorbar=True,
            resampling_interpolation="nearest",
        )
    return _with_controls(view.get_standalone(), title, result.peaks)


def _thinned(background: Volume) -> Any:
    """The mean image on a grid of `VIEWER_MM`, or as it is where that is no finer."""
    from nilearn.image import resample_img

    image = _image(np.nan_to_num(np.asarray(background.data, dtype=np.float32)), background.affine)
    if float(background.voxel_size.min()) >= VIEWER_MM:
        return image
    return resample_img(image, target_affine=np.eye(3) * VIEWER_MM, copy_header=True, force_resample=True)


def _image(data: NDArray[Any], affine: NDArray[Any]) -> Any:
    from nibabel.nifti1 import Nifti1Image

    return Nifti1Image(data, affine)


@cache
def _controls() -> str:
    return workflow_file(CONTROLS).read_text(encoding="utf-8")


def _with_controls(page: str, title: str, peaks: Sequence[tuple[float, float, float]]) -> str:
    """Give nilearn's page a language, a title, buttons for the peaks, and the keyboard."""
    places = ("<title>", "</head>", "<body>", "</body>", _MADE)
    missing = [place for place in places if place not in page]
    if missing:
        raise ViewerProblem(f"nilearn's page has no {', '.join(missing)}; an older or newer version is installed")
    words = escape(title)
    start, _, rest = page.partition("<title>")
    page = f"{start}<title>{words}{rest[rest.index('</title>') :]}"
    before, _, after = page.replace("<body>", f"<body><main>{_part('top', title, peaks)}", 1).rpartition("</body>")
    page = f"{before}{_part('bottom', title, peaks)}</main><script>{_controls()}</script></body>{after}"
    return _counted_from_zero(page.replace("</head>", f"{_part('head', title, peaks)}</head>", 1))


def _part(part: str, title: str, peaks: Sequence[tuple[float, float, float]]) -> str:
    """A part of the page that is ours: head, top or bottom."""
    places = [f"{x:g} {y:g} {z:g}" for x, y, z in peaks]
    return render("viewer.html.j2", folder="viewer", part=part, title=title, places=places)


def _counted_from_zero(page: str) -> str:
    """Make the picture and the coordinates below it mean the same voxel.

    brainsprite shows slice n, counted from 0, and prints the coordinates of
    slice n + 1; nilearn asks for the slice before the one that it means. So
    the printed place is right and the picture is one voxel off. Here the
    slices are those meant, and the affine is moved by a voxel.
    """
    start, _, rest = page.partition(_MADE)
    options, length = json.JSONDecoder().raw_decode(rest)
    affine = np.array(options["affine"], dtype=np.float64)
    affine[:3, 3] -= affine[:3, :3].sum(axis=1)
    last = options["nbSlice"]
    cut = {axis: min(max(round(place + 1), 0), last[axis] - 1) for axis, place in options["numSlice"].items()}
    options |= {"affine": affine.tolist(), "numSlice": cut}
    return f"{start}{_KEPT}{json.dumps(options)}{rest[length:]}"
