"""Where the files that travel with the package lie: in the repository, or inside an installed wheel."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).parent
ROOTS = (PACKAGE / "_workflow", PACKAGE.parents[1])
"""An installed wheel carries a copy of the workflow; an editable install finds the repository itself."""


def workflow_file(relative: str | os.PathLike[str]) -> Path:
    """Path of a file of the workflow, such as ``config/config.yaml`` or ``Snakefile``.

    Parameters
    ----------
    relative : path-like
        Path from the root of the repository.

    Returns
    -------
    Path
        Absolute path of the existing file or folder.

    Raises
    ------
    FileNotFoundError
        When neither the wheel nor the repository has it: a broken installation.
    """
    for root in ROOTS:
        candidate = root / relative
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"PlastiMap's own {os.fspath(relative)} is missing; install the package again")
