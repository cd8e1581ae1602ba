"""Jinja templates of the report, which escape everything that they are given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from plastimap.shipped import workflow_file

TEMPLATES = "workflow/report"


@dataclass(frozen=True)
class Picture:
    """A figure on a page.

    Attributes
    ----------
    file : str
        Name in the page's figures.
    alt : str
        What a reader who cannot see it should know.
    caption : str
        How to read it.
    """

    file: str
    alt: str
    caption: str


@cache
def _environment() -> Environment:
    folder = workflow_file(TEMPLATES)
    # Autoescape for every file, whatever its ending: names from tables can hold anything.
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["path"] = lambda text: quote(str(text))
    return environment


def render(template: str, *, folder: str, **content: Any) -> str:
    """Fill a template.

    Parameters
    ----------
    template : str
        File name in ``workflow/report``.
    folder : str
        Name of the page's folder inside ``figures/``.
    **content
        What the template shows.

    Returns
    -------
    str
        A complete HTML document.
    """
    return _environment().get_template(template).render(folder=folder, **content)


def file_name(*parts: str, ending: str) -> str:
    """Make a plain file name from any words: letters, digits, ``-``; parts are joined by ``_``."""
    plain = ["".join(c if c == "-" or (c.isascii() and c.isalnum()) else "-" for c in part) for part in parts]
    return "_".join(part for part in plain if part) + "." + ending
