"""Lesions and metal: masks that users give beside their images, so that no registration is led by what is there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plastimap.drawn import inside_drawn
from plastimap.images import Volume, read_volume
from plastimap.transforms import Chain, Grid, grid_of, resample
from plastimap.warpfiles import read_warp
from plastimap.writing import PathLike

Mask = NDArray[np.bool_]

TRACE_SHARE = 0.01
"""Share of an interpolated value that comes from a lesion from which it is left out: rounding is less."""

MIDPOINT_MASK = "mask.nii.gz"
"""Name of a person's brain mask in the folder of the warps midpoint → session."""

LESION_SHARE = 0.25
"""Share of a voxel that is lesion from which it takes no part in a match."""


def scan_of(path: PathLike) -> str:
    """Label of the scan that a BIDS file belongs to: ``sub-01_ses-02`` of ``sub-01_ses-02_label-lesion_mask.nii``.

    Of a file that is for all sessions of its person, the person's: ``sub-01``.
    """
    found = re.match(r"sub-[^_]+(_ses-[^_]+)?", Path(path).name)
    return found[0] if found else ""


def is_for(path: PathLike, scan: str) -> bool:
    """Whether a BIDS file is for a scan: its own, or its person's."""
    return scan_of(path) in (scan, scan.partition("_")[0])


def lesion_masks(files: Sequence[PathLike], scans: Sequence[str], volumes: Sequence[Volume]) -> list[Mask | None]:
    """Lesion mask of every scan on the grid of its image; None where there is no file.

    Parameters
    ----------
    files : sequence of path-like
        Named by BIDS; masks of one scan are joined. Inside is as :func:`plastimap.drawn.inside_drawn` says.
    scans : sequence of str
        Labels, such as ``sub-01_ses-02``.
    volumes : sequence of Volume
        The scans' images.
    """
    masks: list[Mask | None] = []
    for label, volume in zip(scans, volumes, strict=True):
        own = [_drawn(file) for file in files if is_for(file, label)]
        brought = [resample(one, volume, np.eye(4), order="nearest", validity=False) > 0 for one in own]
        masks.append(np.logical_or.reduce(brought) if brought else None)
    return masks


def lesions_of_both(
    files: Sequence[PathLike], scan: str, session: Volume, transforms: PathLike, template: Volume
) -> tuple[Mask | None, Mask | None]:
    """Lesions of a person's template and of a session that joins it, each on its own grid; None where there are none.

    Parameters
    ----------
    files : sequence of path-like
        Lesion masks of the session and of the template's members, named by BIDS.
    scan : str
        Label of the session.
    session, template : Volume
    transforms : path-like
        As in :func:`pulled_lesions`.
    """
    members = pulled_lesions([file for file in files if scan_of(file) != scan], transforms, grid_of(template))
    own = lesion_masks(files, [scan], [session])[0]
    return None if members is None else members.data > LESION_SHARE, own


def touched(lesion: Mask | None, image: Volume, grid: Grid, chain: Chain) -> Mask:
    """Voxels of a grid into whose interpolated values a lesion enters.

    Parameters
    ----------
    lesion : ndarray of bool, or None
        On the grid of `image`.
    image : Volume
    grid : (shape, affine)
    chain : Warp, ndarray (4, 4) or a sequence of them
        Pull map grid → image.
    """
    if lesion is None:
        return np.zeros(tuple(grid[0]), dtype=bool)
    return resample(Volume(lesion.astype(np.float32), image.affine), grid, chain, validity=False) > TRACE_SHARE


def pulled_lesions(files: Sequence[PathLike], transforms: PathLike, grid: Grid) -> Volume | None:
    """Where any session has a lesion, in the person's midpoint space; None without files.

    Parameters
    ----------
    files : sequence of path-like
        Lesion masks on the sessions' own grids, named by BIDS.
    transforms : path-like
        Folder of the warps midpoint → session, ``<scan>_xfm.nii.gz``.
    grid : (shape, affine)
        Of the midpoint.
    """
    if not files:
        return None
    share = np.zeros(tuple(grid[0]), dtype=np.float32)
    for file in files:
        solid = _drawn(file)
        for warp in _warps(Path(transforms), scan_of(file)):
            share = np.maximum(share, resample(solid, grid, read_warp(warp), validity=False))
    return Volume(share, grid[1])


def _warps(folder: Path, label: str) -> list[Path]:
    """Warp of a scan, or those of all sessions of a person."""
    own = folder / f"{label}_xfm.nii.gz"
    of_sessions = sorted(folder.glob(f"{label}_ses-*_xfm.nii.gz"))
    return of_sessions if of_sessions and not own.exists() else [own]


def _drawn(file: PathLike) -> Volume:
    """Read a mask that somebody gave: 1 inside, 0 outside."""
    mask = read_volume(file)
    return Volume(inside_drawn(mask.data).astype(np.float32), mask.affine)
