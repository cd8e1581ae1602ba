from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from plastimap.mpm.maps import r1_and_a
from plastimap.mpm.spoiling import (
    GYROMAGNETIC_RATIO,
    Spoiler,
    Tissue,
    correct_spoiling,
    fit_spoiling,
    spoiled_signal,
)

PROTOCOL = {"flip_pdw_deg": 6.0, "flip_t1w_deg": 21.0, "tr_pdw": 0.025, "tr_t1w": 0.025}
TISSUE = {"t2_ms": 70.0, "diffusion_um2_per_ms": 0.8}

PUBLISHED = [
    # The settings of the hMRI toolbox's own example, exact and small angle.
    (0.025, False, 137, 70, (19.6072, -26.8305, 13.7302), (-0.0485, 0.0496, 0.9820), 0.001),
    (0.025, True, 137, 70, (41.5044, -56.2888, 28.6704), (-0.0972, 0.0973, 0.9649), 0.001),
    # Made with R. Deichmann's program for T2 = 64 ms; the increment of that sequence is 50°.
    (0.0245, True, 50, 64, (71.2818, -92.2993, 45.8278), (-0.13786, 0.12242, 0.95764), 0.01),
    # A Bloch-Torrey simulation for 137°, whose T2 is not published: 85 ms agrees.
    (0.025, True, 137, 85, (57.4276, -79.3007, 39.2186), (-0.12111, 0.12168, 0.95599), 0.01),
]


@pytest.mark.parametrize(("tr", "small_angle", "increment", "t2", "a", "b", "tolerance"), PUBLISHED)
def test_published_polynomials(tr, small_angle, increment, t2, a, b, tolerance):
    protocol = {**PROTOCOL, "tr_pdw": tr, "tr_t1w": tr}
    found = fit_spoiling(
        **protocol, small_angle=small_angle, spoiler=Spoiler(increment), tissue=Tissue(t2_ms=float(t2))
    )
    b1 = np.linspace(0.7, 1.3, 25)
    t1_ms = np.linspace(500, 2000, 31)[:, np.newaxis]
    theirs = np.polyval(a, b1) + np.polyval(b, b1) * t1_ms
    ours = 1000 / correct_spoiling(
        np.broadcast_to(1000 / t1_ms, theirs.shape), np.broadcast_to(b1, theirs.shape), found
    )
    np.testing.assert_allclose(ours, theirs, rtol=tolerance)


def test_error_of_t1_falls_as_published():
    found = fit_spoiling(**PROTOCOL)
    assert found.rmse_before == pytest.approx(1.433, abs=0.03)
    assert found.rmse_after == pytest.approx(0.075, abs=0.003)


def pulse_train(t1_ms, flip_deg, *, tr_ms, t2_ms, diffusion, spoiler, n_pulses, n_orders=90):
    """Extended phase graph played pulse by pulse: magnitude after each pulse."""
    angle, order = np.deg2rad(flip_deg), np.arange(n_orders)
    step = GYROMAGNETIC_RATIO * spoiler.gradient_mt_per_m * spoiler.gradient_ms * 1e-12
    before = tr_ms - spoiler.gradient_ms
    e1, e2 = np.exp(-tr_ms / t1_ms), np.exp(-tr_ms / t2_ms)
    weight = diffusion * step**2
    up = e2 * np.exp(-weight * (order**2 * before + (order**2 + order + 1 / 3) * spoiler.gradient_ms))
    down = e2 * np.exp(-weight * (order**2 * before + (order**2 - order + 1 / 3) * spoiler.gradient_ms))
    stored = e1 * np.exp(-weight * order**2 * tr_ms)
    plus, minus, z = (np.zeros(n_orders, dtype=complex) for _ in range(3))
    z[0] = 1
    signals = []
    for n in range(n_pulses):
        phase = np.exp(1j * np.deg2rad(spoiler.phase_increment_deg) * n * (n + 1) / 2)
        rotation = np.array(
            [
                [np.cos(angle / 2) ** 2, phase**2 * np.sin(angle / 2) ** 2, -1j * phase * np.sin(angle)],
                [np.conj(phase) ** 2 * np.sin(angle / 2) ** 2, np.cos(angle / 2) ** 2, 1j / phase * np.sin(angle)],
                [-0.5j / phase * np.sin(angle), 0.5j * phase * np.sin(angle), np.cos(angle)],
            ]
        )
        plus, minus, z = rotation @ np.stack([plus, minus, z])
        signals.append(abs(plus[0]))
        plus, minus, z = plus * up, minus * down, z * stored
        plus, minus = np.r_[np.conj(minus[1]), plus[:-1]], np.r_[minus[1:], 0]
        z[0] += 1 - e1
    return np.array(signals)


@pytest.mark.parametrize(
    ("t1", "flip", "tr", "t2", "diffusion", "spoiler"),
    [
        (900.0, 21.0, 25.0, 70.0, 0.8, Spoiler()),
        (500.0, 28.0, 24.5, 64.0, 0.8, Spoiler(50)),
        (700.0, 15.0, 18.7, 40.0, 0.0, Spoiler(117, 10, 1.0)),
        (600.0, 30.0, 20.0, 90.0, 3.0, Spoiler(144, 30, 15.0)),
    ],
)
def test_steady_state_is_where_a_pulse_train_ends(t1, flip, tr, t2, diffusion, spoiler):
    train = pulse_train(t1, flip, tr_ms=tr, t2_ms=t2, diffusion=diffusion, spoiler=spoiler, n_pulses=int(12 * t1 / tr))
    found = spoiled_signal(t1, flip, tr=tr / 1000, t2_ms=t2, diffusion_um2_per_ms=diffusion, spoiler=spoiler)
    assert float(found) == pytest.approx(train[-1], rel=1e-6)


