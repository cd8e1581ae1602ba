from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.unit.simulate.coarse import make_spec

from plastimap.simulate import SimulationSpec, add_noise, people, sessions, simulate_scan
from plastimap.simulate.anatomy import rigid
from plastimap.simulate.places import Growth
from plastimap.simulate.scan import (
    NOISE_COUNTS,
    PARAMETERS,
    fsl_vectors,
    gradient_table,
    half_sphere,
    head_of,
    transmit_field,
)


@pytest.fixture(scope="module")
def plain() -> SimulationSpec:
    """No position, shape, tissue or size differences: MNI is the scanner, and tissue parameters are the base values."""
    return make_spec(position_mm=0, position_deg=0, morphology_mm=0, size_sd=0, tissue_sd=0, dwi_motion_mm=0)


def test_signal_to_noise_ratio_is_the_stated_one(plain: SimulationSpec) -> None:
    person, session = people(plain)[0], sessions(plain)[0]
    clean = simulate_scan(plain, person, session, noise=False)
    noisy = add_noise(clean, plain)
    background = noisy.echoes["PDw"][clean.echoes["PDw"] == 0]
    # Rayleigh: mean σ √(π/2).
    assert background.mean() == pytest.approx(NOISE_COUNTS * np.sqrt(np.pi / 2), rel=0.02)
    first = clean.echoes["PDw"][..., 0]
    # Receive and B1 fields move the white matter around the nominal signal.
    assert np.percentile(first, 90) == pytest.approx(plain.snr * NOISE_COUNTS, rel=0.25)
    assert noisy.echoes["PDw"].dtype == np.float32


def test_scans_repeat_and_noise_has_its_own_seed(plain: SimulationSpec) -> None:
    person, session = people(plain)[0], sessions(plain)[1]
    one, two = simulate_scan(plain, person, session), simulate_scan(plain, person, session)
    other = simulate_scan(replace(plain, noise_seed=9), person, session)
    assert np.array_equal(one.echoes["MTw"], two.echoes["MTw"])
    assert one.dwi is not None
    assert two.dwi is not None
    assert np.array_equal(one.dwi.data, two.dwi.data)
    assert not np.array_equal(one.echoes["MTw"], other.echoes["MTw"])
    clean = simulate_scan(replace(plain, noise_seed=9), person, session, noise=False)
    assert np.array_equal(add_noise(clean, replace(plain, noise_seed=9)).echoes["MTw"], other.echoes["MTw"])


def test_pure_tissue_decays_with_its_own_r2s(plain: SimulationSpec) -> None:
    person = people(plain)[0]
    scan = simulate_scan(plain, person, sessions(plain)[0], noise=False)
    head = head_of(plain, person, sessions(plain)[0])
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in scan.echoes["PDw"].shape[:3]], indexing="ij")).reshape(3, -1)
    points = scan.affine[:3, :3] @ voxels + scan.affine[:3, 3:]
    white = head.tissue_at(points, np.eye(4)).fractions[1] > 0.9999
    assert white.sum() > 3
    for weighting, data in scan.echoes.items():
        signals = np.log(data.reshape(-1, 3)[white].astype(float))
        times = np.array(scan.echo_times_s[weighting])
        rate = -np.polyfit(times, signals.T, 1)[0]
        expected = PARAMETERS["R2s"]["WM"] * person.offsets["R2s_WM"]
        # At most 1e-4 of another tissue; float32 signals.
        assert rate == pytest.approx(expected, rel=2e-3)


def test_planted_changes_are_in_the_parameters(spec: SimulationSpec) -> None:
    person = people(spec)[0]
    centre = np.array([-26.0, -18.0, 28.0])[:, None]
    for session, share in zip(sessions(spec), (0, 1 / 3, 1), strict=True):
        head = head_of(spec, person, session)
        tissue = replace(head.tissue_at(centre, np.eye(4)), mni=centre)
        base = PARAMETERS["R1"]["WM"] * person.offsets["R1_WM"]
        planted = 1 + 0.05 * person.strength["R1-corona-left"] * share
        assert tissue.parameter("R1", "WM") == pytest.approx([base * planted])
        assert tissue.parameter("R1", "GM") == pytest.approx([PARAMETERS["R1"]["GM"] * person.offsets["R1_GM"]])
        assert len(head.growths) == (1 if share else 0)


