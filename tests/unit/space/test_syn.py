"""The alternative engine, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from plastimap.images import Volume
from plastimap.registration import RegistrationProblem
from plastimap.space.mni import Standard, match_tissues
from plastimap.syn import syn
from plastimap.transforms import Warp, resample, transform_points, world_points

AFFINE = np.diag([-3.0, 3.0, 3.0, 1.0])
SHAPE = (30, 32, 28)


@pytest.fixture(scope="module")
def pair():
    """Two tissues, the same ones deformed, the pull map between them, and its linear part."""
    rng = np.random.default_rng(5)
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2)
    edge = np.sqrt(sum((np.linspace(-1.4, 1.4, n).reshape(-1, *[1] * (2 - a)) ** 2 for a, n in enumerate(SHAPE))))
    gm = np.clip(2 - 2 * edge + 8 * noise, 0, 1)
    gm, wm = ((x * (edge < 1.1)).astype(np.float32) for x in (gm, 1 - gm))
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=SHAPE), 5) for _ in range(3)], axis=-1)
    matrix = np.eye(4)
    matrix[:3, 3] = 4, -3, 2
    truth = Warp((1.5 * field / field.std()).astype(np.float32), AFFINE, matrix)
    moving = Standard(Volume(gm, AFFINE), Volume(wm, AFFINE))
    fixed = [Volume(resample(v, (SHAPE, AFFINE), truth, validity=False), AFFINE) for v in (moving.gm, moving.wm)]
    return Standard(*fixed), moving, truth, matrix


def off(warp, truth, inside):
    points = world_points((SHAPE, AFFINE))
    return np.linalg.norm(transform_points(warp, points) - transform_points(truth, points), axis=0)[inside].mean()


def test_a_deformation_is_found_the_same_every_time(pair):
    pytest.importorskip("ants", reason="antspyx is not installed (plastimap[ants])")
    fixed, moving, truth, matrix = pair
    inside = fixed.gm.data + fixed.wm.data > 0.5
    found = match_tissues(fixed, moving, matrix, engine="ants", iterations=(30, 10, 0))
    before = off(Warp(np.zeros_like(truth.displacement), AFFINE, matrix), truth, inside)
    # Tissue without edges leaves some of it open: what is found is most of the way.
    assert off(found, truth, inside) < 0.5 * before
    again = match_tissues(fixed, moving, matrix, engine="ants", iterations=(30, 10, 0))
    np.testing.assert_array_equal(again.displacement, found.displacement)
    np.testing.assert_array_equal(found.matrix, matrix)


def test_what_is_masked_does_not_count(pair):
    pytest.importorskip("ants", reason="antspyx is not installed (plastimap[ants])")
    fixed, moving, _, matrix = pair
    hole = np.zeros(SHAPE, dtype=bool)
    hole[10:16, 12:18, 10:16] = True
    outside = ~ndimage.binary_dilation(hole, iterations=3)

    def apart(mask):
        """Mean distance between what is found with nothing in the hole, and with white matter in it."""
        found = []
        for gm, wm in ((0, 0), (0, 1)):
            filled = (np.where(hole, x, v.data) for x, v in ((gm, fixed.gm), (wm, fixed.wm)))
            hurt = Standard(*(Volume(data.astype(np.float32), AFFINE) for data in filled))
            found.append(match_tissues(hurt, moving, matrix, engine="ants", mask=mask, iterations=(20, 10, 0)))
        return np.linalg.norm(found[0].displacement - found[1].displacement, axis=-1).mean()

    # Coarse levels blur what lies in the hole across its edge: a little of it still counts.
    assert apart(outside) < 0.3 * apart(None)


def test_without_the_package_the_message_says_what_to_do(pair, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ants", None)
    fixed, moving, _, matrix = pair
    with pytest.raises(RegistrationProblem, match=r"plastimap\[ants\]"):
        syn([fixed.gm], [moving.gm], affine=matrix)
