"""Noise-free signals, put into the published inversions, give the parameters back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plastimap.simulate.signals import axial_radial, mt_spgr, rician, spgr, tensor_attenuation

TR = 0.0245
NOMINAL = {"PDw": 6.0, "T1w": 21.0}


def rational(s_p: float, s_t: float, f: float) -> tuple[float, float]:
    """R1 and A of the exact rational form (t = 2 tan(fα/2)), equal TR."""
    t_p, t_t = (2 * np.tan(np.deg2rad(angle) * f / 2) for angle in (NOMINAL["PDw"], NOMINAL["T1w"]))
    r1 = 0.5 * (s_p * t_p - s_t * t_t) / TR / (s_t / t_t - s_p / t_p)
    a = s_t * s_p * (t_p / t_t - t_t / t_p) / (s_p * t_p - s_t * t_t)
    return r1, a


def helms(s_m: float, r1: float, a: float, f: float) -> float:
    angle = np.deg2rad(6.0)
    return 100 * ((a * angle - s_m) / s_m * r1 * TR - angle**2 / 2) * (1 - 0.4) / (1 - 0.4 * f)


@given(st.floats(0.2, 1.5), st.floats(40, 110), st.floats(0.8, 1.2))
def test_r1_and_a_come_back(r1: float, a: float, f: float) -> None:
    signals = {name: float(spgr(a, r1, flip_deg=flip, tr_s=TR, b1=f)) for name, flip in NOMINAL.items()}
    found_r1, found_a = rational(signals["PDw"], signals["T1w"], f)
    # The rational form replaces 2 tanh(TR R1 / 2) by TR R1: (TR R1)²/12 < 1.2e-4 at R1 = 1.5.
    assert found_r1 == pytest.approx(r1, rel=1.5e-4)
    assert found_a == pytest.approx(a, rel=1e-9)


@pytest.mark.parametrize(("f", "tolerance"), [(1.0, 5e-4), (0.85, 0.02), (1.15, 0.02)])
@pytest.mark.parametrize(("r1", "delta"), [(1.05, 1.8), (0.65, 0.9)])
def test_mtsat_comes_back_with_nominal_angles(f: float, tolerance: float, r1: float, delta: float) -> None:
    s_p, s_t = (float(spgr(80, r1, flip_deg=flip, tr_s=TR, b1=f)) for flip in NOMINAL.values())
    s_m = float(mt_spgr(80, r1, delta, flip_deg=6, tr_s=TR, b1=f, c=0.4))
    # f = 1: exact but for the same (TR R1)²/12; elsewhere tan(fα/2)/f tan(α/2) differs between 6° and 21° by 1 %.
    assert helms(s_m, *rational(s_p, s_t, 1.0), f) == pytest.approx(delta, rel=tolerance)


def test_b1_correction_has_something_to_correct() -> None:
    s_p, s_t = (float(spgr(80, 1.05, flip_deg=flip, tr_s=TR, b1=1.15)) for flip in NOMINAL.values())
    s_m = float(mt_spgr(80, 1.05, 1.8, flip_deg=6, tr_s=TR, b1=1.15, c=0.4))
    uncorrected = helms(s_m, *rational(s_p, s_t, 1.0), 1.0)
    assert abs(uncorrected - 1.8) > 0.08 * 1.8


@given(st.floats(0.0, 0.9), st.floats(0.3, 3.0))
def test_fa_and_md_of_the_tensor(fa: float, md: float) -> None:
    axial, radial = (float(value) for value in axial_radial(fa, md))
    values = np.array([axial, radial, radial])
    found = np.sqrt(1.5 * ((values - values.mean()) ** 2).sum() / (values**2).sum())
    assert found == pytest.approx(fa, abs=1e-9)
    assert values.mean() == pytest.approx(md)
    assert float(tensor_attenuation(fa, md, 1.0, bvalue=1000)) == pytest.approx(np.exp(-axial))


def test_rician_noise(rng: np.random.Generator) -> None:
    strong = rician(np.full(200_000, 600.0), 20.0, rng)
    # sd of the mean .045, of the sd .032: five of each.
    assert strong.mean() == pytest.approx(600 + 20**2 / 1200, abs=0.25)
    assert strong.std() == pytest.approx(20, abs=0.2)
    background = rician(np.zeros(200_000), 20.0, rng)
    assert background.mean() == pytest.approx(20 * np.sqrt(np.pi / 2), abs=0.15)
