"""Programs of others that may be used where they are installed; none is needed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

FSL_EDDY = ("eddy_cpu", "eddy_openmp", "eddy")
"""Names under which FSL's releases have had their eddy-current correction."""


def find_program(names: Sequence[str]) -> str | None:
    """Path of the first of these programs that is on the PATH, or None."""
    return next((path for name in names if (path := shutil.which(name))), None)
