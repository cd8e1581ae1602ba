"""The script of the segmentation: masks in, tissues out, and sidecars that say what a person may share."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from plastimap.images import Volume, read_sidecar, read_volume, write_volume
from plastimap.paths import TISSUES
from plastimap.writing import read_json

SCRIPT = Path(__file__).parents[3] / "scripts" / "segment.py"


class Inputs(list[str]):
    """Files by number and by name, as Snakemake gives them."""

    def __init__(self, **files: str | list[str]) -> None:
        super().__init__(file for one in files.values() for file in ([one] if isinstance(one, str) else one))
        self.__dict__.update(files)


def segmented(folder: Path, **files: str | list[str]) -> dict[str, Path]:
    names = ("structural", "mask", *TISSUES)
    made = {name: folder / "out" / f"{name}.nii.gz" for name in names} | {"qa": folder / "out" / "qa.json"}
    (folder / "out").mkdir()
    outputs = SimpleNamespace(
        structural=made["structural"], mask=made["mask"], tissues=[made[name] for name in TISSUES], qa=made["qa"]
    )
    job = SimpleNamespace(
        input=Inputs(**files),
        output=outputs,
        params=SimpleNamespace(contrast="MTsat", brain_mask="classical"),
        log=[str(folder / "log.txt")],
    )
    runpy.run_path(str(SCRIPT), {"snakemake": job})
    return made


@pytest.fixture(scope="module")
def head(phantom: Callable[..., Any]) -> Any:
    return phantom("MTsat", resolution_mm=3.0)


def test_a_smoothed_mask_is_cut_at_half_and_the_image_is_not_called_stripped(head: Any, tmp_path: Path) -> None:
    image, mask = tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz"
    write_volume(image, head.image)
    smoothed = ndimage.gaussian_filter(head.brain.astype(np.float32), 2)
    write_volume(mask, Volume(smoothed, head.image.affine))
    made = segmented(tmp_path, structural=str(image), mask=[str(mask)], lesions=[])
    # All that is above 0 would be half as much again.
    true_ml = float(head.brain.sum()) * 27 / 1000
    assert read_json(made["qa"])["tiv_ml"] == pytest.approx(true_ml, rel=0.02)
    stripped = {name: read_sidecar(made[name])["SkullStripped"] for name in ("structural", "mask", *TISSUES)}
    assert stripped == {"structural": False, **dict.fromkeys(("mask", *TISSUES), True)}
    # Outside of the mask the image is what was measured, noise and all.
    outside = read_volume(made["mask"]).data == 0
    assert (read_volume(made["structural"]).data[outside] != 0).mean() > 0.9
