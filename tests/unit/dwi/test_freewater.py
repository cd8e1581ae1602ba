from __future__ import annotations

import numpy as np
import pytest
from tests.unit.dwi.conftest import directions

from plastimap.dwi.freewater import TooFewShells, fit_free_water
from plastimap.dwi.tensor import fit_tensor, fractional_anisotropy

BVALS = np.r_[0, 0, 0, np.full(20, 500.0), np.full(30, 1500.0)]
BVECS = np.r_[np.zeros((3, 3)), directions(20), directions(30)]
VALUES = np.array([1.6, 0.4, 0.3])


def mixed(fractions, rng):
    """Signals of tissue with turned tensors beside free water."""
    axes = np.linalg.qr(rng.normal(size=(len(fractions), 3, 3)))[0]
    along = np.einsum("gi,nik->ngk", BVECS, axes) ** 2 @ VALUES
    b = BVALS * 1e-3
    water = np.asarray(fractions)[:, None]
    return 700 * ((1 - water) * np.exp(-along * b) + water * np.exp(-3 * b)).reshape(-1, 1, 1, b.size)


def test_known_fractions_and_tensors_come_back(rng):
    truth = np.repeat([0.0, 0.2, 0.47, 0.7], 10)
    made = fit_free_water(mixed(truth, rng), BVALS, BVECS, mask=np.ones((40, 1, 1), dtype=bool))
    np.testing.assert_allclose(made.fraction.ravel(), truth, atol=0.011)
    np.testing.assert_allclose(made.fa.ravel(), fractional_anisotropy(VALUES), atol=0.03)
    np.testing.assert_allclose(made.md.ravel(), VALUES.mean(), atol=0.03)
    np.testing.assert_allclose(made.ad.ravel(), VALUES[0], atol=0.06)
    np.testing.assert_allclose(made.rd.ravel(), VALUES[1:].mean(), atol=0.04)


def test_noise_leaves_it_better_than_the_plain_tensor(rng):
    clean = mixed(np.full(500, 0.3), rng)
    noisy = clean + rng.normal(0, 10, clean.shape)
    mask = np.ones((500, 1, 1), dtype=bool)
    corrected = fit_free_water(noisy, BVALS, BVECS, mask=mask)
    plain = fit_tensor(noisy, BVALS, BVECS, mask=mask)
    truth = fractional_anisotropy(VALUES)
    assert abs(np.median(corrected.fa) - truth) < 0.25 * abs(np.median(plain.fa) - truth)
    assert np.median(corrected.fraction) == pytest.approx(0.3, abs=0.05)


def test_bad_voxels_and_the_outside_are_nan(rng):
    data = mixed([0.2, 0.2, 0.2, 0.2], rng)
    data[1] = 0
    data[2, 0, 0, 5] = np.nan
    mask = np.array([1, 1, 1, 0], dtype=bool).reshape(4, 1, 1)
    made = fit_free_water(data, BVALS, BVECS, mask=mask)
    for name in ("fraction", "fa", "md", "ad", "rd"):
        np.testing.assert_array_equal(np.isnan(getattr(made, name)).ravel(), [False, True, True, True])


def test_a_single_shell_is_refused(rng):
    keep = BVALS != 500
    with pytest.raises(TooFewShells, match="1 shells"):
        fit_free_water(mixed([0.2], rng)[..., keep], BVALS[keep], BVECS[keep], mask=np.ones((1, 1, 1), dtype=bool))
