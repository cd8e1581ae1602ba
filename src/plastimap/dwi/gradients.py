"""b-values and b-vectors: read, check, and bring to the world's axes.

FSL's convention (dcm2niix, BIDS) gives b-vectors along the image axes, with x
reversed when the affine has a positive determinant. Everything in
:mod:`plastimap.dwi` beyond this module works with unit vectors in world axes
(RAS), which is what rotations and colours need.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.writing import PathLike

LEAST_DIRECTIONS = 6
"""A diffusion tensor has six unknowns beside S0."""

LENGTH_TOLERANCE = 0.1
"""Largest distance of a b-vector's length from 1."""


def read_gradients(bval_file: PathLike, bvec_file: PathLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read FSL text files, rows or columns.

    Parameters
    ----------
    bval_file, bvec_file : path-like

    Returns
    -------
    bvals : ndarray, shape (N,)
        s/mm².
    bvecs : ndarray, shape (N, 3)
        As in the file.

    Raises
    ------
    ValueError
        When a file holds no table of numbers of the right shape.
    """
    bvals = read_bvals(bval_file)
    bvecs = _table(bvec_file)
    if bvecs.shape == (3, bvals.size):
        bvecs = bvecs.T
    if bvecs.shape != (bvals.size, 3):
        raise ValueError(
            f"{bvec_file}: a table of {' × '.join(map(str, bvecs.shape))} numbers, but {bvals.size} b-values; "
            "3 lines with one number per volume are wanted"
        )
    return bvals, np.ascontiguousarray(bvecs)


def read_bvals(file: PathLike) -> NDArray[np.float64]:
    """b-values of a text file in s/mm², shape (N,); errors as in :func:`read_gradients`."""
    return _table(file).ravel()


def check_gradients(
    bvals: ArrayLike, bvecs: ArrayLike, *, n_volumes: int | None = None, b0_threshold: float = 50
) -> list[str]:
    """Say what is wrong with a diffusion scheme, each with its remedy; an empty list means nothing.

    Parameters
    ----------
    bvals : array_like, shape (N,)
        s/mm².
    bvecs : array_like, shape (N, 3)
    n_volumes : int, optional
        Volumes of the image.
    b0_threshold : float
        s/mm²; at or below it a volume counts as b = 0.

    Returns
    -------
    list of str
    """
    b, g = np.asarray(bvals, dtype=np.float64), np.asarray(bvecs, dtype=np.float64)
    if b.ndim != 1 or g.shape != (b.size, 3):
        return [
            f"b-values of shape {b.shape} and b-vectors of shape {g.shape} do not go together; convert the data again"
        ]
    problems: list[str] = []
    if n_volumes is not None and n_volumes != b.size:
        problems.append(f"{b.size} b-values for {n_volumes} volumes; copy the .bval and .bvec that belong to the image")
    if not np.isfinite(b).all() or (b < 0).any():
        problems.append("b-values that are negative or no numbers; correct the .bval file (s/mm²)")
    weighted = b > b0_threshold
    lengths = np.linalg.norm(g[weighted], axis=1)
    if not (np.abs(lengths - 1) <= LENGTH_TOLERANCE).all():
        n_bad = int(np.count_nonzero(~(np.abs(lengths - 1) <= LENGTH_TOLERANCE)))
        problems.append(f"{n_bad} b-vectors of diffusion-weighted volumes are not of length 1; convert the data again")
    if not (~weighted).any():
        problems.append(
            f"no volume with b ≤ {b0_threshold:g} s/mm²; raise dwi: b0_threshold if the lowest shell is meant"
        )
    n_directions = count_directions(g[weighted])
    if n_directions < LEAST_DIRECTIONS:
        problems.append(
            f"{n_directions} different directions; a tensor needs {LEAST_DIRECTIONS}: leave this series out"
        )
    if weighted.any() and b[weighted].max() < 10:
        problems.append(f"the largest b-value is {b.max():g}; give s/mm² (1000, not 1)")
    return problems


def count_directions(bvecs: ArrayLike) -> int:
    """Count the different axes among b-vectors of shape (N, 3); opposite vectors are one axis."""
    vectors = normalised(bvecs)
    vectors = vectors[np.linalg.norm(vectors, axis=1) > 0.5]
    cosines = np.abs(vectors @ vectors.T) > 0.9998
    # A vector counts when no earlier one points the same way.
    return int(np.count_nonzero(~np.tril(cosines, k=-1).any(axis=1)))


def normalised(bvecs: ArrayLike) -> NDArray[np.float64]:
    """b-vectors of shape (N, 3) with length 1; those of no length (b = 0, NaN) become zero."""
    vectors = np.nan_to_num(np.asarray(bvecs, dtype=np.float64))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-6)


def fsl_to_voxel(bvecs: ArrayLike, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """From FSL's convention to the image's own axes: x changes sign when the affine's determinant is positive."""
    vectors = normalised(bvecs)
    if np.linalg.det(affine[:3, :3]) > 0:
        vectors = vectors * (-1.0, 1.0, 1.0)
    return vectors


def fsl_to_world(bvecs: ArrayLike, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """From FSL's convention to unit vectors in world axes (RAS).

    Parameters
    ----------
    bvecs : array_like, shape (N, 3)
    affine : ndarray, shape (4, 4)
        Of the image to which they belong.

    Returns
    -------
    ndarray, shape (N, 3)
    """
    axes = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return normalised(fsl_to_voxel(bvecs, affine) @ axes.T)


def world_to_fsl(bvecs: ArrayLike, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take :func:`fsl_to_world` back: unit vectors in world axes, shape (N, 3), to FSL's convention."""
    axes = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return fsl_to_voxel(np.linalg.solve(axes, normalised(bvecs).T).T, affine)


def _table(file: PathLike) -> NDArray[np.float64]:
    """Numbers of a text file as a 2D array."""
    lines = [line.replace(",", " ").split() for line in Path(file).read_text(encoding="utf-8").splitlines()]
    rows = [line for line in lines if line]
    try:
        table = np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{file}: not a table of numbers ({error}); convert the data again") from error
    if table.ndim != 2 or not table.size:
        raise ValueError(f"{file}: no numbers in it; convert the data again")
    return table
