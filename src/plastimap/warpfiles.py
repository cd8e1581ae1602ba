"""Warps and matrices on disk, in the formats that ITK, ANTs and Slicer read.

A warp is a NIfTI of shape (X, Y, Z, 1, 3) with intent *vector*: the
displacement in millimetres of each voxel centre, **LPS** as ITK wants it, of
the whole map (any matrix included). A matrix is an ITK transform text file,
LPS too. Both are pull maps: they take fixed points to moving points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from plastimap.images import ImageProblem, save_image, sidecar_path
from plastimap.transforms import Warp, compose
from plastimap.writing import PathLike, replacing, write_json, write_text

FORMAT = (
    "ITK displacement field: NIfTI of shape (X, Y, Z, 1, 3), intent vector. Each voxel holds the displacement in mm, "
    "in LPS axes (x to the left, y to the back), from its own centre to the point that it is taken from; the image's "
    "affine is RAS, as in every NIfTI. Read by ITK, ANTs (antsApplyTransforms) and Slicer."
)
"""Said in the sidecar of every warp."""

RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns RAS into LPS coordinates, and back."""


def write_warp(path: PathLike, warp: Warp, *, sidecar: Mapping[str, Any] | None = None) -> None:
    """Write a warp as an ITK displacement field; its matrix is folded in.

    Parameters
    ----------
    path : path-like
        ``.nii`` or ``.nii.gz``.
    warp : Warp
    sidecar : mapping, optional
        Content of the JSON beside the image; units and convention are added.
    """
    if sidecar is not None:
        words = {"Units": "mm", "CoordinateSystem": "LPS", "TransformType": "displacement, pull map", "Format": FORMAT}
        write_json(sidecar_path(path), {**words, **sidecar})
    whole = warp if np.array_equal(warp.matrix, np.eye(4)) else compose(warp, warp)
    field = whole.displacement * np.array([-1, -1, 1], dtype=np.float32)
    image = nib.Nifti1Image(field[:, :, :, np.newaxis, :], whole.affine)
    image.header.set_intent("vector")
    image.header.set_xyzt_units("mm")
    image.set_sform(whole.affine, code=1)
    image.set_qform(whole.affine, code=1)
    with replacing(path) as beside:
        save_image(beside, image)


def read_warp(path: PathLike) -> Warp:
    """Read an ITK displacement field.

    Raises
    ------
    ImageProblem
        When the file is missing or is no displacement field.
    """
    try:
        image = nib.Nifti1Image.from_filename(path)
        field = np.asarray(image.dataobj, dtype=np.float32)
    except Exception as error:
        raise ImageProblem(f"{path}: not a readable warp ({error}); make it again") from error
    if field.ndim != 5 or field.shape[3:] != (1, 3):
        raise ImageProblem(f"{path}: a warp has shape (X, Y, Z, 1, 3), this image {field.shape}")
    if not np.isfinite(field).all():
        raise ImageProblem(f"{path}: the warp has values that are not finite; make it again")
    return Warp(field[:, :, :, 0] * np.array([-1, -1, 1], dtype=np.float32), np.asarray(image.affine, np.float64))


def write_matrix(path: PathLike, matrix: NDArray[np.float64]) -> None:
    """Write an affine pull matrix (RAS, shape (4, 4)) as an ITK transform text file (LPS)."""
    lps = RAS_LPS @ matrix @ RAS_LPS
    numbers = " ".join(f"{value:.17g}" for value in [*lps[:3, :3].ravel(), *lps[:3, 3]])
    write_text(
        path,
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n",
    )


def read_matrix(path: PathLike) -> NDArray[np.float64]:
    """Read an ITK affine transform text file as a pull matrix (RAS, shape (4, 4)).

    Raises
    ------
    ImageProblem
        When the file is missing or holds no affine transform.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            lines = dict(line.split(":", 1) for line in stream if ":" in line and not line.startswith("#"))
        parameters = np.array(lines["Parameters"].split(), dtype=np.float64)
        centre = np.array(lines.get("FixedParameters", "0 0 0").split(), dtype=np.float64)
        linear = parameters[:9].reshape(3, 3)
        # ITK turns about a centre: y = A (x - c) + c + t.
        offset = parameters[9:12] + centre - linear @ centre
    except (OSError, KeyError, ValueError) as error:
        raise ImageProblem(f"{path}: not an ITK affine transform ({error})") from error
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = linear, offset
    return RAS_LPS @ lps @ RAS_LPS
