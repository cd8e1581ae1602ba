"""A scan from image to tissues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from plastimap.anat.pipeline import AnatomyProblem, segment_scan
from plastimap.images import Volume


@pytest.fixture(scope="module")
def head(phantom: Callable[..., Any]) -> Any:
    return phantom("MTsat", resolution_mm=3.0, scale=1.04, shift_mm=(3.0, -12.0, 8.0))


@pytest.fixture(scope="module")
def anatomy(head: Any) -> Any:
    return segment_scan(head.image, quantitative=True)


def test_coarse_mtsat_map(head: Any, anatomy: Any, dice: Callable[..., float]) -> None:
    # 3 mm, SNR 25, noise all around: the coarsest thing that studies hold.
    assert dice(anatomy.gm, head.truth["GM"]) > 0.92
    assert dice(anatomy.wm, head.truth["WM"]) > 0.94
    assert anatomy.gm.sum() == pytest.approx(head.truth["GM"].sum(), rel=0.03)
    assert anatomy.wm.sum() == pytest.approx(head.truth["WM"].sum(), rel=0.035)
    true_ml = sum(float(part.sum()) for part in head.truth.values()) * 27 / 1000
    assert anatomy.tiv_ml == pytest.approx(true_ml, rel=0.03)


def test_result_is_consistent(head: Any, anatomy: Any) -> None:
    total = anatomy.gm + anatomy.wm + anatomy.csf
    np.testing.assert_allclose(total[anatomy.mask], 1, atol=1e-5)
    assert not total[~anatomy.mask].any()
    np.testing.assert_array_equal(anatomy.corrected, head.image.data)
    assert anatomy.tiv_ml == pytest.approx(sum(anatomy.qa[f"{name}_ml"] for name in ("GM", "WM", "CSF")))
    assert anatomy.qa["folding_share"] == 0
    assert min(anatomy.priors_dice["GM"], anatomy.priors_dice["WM"]) > 0.8


def test_same_input_same_bytes(head: Any, anatomy: Any) -> None:
    again = segment_scan(head.image, quantitative=True)
    np.testing.assert_array_equal(again.gm, anatomy.gm)


def test_flipped_axes_give_the_same_volumes(head: Any, anatomy: Any) -> None:
    affine = head.image.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (head.image.shape[0] - 1)
    affine[:3, 0] *= -1
    flipped = segment_scan(Volume(head.image.data[::-1], affine), quantitative=True)
    # The working grids are the same; only the order of sums differs.
    assert flipped.tiv_ml == pytest.approx(anatomy.tiv_ml, rel=1e-3)
    np.testing.assert_allclose(flipped.gm[::-1], anatomy.gm, atol=0.02)


def test_weighted_image_with_bias_and_a_given_mask(phantom: Callable[..., Any], dice: Callable[..., float]) -> None:
    head = phantom("T1w", resolution_mm=3.0, bias=0.2, seed=4)
    found = segment_scan(head.image, quantitative=False, mask=head.brain)
    np.testing.assert_array_equal(found.mask, head.brain)
    assert not np.array_equal(found.corrected, head.image.data)
    # 3 mm T1w holds less contrast than MTsat: noise alone misplaces 7 % of the white matter's voxels at one half.
    assert dice(found.gm, head.truth["GM"]) > 0.91
    assert dice(found.wm, head.truth["WM"]) > 0.91


def test_wrong_masks_are_named(head: Any) -> None:
    with pytest.raises(AnatomyProblem, match="shape"):
        segment_scan(head.image, quantitative=True, mask=np.ones((2, 2, 2), dtype=bool))
    with pytest.raises(AnatomyProblem, match="empty"):
        segment_scan(head.image, quantitative=True, mask=np.zeros(head.image.shape, dtype=bool))
    with pytest.raises(AnatomyProblem, match="4 dimensions"):
        segment_scan(Volume(np.ones((4, 4, 4, 2)), np.eye(4)), quantitative=True)


def test_a_segmentation_that_has_failed_is_not_passed_on(head: Any, rng: np.random.Generator) -> None:
    noise = np.where(head.brain, rng.normal(1, 0.3, head.brain.shape), 0).astype(np.float32)
    with pytest.raises(AnatomyProblem, match="the segmentation has failed"):
        segment_scan(Volume(noise, head.image.affine), quantitative=True, mask=head.brain)


def test_a_lesion_mask_the_wrong_way_round_is_named(head: Any) -> None:
    lesion = np.ones(head.image.shape, dtype=bool)
    lesion[30:36, 30:36, 20:26] = False
    with pytest.raises(AnatomyProblem, match="leaves 0 %"):
        segment_scan(head.image, quantitative=True, lesion=lesion)


def test_a_mask_of_another_size_is_doubted(head: Any, anatomy: Any) -> None:
    assert anatomy.qa["mask_dice"] > 0.95
    assert not any("look at the mask" in note for note in anatomy.notes)
    wide = np.asarray(ndimage.binary_dilation(head.brain, iterations=4), dtype=bool)
    found = segment_scan(head.image, quantitative=True, mask=wide)
    assert found.qa["mask_dice"] < 0.9
    said = " ".join(found.notes)
    assert "the brain mask and the template's brain overlap" in said
    assert "intracranial volume" in said


def test_a_lesion_has_no_tissue_but_counts_as_intracranial(head: Any, anatomy: Any, dice: Callable[..., float]) -> None:
    lesion = np.zeros(head.image.shape, dtype=bool)
    middle = np.argwhere(head.truth["WM"] > 0.9).mean(axis=0).astype(int)
    lesion[middle[0] + 4 : middle[0] + 12, middle[1] - 4 : middle[1] + 4, middle[2] - 1 : middle[2] + 7] = True
    # As dark as CSF: unmasked it would be called that, and pull the template's ventricles to it.
    data = np.where(lesion, 0.05, head.image.data).astype(np.float32)
    found = segment_scan(Volume(data, head.image.affine), quantitative=True, lesion=lesion)
    assert found.mask[lesion].all()
    assert not (found.gm + found.wm + found.csf)[lesion].any()
    assert found.qa["lesion_ml"] == pytest.approx(lesion.sum() * 27 / 1000)
    assert found.tiv_ml == pytest.approx(anatomy.tiv_ml, rel=0.01)
    assert any("lesion" in note for note in found.notes)
    # Around it all is as it was without the lesion.
    assert dice(found.wm[~lesion], anatomy.wm[~lesion]) > 0.98
    assert dice(found.gm[~lesion], anatomy.gm[~lesion]) > 0.98
    assert found.qa["WM_mean"] == pytest.approx(anatomy.qa["WM_mean"], rel=0.01)
    with pytest.raises(AnatomyProblem, match="lesion mask has shape"):
        segment_scan(head.image, quantitative=True, lesion=np.ones((2, 2, 2), dtype=bool))


@pytest.mark.parametrize("given", [False, True])
def test_what_a_mask_of_metal_covers_outside_the_brain_is_not_intracranial(
    head: Any, anatomy: Any, *, given: bool
) -> None:
    # A block over the temporal rim and all that lies beyond it.
    lesion = np.zeros(head.image.shape, dtype=bool)
    first = int(np.nonzero(head.brain.any(axis=(1, 2)))[0][0])
    lesion[: first + 4, 20:40, 10:30] = True
    data = np.where(lesion, 0, head.image.data).astype(np.float32)
    mask = head.brain & ~lesion if given else None
    found = segment_scan(Volume(data, head.image.affine), quantitative=True, lesion=lesion, mask=mask)
    covered, outside = (float(part.sum()) * 27 / 1000 for part in (lesion & head.brain, lesion & ~head.brain))
    assert outside > 3 * covered > 30
    # The template knows the rim to a voxel or so; unlimited it would be all that was covered.
    assert 0.5 * covered < found.qa["lesion_ml"] < 1.3 * covered
    # A drawn mask is taken as it is: this one is the true brain.
    expected = float(head.brain.sum()) * 27 / 1000 if given else anatomy.tiv_ml
    assert found.tiv_ml == pytest.approx(expected, rel=0.01)
    assert any("lie outside the brain" in note for note in found.notes)
