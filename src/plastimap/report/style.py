"""How every figure of the report looks: colours, windows, sizes, and the way to bytes.

Figures are explicit :class:`matplotlib.figure.Figure` objects; nothing here
touches pyplot's global state.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from plastimap.usual import USUAL

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Eight colours that colour-blind readers can tell apart (Okabe & Ito 2008), strong ones first."""

CONTOUR_COLOURS = {"brain": "#F0E442", "GM": "#56B4E9", "WM": "#E69F00", "CSF": "#009E73"}
"""One colour per outline, the same on every picture."""

INK, SOFT, RULE = "#1b1f24", "#57606a", "#d0d7de"

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "legend.frameon": False,
    # Letters stay letters: smaller files, and readers can search and enlarge them.
    "svg.fonttype": "none",
    # A group called "$5" is a name, not mathematics.
    "text.parse_math": False,
    # A fixed salt makes the same figure the same bytes.
    "svg.hashsalt": "plastimap",
}


def _settings() -> Any:
    # matplotlib types its keys as a closed list of literals, which a dictionary of ours cannot be.
    return SETTINGS


@dataclass(frozen=True)
class MapStyle:
    """How a quantitative map is shown and what is usual in healthy adults at 3 T.

    Attributes
    ----------
    label : str
        Name with its unit.
    window : tuple of float or None
        Display range; None = 2nd to 98th percentile of the image.
    colours : str
        Name of a matplotlib colour map.
    expected : mapping
        Tissue → (low, high) of the tissue's median; empty where none is known.
    """

    label: str
    window: tuple[float, float] | None
    colours: str
    expected: Mapping[str, tuple[float, float]]


MAP_STYLES: Mapping[str, MapStyle] = {
    "R1": MapStyle("R1 (1/s)", (0.2, 1.4), "viridis", USUAL["R1"]),
    "R2s": MapStyle("R2* (1/s)", (0.0, 45.0), "viridis", USUAL["R2s"]),
    "MTsat": MapStyle("MTsat (p.u.)", (0.0, 2.2), "viridis", USUAL["MTsat"]),
    "PD": MapStyle("PD (p.u.)", (50.0, 110.0), "gray", USUAL["PD"]),
    "A": MapStyle("A (arbitrary)", None, "gray", {}),
    "MTR": MapStyle("MTR (p.u.)", (0.0, 60.0), "viridis", {}),
    "FA": MapStyle("FA", (0.0, 0.8), "gray", USUAL["FA"]),
    "MD": MapStyle("MD (µm²/ms)", (0.0, 2.0), "magma", USUAL["MD"]),
    "AD": MapStyle("AD (µm²/ms)", (0.0, 2.5), "magma", USUAL["AD"]),
    "RD": MapStyle("RD (µm²/ms)", (0.0, 2.0), "magma", USUAL["RD"]),
    "vbm": MapStyle("tissue volume", None, "gray", {}),
}


def style_of(map_name: str) -> MapStyle:
    """Look up the style of a map; an unknown one gets its own name and an automatic window."""
    return MAP_STYLES.get(map_name, MapStyle(map_name, None, "gray", {}))


def new_figure(width: float, height: float, *, arranged: bool = True) -> Figure:
    """Make an empty figure.

    Parameters
    ----------
    width, height : float
        Inches.
    arranged : bool
        Spacing by matplotlib, which costs time; False = the caller places axes itself.
    """
    with rc_context(_settings()):
        return Figure(figsize=(width, height), layout="constrained" if arranged else None)


def axes_grid(figure: Figure, rows: int, columns: int, **options: Any) -> list[list[Axes]]:
    """Make a grid of axes as nested lists, in the report's style (always two-dimensional)."""
    with rc_context(_settings()):
        return [list(row) for row in figure.subplots(rows, columns, squeeze=False, **options)]


def group_colours(groups: Sequence[str]) -> dict[str, str]:
    """Group → colour, in order of first appearance; colours repeat after eight groups."""
    unique = list(dict.fromkeys(groups))
    return {group: OKABE_ITO[index % len(OKABE_ITO)] for index, group in enumerate(unique)}


def to_svg(figure: Figure) -> bytes:
    """Write the figure as SVG, the same bytes for the same content."""
    _as_words(figure)
    stream = io.BytesIO()
    with rc_context(_settings()):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def to_png(figure: Figure, *, dpi: float = 110, colours: int = 256) -> bytes:
    """Write the figure as PNG with a palette of at most `colours` colours (a third of the size, no visible loss)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    _as_words(figure)
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    with rc_context(_settings()):
        canvas.draw()
    # The buffer is taken as it is: encoding it as PNG, only to decode it for the palette, would double the time.
    return _compressed(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]), colours)


def to_print_png(figure: Figure, *, dpi: float) -> bytes:
    """Write the figure as PNG in full colour, for a paper; the same bytes for the same content."""
    _as_words(figure)
    stream = io.BytesIO()
    with rc_context(_settings()):
        figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def _as_words(figure: Figure) -> None:
    # The setting counts when a text is made, and axes make theirs without asking us.
    for text in figure.findobj(Text):
        text.set_parse_math(False)


def within_budget(figures: Mapping[str, bytes], limit: int) -> dict[str, bytes]:
    """Shrink PNG pictures alike until all figures together need at most `limit` bytes.

    Parameters
    ----------
    figures : mapping
        File name → content; only names ending in ``.png`` are touched.
    limit : int
        Bytes. Figures that fit are returned as they are.

    Returns
    -------
    dict
        Same names, in the same order.
    """
    fitting = dict(figures)
    # Size falls about with the square of the scale; three rounds are enough in practice, since each aims below.
    for _ in range(3):
        total = sum(map(len, fitting.values()))
        pictures = sum(len(content) for name, content in fitting.items() if name.endswith(".png"))
        room = limit - (total - pictures)
        if total <= limit or pictures == 0 or room <= 0:
            break
        scale = 0.92 * (room / pictures) ** 0.5
        fitting = {name: _scaled(content, scale) if name.endswith(".png") else content
                   for name, content in fitting.items()}  # fmt: skip
    return fitting


def _scaled(content: bytes, scale: float) -> bytes:
    from PIL import Image

    image = Image.open(io.BytesIO(content)).convert("RGB")
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return _compressed(image.resize(size, Image.Resampling.LANCZOS), 256)


_COARSE = [round(round(value * 63 / 255) * 255 / 63) for value in range(256)] * 3
"""64 levels per channel, black and white among them: looking for a palette in fewer colours takes a fifth of the time,
and a step of four in 255 is not seen."""


def _compressed(image: Any, colours: int) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    image = image.point(_COARSE)
    # Maximum coverage keeps rare colours (a thin outline, a mark beside a colour bar), which a median cut would
    # blend into the commonest; no dithering, since flat regions are what PNG compresses.
    method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    image.quantize(colors=colours, method=method, dither=dither).save(stream, format="PNG", optimize=True)
    return stream.getvalue()
