from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plastimap.bids.header import HeaderError, check_place, corner_distance, read_header

ROTATED = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.2, -0.3, 0.1) @ np.diag([-1.5, 2.0, 2.5]), [12.0, -30.0, 7.5]
)


def image(affine=ROTATED, shape=(5, 4, 3), *, kind=nib.Nifti1Image, sform=1, qform=1, dtype=np.float32):
    made = kind(np.ones(shape, dtype), affine)
    made.set_sform(affine, sform)
    made.set_qform(affine, qform)
    return made


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (0, 1), (1, 0), (0, 0)])
@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 6), (5, 4, 1), (5, 4, 3, 1)])
def test_shape_and_affine_are_nibabels(tmp_path, extension, kind, sform, qform, shape):
    path = tmp_path / f"x{extension}"
    image(shape=shape, kind=kind, sform=sform, qform=qform).to_filename(path)
    header, other = read_header(path), nib.load(path)
    assert header.shape == (shape[:3] if shape[3:] == (1,) else shape)
    # Quaternions are stored as 32-bit floats: 1e-6 of a hundred millimetres.
    np.testing.assert_allclose(np.array(header.affine), other.affine[:3], atol=1e-4)


def test_big_endian_headers_are_read(tmp_path):
    made = image()
    nib.Nifti1Image(made.get_fdata(), ROTATED, made.header.as_byteswapped(">")).to_filename(tmp_path / "x.nii")
    assert read_header(tmp_path / "x.nii").shape == (5, 4, 3)


def test_an_empty_file_is_named_so(tmp_path):
    (tmp_path / "x.nii.gz").touch()
    with pytest.raises(HeaderError, match="empty"):
        read_header(tmp_path / "x.nii.gz")


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
@pytest.mark.parametrize("kept", [0.98, 0.5, 0.02])
def test_a_file_cut_short_is_found(tmp_path, rng, name, kept):
    path = tmp_path / name
    nib.Nifti1Image(rng.normal(size=(20, 20, 20)).astype(np.float32), np.eye(4)).to_filename(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(HeaderError) as caught:
        read_header(path)
    assert "again" in caught.value.remedy


def test_two_gzip_members_behind_each_other_are_whole(tmp_path):
    made = image()
    raw = made.to_bytes()
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(raw[:400]) + gzip.compress(raw[400:]))
    assert read_header(path).shape == (5, 4, 3)


@pytest.mark.parametrize(
    "content", [b"hello", b"x" * 1000, gzip.compress(b"y" * 1000, mtime=0), b"\x1f\x8bnot gzip at all" * 9]
)
def test_other_content_is_refused(tmp_path, content):
    (tmp_path / "x.nii.gz").write_bytes(content)
    with pytest.raises(HeaderError):
        read_header(tmp_path / "x.nii.gz")


def test_a_missing_file_or_broken_link_is_refused(tmp_path):
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "annex" / "nothing")
    with pytest.raises(HeaderError, match="cannot be read"):
        read_header(tmp_path / "link.nii.gz")


def test_sform_and_qform_half_a_voxel_apart_are_refused(tmp_path):
    base = np.diag([2.0, 2, 2, 1])
    made = image(base)
    for shift, refused in ((0.9, False), (1.1, True)):
        moved = base.copy()
        moved[0, 3] += shift
        made.set_sform(moved, 1)
        made.to_filename(tmp_path / "x.nii")
        header = read_header(tmp_path / "x.nii")
        assert header.disagreement_mm == pytest.approx(shift, abs=1e-5)
        if refused:
            with pytest.raises(HeaderError, match="sform and qform"):
                check_place(header)
        else:
            check_place(header)


def test_a_singular_affine_is_refused(tmp_path):
    made = image(qform=0)
    made.set_sform(np.diag([2.0, 2, 0, 1]), 1)
    made.to_filename(tmp_path / "x.nii")
    with pytest.raises(HeaderError, match="singular"):
        check_place(read_header(tmp_path / "x.nii"))


@given(st.tuples(*[st.floats(-50, 50)] * 3))
def test_a_shift_moves_every_corner_by_its_length(shift):
    base = ((2.0, 0.0, 0.0, 1.0), (0.0, 2.0, 0.0, 2.0), (0.0, 0.0, 2.0, 3.0))
    moved = tuple((*row[:3], row[3] + by) for row, by in zip(base, shift, strict=True))
    assert corner_distance(base, moved, (4, 5, 6)) == pytest.approx(np.linalg.norm(shift), abs=1e-9)
