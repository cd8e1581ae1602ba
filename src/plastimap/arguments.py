"""What values options of the command line may have; :mod:`argparse` tells of others in one line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

LARGEST_SEED = 2**32 - 1
"""What all generators of random numbers take."""


def whole(smallest: int, largest: int | None = None) -> Callable[[str], int]:
    """Give a reader of whole numbers from `smallest` on, up to `largest`."""
    bounds = f"from {smallest} {'up' if largest is None else f'to {largest}'}"

    def read(text: str) -> int:
        if not text.isdecimal() or not smallest <= int(text) <= (largest if largest is not None else math.inf):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number {bounds}")
        return int(text)

    return read


def finite(text: str) -> float:
    """Read a number that is neither infinite nor NaN."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value


def positive(text: str) -> float:
    """Read a number above 0."""
    value = finite(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


count = whole(1)
seed = whole(0, LARGEST_SEED)
