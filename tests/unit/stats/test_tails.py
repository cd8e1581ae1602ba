from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from plastimap.stats.tails import t_at_dof, t_log_tail, t_tail, t_threshold, z_from_t


def test_tails_do_not_saturate() -> None:
    assert t_tail(40.0, 100) == pytest.approx(stats.t.sf(40, 100), rel=1e-10)
    assert t_tail(40.0, 100) > 0
    # 1 - F(t) would be 0 here and z infinite.
    assert z_from_t(30.0, 40)[0] == pytest.approx(-stats.norm.ppf(stats.t.sf(30.0, 40)), rel=1e-10)


def test_the_logarithm_goes_on_where_the_tail_underflows() -> None:
    # Far out, the tail of t falls as t to the power of minus dof.
    near, far = t_log_tail([1e50, 1e60], 20)
    assert near - far == pytest.approx(20 * np.log(1e10), rel=1e-9)
    # Both ways of computing agree where both can.
    grid = np.array([1e12, 1e13, 1e14, 1e15])
    steps = np.diff(t_log_tail(grid, 20))
    np.testing.assert_allclose(steps, -20 * np.log(10), rtol=1e-9)
    assert np.isfinite(z_from_t([1e6, 1e60], 20)).all()


@given(t=st.floats(-30, 30), dof=st.integers(2, 500))
def test_z_is_odd_and_has_the_same_tail(t: float, dof: int) -> None:
    z = z_from_t(t, dof)[0]
    assert z == -z_from_t(-t, dof)[0]
    assert stats.norm.sf(abs(z)) == pytest.approx(stats.t.sf(abs(t), dof), rel=1e-8, abs=1e-300)


@given(p=st.floats(1e-6, 0.4), dof=st.integers(2, 500))
def test_thresholds_invert_tails(p: float, dof: int) -> None:
    assert t_tail(t_threshold(p, dof), dof) == pytest.approx(p, rel=1e-7)


def test_t_at_other_degrees_of_freedom_keeps_p() -> None:
    t = np.array([-3.0, 0.0, 2.0, 8.0])
    np.testing.assert_allclose(stats.t.cdf(t_at_dof(t, 9, 25), 25), stats.t.cdf(t, 9), rtol=1e-9)
