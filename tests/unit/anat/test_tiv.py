"""Volumes are sums of probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from plastimap.anat.tiv import intracranial_volume, tissue_volumes, tiv_jumps


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


def test_a_session_that_leaves_the_others_is_flagged() -> None:
    volumes = {"sub-01_ses-1": 1500.0, "sub-01_ses-2": 1510.0, "sub-01_ses-3": 1440.0, "sub-01_ses-4": float("nan")}
    flagged = tiv_jumps(volumes)
    assert list(flagged) == ["sub-01_ses-3"]
    assert "-4.3 %" in flagged["sub-01_ses-3"]


def test_a_small_change_or_a_single_session_is_no_jump() -> None:
    assert not tiv_jumps({"a": 1500.0, "b": 1540.0, "c": 1520.0})
    assert not tiv_jumps({"a": 1500.0})
    # Of two sessions nobody can tell which one is right.
    assert set(tiv_jumps({"a": 1500.0, "b": 1560.0})) == {"a", "b"}
