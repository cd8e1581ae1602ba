from __future__ import annotations

import numpy as np
import pytest

from plastimap.dwi.orientation import TABLES, check_table

AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])


def bundles(n=36, n_bundles=30):
    """Straight bundles three voxels wide, in all directions, with grey matter between them."""
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1)
    direction, fa = np.zeros((n, n, n, 3)), np.full((n, n, n), 0.1)
    for _ in range(n_bundles):
        line = rng.normal(size=3)
        line /= np.linalg.norm(line)
        away = grid - rng.uniform(0.2 * n, 0.8 * n, 3)
        inside = np.linalg.norm(away - (away @ line)[..., None] * line, axis=-1) < 1.5
        direction[inside], fa[inside] = line, 0.6
    return direction, fa


def test_a_right_table_is_left_alone():
    direction, fa = bundles()
    made = check_table(direction @ np.diag([-1.0, 1, 1]), fa, AFFINE)
    assert (made.best, made.gain, made.notes) == ("as given", 1.0, ())


@pytest.mark.parametrize("number", [1, 2, 3, 4, 10])
def test_a_wrong_table_is_found_and_named(number):
    direction, fa = bundles()
    # What a table does to the directions, the one that is named has to undo.
    name, table = TABLES[number]
    wrong = direction @ table @ np.diag([-1.0, 1, 1])
    made = check_table(wrong, fa, AFFINE)
    assert made.best == name
    assert made.gain > 1.1
    assert name in made.notes[0]


def test_too_little_to_tell():
    direction, fa = bundles(8)
    made = check_table(direction, np.where(fa > 0, np.nan, fa), AFFINE)
    assert made.best == "as given"
    assert np.isnan(made.gain)
    assert not made.notes


def test_directions_by_chance_say_nothing(rng):
    direction = rng.normal(size=(20, 20, 20, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    assert not check_table(direction, np.full((20, 20, 20), 0.5), AFFINE).notes


def test_the_tables_are_all_different():
    assert len(TABLES) == 24
    for i, (_, one) in enumerate(TABLES):
        np.testing.assert_array_equal(one @ one.T, np.eye(3))
        assert not any(np.allclose(one, other) or np.allclose(one, -other) for _, other in TABLES[:i])


@pytest.mark.shared
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_a_real_table_with_an_axis_reversed_is_named(shared, axis):
    from plastimap.dwi.gradients import fsl_to_world, read_gradients
    from plastimap.dwi.mask import brain_mask
    from plastimap.dwi.tensor import fit_tensor
    from plastimap.images import read_volume

    stem = shared / "data/real-siemens-1subject/sub-01/dwi/sub-01_dir-AP_dwi"
    series = read_volume(stem.with_suffix(".nii.gz"))
    bvals, bvecs = read_gradients(stem.with_suffix(".bval"), stem.with_suffix(".bvec"))
    if axis is not None:
        bvecs[:, axis] *= -1
    mask = brain_mask(series.data[..., 0], voxel_size=series.voxel_size)
    fit = fit_tensor(series.data, bvals, fsl_to_world(bvecs, series.affine), mask=mask)
    made = check_table(fit.direction, fit.fa, series.affine)
    assert made.best == ("as given" if axis is None else f"{'xyz'[axis]} reversed")
    assert bool(made.notes) == (axis is not None)
