"""Brains of simulated whole heads: small, shrunken, defaced, cut, tilted, in every contrast and resolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bench.anat_heads import make_head

from plastimap.anat.brainmask import BrainMask, brain_mask, looks_like_head
from plastimap.images import Volume

CASES: dict[str, dict[str, Any]] = {
    "adult": {},
    "child": {"scale": 0.82},
    "old, shrunken brain": {"atrophy_mm": 4.0},
    "defaced": {"defaced": True},
    "oblique": {"tilt_deg": 28.0},
    "noisy": {"noise": 2.0},
    "MTsat with noise in air": {"contrast": "MTsat"},
    "R1 with noise in air": {"contrast": "R1"},
}


def found_in(head: Any, contrast: str = "T1w") -> BrainMask:
    return brain_mask(head.image, quantitative=contrast != "T1w")


@pytest.mark.slow
@pytest.mark.parametrize("case", list(CASES))
def test_brain_of_a_head(dice: Callable[..., float], case: str) -> None:
    head = make_head(seed=31, voxel_mm=3.0, **CASES[case])
    found = found_in(head, CASES[case].get("contrast", "T1w"))
    assert found.method == "head"
    # 3 mm: half a voxel's error all around the brain is 4 % of it.
    assert dice(found.mask, head.brain) > 0.95
    assert found.mask.sum() == pytest.approx(head.brain.sum(), rel=0.06)


@pytest.mark.slow
def test_fine_voxels(dice: Callable[..., float]) -> None:
    head = make_head(seed=32, voxel_mm=1.5)
    assert dice(found_in(head).mask, head.brain) > 0.96


@pytest.mark.slow
def test_a_cut_neck_and_a_flipped_matrix_change_little(dice: Callable[..., float]) -> None:
    head = make_head(seed=33, voxel_mm=3.0)
    whole = found_in(head).mask
    lowest = int(np.nonzero(head.brain.any(axis=(0, 1)))[0][0]) - 2
    affine = head.image.affine.copy()
    affine[:3, 3] += affine[:3, 2] * lowest
    short = brain_mask(Volume(head.image.data[:, :, lowest:], affine)).mask
    assert dice(short, whole[:, :, lowest:]) > 0.97
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = head.image.shape[0] - 1
    turned = brain_mask(Volume(head.image.data[::-1].copy(), head.image.affine @ flip)).mask
    assert dice(turned[::-1], whole) > 0.99


@pytest.mark.parametrize("contrast", ["T1w", "MTsat"])
def test_a_head_looks_like_one(contrast: str) -> None:
    assert looks_like_head(make_head(contrast, seed=34, voxel_mm=4.0).image)
