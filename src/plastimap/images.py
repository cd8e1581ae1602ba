"""NIfTI in and out: one door, where geometry is checked.

Every image that PlastiMap reads passes :func:`read_volume`; every image that
it writes passes :func:`write_volume`. World coordinates are millimetres in
RAS+ orientation, as in nibabel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from plastimap.gzipping import write_gzip
from plastimap.writing import PathLike, read_json, replacing, write_json

GEOMETRY_TOLERANCE_MM = 1e-3
"""Largest distance between two grids' corners that still counts as the same grid."""


class ImageProblem(ValueError):
    """An image file that cannot be used; the message names file, reason and remedy."""


@dataclass(frozen=True)
class Volume:
    """An image in memory.

    Attributes
    ----------
    data : ndarray
        Shape (X, Y, Z) or (X, Y, Z, N).
    affine : ndarray, shape (4, 4)
        0-based voxel indices to world millimetres (RAS+).
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Spatial shape (X, Y, Z)."""
        return self.data.shape[:3]  # type: ignore[return-value]

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """Edge lengths of a voxel in millimetres, shape (3,)."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel in cubic millimetres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))


def read_volume(path: PathLike, *, dtype: Any = np.float32) -> Volume:
    """Read a NIfTI image.

    Parameters
    ----------
    path : path-like
        ``.nii`` or ``.nii.gz``.
    dtype : numpy dtype
        Type of the returned data; scaling of the header is applied first.

    Returns
    -------
    Volume

    Raises
    ------
    ImageProblem
        When the file is missing, empty, broken, not 3D or 4D, or when sform
        and qform disagree.
    """
    image = open_image(path)
    try:
        data = np.asarray(image.dataobj, dtype=dtype)
    except (OSError, EOFError, ValueError) as error:
        raise ImageProblem(f"{path}: the image data cannot be read ({error}); copy or convert it again") from error
    return Volume(data, check_geometry(image, path))


def open_image(path: PathLike) -> nib.Nifti1Image:
    """Open a NIfTI image without reading its data; complain in words a person can act on."""
    file = Path(path)
    if not file.exists():
        raise ImageProblem(f"{file}: no such file")
    if file.stat().st_size == 0:
        raise ImageProblem(f"{file}: the file is empty; copy or convert it again")
    try:
        image = nib.load(file)
    except Exception as error:
        raise ImageProblem(f"{file}: not a readable NIfTI image ({error}); convert it again") from error
    if not isinstance(image, nib.Nifti1Image):
        raise ImageProblem(f"{file}: not a NIfTI image; convert it to .nii.gz")
    if image.ndim not in (3, 4):
        raise ImageProblem(f"{file}: {image.ndim} dimensions {image.shape}, where 3 or 4 are wanted")
    return image


def check_geometry(image: nib.Nifti1Image, path: PathLike) -> NDArray[np.float64]:
    """Return the affine of `image`, or say why it cannot be trusted."""
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageProblem(f"{path}: the affine is singular or not finite; fix the header's sform")
    sform, sform_code = image.get_sform(coded=True)
    qform, qform_code = image.get_qform(coded=True)
    if sform_code and qform_code and qform is not None and sform is not None:
        distance = corner_distance(sform, qform, image.shape[:3])
        # Scanner conversions differ in the fourth decimal; half a voxel is another place.
        if distance > 0.5 * float(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).min()):
            raise ImageProblem(
                f"{path}: sform and qform disagree by {distance:.2f} mm; "
                "decide which is right and set both (nibabel: image.set_qform(image.affine))"
            )
    return affine


def corner_distance(one: NDArray[Any], other: NDArray[Any], shape: Sequence[int]) -> float:
    """Largest distance in mm between the corners of a grid of `shape` under two affines."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.linalg.norm(((one - other) @ corners)[:3], axis=0).max())


def same_grid(one: Volume, other: Volume, *, tolerance_mm: float = GEOMETRY_TOLERANCE_MM) -> bool:
    """Whether two volumes share shape and place."""
    return one.shape == other.shape and corner_distance(one.affine, other.affine, one.shape) <= tolerance_mm


def write_volume(path: PathLike, volume: Volume, *, sidecar: Mapping[str, Any] | None = None) -> None:
    """Write `volume` as NIfTI (gzip when the name ends in ``.gz``), sidecar first.

    Parameters
    ----------
    path : path-like
        Final name; it appears only when the file is whole.
    volume : Volume
        Floating data are stored as float32, booleans as uint8.
    sidecar : mapping, optional
        Content of the JSON beside the image.
    """
    if sidecar is not None:
        write_json(sidecar_path(path), sidecar)
    data = volume.data
    if data.dtype == bool:
        data = data.astype(np.uint8)
    elif np.issubdtype(data.dtype, np.floating):
        data = data.astype(np.float32, copy=False)
    image = nib.Nifti1Image(data, volume.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(volume.affine, code=1)
    image.set_qform(volume.affine, code=1)
    with replacing(path) as beside:
        save_image(beside, image)


def save_image(path: PathLike, image: nib.Nifti1Image) -> None:
    """Write an image as it is; when the name ends in ``.gz``, compressed, and without the copies that nibabel makes."""
    if not str(path).endswith(".gz"):
        image.to_filename(path)
        return
    header = image.header.copy()
    header.set_slope_inter(1, 0)
    header["vox_offset"] = header.single_vox_offset
    voxels: Any = np.asfortranarray(image.dataobj).T.reshape(-1)
    write_gzip(path, header.binaryblock + bytes(header.single_vox_offset - header.sizeof_hdr), voxels)


def sidecar_path(path: PathLike) -> Path:
    """The JSON beside an image: ``x.nii.gz`` → ``x.json``."""
    file = Path(path)
    return file.with_name(file.name.partition(".")[0] + ".json")


def read_sidecar(path: PathLike) -> dict[str, Any]:
    """The JSON beside an image, or an empty dictionary where there is none."""
    file = sidecar_path(path)
    return read_json(file) if file.exists() else {}
