"""The door through which every image comes and goes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from plastimap.images import ImageProblem, Volume, read_sidecar, read_volume, same_grid, write_volume

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -100], [0, 0, 3, -70], [0, 0, 0, 1]])


@pytest.fixture
def volume(rng: np.random.Generator) -> Volume:
    return Volume(rng.normal(size=(5, 6, 7)).astype(np.float32), AFFINE)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_round_trip_keeps_data_geometry_and_sidecar(tmp_path: Path, volume: Volume, name: str) -> None:
    write_volume(tmp_path / name, volume, sidecar={"Units": "1/s"})
    back = read_volume(tmp_path / name)
    np.testing.assert_array_equal(back.data, volume.data)
    np.testing.assert_allclose(back.affine, AFFINE, atol=1e-6)  # the header holds float32
    assert read_sidecar(tmp_path / name) == {"Units": "1/s"}
    assert same_grid(back, volume)


def test_writing_is_deterministic(tmp_path: Path, volume: Volume) -> None:
    for name in ("a", "b"):
        write_volume(tmp_path / f"{name}.nii.gz", volume)
    one, other = ((tmp_path / f"{name}.nii.gz").read_bytes() for name in ("a", "b"))
    assert one == other


def test_masks_are_stored_as_bytes(tmp_path: Path, volume: Volume) -> None:
    write_volume(tmp_path / "m.nii.gz", Volume(volume.data > 0, AFFINE))
    assert nib.load(tmp_path / "m.nii.gz").get_data_dtype() == np.uint8


def test_volume_knows_its_voxels(volume: Volume) -> None:
    assert volume.shape == (5, 6, 7)
    np.testing.assert_allclose(volume.voxel_size, [2, 2, 3])
    assert volume.voxel_volume == pytest.approx(12)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"not an image", "not a readable NIfTI"), (None, "no such file")],
)
def test_bad_files_are_named_with_reason(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "bad.nii.gz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ImageProblem, match=words) as caught:
        read_volume(file)
    assert str(file) in str(caught.value)


def test_a_truncated_image_is_told(tmp_path: Path, rng: np.random.Generator) -> None:
    whole = tmp_path / "whole.nii.gz"
    write_volume(whole, Volume(rng.normal(size=(20, 20, 20)), AFFINE))
    (tmp_path / "cut.nii.gz").write_bytes(whole.read_bytes()[:-500])
    with pytest.raises(ImageProblem, match="cannot be read"):
        read_volume(tmp_path / "cut.nii.gz")


def test_sform_and_qform_in_conflict_are_refused(tmp_path: Path, volume: Volume) -> None:
    image = nib.Nifti1Image(volume.data, AFFINE)
    image.set_sform(AFFINE, 1)
    moved = AFFINE.copy()
    moved[0, 3] += 40
    image.set_qform(moved, 1)
    image.to_filename(tmp_path / "x.nii.gz")
    with pytest.raises(ImageProblem, match=r"disagree by 40\.00 mm"):
        read_volume(tmp_path / "x.nii.gz")


def test_five_dimensions_are_refused(tmp_path: Path) -> None:
    nib.Nifti1Image(np.zeros((2, 2, 2, 2, 2), np.float32), AFFINE).to_filename(tmp_path / "x.nii.gz")
    with pytest.raises(ImageProblem, match="5 dimensions"):
        read_volume(tmp_path / "x.nii.gz")


@pytest.mark.parametrize("dtype", [np.float32, np.int16, bool])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_compressed_image_holds_what_nibabel_writes(tmp_path: Path, dtype: type, order: Any) -> None:
    """Byte by byte, header included, for more voxels than are compressed at once."""
    data = np.arange(41 * 42 * 43 * 2).reshape(41, 42, 43, 2) % 251
    image = Volume(np.asarray(data, dtype=dtype, order=order), np.diag([2.0, 2.0, 3.0, 1.0]))
    for name in ("x.nii", "y.nii.gz"):
        write_volume(tmp_path / name, image)
    assert gzip.decompress((tmp_path / "y.nii.gz").read_bytes()) == (tmp_path / "x.nii").read_bytes()
