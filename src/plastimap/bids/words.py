"""Guessing what a misspelt word was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def closest(word: str, known: Collection[str]) -> str | None:
    """Find the known word that `word` was meant to be, or None; upper and lower case do not count."""
    lower = {one.lower(): one for one in sorted(known)}
    found = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return lower[found[0]] if found else None
