"""Put pages and their pictures where they belong."""

from __future__ import annotations

from collections.abc import Mapping
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
    write_files(page.figures, figures)
    write_text(html, page.html)


def write_files(files: Mapping[str, bytes | str], folder: PathLike) -> None:
    """Write files into a folder, which is made when missing.

    Parameters
    ----------
    files : mapping
        Name → content.
    folder : path-like
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with replacing(place / name) as beside:
            beside.write_bytes(content.encode() if isinstance(content, str) else content)
