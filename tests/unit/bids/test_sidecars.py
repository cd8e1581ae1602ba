from __future__ import annotations

import pytest

from plastimap.bids.sidecars import map_sidecar


def test_whether_a_face_is_left_has_to_be_said():
    with pytest.raises(TypeError, match="skull_stripped"):
        map_sidecar(sources=[])  # pyright: ignore[reportCallIssue]
    assert map_sidecar(sources=[], skull_stripped=False)["SkullStripped"] is False
    assert map_sidecar(sources=[], skull_stripped=True)["SkullStripped"] is True
    assert "SkullStripped" not in map_sidecar(sources=[], skull_stripped=None)
