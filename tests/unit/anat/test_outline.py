"""The outline of a head, and brain masks that reach into its scalp."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from plastimap.anat import brainmask
from plastimap.anat.brainmask import brain_mask
from plastimap.anat.head import HeadBrain
from plastimap.anat.outline import below_outline
from plastimap.images import Volume
from plastimap.registration import RegistrationProblem

SHAPE, SIZE = (56, 56, 56), 4.0
AFFINE = np.diag([SIZE, SIZE, SIZE, 1.0])
FROM_MIDDLE = np.linalg.norm(np.indices(SHAPE) - 27.5, axis=0) * SIZE
HEAD_MM = 92.0


def ball(radius_mm: float) -> np.ndarray:
    return radius_mm > FROM_MIDDLE


def test_depth_is_measured_from_the_surface_but_not_from_the_edge_of_the_field_of_view() -> None:
    head = ball(HEAD_MM)
    hull, depth = below_outline(Volume(head.astype(np.float32), AFFINE), head)
    np.testing.assert_array_equal(hull, head)
    # A voxel's centre is found to within a voxel.
    assert np.abs(depth[head] - (HEAD_MM - FROM_MIDDLE[head])).max() < SIZE
    cut = head[:, :, :28]
    _, depth = below_outline(Volume(cut.astype(np.float32), AFFINE), cut)
    assert depth[27, 27, 27] > HEAD_MM - 2 * SIZE


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the search for the brain is asked for: it finds all of the head, but for what it is told to leave."""
    calls: list[Any] = []

    def search(head: Volume, **options: Any) -> HeadBrain:
        outer = options.get("outer")
        calls.append(outer)
        found = ball(HEAD_MM) if outer is None else ball(HEAD_MM) & ~outer
        return HeadBrain(Volume(found.astype(np.float32), head.affine))

    monkeypatch.setattr(brainmask, "brain_of_head", search)
    monkeypatch.setattr(brainmask, "COARSEST_MM", SIZE)
    return calls


def a_head() -> Volume:
    return Volume((1000.0 * ball(HEAD_MM)).astype(np.float32), AFFINE)


def test_a_mask_in_the_scalp_is_drawn_again_without_it_and_said(asked: list[Any]) -> None:
    found = brain_mask(a_head(), skull_stripped=False)
    assert asked[0] is None
    assert not (found.mask & asked[1]).any()
    # No deeper than the scalp is taken away: one voxel of 4 mm, since a second would be 8.
    assert found.mask.sum() > 0.98 * ball(HEAD_MM - brainmask.SCALP_MM - SIZE / 2).sum()
    assert "drawn again without the scalp" in found.notes[0]


def test_a_mask_below_the_scalp_is_taken_as_it_is(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        brainmask, "brain_of_head", lambda head, **_: HeadBrain(Volume(ball(75.0).astype(np.float32), head.affine))
    )
    found = brain_mask(a_head(), skull_stripped=False)
    np.testing.assert_array_equal(found.mask, ball(75.0))
    assert found.notes == ()


def test_the_first_mask_stays_where_the_second_match_fails(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def search(head: Volume, *, outer: Any = None, **_: Any) -> HeadBrain:
        if outer is not None:
            raise RegistrationProblem("no match")
        return HeadBrain(Volume(ball(HEAD_MM).astype(np.float32), head.affine))

    monkeypatch.setattr(brainmask, "brain_of_head", search)
    found = brain_mask(a_head(), skull_stripped=False)
    np.testing.assert_array_equal(found.mask, ball(HEAD_MM))
    assert "no brain was found; look at the mask" in found.notes[0]
