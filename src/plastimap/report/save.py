"""Put a page and its pictures where they belong."""

from __future__ import annotations

from pathlib import Path

from plastimap.report.inputs import Page
from plastimap.writing import PathLike, replacing, write_text


def write_page(page: Page, html: PathLike, figures: PathLike) -> None:
    """Write a page, its pictures first: a page never points to what is not there yet.

    Parameters
    ----------
    page : Page
    html : path-like
        File of the page.
    figures : path-like
        Folder of its pictures, made when missing (``figures/<name>`` beside the page).
    """
    folder = Path(figures)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in page.figures.items():
        with replacing(folder / name) as beside:
            beside.write_bytes(content)
    write_text(html, page.html)
