"""Plans that no run has taken yet: of a check, and of a dry run. They leave alone what jobs and reports read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plastimap.bids.plan import Study, keep_study
from plastimap.bids.problems import Problem
from plastimap.running.lock import Busy, hold
from plastimap.running.records import LOGS

PLANNED = ".plastimap/planned"
"""Where a plan lies, in an output folder that has one of a run."""


def keep_aside(study: Study, problems: Sequence[Problem]) -> str:
    """Write down the plan of a study that is not run now.

    Returns
    -------
    str
        The folder, in the output folder: there itself as long as nothing has run in it, for people to read.
    """
    out = Path(study.config["output_dir"])
    try:
        lock = hold(out)
    except Busy:
        keep_study(study, problems, folder=PLANNED)
        return PLANNED
    try:
        folder = PLANNED if lock.before or (out / LOGS).exists() else ""
        keep_study(study, problems, folder=folder)
    finally:
        lock.restore()
    return folder
