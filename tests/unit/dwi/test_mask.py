from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from plastimap.dwi.mask import brain_mask, otsu
from plastimap.images import read_volume


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_brain_without_skull(phantom):
    found = brain_mask(phantom.data[..., 0], voxel_size=5.0)
    assert dice(found, phantom.brain) > 0.96
    assert np.mean(found[phantom.brain]) > 0.98


def test_scalp_is_left_out(phantom):
    b0 = phantom.data[..., 0].copy()
    distance = ndimage.distance_transform_edt(~phantom.brain, sampling=5.0)
    b0[(distance > 8) & (distance < 16)] += 150  # fat-suppressed: 0.3 of white matter
    found = brain_mask(b0, voxel_size=5.0)
    assert dice(found, phantom.brain) > 0.95
    assert np.mean(found[(distance > 8) & (distance < 16)]) < 0.05


def test_no_signal_is_refused():
    with pytest.raises(ValueError, match="no signal"):
        brain_mask(np.zeros((5, 5, 5)))


def test_otsu_separates_two_classes(rng):
    values = np.r_[rng.normal(0, 1, 500), rng.normal(10, 1, 200)]
    assert 2.5 < otsu(values) < 7.5


@pytest.mark.shared
def test_real_epi_has_a_brain_of_plausible_size(shared):
    series = read_volume(shared / "data/real-siemens-1subject/sub-01/dwi/sub-01_dir-AP_dwi.nii.gz")
    found = brain_mask(series.data[..., 0], voxel_size=series.voxel_size)
    # An adult's intracranial content within a field of view that cuts its lowest part off; 2 l would hold the scalp.
    assert 1.2 < found.sum() * series.voxel_volume / 1e6 < 1.7
    assert ndimage.label(found)[1] == 1
