"""What the command line tells the Snakemake that it starts, in environment variables. Imports nothing: jobs read it."""

from __future__ import annotations

import os
from collections.abc import Sequence

CHECKED_VARIABLE = "PLASTIMAP_CHECKED_BY"
"""Number of the process that has just checked the study and written its manifest."""

CHUNK_VARIABLE = "PLASTIMAP_CHUNK"
"""Which people a call of Snakemake is about: ``3/20``, or ``0/20`` for what follows all people."""

RUN_VARIABLE = "PLASTIMAP_RUN"
"""Name of the run that a process belongs to."""

PLAN_VARIABLE = "PLASTIMAP_PLAN"
"""Folder of the plan that is to be taken, in the output folder; empty where it is the output folder itself."""

FOLDER_VARIABLE = "PLASTIMAP_FOLDER"
"""The output folder of the run that a process belongs to."""


def is_checked() -> bool:
    """Whether this process, or the one that started it, has checked the study a moment ago."""
    return os.environ.get(CHECKED_VARIABLE) in (str(os.getpid()), str(os.getppid()))


def plan_folder() -> str:
    """Where the plan lies that this process is to take, in the output folder: a dry run changes nobody's plan."""
    return os.environ.get(PLAN_VARIABLE, "") if is_checked() else ""


def chunk_people(subjects: Sequence[str]) -> list[str]:
    """The people that this call is about: all, those of a chunk, or nobody for what follows all of them."""
    number, _, count = os.environ.get(CHUNK_VARIABLE, "1/1").partition("/")
    bounds = [max(len(subjects) * place // int(count), 0) for place in (int(number) - 1, int(number))]
    return list(subjects[bounds[0] : bounds[1]])