def test_growth_is_in_the_head(spec: SimulationSpec) -> None:
    person, last = people(spec)[0], sessions(spec)[-1]
    growth = head_of(spec, person, last).growths[0]
    assert isinstance(growth, Growth)
    assert growth.fraction == pytest.approx(0.1 * person.strength["vbm-hand"])


def test_b1_stays_within_its_range(plain: SimulationSpec) -> None:
    scan = simulate_scan(plain, people(plain)[0], sessions(plain)[0], noise=False)
    assert scan.b1 is not None
    head = scan.b1.data[scan.b1.data > 0]
    assert head.min() >= 80
    assert head.max() <= 120
    assert head.max() - head.min() > 10
    assert transmit_field(np.zeros((3, 1)), np.array([1.1, 0.25, 0, 0, 0])) == pytest.approx([1.1])


def test_gradient_table() -> None:
    spec = make_spec(n_b0=3, shells={1000: 12, 700: 8})
    bvals, vectors = gradient_table(spec)
    assert sorted(set(bvals)) == [0, 700, 1000]
    assert (bvals == 0).sum() == 3
    assert bvals[0] == 0
    assert np.linalg.norm(vectors, axis=0) == pytest.approx((bvals > 0).astype(float))
    # Even enough for a tensor: the design of an isotropic set has a condition number of 1.58.
    x, y, z = half_sphere(15)
    design = np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], axis=1)
    assert np.linalg.cond(design) < 2.2


@pytest.mark.parametrize("flip", [1, -1])
def test_fsl_vectors_lead_back_to_the_scanner(flip: int) -> None:
    affine = np.eye(4)
    affine[:3, :3] = rigid((0, 0, 0, 20, -10, 5))[:3, :3] * 2.0 @ np.diag([flip, 1, 1])
    vectors = half_sphere(9)
    stored = fsl_vectors(vectors, affine)
    # FSL's rule, read backwards: the first voxel axis is reversed when the determinant is positive.
    signs = np.array([-1.0 if np.linalg.det(affine) > 0 else 1.0, 1.0, 1.0])[:, None]
    assert (affine[:3, :3] / 2.0) @ (stored * signs) == pytest.approx(vectors)


def test_diffusion_signals_give_the_tensor_back(plain: SimulationSpec) -> None:
    person, session = people(plain)[0], sessions(plain)[0]
    still = replace(plain, dwi_motion_deg=0.0)
    scan = simulate_scan(still, person, session, noise=False)
    assert scan.dwi is not None
    vectors = scan.bvecs * np.array([[-1.0], [1.0], [1.0]])
    x, y, z = vectors
    design = -scan.bvals[:, None] * 1e-3 * np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], axis=1)
    design = np.concatenate([np.ones((scan.bvals.size, 1)), design], axis=1)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in scan.dwi.shape], indexing="ij")).reshape(3, -1)
    points = scan.dwi.affine[:3, :3] @ voxels + scan.dwi.affine[:3, 3:]
    white = head_of(still, person, session).tissue_at(points, np.eye(4)).fractions[1] > 0.9999
    logs = np.log(scan.dwi.data.reshape(-1, scan.bvals.size)[white].astype(float))
    d = np.linalg.lstsq(design, logs.T, rcond=None)[0][1:]
    md = d[:3].mean(axis=0)
    fa = np.sqrt(1.5 * (((d[:3] - md) ** 2).sum(axis=0) + 2 * (d[3:] ** 2).sum(axis=0)))
    fa /= np.sqrt((d[:3] ** 2).sum(axis=0) + 2 * (d[3:] ** 2).sum(axis=0))
    assert fa == pytest.approx(PARAMETERS["FA"]["WM"] * person.offsets["FA_WM"], rel=2e-3)
    assert md == pytest.approx(PARAMETERS["MD"]["WM"] * person.offsets["MD_WM"], rel=2e-3)
