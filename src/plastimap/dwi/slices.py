"""Slices that lost their signal, as to motion during the diffusion weighting, and what stands in their place.

The others of a shell predict each volume; a slice far below its prediction has lost signal, and takes it instead
(Andersson 2016, doi:10.1016/j.neuroimage.2016.06.058).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plastimap.dwi._series import Series, Shell, turned
from plastimap.dwi.alignment import Frame, Matrix
from plastimap.dwi.qspace import prediction_weights

OUTLIER_SD = 4.0
"""A slice that lies so many robust standard deviations below its prediction has lost signal."""

LEAST_LOSS = 0.1
"""... if it also lost this share of it."""

LEAST_SLICE_SHARE = 0.3
"""Slices with less than this share of the fullest slice's signal are not judged: they show little but the border."""


def replace_lost(series: Series, shell: Shell) -> list[tuple[int, int]]:
    """Put predictions in the place of slices that lost signal; which these are.

    A lost slice also spoils predictions, so the search is repeated once the first ones have been replaced.
    """
    found: set[tuple[int, int]] = set()
    frame = series.frame
    for _ in range(2):
        seen = np.stack([frame.seen(series.volumes[i], series.transforms[i]) for i in shell.members])
        weights = prediction_weights(turned(series, shell), seen)
        lost = lost_slices(*_slice_sums(series, shell, weights @ seen))
        new = {(int(shell.members[k]), int(z)) for k, z in np.argwhere(lost)} - found
        for index in sorted({volume for volume, _ in new}):
            slices = sorted(z for volume, z in new if volume == index)
            series.replace_slices(index, slices, _predicted_slices(series, shell, weights, index, slices))
        found |= new
        if not new:
            break
    return sorted(found)


def _slice_sums(
    series: Series, shell: Shell, predicted: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over the compared voxels that each volume (rows) measured in each slice (columns).

    Returns
    -------
    measured, expected : ndarray, shape (n, Z)
    """
    frame, depth = series.frame, series.volumes[0].shape[2]
    rows: tuple[list[NDArray], list[NDArray]] = ([], [])
    for i, prediction in zip(shell.members, predicted, strict=True):
        matrix = frame.to_voxel @ series.transforms[i] @ frame.affine
        place = np.rint(frame.voxels @ matrix[2, :3] + matrix[2, 3]).astype(int)
        inside = (place >= 0) & (place < depth)
        measured = _from_slices(series.volumes[i], matrix, frame.voxels, place)
        for sums, values in zip(rows, (measured, prediction), strict=True):
            sums.append(np.bincount(place[inside], values[inside], minlength=depth))
    measured, expected = (np.stack(sums) for sums in rows)
    return measured, expected


def _from_slices(
    image: NDArray[np.float32], matrix: Matrix, voxels: NDArray[np.float64], place: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Nearest voxels of an image under an affine map; interpolation would mix a lost slice with its neighbours."""
    x, y = (
        np.clip(np.rint(voxels @ matrix[d, :3] + matrix[d, 3]).astype(int), 0, image.shape[d] - 1) for d in range(2)
    )
    return image[x, y, np.clip(place, 0, image.shape[2] - 1)]


def lost_slices(measured: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Slices that hold too little signal.

    Parameters
    ----------
    measured, expected : ndarray, shape (n, Z)
        Sums of measured and predicted signal per volume and slice.

    Returns
    -------
    ndarray of bool, shape (n, Z)
    """
    judged = expected > LEAST_SLICE_SHARE * max(float(np.median(expected.max(axis=1))), np.finfo(float).tiny)
    change = np.where(judged, measured / np.where(judged, expected, 1) - 1, 0.0)
    if not judged.any():
        return judged
    # Where all volumes lie beside their predictions, as at the border of the field of view, that is no loss.
    change -= np.median(change, axis=0)
    # A slice whose volumes all lie far from their predictions is one that the model does not know well.
    spread = 1.4826 * np.maximum(np.median(np.abs(change), axis=0), np.median(np.abs(change[judged])))
    return judged & (change < -np.maximum(OUTLIER_SD * spread, LEAST_LOSS))


def _predicted_slices(
    series: Series, shell: Shell, weights: NDArray[np.float64], index: int, slices: list[int]
) -> NDArray[np.float32]:
    """What the others predict for slices of a volume, at the volume's own voxels; shape (X, Y, n)."""
    shape = (*series.volumes[0].shape[:2], len(slices))
    grid = np.stack(np.meshgrid(*map(np.arange, shape[:2]), slices, indexing="ij"), axis=-1)
    frame = Frame(series.affine, grid.reshape(-1, 3).astype(np.float64))
    back = np.linalg.inv(series.transforms[index])
    row = weights[int(np.flatnonzero(shell.members == index)[0])]
    total = np.zeros(len(frame.voxels))
    for weight, i in zip(row, shell.members, strict=True):
        total += weight * frame.seen(series.volumes[i], series.transforms[i] @ back)
    return np.maximum(total, 0).reshape(shape).astype(np.float32)
