from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from plastimap.images import Volume
from plastimap.report.inputs import ResultImage
from plastimap.report.viewer import ViewerProblem, _with_controls, viewer_page

AFFINE = np.array([[3.0, 0, 0, -60], [0, 3, 0, -60], [0, 0, 3, -60], [0, 0, 0, 1]])
PEAK = (12, 9, 15)


@pytest.fixture(scope="module")
def page() -> str:
    t_map = np.zeros((40, 40, 40), dtype=np.float32)
    t_map[PEAK] = 9.0
    grid = np.indices(t_map.shape) - 20
    brain = ((grid**2).sum(axis=0) < 300).astype(np.float32) * 0.8
    place = tuple(float(v) for v in AFFINE[:3, :3] @ PEAK + AFFINE[:3, 3])
    result = ResultImage("R1", "GM", "c", "linear", Volume(t_map, AFFINE), 4.0, None, (place,))  # type: ignore[arg-type]
    return viewer_page(result, Volume(brain, AFFINE), title="R1 <b>")


def options(page: str) -> dict[str, object]:
    return json.JSONDecoder().raw_decode(page.partition("window.brain = brainsprite(")[2])[0]


def test_the_picture_shows_the_voxel_that_the_words_name(page: str) -> None:
    found = options(page)
    assert found["numSlice"] == dict(zip("XYZ", PEAK, strict=True))
    overlay = re.search(r'id="overlayImg"[^>]*base64,([^"]+)"', page) or re.search(
        r'base64,([^"]+)"[^>]*id="overlayImg"', page
    )
    assert overlay is not None
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(overlay[1]))).convert("RGBA")).astype(int)
    size = found["nbSlice"]
    # Sagittal slices in rows; within one, y to the right and z upwards.
    rows, columns = np.nonzero(pixels[..., 0] - pixels[..., 2] > 60)
    per_row = pixels.shape[1] // size["Y"]  # type: ignore[index]
    x = rows // size["Z"] * per_row + columns // size["Y"]  # type: ignore[index]
    assert set(zip(x, columns % size["Y"], size["Z"] - 1 - rows % size["Z"], strict=True)) == {PEAK}  # type: ignore[index]
    # What brainsprite prints is its affine at the slice counted from 1.
    printed = np.array(found["affine"]) @ [*(np.array(PEAK) + 1), 1]
    np.testing.assert_allclose(printed, AFFINE @ [*PEAK, 1])


def test_words_keys_and_peaks(page: str) -> None:
    assert '<html lang="en">' in page
    assert "<title>R1 &lt;b&gt;</title>" in page
    assert 'data-place="-24 -33 -15"' in page
    assert "ArrowLeft" in page
    assert 'aria-live="polite"' in page
    assert page.rstrip().endswith("</html>")


def test_nothing_comes_from_the_network(page: str) -> None:
    loaded = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert loaded
    assert all(link.startswith("data:") for link in loaded)


def test_another_nilearn_is_noticed() -> None:
    with pytest.raises(ViewerProblem, match="brainsprite"):
        _with_controls("<title></title></head><body></body>", "x", [])
