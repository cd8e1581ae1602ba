"""The ICBM152 priors: probabilities that add up, on any resolution."""

from __future__ import annotations

import numpy as np
import pytest

from plastimap.anat.priors import load_priors


def test_tissues_sum_to_one_inside_the_brain_and_never_exceed_it() -> None:
    priors = load_priors(2.0)
    total = priors.gm.data + priors.wm.data + priors.csf.data
    deep = priors.distance.data < -4
    np.testing.assert_allclose(total[deep], 1.0, atol=1e-4)
    # GM and WM are interpolated apart from the brain's outline: a percent is rounding at its edge.
    assert total.max() < 1.01
    assert min(v.data.min() for v in (priors.gm, priors.wm, priors.csf)) >= 0


def test_csf_fills_the_ventricles() -> None:
    priors = load_priors(2.0)
    # The frontal horn of the lateral ventricle in MNI space.
    voxel = np.rint(np.linalg.inv(priors.csf.affine) @ [6.0, 14.0, 10.0, 1.0]).astype(int)[:3]
    assert priors.csf.data[tuple(voxel)] > 0.7


@pytest.mark.parametrize("tissue", ["gm", "wm", "t1"])
def test_volumes_do_not_depend_on_the_resolution(tissue: str) -> None:
    fine, coarse = (getattr(load_priors(mm), tissue) for mm in (2.0, 3.0))
    volumes = [float(v.data.sum()) * v.voxel_volume for v in (fine, coarse)]
    # Block means keep volumes; one percent is what the edge of the field of view costs.
    assert volumes[1] == pytest.approx(volumes[0], rel=0.01)


def test_distance_is_negative_inside_and_grows_by_millimetres() -> None:
    priors = load_priors(2.0)
    assert (priors.distance.data[priors.brain.data] < 0).all()
    assert (priors.distance.data[~priors.brain.data] > 0).all()
    # From a voxel to its neighbour the distance to a surface changes by no more than their distance.
    assert np.abs(np.diff(priors.distance.data, axis=2)).max() <= 2.0 + 1e-3


def test_shared_arrays_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        load_priors(2.0).gm.data[0, 0, 0] = 1
