"""The one error that this room raises for what a user can put right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from plastimap.problems import ListedProblem


class StatsProblem(ListedProblem):
    """A model that cannot be fitted as asked; the message says why and what to do."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Words that help after a name nobody knows: the nearest known name, or all of them."""
    names = sorted(known)
    folded = {candidate.casefold(): candidate for candidate in names}
    near = get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    return f"known: {', '.join(names)}" if names else "none are known"


def listed(names: Iterable[object], *, most: int = 8) -> str:
    """Names in a row, cut short after `most`, with the number of those left out."""
    texts = [str(name) for name in names]
    shown = ", ".join(texts[:most])
    return shown if len(texts) <= most else f"{shown} and {len(texts) - most} more"
