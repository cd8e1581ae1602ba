"""Brain masks of scans without a skull, and of a head that has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from plastimap.anat.brainmask import BrainMaskProblem, brain_mask, shows_skull
from plastimap.images import Volume


@pytest.mark.parametrize("contrast", ["T1w", "R1"])
def test_noise_around_a_brain_is_air(phantom: Callable[..., Any], dice: Callable[..., float], contrast: str) -> None:
    head = phantom(contrast, resolution_mm=3.0, noise=1 / 20, seed=2)
    found = brain_mask(head.image)
    assert found.method == "foreground"
    # A voxel layer of 3 mm is 8 % of a brain; the outline must be right to a fifth of a voxel.
    assert dice(found.mask, head.brain) > 0.98


def test_huge_noise_in_air_of_a_quantitative_map(
    phantom: Callable[..., Any], dice: Callable[..., float], rng: np.random.Generator
) -> None:
    head = phantom("R1", resolution_mm=3.0)
    noise = rng.normal(scale=2.0, size=head.image.shape).astype(np.float32)
    data = np.where(head.brain, head.image.data, noise)
    found = brain_mask(Volume(data, head.image.affine), skull_stripped=True)
    assert dice(found.mask, head.brain) > 0.93


def test_missing_outside_and_holes_inside(phantom: Callable[..., Any], dice: Callable[..., float]) -> None:
    head = phantom("R1", resolution_mm=3.0)
    data = np.where(head.brain, head.image.data, np.nan)
    centre = tuple(n // 2 for n in data.shape)
    data[centre] = np.nan
    found = brain_mask(Volume(data, head.image.affine))
    assert found.mask[centre]
    assert dice(found.mask, head.brain) > 0.98


def test_flipped_axes_change_nothing(phantom: Callable[..., Any]) -> None:
    head = phantom("T1w", resolution_mm=3.0)
    flip = head.image.affine.copy()
    flip[:3, 3] += flip[:3, 0] * (head.image.shape[0] - 1)
    flip[:3, 0] *= -1
    straight = brain_mask(head.image).mask
    turned = brain_mask(Volume(head.image.data[::-1], flip)).mask
    np.testing.assert_array_equal(turned[::-1], straight)


def with_head(brain: Any, rng: np.random.Generator) -> Volume:
    """Bone, scalp and a neck around a simulated brain (T1w)."""
    data = brain.image.data.copy()
    size = float(brain.image.voxel_size[0])
    wide = ndimage.distance_transform_edt(~ndimage.binary_closing(brain.brain, iterations=3)) * size
    level = np.select([wide <= 0, wide < 8, wide < 16], [0.0, 60.0, 850.0], 0.0)
    neck = np.zeros(data.shape, dtype=bool)
    middle = np.array(data.shape) // 2
    neck[middle[0] - 15 : middle[0] + 15, middle[1] - 22 : middle[1] + 8, : middle[2] - 12] = True
    level = np.where(neck & (wide >= 8), 500.0, level)
    noisy = np.hypot(level + rng.normal(scale=30, size=data.shape), rng.normal(scale=30, size=data.shape))
    return Volume(np.where(brain.brain, data, noisy).astype(np.float32), brain.image.affine)


@pytest.mark.parametrize("scale", [1.12, 1.0, 0.95])
def test_skull_is_seen_around_small_and_large_brains(
    phantom: Callable[..., Any], rng: np.random.Generator, scale: float
) -> None:
    brain = phantom("T1w", resolution_mm=3.0, scale=scale)
    head = with_head(brain, rng)
    # The scalp of the phantom is not connected with the brain.
    assert shows_skull(head, head.data > 150)
    assert not shows_skull(brain.image, brain.image.data > 150)


@pytest.mark.slow
def test_whole_head(phantom: Callable[..., Any], dice: Callable[..., float], rng: np.random.Generator) -> None:
    brain = phantom("T1w", resolution_mm=3.0, scale=1.12)
    found = brain_mask(with_head(brain, rng))
    assert found.method == "head"
    # 3 mm voxels: a layer is 8 % of the volume.
    assert dice(found.mask, brain.brain) > 0.95


def test_nothing_there_is_said() -> None:
    with pytest.raises(BrainMaskProblem, match="no positive values"):
        brain_mask(Volume(np.zeros((20, 20, 20)), np.eye(4)))
    with pytest.raises(BrainMaskProblem, match="4 dimensions"):
        brain_mask(Volume(np.ones((8, 8, 8, 2)), np.eye(4)))
