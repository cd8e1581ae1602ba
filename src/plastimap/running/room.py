"""How much disk a run will fill: a guess from the sizes of the images, before anything runs."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

from plastimap.bids.plan import Study
from plastimap.bids.problems import Problem
from plastimap.paths import TISSUES
from plastimap.planning.scans import Scan
from plastimap.writing import PathLike

BYTES_PER_VOXEL = 4 * 0.75
"""Of a compressed map: float32, of which noise leaves about three quarters."""

TARGET_BOX_MM = (196, 232, 196)
"""Extent of the target space: voxels of its grid follow from the resolution."""

TARGET_SHARE = 0.4
"""Of a map in the target space: outside the brain it is empty, and smooth numbers compress better."""

TOO_SMALL, NARROW = 0.6, 1.3
"""Free bytes over guessed bytes: below the first a run is refused, below the second it is warned of."""


def needed_bytes(study: Study) -> int:
    """Bytes that a run adds to the output folder: what is there already counts as written."""
    out = Path(study.config["output_dir"])
    grid = math.prod(TARGET_BOX_MM) / float(study.config["space"]["resolution"]) ** 3
    waiting = [scan for scan in study.scans if not all((out / file).exists() for file in study.scan_targets(scan))]
    return round(sum(scan_bytes(study, scan, grid) for scan in waiting))


def scan_bytes(study: Study, scan: Scan, grid: float) -> float:
    """Bytes of all files of one scan; `grid` is the number of voxels of the target space."""
    native = 0.0
    if "mpm" in study.stages and scan.echoes:
        # Maps and their standard errors, R2* per contrast, proton density.
        native += (2 * len(scan.mpm_maps) + 3) * _voxels(scan.echoes[0].shape)
    if "dwi" in study.stages and scan.dwi:
        # Four maps, the b = 0 image, and three components of the direction.
        native += 8 * _voxels(scan.dwi.shape)
    if "anat" in study.stages and study.has_structural(scan):
        source = next((row for row in (*scan.echoes, scan.t1w) if row and row.shape), None)
        # Structural image and three tissues; in the person's space warps of three components both ways, twice.
        images = 1 + len(TISSUES) + (14 if "space" in study.stages else 0)
        native += images * _voxels(source.shape if source else None)
    in_target = len(study.target_maps(scan)) + len(TISSUES) + 2 if "space" in study.stages else 0
    in_target += len(study.smoothed_maps(scan)) if "smooth" in study.stages else 0
    return BYTES_PER_VOXEL * (native + TARGET_SHARE * in_target * grid)


def room_problems(study: Study, *, free: int | None = None) -> list[Problem]:
    """Say so when the disk is too small for a run.

    Parameters
    ----------
    study : Study
    free : int, optional
        Free bytes; of the output folder's disk when not given.
    """
    out = Path(study.config["output_dir"])
    free = free_bytes(out) if free is None else free
    needed = needed_bytes(study)
    if free >= NARROW * needed:
        return []
    what = f"the run needs about {_gigabytes(needed)}, and {_gigabytes(free)} are free"
    why = "a full disk stops a run half way"
    return [
        Problem(
            str(out), what, why, "make room, or give an output folder on another disk",
            "error" if free < TOO_SMALL * needed else "notice",
        )
    ]  # fmt: skip


def free_bytes(place: PathLike) -> int:
    """Free bytes for this user where a folder is or will be."""
    folder = Path(place).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def room_line(study: Study) -> str:
    """Needed and free bytes in a line."""
    free = free_bytes(study.config["output_dir"])
    return f"disk: about {_gigabytes(needed_bytes(study))} to write, {_gigabytes(free)} free"


def _voxels(shape: Any) -> int:
    return math.prod(shape[:3]) if shape else 0


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.1f} MB"
