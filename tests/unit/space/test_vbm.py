"""Volumes are kept through modulation."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.space.phantom import AFFINE, GRID, rigid_matrix, swelling

from plastimap.images import Volume
from plastimap.space.vbm import modulate, modulated
from plastimap.transforms import Warp, compose, invert, jacobian, resample

TARGET = ((80, 88, 76), np.array([[1.5, 0, 0, -60], [0, 1.5, 0, -66], [0, 0, 1.5, -57], [0, 0, 0, 1]]))


def test_total_volume_is_kept(phantom):
    # Session → template → target, with a change of size, a turn and local swellings in both steps.
    session = Warp(swelling((12, 5, 0), amount=0.3).displacement, AFFINE, rigid_matrix((3, 2, -4), (2, 0, 1)))
    to_template = Warp(swelling((-10, 0, 8), amount=-0.3).displacement, AFFINE, np.diag([1.06, 0.95, 1.03, 1.0]))
    native = Volume(resample(phantom.gm, GRID, [np.linalg.inv(session.matrix)], validity=False), AFFINE)
    tissue = Volume(resample(native, GRID, session, validity=False), AFFINE)
    result = modulated(tissue, to_template, TARGET, session_jacobian=jacobian(session))
    wanted = native.data.sum(dtype=float) * native.voxel_volume
    found = result.sum(dtype=float) * 1.5**3
    assert found == pytest.approx(wanted, rel=0.005)
    # Without modulation the volume would be off by far more.
    plain = resample(tissue, TARGET, to_template, validity=False)
    assert abs(plain.sum(dtype=float) * 1.5**3 / wanted - 1) > 0.02


def test_a_chain_counts_like_its_composition(phantom):
    steps = [np.diag([1.1, 1.0, 0.9, 1.0]), swelling((0, 10, 0), amount=0.2)]
    chain = modulated(phantom.wm, steps, TARGET)
    once = modulated(phantom.wm, compose(steps, TARGET), TARGET)
    np.testing.assert_allclose(chain, once, atol=1e-4)


def test_there_and_back_leaves_volume_alone(phantom):
    warp = swelling((0, 0, 10), amount=0.3)
    there = modulated(phantom.gm, warp, GRID)
    back = modulated(Volume(there, AFFINE), invert(warp), GRID)
    assert back.sum() == pytest.approx(phantom.gm.data.sum(), rel=0.005)


def test_folds_and_gaps_count_as_nothing():
    result = modulate(np.array([0.5, np.nan, 0.5]), np.array([2.0, 1.0, -1.0]))
    np.testing.assert_array_equal(result, [1.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="shape"):
        modulate(np.ones(3), np.ones(4))
