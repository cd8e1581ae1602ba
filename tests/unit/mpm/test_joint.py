from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plastimap.mpm.errors import Excitation
from plastimap.mpm.estatics import fit_estatics
from plastimap.mpm.joint import exact_relaxation, exact_saturation, fit_joint, noise_map, rician_information
from plastimap.mpm.pipeline import MpmSettings, fit_maps
from plastimap.mpm.protocol import Protocol

FLIPS = {"PDw": 6.0, "T1w": 21.0, "MTw": 6.0}
TRS = {"PDw": 0.0245, "T1w": 0.021, "MTw": 0.026}
TIMES = {"PDw": np.arange(1, 9) * 2.34e-3, "T1w": np.arange(1, 9) * 2.34e-3, "MTw": np.arange(1, 7) * 2.34e-3}
EXCITATION = Excitation(FLIPS, TRS)
TRUTH = {"R1": 0.9, "A": 5000.0, "R2s": 22.0, "MTsat": 1.5}


def start_signals(truth, f=1.0):
    found = {}
    for name, flip in FLIPS.items():
        angle, decay = np.deg2rad(flip) * f, np.exp(-TRS[name] * truth["R1"])
        saturation = truth["MTsat"] / 100 * f**2 * (1 - 0.4 * f) / 0.6 if name == "MTw" else 0.0
        found[name] = truth["A"] * np.sin(angle) * (1 - decay) / (1 - (1 - saturation) * np.cos(angle) * decay)
    return found


def noisy(truth, sd, n, rng):
    starts = start_signals(truth)
    clean = {name: [starts[name] * np.exp(-t * truth["R2s"]) for t in ts] for name, ts in TIMES.items()}
    return {name: [np.hypot(c + rng.normal(0, sd, n), rng.normal(0, sd, n)) for c in cs] for name, cs in clean.items()}


@given(r1=st.floats(0.25, 1.8), mt=st.floats(0.0, 4.0), f=st.floats(0.6, 1.4))
@settings(max_examples=50, deadline=None)
def test_signal_equations_are_inverted_exactly(r1, mt, f):
    signals = start_signals({"R1": r1, "A": 5000.0, "MTsat": mt}, f)
    found, a = exact_relaxation(signals["PDw"], signals["T1w"], EXCITATION, b1=f)
    assert found == pytest.approx(r1, rel=1e-9)
    assert a == pytest.approx(5000.0, rel=1e-9)
    assert exact_saturation(signals["MTw"], found, a, EXCITATION, b1=f) == pytest.approx(mt, abs=1e-7)


def test_noise_free_echoes_give_the_truth(rng):
    made = fit_joint(noisy(TRUTH, 1e-6, 50, rng), TIMES, EXCITATION, noise_sd=1e-6)
    for name, value in TRUTH.items():
        np.testing.assert_allclose(made.maps[name], value, rtol=1e-5)


@pytest.mark.parametrize("snr", [10, 20])
def test_low_snr_leaves_next_to_no_bias_and_honest_errors(snr):
    rng = np.random.default_rng(snr)
    sd = start_signals(TRUTH)["PDw"] / snr
    n = 8_000
    echoes = noisy(TRUTH, sd, n, rng)
    made = fit_joint(echoes, TIMES, EXCITATION, noise_sd=sd)
    for name, value in TRUTH.items():
        image, error = made.maps[name], made.standard_errors[name]
        # The mean of n draws is known to SD/√n.
        assert abs(image.mean() - value) < 4 * image.std() / np.sqrt(n), name
        assert np.mean(np.abs(image - value) < 1.96 * error) == pytest.approx(0.95, abs=0.012), name
        assert error.mean() == pytest.approx(image.std(), rel=0.05), name
    two_step = fit_maps(echoes, Protocol(TIMES, FLIPS, TRS), MpmSettings(), mask=np.ones(n))
    for name in ("R1", "MTsat"):
        assert abs(made.maps[name].mean() - TRUTH[name]) < abs(np.nanmean(two_step.maps[name]) - TRUTH[name]) + 1e-3
        # A biased estimator has a smaller spread for being smaller: spreads are compared relative to their means. At
        # SNR 20 nothing is left to gain (a thousandth is rounding and chance).
        spread = np.nanstd(two_step.maps[name]) / np.nanmean(two_step.maps[name])
        assert made.maps[name].std() / made.maps[name].mean() < spread * (1.001 if snr == 20 else 1)


def test_rician_noise_taken_for_normal_biases_r2s(rng):
    sd = start_signals(TRUTH)["PDw"] / 8
    echoes = noisy(TRUTH, sd, 8_000, rng)
    bias = {
        noise: abs(
            np.nanmean(fit_joint(echoes, TIMES, EXCITATION, noise=noise, noise_sd=sd).maps["R2s"]) - TRUTH["R2s"]
        )
        for noise in ("rician", "gaussian")
    }
    assert bias["rician"] < 0.3 * bias["gaussian"]


def test_noise_is_found_from_residuals_despite_outliers(rng):
    shape = (24, 24, 12)
    starts = start_signals(TRUTH)
    echoes = {
        name: [starts[name] * np.exp(-t * 22.0) + rng.normal(0, 4, shape) for t in ts] for name, ts in TIMES.items()
    }
    echoes["PDw"][2][5:7, 5:7] *= 1.8
    found = noise_map(fit_estatics(echoes, TIMES), (2.0, 2.0, 2.0))
    assert np.median(found) == pytest.approx(4.0, rel=0.02)
    assert found.max() < 8


def test_information_of_rician_signals_grows_to_that_of_normal_ones():
    shares = rician_information()
    assert (np.diff(shares) > 0)[:80].all()
    assert shares[0] < 0.02
    assert shares[-1] == pytest.approx(1, abs=0.01)


def test_what_cannot_be_fitted_is_nan_and_inputs_stay(rng):
    echoes = noisy(TRUTH, 5.0, 40, rng)
    echoes["PDw"][1][3] = -1
    before = [image.copy() for images in echoes.values() for image in images]
    made = fit_joint(echoes, TIMES, EXCITATION)
    assert np.isnan(made.maps["R1"][3])
    assert made.n_invalid == 1
    assert np.isfinite(made.maps["R1"][[0, 1, 2, 4]]).all()
    for image, old in zip((image for images in echoes.values() for image in images), before, strict=True):
        np.testing.assert_array_equal(image, old)


def test_fewer_contrasts_give_fewer_maps(rng):
    echoes = noisy(TRUTH, 5.0, 20, rng)
    assert set(fit_joint({"PDw": echoes["PDw"]}, TIMES, EXCITATION).maps) == {"R2s"}
    pair = {name: echoes[name] for name in ("PDw", "T1w")}
    assert set(fit_joint(pair, TIMES, EXCITATION).maps) == {"R2s", "R1", "A"}
