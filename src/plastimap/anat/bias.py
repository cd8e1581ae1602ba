"""Intensity non-uniformity of weighted images: N4 (Tustison 2010, doi:10.1109/TMI.2010.2046908), from SimpleITK."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.anat.grids import sample
from plastimap.images import Volume
from plastimap.threads import one_itk_thread

WORKING_MM = 6.0
"""The field is smooth: it is estimated on about this voxel size and evaluated on the full grid."""

ITERATIONS = (50, 50, 50)
"""At most, per fitting level; each stops when it has converged."""

CONVERGED = 5e-4
"""Coefficient of variation between two steps' fields that ends a level."""


def log_bias_field(volume: Volume, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Estimate the smooth bias field of a weighted image.

    Not for quantitative maps: their values mean something.

    Parameters
    ----------
    volume : Volume
        Shape (X, Y, Z), in any unit. NaN counts as missing.
    mask : ndarray of bool, shape (X, Y, Z)
        Where the field is estimated. It is extrapolated smoothly outside.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        Logarithm of the field; its mean over the mask is 0, so that the image keeps its scale.

    Raises
    ------
    ValueError
        When the mask is empty or holds no positive intensities.
    """
    import SimpleITK

    data = np.asarray(volume.data, dtype=np.float32)
    usable = mask & np.isfinite(data) & (data > 0)
    if not usable.any():
        raise ValueError("the mask holds no positive intensities, so that no bias field can be estimated")
    # N4 works on logarithms; a common scale keeps its histogram the same for any unit.
    scale = float(np.median(data[usable]))
    image = _as_image(np.where(usable, data / scale, 0).astype(np.float32), volume)
    inside = _as_image(usable.astype(np.uint8), volume)
    shrink = [max(1, round(WORKING_MM / float(size))) for size in volume.voxel_size]
    with one_itk_thread():
        n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
        n4.SetMaximumNumberOfIterations(list(ITERATIONS))
        n4.SetConvergenceThreshold(CONVERGED)
        n4.Execute(SimpleITK.Shrink(image, shrink), SimpleITK.Shrink(inside, shrink))
        log_field = SimpleITK.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T
    return (log_field - log_field[usable].mean()).astype(np.float32)


def without_bias(volume: Volume, log_field: Volume) -> Volume:
    """Divide an image by a bias field that may have been estimated on another grid; NaN stays NaN."""
    same = log_field.shape == volume.shape and np.allclose(log_field.affine, volume.affine)
    field = log_field.data if same else sample(log_field.data, log_field.affine, volume.shape, volume.affine, fill=None)
    return Volume((np.asarray(volume.data, dtype=np.float32) / np.exp(field)).astype(np.float32), volume.affine)


def _as_image(data: NDArray[np.generic], volume: Volume) -> Any:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing([float(size) for size in volume.voxel_size])
    return image
