"""What all tests share: where the reference data lie, one thread, fixed random seeds."""

from __future__ import annotations

import os
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260309)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared reference data; the test is skipped, with the reason, where they are missing."""
    folder = Path(os.environ.get("PLASTIMAP_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared reference data at {folder} (set PLASTIMAP_SHARED)")
    return folder
