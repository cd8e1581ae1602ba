"""Volumes are sums of probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from plastimap.anat.tiv import intracranial_volume, tissue_volumes


def test_millilitres() -> None:
    half = np.full((10, 10, 10), 0.5, dtype=np.float32)
    assert tissue_volumes({"GM": half}, 8.0) == {"GM": pytest.approx(4.0)}
    assert intracranial_volume({"GM": half, "WM": half, "CSF": half * 0}, 8.0) == pytest.approx(8.0)


def test_sums_are_exact_for_many_small_voxels() -> None:
    many = np.full(5_000_000, 0.1, dtype=np.float32)
    assert intracranial_volume({"GM": many}, 1.0) == pytest.approx(500.0, rel=1e-6)


def test_nothing_to_add_up() -> None:
    with pytest.raises(ValueError, match="no tissue"):
        intracranial_volume({}, 1.0)
