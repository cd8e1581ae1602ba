"""Words of messages: what a misspelt one was meant to be, and many in one line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence


def closest(word: str, known: Collection[str]) -> str | None:
    """Find the known word that `word` was meant to be, or None; upper and lower case do not count."""
    lower = {one.lower(): one for one in sorted(known)}
    found = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return lower[found[0]] if found else None


def enumeration(labels: Sequence[str], *, shown: int = 12) -> str:
    """Put labels into one line; of many the first, and how many more."""
    rest = f" and {len(labels) - shown} more" if len(labels) > shown else ""
    return ", ".join(labels[:shown]) + rest
