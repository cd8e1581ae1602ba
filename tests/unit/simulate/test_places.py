from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plastimap.simulate.places import Growth, blob, loadings, time_shape

CENTRE = (30.0, -20.0, 50.0)


def test_blob_is_full_inside_and_gone_outside() -> None:
    weights = blob([0, 10.9, 13, 15.1, 30], radius=13, edge=4)
    assert weights == pytest.approx([1, 1, 0.5, 0, 0])
    assert blob([12.9, 13.1], radius=13, edge=0) == pytest.approx([1, 0])


def test_time_shapes() -> None:
    days = [0, 28, 42, 84]
    assert time_shape(days, term="linear", first=0, last=84) == pytest.approx([0, 1 / 3, 0.5, 1])
    assert time_shape(days, term="quadratic", first=0, last=84) == pytest.approx([0, 8 / 9, 1, 0])


def test_loadings_are_least_squares_coefficients() -> None:
    assert loadings([0, 28, 84], term="linear")["linear"] == pytest.approx(1 / 84)
    assert loadings([0, 28, 84], term="linear")["quadratic"] == pytest.approx(0, abs=1e-15)
    # 4u − 4u² with u = t/84 has the quadratic coefficient −4/84² in any coding that leaves the last term raw.
    assert loadings([0, 28, 84], term="quadratic")["quadratic"] == pytest.approx(-4 / 84**2)
    # Even days: the parabola has no slope. Uneven days: a small negative one, found by hand.
    assert loadings([0, 42, 84], term="quadratic")["linear"] == pytest.approx(0, abs=1e-15)
    share = np.array([0, 1 / 3, 1])
    course = np.array([0, 8 / 9, 0])
    slope = ((share - share.mean()) @ course) / ((share - share.mean()) ** 2).sum() / 84
    assert loadings([0, 28, 84], term="quadratic")["linear"] == pytest.approx(slope)


def jacobian_of_pull(growth: Growth, points: np.ndarray, step: float = 1e-3) -> np.ndarray:
    columns = []
    for axis in range(3):
        shift = np.zeros((3, 1))
        shift[axis] = step
        columns.append((growth.pull(points + shift) - growth.pull(points - shift)) / (2 * step))
    return np.linalg.det(np.moveaxis(np.stack(columns), -1, 0))


@settings(max_examples=25, deadline=None)
@given(st.floats(-0.1, 0.1).filter(lambda x: abs(x) > 1e-3), st.floats(8, 18), st.floats(2, 8), st.integers(0, 99))
def test_growth_has_the_planted_jacobian(fraction: float, radius: float, edge: float, seed: int) -> None:
    growth = Growth(CENTRE, radius, edge, fraction)
    centre = np.array(CENTRE)[:, None]
    grown = centre + np.random.default_rng(seed).uniform(-25, 25, (3, 40))
    source = growth.pull(grown)
    weight = blob(np.linalg.norm(source - centre, axis=0), radius=radius, edge=edge)
    determinant = jacobian_of_pull(growth, grown)
    assert (determinant > 0).all()
    # The table of radii has 2000 steps; its slope is good to a few 1e-4 of the fraction's own scale.
    assert determinant == pytest.approx(1 / (1 + fraction * weight), abs=1e-3)


def test_growth_conserves_what_lies_outside() -> None:
    growth = Growth(CENTRE, 12.0, 4.0, 0.1)
    far = np.array(CENTRE)[:, None] + np.array([[40.0], [0.0], [0.0]])
    shift = np.linalg.norm(far - growth.pull(far))
    # The added volume ε·4/3 π R³ (with a soft edge a little more) pushes through a sphere of 40 mm.
    assert shift == pytest.approx(0.1 * 12**3 / 3 / 40**2, rel=0.1)
    centre = np.array(CENTRE)[:, None]
    assert growth.pull(centre) == pytest.approx(centre)
