"""Warps and matrices on disk, read back by us and by ITK."""

from __future__ import annotations

import json

import numpy as np
import pytest

from plastimap.images import ImageProblem
from plastimap.transforms import Warp, transform_points, world_points
from plastimap.warpfiles import read_matrix, read_warp, write_matrix, write_warp

AFFINE = np.array([[-2.0, 0, 0, 18], [0, 2.0, 0, -20], [0, 0, 2.0, -25], [0, 0, 0, 1]])
MATRIX = np.array([[0.99, -0.1, 0.02, 3.0], [0.1, 1.02, 0.01, -4], [0, 0.03, 0.97, 5], [0, 0, 0, 1]])


@pytest.fixture
def warp(rng):
    return Warp(rng.normal(size=(8, 9, 10, 3)).astype(np.float32), AFFINE, MATRIX)


@pytest.mark.parametrize("name", ["x_xfm.nii.gz", "x_xfm.nii"])
def test_round_trip_folds_the_matrix_in(tmp_path, warp, name):
    write_warp(tmp_path / name, warp, sidecar={"From": "template"})
    back = read_warp(tmp_path / name)
    points = world_points(warp.grid)
    np.testing.assert_array_equal(back.matrix, np.eye(4))
    np.testing.assert_allclose(transform_points(back, points), transform_points(warp, points), atol=1e-4)
    sidecar = json.loads((tmp_path / "x_xfm.json").read_text())
    assert sidecar["Units"] == "mm"
    assert sidecar["From"] == "template"
    # Whoever opens the file in another program has to know these.
    assert all(word in sidecar["Format"] for word in ("ITK", "mm", "LPS", "RAS"))


def test_itk_reads_the_same_map(tmp_path, warp):
    import SimpleITK

    write_warp(tmp_path / "w.nii.gz", warp)
    write_matrix(tmp_path / "m.tfm", MATRIX)
    field = SimpleITK.ReadImage(str(tmp_path / "w.nii.gz"), SimpleITK.sitkVectorFloat64)
    transform = SimpleITK.DisplacementFieldTransform(field)
    linear = SimpleITK.ReadTransform(str(tmp_path / "m.tfm"))
    lps = np.array([-1, -1, 1])
    for index in [(2, 3, 4), (6, 1, 8)]:
        point = AFFINE[:3, :3] @ index + AFFINE[:3, 3]
        wanted = transform_points(warp, point.reshape(3, 1)).ravel()
        found = lps * transform.TransformPoint((lps * point).tolist())
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        moved = lps * linear.TransformPoint((lps * point).tolist())
        np.testing.assert_allclose(moved, MATRIX[:3, :3] @ point + MATRIX[:3, 3], atol=1e-9)


def test_matrix_round_trip(tmp_path):
    write_matrix(tmp_path / "m.tfm", MATRIX)
    np.testing.assert_allclose(read_matrix(tmp_path / "m.tfm"), MATRIX, atol=1e-12)


def test_matrix_about_a_centre(tmp_path):
    import SimpleITK

    turn = SimpleITK.Euler3DTransform((5.0, -6.0, 7.0), 0.1, 0.2, -0.1, (1.0, 2.0, 3.0))
    affine = SimpleITK.AffineTransform(3)
    affine.SetMatrix(turn.GetMatrix())
    affine.SetCenter(turn.GetCenter())
    affine.SetTranslation(turn.GetTranslation())
    SimpleITK.WriteTransform(affine, str(tmp_path / "c.tfm"))
    lps, point = np.array([-1, -1, 1]), np.array([10.0, -20, 30])
    matrix = read_matrix(tmp_path / "c.tfm")
    wanted = lps * turn.TransformPoint((lps * point).tolist())
    np.testing.assert_allclose(matrix[:3, :3] @ point + matrix[:3, 3], wanted, atol=1e-9)


def test_what_is_no_warp_is_named(tmp_path):
    (tmp_path / "empty.nii").write_bytes(b"")
    with pytest.raises(ImageProblem, match=r"empty\.nii"):
        read_warp(tmp_path / "empty.nii")
    (tmp_path / "m.tfm").write_text("no transform")
    with pytest.raises(ImageProblem, match=r"m\.tfm"):
        read_matrix(tmp_path / "m.tfm")
    with pytest.raises(ImageProblem, match=r"away\.tfm"):
        read_matrix(tmp_path / "away.tfm")
