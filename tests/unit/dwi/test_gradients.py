from __future__ import annotations

import numpy as np
import pytest
from tests.unit.dwi.conftest import directions

from plastimap.dwi.gradients import check_gradients, count_directions, fsl_to_voxel, fsl_to_world, read_gradients

BVALS = np.r_[0, np.full(12, 1000)]
BVECS = np.r_[np.zeros((1, 3)), directions(12)]


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_rows_and_columns_are_read(tmp_path, layout):
    bval, bvec = tmp_path / "x.bval", tmp_path / "x.bvec"
    np.savetxt(bval, BVALS[None] if layout == "rows" else BVALS[:, None], fmt="%g")
    np.savetxt(bvec, BVECS.T if layout == "rows" else BVECS)
    bvals, bvecs = read_gradients(bval, bvec)
    np.testing.assert_array_equal(bvals, BVALS)
    np.testing.assert_allclose(bvecs, BVECS)


@pytest.mark.parametrize(
    ("bval", "bvec", "words"),
    [
        ("0 1000", "1 0\n0 1\n0 0\n0 0", "4 × 2"),
        ("0 1000", "1 0\n0\n0 0", "not a table"),
        ("0 b", "1 0\n0 1\n0 0", "not a table"),
        ("", "1 0\n0 1\n0 0", "no numbers"),
    ],
)
def test_broken_files_are_named(tmp_path, bval, bvec, words):
    (tmp_path / "x.bval").write_text(bval)
    (tmp_path / "x.bvec").write_text(bvec)
    with pytest.raises(ValueError, match=words):
        read_gradients(tmp_path / "x.bval", tmp_path / "x.bvec")


def test_a_good_scheme_has_no_problems():
    assert check_gradients(BVALS, BVECS, n_volumes=13) == []


@pytest.mark.parametrize(
    ("bvals", "bvecs", "words"),
    [
        (BVALS[:-1], BVECS[:-1], "12 b-values for 13 volumes"),
        (BVALS, BVECS * 0.5, "not of length 1"),
        (BVALS, np.where(np.arange(13)[:, None] == 3, np.nan, BVECS), "not of length 1"),
        (BVALS + 500, BVECS + [[0, 0, 1]] * (BVALS[:, None] == 0), "no volume with b"),
        (BVALS, np.repeat([[1.0, 0, 0]], 13, axis=0), "1 different directions"),
        (BVALS * 1e-3, BVECS, "s/mm²"),
        (-BVALS, BVECS, "negative"),
        (BVALS, BVECS[:, :2], "do not go together"),
    ],
)
def test_problems_are_named(bvals, bvecs, words):
    threshold = 0.5 if bvals.max() < 10 else 50
    assert any(words in problem for problem in check_gradients(bvals, bvecs, n_volumes=13, b0_threshold=threshold))


def test_opposite_vectors_are_one_direction():
    assert count_directions(np.r_[BVECS, -BVECS]) == 12


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_fsl_convention_to_world(signs, rng):
    """A gradient known in world axes, written as FSL would, comes back."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(np.multiply(signs, (2.0, 2.5, 3.0)))
    world = directions(9)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    voxel = world @ axes  # components along the image's axes
    fsl = voxel * ((-1, 1, 1) if np.linalg.det(affine[:3, :3]) > 0 else (1, 1, 1))
    np.testing.assert_allclose(fsl_to_world(fsl, affine), world, atol=1e-12)
    np.testing.assert_allclose(fsl_to_voxel(fsl, affine), voxel, atol=1e-12)


def test_radiological_images_keep_x_and_neurological_ones_reverse_it():
    vectors = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    radiological = np.diag([-2.0, 2, 2, 1])
    np.testing.assert_allclose(fsl_to_voxel(vectors, radiological), vectors)
    np.testing.assert_allclose(fsl_to_world(vectors, radiological), [[-1, 0, 0], [0, 1, 0]])
    # The same head stored with x to the right: FSL's x still points to the left.
    np.testing.assert_allclose(fsl_to_world(vectors, np.diag([2.0, 2, 2, 1])), [[-1, 0, 0], [0, 1, 0]])
