"""How often Python looks for garbage while a study is planned. Imports nothing heavy: every job reads the Snakefile."""

from __future__ import annotations

import gc

OBJECTS = 100_000
"""New objects before the youngest are searched; Python's own figure is 700."""

ROUNDS = 20
"""Searches of one generation before the next older one is searched; Python's own figure is 10."""


def collect_rarely() -> None:
    """Search for unused objects that hold each other less often than Python does by itself.

    A plan is a large net of objects that stay until the end. With Python's own figures they are gone through a dozen
    times while the net grows, which takes an eighth of the time and finds hardly anything.
    """
    gc.set_threshold(OBJECTS, ROUNDS, ROUNDS)
