from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plastimap.images import read_volume
from plastimap.mpm import maps

SETTINGS = {"flip_pdw_deg": 6.0, "flip_t1w_deg": 21.0, "tr_pdw": 0.025, "tr_t1w": 0.0245}
MT = {"flip_mtw_deg": 6.0, "tr_mtw": 0.025}


def ernst(a, r1, flip_deg, tr, f=1.0):
    angle, decay = np.deg2rad(flip_deg) * f, np.exp(-tr * r1)
    return a * np.sin(angle) * (1 - decay) / (1 - np.cos(angle) * decay)


def pair(a, r1, f=1.0):
    return ernst(a, r1, 6.0, 0.025, f), ernst(a, r1, 21.0, 0.0245, f)


@given(r1=st.floats(0.25, 1.8), f=st.floats(0.6, 1.4))
@settings(max_examples=50, deadline=None)
def test_exact_angles_find_the_truth_of_the_ernst_equation(r1, f):
    found, a = maps.r1_and_a(*pair(5000.0, r1, f), b1=f, **SETTINGS)
    # What is left is the expansion of exp(-TR R1): (TR R1)²/12 is 1.7e-4 at R1 = 1.8.
    assert found == pytest.approx(r1, rel=4e-4)
    assert a == pytest.approx(5000.0, rel=4e-4)


def test_small_angles_are_the_approximation_they_are_known_to_be():
    found, _ = maps.r1_and_a(*pair(5000.0, 1.0), small_angle=True, **SETTINGS)
    assert 0.97 < found < 0.995


def test_ignoring_b1_divides_r1_by_its_square():
    found, _ = maps.r1_and_a(*pair(5000.0, 1.0, 0.9), **SETTINGS)
    assert found == pytest.approx(1 / 0.81, rel=0.01)


@given(factor=st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_scaling_the_signals_scales_a_only(factor):
    p, t, m = 300.0, 260.0, 210.0
    r1, a = maps.r1_and_a(p, t, **SETTINGS)
    scaled_r1, scaled_a = maps.r1_and_a(factor * p, factor * t, **SETTINGS)
    assert scaled_r1 == pytest.approx(r1, rel=1e-9)
    assert scaled_a == pytest.approx(factor * a, rel=1e-9)
    one = maps.mtsat(p, t, m, **SETTINGS, **MT)
    assert maps.mtsat(factor * p, factor * t, factor * m, **SETTINGS, **MT) == pytest.approx(one, rel=1e-9)


def mt_signal(a, r1, delta_pu, f=1.0):
    angle = np.deg2rad(6.0) * f
    return a * angle * r1 * 0.025 / (r1 * 0.025 + angle**2 / 2 + delta_pu / 100)


def test_mtsat_of_a_saturated_signal_is_the_saturation():
    p, t = pair(5000.0, 1.0)
    # The small-angle form of the MT-weighted signal against the exact one of the others: 0.02 p.u. at 6°.
    assert maps.mtsat(p, t, mt_signal(5000.0, 1.0, 1.8), **SETTINGS, **MT) == pytest.approx(1.8, abs=0.02)


@given(f=st.floats(0.7, 1.3))
@settings(max_examples=25, deadline=None)
def test_lipp_form_uses_the_measured_angles(f):
    p, t = pair(5000.0, 1.0, f)
    m = mt_signal(5000.0, 1.0, 1.8 * (1 + 1.2 * (f - 1)), f)
    assert maps.mtsat(p, t, m, b1=f, correction="lipp", **SETTINGS, **MT) == pytest.approx(1.8, abs=0.03)


def test_helms_factor():
    p, t, m = 300.0, 260.0, 210.0
    plain = maps.mtsat(p, t, m, correction="none", b1=0.8, **SETTINGS, **MT)
    corrected = maps.mtsat(p, t, m, correction="helms", b1=0.8, **SETTINGS, **MT)
    assert corrected / plain == pytest.approx(0.6 / (1 - 0.4 * 0.8))
    other = maps.mtsat(p, t, m, correction="helms", constant=0.34, b1=0.8, **SETTINGS, **MT)
    assert other / plain == pytest.approx(0.66 / (1 - 0.34 * 0.8))
    for correction in ("helms", "lipp", "none"):
        assert maps.mtsat(p, t, m, correction=correction, **SETTINGS, **MT) == pytest.approx(plain)


def test_unknown_correction_is_refused():
    with pytest.raises(ValueError, match="helms, lipp, none"):
        maps.mtsat(1.0, 1.0, 1.0, correction="hlems", **SETTINGS, **MT)


def test_mtr():
    np.testing.assert_allclose(maps.mtr([200.0, 0.0], [150.0, 1.0])[0], 25.0)
    assert not np.isfinite(maps.mtr([0.0], [1.0])[0])


def test_within_counts_what_it_removes():
    limited, n_outside = maps.within(np.array([np.nan, -0.1, 0.0, 0.5, 2.0, np.inf]), (0.0, 2.0))
    np.testing.assert_array_equal(np.isnan(limited), [True, True, True, False, True, True])
    assert n_outside == 4
    assert limited.dtype == np.float32


@pytest.mark.shared
@pytest.mark.parametrize("noise", ["noisefree", "rician"])
@pytest.mark.parametrize("fit", ["OLS", "WLS1"])
@pytest.mark.parametrize("small_angle", [False, True])
@pytest.mark.parametrize("with_b1", [False, True])
def test_equals_the_hmri_toolbox(shared, noise, fit, small_angle, with_b1):
    folder = shared / "reference" / "hmri"
    tissue = read_volume(folder / "inputs" / "truth_labels.nii.gz").data > 0

    def read(name):
        return read_volume(folder / "hmri" / f"{noise}_{fit}_{name}.nii.gz", dtype=np.float64).data[tissue]

    signals = {name: read(f"{name}_TE0") for name in ("PDw", "T1w", "MTw")}
    field = read_volume(folder / "inputs" / "B1map_pu.nii.gz", dtype=np.float64).data[tissue] / 100
    b1 = field if with_b1 else None
    settings = SETTINGS | {"tr_t1w": 0.025}
    stem = f"sa{int(small_angle)}_b1{int(with_b1)}"
    r1, a = maps.r1_and_a(signals["PDw"], signals["T1w"], b1=b1, small_angle=small_angle, **settings)
    # The same formulas on the same float64 inputs; hMRI keeps intermediate images as float32: up to 4e-7 measured.
    np.testing.assert_allclose(r1, read(f"{stem}_R1"), rtol=1e-6)
    np.testing.assert_allclose(a, read(f"{stem}_A"), rtol=1e-6)
    for correction in ("helms", "lipp") if with_b1 else ("helms",):
        found = maps.mtsat(*signals.values(), b1=b1, correction=correction, small_angle=small_angle, **settings, **MT)
        np.testing.assert_allclose(found, read(f"{stem}_MTsat_{correction}"), rtol=1e-5, atol=1e-6)