def test_perfect_spoiling_is_the_ernst_equation():
    """Transverse magnetisation that does not live to the next pulse leaves the ideal signal."""
    t1, flip = np.array([[500.0], [1500.0]]), np.array([6.0, 21.0, 60.0])
    found = spoiled_signal(t1, flip, tr=0.025, t2_ms=0.5, diffusion_um2_per_ms=0.0, spoiler=Spoiler())
    e1, angle = np.exp(-25 / t1), np.deg2rad(flip)
    np.testing.assert_allclose(found, np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle)), rtol=1e-12)


@pytest.mark.shared
def test_signals_of_the_reference_simulation(shared):
    reference = json.loads((shared / "reference/hmri/epg_spoiling_reference.json").read_text())
    b1 = np.array(reference["B1"])
    t1 = np.array(reference["T1_ms"], dtype=float)[:, np.newaxis]
    for name, flip in zip(("S_PDw", "S_T1w"), reference["FA_deg"], strict=True):
        found = spoiled_signal(t1, b1 * flip, tr=reference["TR_ms"] / 1000, **TISSUE, spoiler=Spoiler())
        # The reference weighs diffusion by the order after the gradient, not before it.
        np.testing.assert_allclose(found, reference[name], rtol=3e-4)
    correction = fit_spoiling(**PROTOCOL)
    apparent = np.array(reference["T1app"])
    corrected = 1000 / correct_spoiling(1000 / apparent, np.broadcast_to(b1, apparent.shape), correction)
    np.testing.assert_allclose(corrected, reference["T1corr"], rtol=1e-3)


@pytest.mark.parametrize("small_angle", [False, True])
def test_correction_removes_the_bias_of_r1_for_another_protocol(small_angle):
    protocol = {"flip_pdw_deg": 5.0, "flip_t1w_deg": 26.0, "tr_pdw": 0.0237, "tr_t1w": 0.0187}
    spoiler = Spoiler(50)
    b1 = np.linspace(0.75, 1.25, 11)
    t1 = np.linspace(550, 1950, 15)[:, np.newaxis]
    signals = [
        spoiled_signal(t1, b1 * protocol[f"flip_{name}_deg"], tr=protocol[f"tr_{name}"], **TISSUE, spoiler=spoiler)
        for name in ("pdw", "t1w")
    ]
    f = np.broadcast_to(b1, signals[0].shape)
    apparent, _ = r1_and_a(*signals, **protocol, b1=f, small_angle=small_angle)
    before = apparent.copy()
    correction = fit_spoiling(**protocol, small_angle=small_angle, spoiler=spoiler)
    corrected = correct_spoiling(apparent, f, correction)
    np.testing.assert_array_equal(apparent, before)
    error = [np.abs(r1 * t1 / 1000 - 1).max() for r1 in (apparent, corrected)]
    assert error[0] > 0.03
    assert error[1] < 0.015
    assert correction.rmse_after < correction.rmse_before / 10


def test_without_b1_the_nominal_angle_is_corrected():
    correction = fit_spoiling(**PROTOCOL)
    r1 = np.array([0.6, 1.0, np.nan, 0.0])
    found = correct_spoiling(r1, None, correction)
    np.testing.assert_array_equal(found, correct_spoiling(r1, np.ones(4), correction))
    np.testing.assert_array_equal(np.isnan(found), [False, False, True, False])
    assert found[3] == 0


def test_one_protocol_is_simulated_once():
    fit_spoiling.cache_clear()
    first = fit_spoiling(**PROTOCOL)
    assert fit_spoiling(**PROTOCOL) is first
    assert fit_spoiling(**PROTOCOL, small_angle=True) is not first


def test_less_diffusion_spoils_less_at_strong_gradients():
    """The ideal signal is approached as the leftovers are dephased by diffusion."""
    e1, angle = np.exp(-25 / 1000), np.deg2rad(21)
    ideal = np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))
    deviations = [
        abs(float(spoiled_signal(1000, 21, tr=0.025, t2_ms=70, diffusion_um2_per_ms=d, spoiler=Spoiler(137, 40, 10)))
            / ideal - 1)
        for d in (0.0, 0.8, 3.0)
    ]  # fmt: skip
    assert all(more > less for more, less in pairwise(deviations))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flip_pdw_deg": 21.0, "flip_t1w_deg": 6.0}, "T1w one must be larger"),
        ({"tr_pdw": 25.0}, "seconds are wanted"),
        ({"spoiler": Spoiler(137, 26, 30)}, "does not fit into a TR"),
        ({"tissue": Tissue(t2_ms=0.0)}, "must be positive"),
        ({"tissue": Tissue(b1=(0.9, 1.1))}, "at least three values of f"),
    ],
)
def test_protocols_that_cannot_be_corrected(changes, words):
    with pytest.raises(ValueError, match=words):
        fit_spoiling(**{**PROTOCOL, **changes})
