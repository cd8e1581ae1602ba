"""The mixture model, on brains with known partial volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from plastimap.anat.segment import SegmentationProblem, segment


@pytest.fixture(scope="module")
def coarse(phantom: Callable[..., Any]) -> Any:
    return phantom("T1w", resolution_mm=4.0)


def blurred_priors(truth: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: ndimage.gaussian_filter(part, 1.0) for name, part in truth.items()}


@pytest.mark.parametrize("contrast", ["T1w", "MTsat"])
def test_tissues_of_a_simulated_brain(phantom: Callable[..., Any], dice: Callable[..., float], contrast: str) -> None:
    head = phantom(contrast, resolution_mm=2.0, seed=5)
    result = segment(head.image.data, blurred_priors(head.truth), mask=head.brain, voxel_volume_mm3=8.0)
    # SNR 25 at 2 mm.
    assert dice(result.gm, head.truth["GM"]) > 0.94
    assert dice(result.wm, head.truth["WM"]) > 0.94
    for name in ("GM", "WM"):
        assert result.probabilities[name].sum() == pytest.approx(head.truth[name].sum(), rel=0.03)


def test_shares_sum_to_one_inside_and_are_zero_outside(coarse: Any) -> None:
    result = segment(coarse.image.data, blurred_priors(coarse.truth), mask=coarse.brain, voxel_volume_mm3=64.0)
    total = result.gm + result.wm + result.csf
    np.testing.assert_allclose(total[coarse.brain], 1, atol=1e-5)
    assert not total[~coarse.brain].any()


@settings(max_examples=8, deadline=None)
@given(scale=st.floats(1e-3, 1e4))
def test_unit_of_the_image_does_not_matter(coarse: Any, scale: float) -> None:
    priors = blurred_priors(coarse.truth)
    one = segment(coarse.image.data, priors, mask=coarse.brain, voxel_volume_mm3=64.0)
    other = segment(coarse.image.data.astype(np.float64) * scale, priors, mask=coarse.brain, voxel_volume_mm3=64.0)
    # Rounding alone, which the iteration's end may carry into the fourth decimal.
    np.testing.assert_allclose(one.gm, other.gm, atol=1e-3)
    assert other.means["WM"] == pytest.approx(one.means["WM"] * scale, rel=1e-4)


def test_missing_voxels_follow_the_priors(coarse: Any) -> None:
    image = coarse.image.data.copy()
    voxel = tuple(np.argwhere(coarse.truth["WM"] > 0.9)[0])
    image[voxel] = np.nan
    before = image.copy()
    priors = blurred_priors(coarse.truth)
    result = segment(image, priors, mask=coarse.brain, voxel_volume_mm3=64.0)
    assert result.wm[voxel] == pytest.approx(priors["WM"][voxel], abs=0.02)
    np.testing.assert_array_equal(image, before)


def test_csf_may_be_brighter_outside_of_the_ventricles_where_it_is_said_to_vary(phantom: Callable[..., Any]) -> None:
    """CSF around the brain is twice as bright as that deep in it: a loose hold follows what most of it looks like."""
    head = phantom("T1w", resolution_mm=3.0, seed=5)
    priors = blurred_priors(head.truth)
    deep = np.zeros(head.brain.shape, dtype=bool)
    deep[tuple(slice(n // 3, -(n // 3)) for n in deep.shape)] = True
    image = head.image.data + np.where(deep, 0, 200 * head.truth["CSF"])
    # In the middle it is 200, most of it 400. Voxels of 3 mm hold little that is pure: a loose hold goes too far up,
    # but stays below GM (600).
    surest = {**priors, "CSF": np.where(deep, priors["CSF"] + 1, 0)}
    tight, loose = (
        segment(image, surest, mask=head.brain, voxel_volume_mm3=27.0, varied_csf=varied).means["CSF"]
        for varied in (False, True)
    )
    assert 200 < tight < loose < 600


def test_voxels_that_the_template_does_not_have_teach_nothing(coarse: Any) -> None:
    """Bone at the mask's edge, darker than CSF, must not pull at the intensity of CSF."""
    priors = blurred_priors(coarse.truth)
    wider = np.asarray(ndimage.binary_dilation(coarse.brain))
    rim = wider & ~coarse.brain
    known = {name: np.where(rim, 0, part) for name, part in priors.items()}
    data = np.where(rim, 20.0, coarse.image.data)
    plain = segment(coarse.image.data, priors, mask=coarse.brain, voxel_volume_mm3=64.0, varied_csf=True)
    bony = segment(data, known, mask=wider, voxel_volume_mm3=64.0, varied_csf=True)
    assert bony.means["CSF"] == pytest.approx(plain.means["CSF"], rel=0.1)


def test_what_cannot_be_segmented_is_named(coarse: Any) -> None:
    priors = blurred_priors(coarse.truth)
    data = coarse.image.data
    with pytest.raises(SegmentationProblem, match="mask is empty"):
        segment(data, priors, mask=np.zeros(data.shape, dtype=bool))
    with pytest.raises(SegmentationProblem, match="no prior for WM"):
        segment(data, {"GM": priors["GM"], "CSF": priors["CSF"]}, mask=coarse.brain)
    with pytest.raises(SegmentationProblem, match="same intensity"):
        segment(np.ones_like(data), priors, mask=coarse.brain)
    with pytest.raises(SegmentationProblem, match="no finite value"):
        segment(np.full_like(data, np.nan), priors, mask=coarse.brain)
