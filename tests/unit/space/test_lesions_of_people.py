"""A lesion mask that names no session is for all sessions of its person."""

from __future__ import annotations

import numpy as np
import pytest

from plastimap.images import Volume, write_volume
from plastimap.space.lesions import is_for, lesion_masks, lesions_of_both, pulled_lesions
from plastimap.transforms import Warp
from plastimap.warpfiles import write_warp

GRID = ((8, 8, 8), np.eye(4))


@pytest.fixture
def drawn(tmp_path):
    """A person's mask, and the warps of two sessions: one where the midpoint is, one two voxels from there."""
    block = np.zeros(GRID[0], dtype=np.float32)
    block[2:4, 2:6, 2:6] = 1
    file = tmp_path / "sub-01_label-lesion_mask.nii.gz"
    write_volume(file, Volume(block, GRID[1]))
    for session, shift in (("01", 0.0), ("02", -2.0)):
        displacement = np.zeros((*GRID[0], 3), dtype=np.float32)
        displacement[..., 0] = shift
        write_warp(tmp_path / f"sub-01_ses-{session}_xfm.nii.gz", Warp(displacement, GRID[1]))
    return file


def test_whose_a_file_is(drawn):
    assert is_for(drawn, "sub-01_ses-02")
    assert is_for("sub-01_ses-02_label-lesion_mask.nii", "sub-01_ses-02")
    assert not is_for("sub-01_ses-02_label-lesion_mask.nii", "sub-01_ses-01")
    assert not is_for(drawn, "sub-011_ses-01")


def test_every_session_gets_it(drawn, tmp_path):
    scans = ["sub-01_ses-01", "sub-01_ses-02"]
    image = Volume(np.zeros(GRID[0]), GRID[1])
    masks = lesion_masks([drawn], scans, [image, image])
    assert [int(mask.sum()) for mask in masks if mask is not None] == [32, 32]
    pulled = pulled_lesions([drawn], tmp_path, GRID)
    assert pulled is not None
    # Each session's warp brings it to another place of the midpoint.
    assert pulled.data[:, 4, 4].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    theirs, own = lesions_of_both([drawn], scans[1], image, tmp_path, image)
    assert theirs is not None
    assert own is not None
    assert (int(theirs.sum()), int(own.sum())) == (64, 32)
