"""The network is an extra: used where it is installed, named, and not believed when it draws no brain."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from plastimap.anat import network, pipeline
from plastimap.anat.brainmask import BrainMask, BrainMaskProblem
from plastimap.images import Volume

SHAPE = (40, 40, 40)
SIDE_MM = 4.0


def scan() -> Volume:
    return Volume(np.ones(SHAPE, dtype=np.float32), np.diag([SIDE_MM, SIDE_MM, SIDE_MM, 1.0]))


def ball(radius_mm: float) -> np.ndarray:
    centred = (np.indices(SHAPE).T - (np.array(SHAPE) - 1) / 2) * SIDE_MM
    return radius_mm > np.linalg.norm(centred, axis=-1).T


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins for torch and deepbet with the two calls that are made; `radius` is what the network draws."""
    state: dict[str, Any] = {"radius": 65.0, "threads": 4, "seen": []}

    class BrainExtraction:
        def __init__(self, *, no_gpu: bool) -> None:
            assert no_gpu

        def run(self, image: nib.Nifti1Image) -> tuple[Any, Any, float]:
            state["seen"].append(state["threads"])
            drawn = nib.Nifti1Image(ball(state["radius"]).astype(np.uint8), image.affine)
            return image, drawn, 0.0

    torch, deepbet = ModuleType("torch"), ModuleType("deepbet")
    torch.get_num_threads = lambda: state["threads"]  # type: ignore[attr-defined]
    torch.set_num_threads = lambda count: state.update(threads=count)  # type: ignore[attr-defined]
    deepbet.BrainExtraction = BrainExtraction  # type: ignore[attr-defined]
    for module in (torch, deepbet):
        module.__spec__ = ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return state


def test_it_draws_on_one_thread_and_says_so(installed: dict[str, Any]) -> None:
    drawn = network.deepbet_mask(scan())
    np.testing.assert_array_equal(drawn.mask, ball(65.0))
    assert drawn.method == "deepbet"
    assert "deepbet" in drawn.notes[0]
    assert installed["seen"] == [1]
    assert installed["threads"] == 4


@pytest.mark.parametrize("radius", [20.0, 90.0])
def test_what_is_no_brain_is_refused(installed: dict[str, Any], radius: float) -> None:
    installed["radius"] = radius
    with pytest.raises(BrainMaskProblem, match="no brain's volume"):
        network.deepbet_mask(scan())


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "find_spec", lambda _: None)
    with pytest.raises(BrainMaskProblem, match=r"plastimap\[deep\]"):
        network.deepbet_mask(scan())


def test_the_users_mask_goes_before_the_network(installed: dict[str, Any]) -> None:
    found = pipeline.find_brain(scan(), quantitative=False, mask=ball(50.0))
    assert found.method == "given"
    np.testing.assert_array_equal(found.mask, ball(50.0))
    assert not installed["seen"]


def test_the_network_goes_before_our_method_and_our_method_after_its_failure(
    installed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = BrainMask(ball(60.0), "head", ("ours",))
    monkeypatch.setattr(pipeline, "brain_mask", lambda *_, **__: ours)
    assert pipeline.find_brain(scan(), quantitative=False, skull_stripped=False).method == "deepbet"
    assert pipeline.find_brain(scan(), quantitative=False, skull_stripped=False, method="classical").method == "head"
    installed["radius"] = 20.0
    found = pipeline.find_brain(scan(), quantitative=False, skull_stripped=False)
    assert found.method == "head"
    assert "no brain's volume" in found.notes[0]
    assert found.notes[1] == "ours"
    with pytest.raises(BrainMaskProblem, match="no brain's volume"):
        pipeline.find_brain(scan(), quantitative=False, skull_stripped=False, method="deepbet")


def test_a_brain_without_skull_is_not_for_the_network(
    installed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = BrainMask(ball(60.0), "foreground", ())
    monkeypatch.setattr(pipeline, "brain_mask", lambda *_, **__: ours)
    found = pipeline.find_brain(scan(), quantitative=False, skull_stripped=True)
    assert found.method == "foreground"
    assert not installed["seen"]
