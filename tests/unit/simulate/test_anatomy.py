from __future__ import annotations

import numpy as np
import pytest

from plastimap.simulate.anatomy import (
    exponential,
    fibre_direction,
    load_template,
    random_morphology,
    rigid,
    scanner_grid,
    to_template,
)
from plastimap.simulate.places import Growth


@pytest.mark.parametrize("person", ["01", "02", "03", "04"])
def test_shapes_are_one_to_one_and_some_millimetres(person: str) -> None:
    shape = random_morphology(1, person, sd_mm=2.0, scale=1.0)
    assert shape.jacobian().min() > 0.3
    spread = shape.displacement.std()
    assert 1.0 < spread < 3.0


def test_shapes_depend_on_seed_and_person_alone() -> None:
    one = random_morphology(1, "01", sd_mm=2.0, scale=1.0)
    assert np.array_equal(one.displacement, random_morphology(1, "01", sd_mm=2.0, scale=1.1).displacement)
    assert not np.array_equal(one.displacement, random_morphology(2, "01", sd_mm=2.0, scale=1.0).displacement)
    assert not np.array_equal(one.displacement, random_morphology(1, "02", sd_mm=2.0, scale=1.0).displacement)


def test_exponential_of_a_constant_flow_is_a_shift() -> None:
    velocity = np.broadcast_to(np.array([1.5, -2.0, 0.5])[:, None, None, None], (3, 9, 9, 9))
    assert exponential(velocity, 6.0) == pytest.approx(velocity)


def test_template_fractions() -> None:
    template = load_template(8.0)
    total = template.fractions.sum(axis=0)
    assert total.min() >= 0
    assert total.max() == pytest.approx(1, abs=1e-5)
    deep = template.at(np.array([[-26.0, 500.0], [-18.0, 0.0], [28.0, 0.0]]))
    assert deep[1, 0] > 0.9
    assert (deep[:, 1] == 0).all()


def test_rigid_turns_the_right_way() -> None:
    quarter = rigid((1, 2, 3, 0, 0, 90))
    assert quarter @ np.array([1, 0, 0, 1]) == pytest.approx([1, 3, 3, 1])
    mixed = rigid((0, 0, 0, 10, 20, 30))[:3, :3]
    assert mixed @ mixed.T == pytest.approx(np.eye(3))
    assert np.linalg.det(mixed) == pytest.approx(1)


def test_grid_holds_the_brain_centred() -> None:
    grid = scanner_grid(6.0, 8.0, tilt_deg=4.0)
    points = grid.points()
    assert points.mean(axis=1) == pytest.approx([0.5, -16.5, 5.0])
    assert np.linalg.norm(grid.affine[:3, :3], axis=0) == pytest.approx([6, 6, 6])


def test_growth_makes_the_persons_tissue_larger_by_the_planted_amount() -> None:
    """Σ tissue on the person's grid grows as the Jacobian says (1 mm sampling: better than 0.5 %)."""
    shape = random_morphology(1, "01", sd_mm=2.0, scale=1.03)
    growth = Growth((38.0, -26.0, 54.0), 15.0, 4.0, 0.10)
    template = load_template(8.0)
    reach = np.arange(-28.0, 29.0)
    points = np.stack(np.meshgrid(reach, reach, reach, indexing="ij")).reshape(3, -1)
    points = points + np.array(growth.centre)[:, None] * shape.scale
    before = to_template(points, np.eye(4), shape)
    after = to_template(points, np.eye(4), shape, [growth])
    volumes = []
    for mni in (before, after):
        inside = np.linalg.norm(mni - np.array(growth.centre)[:, None], axis=0) < 13.0
        volumes.append(template.at(mni[:, inside])[0].sum())
    assert volumes[1] / volumes[0] == pytest.approx(1.10, abs=0.005)


def test_fibres_are_unit_and_mirrored() -> None:
    points = np.array([[20.0, -20.0], [-15.0, -15.0], [25.0, 25.0]])
    direction = fibre_direction(points)
    assert np.linalg.norm(direction, axis=0) == pytest.approx([1, 1])
    assert direction[:, 0] == pytest.approx(direction[:, 1] * [-1, 1, 1])
