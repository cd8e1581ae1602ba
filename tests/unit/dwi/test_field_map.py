from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plastimap.dwi.field_files import read_field
from plastimap.dwi.field_map import field_in_hz, in_radians, unwrapped_phase, wrapped
from plastimap.dwi.susceptibility import FieldMap, ReversedPhase
from plastimap.images import Volume, write_volume

SHAPE = (24, 22, 20)
ECHOES_S = 0.00246


def head():
    """A ball, brighter in its middle, and a field that turns the phase by more than once round."""
    x, y, z = (np.linspace(-1, 1, n).reshape([-1 if a == d else 1 for d in range(3)]) for a, n in enumerate(SHAPE))
    far = x**2 + y**2 + z**2
    magnitude = np.where(far < 0.8, 1000 * (1.3 - far), 0.0)
    hz = 420 * np.exp(-3 * (x**2 + (y - 0.4) ** 2 + (z + 0.3) ** 2)) - 60 + 20 * z
    return magnitude, hz


def measured(rng, noise=0.05):
    magnitude, hz = head()
    phase = 2 * np.pi * hz * ECHOES_S + rng.normal(0, noise, SHAPE)
    # Where there is no signal, phase is anything.
    return magnitude, hz, wrapped(np.where(magnitude > 0, phase, rng.uniform(-np.pi, np.pi, SHAPE)))


def test_field_is_found_through_wraps(rng):
    magnitude, hz, phase = measured(rng)
    inside = magnitude > 0
    assert np.abs(2 * np.pi * hz * ECHOES_S)[inside].max() > 1.5 * np.pi
    found = field_in_hz(phase, magnitude, echo_difference_s=ECHOES_S, voxel_size=(3.4, 3.4, 3.4))
    # 0.05 rad of noise are 3 Hz; the border's smoothing is one-sided.
    assert np.sqrt(((found - hz)[inside] ** 2).mean()) < 6
    assert np.isfinite(found).all()
    assert np.abs(np.diff(found, axis=1)).max() < 1.5 * np.abs(np.diff(hz, axis=1)).max()


@given(turns=st.integers(-3, 3), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_unwrapping_gives_the_phase_back_but_for_whole_turns(turns, seed):
    rng = np.random.default_rng(seed)
    slopes = rng.uniform(-1.2, 1.2, 3)
    true = sum(s * n for s, n in zip(slopes, np.indices((9, 8, 7)), strict=True))
    where = np.ones(true.shape, dtype=bool)
    found = unwrapped_phase(wrapped(true + 2 * np.pi * turns), where)
    apart = (found - true) / (2 * np.pi)
    np.testing.assert_allclose(apart, apart[0, 0, 0], atol=1e-9)


def test_paths_avoid_what_is_unreliable(rng):
    """A column of noise through a ramp spoils only itself."""
    true = 1.0 * np.indices((12, 12, 6))[0]
    phase = wrapped(true)
    phase[:, 5, 3] = rng.uniform(-np.pi, np.pi, 12)
    found = unwrapped_phase(phase, np.ones(phase.shape, dtype=bool))
    good = np.ones(phase.shape, dtype=bool)
    good[:, 5, 3] = False
    apart = (found - true)[good]
    np.testing.assert_allclose(apart, apart[0], atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 4096 / np.pi, 2048 / np.pi])
def test_stored_phases_become_radians(scale):
    phase = np.linspace(-np.pi, np.pi - 0.01, 50)
    np.testing.assert_allclose(in_radians(scale * phase), phase, atol=1e-9)


def test_files_become_sources(tmp_path, rng):
    magnitude, hz, phase = measured(rng)
    affine = np.diag([3.0, 3, 3, 1])
    names = {"phasediff": phase, "magnitude1": magnitude, "fieldmap": 2 * np.pi * hz * (magnitude > 0)}
    for name, data in names.items():
        write_volume(tmp_path / f"{name}.nii.gz", Volume(data.astype(np.float32), affine))
    both = [tmp_path / "phasediff.nii.gz", tmp_path / "magnitude1.nii.gz"]
    one = read_field(both, kind="phasediff", readout_s=0.05, echo_difference_s=ECHOES_S)
    two = read_field([tmp_path / "fieldmap.nii.gz"], kind="fieldmap", readout_s=0.05, units="rad/s")
    for made in (one, two):
        assert isinstance(made, FieldMap)
        assert np.abs(made.hz.data - hz)[magnitude > 500].mean() < 6
    assert isinstance(one, FieldMap)
    assert one.magnitude is not None
    with pytest.raises(ValueError, match="TotalReadoutTime"):
        read_field(both, kind="phasediff", echo_difference_s=ECHOES_S)
    with pytest.raises(ValueError, match="EchoTime1"):
        read_field(both, kind="phasediff", readout_s=0.05)


def test_the_first_b0_of_a_reversed_series_is_taken(tmp_path, rng):
    data = rng.uniform(1, 2, (6, 6, 6, 3)).astype(np.float32)
    write_volume(tmp_path / "series.nii.gz", Volume(data, np.eye(4)))
    bval = tmp_path / "series.bval"
    bval.write_text("1000 0 1000\n")
    made = read_field([tmp_path / "series.nii.gz"], [bval], kind="reversed", readout_ratio=0.8)
    assert isinstance(made, ReversedPhase)
    np.testing.assert_array_equal(made.b0.data, data[..., 1])
    assert made.ratio == 0.8
    bval.write_text("1000 1000 1000\n")
    with pytest.raises(ValueError, match="no b = 0 volume"):
        read_field([tmp_path / "series.nii.gz"], [bval], kind="reversed")
