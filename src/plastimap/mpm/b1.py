"""Transmit field (B1+) as the ratio actual / nominal flip angle: from a ready map, and onto the images' grid."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.images import Volume
from plastimap.threads import one_itk_thread

PLAUSIBLE_MEDIAN = (0.5, 1.5)
"""Median ratio over the field of view; a brain at 3 T is close to 1."""

PLAUSIBLE_VALUES = (0.2, 2.0)
"""Ratios of single voxels; outside it a voxel counts as having none."""

LEAST_PLAUSIBLE_SHARE = 0.8
"""Share of the non-zero voxels that must be plausible for the map to be believed."""

SMOOTHING_FWHM_MM = 8.0
"""The transmit field varies over centimetres; what varies faster is noise."""

UNICORT_FWHM_MM = 60.0
"""Smoothness of a B1+ inferred from R1 (Weiskopf 2011, doi:10.1016/j.neuroimage.2010.10.023)."""

N4_VOXEL_MM = 6.0
"""Voxel size to which R1 is thinned out before its inhomogeneity is looked for: a tenth of the field's scale."""

SCALES = {"percent": 0.01, "ratio": 1.0}

_FWHM_PER_SD = float(np.sqrt(8 * np.log(2)))


def b1_ratio(data: ArrayLike, units: str, *, nominal_flip_deg: float | None = None) -> NDArray[np.float32]:
    """Turn a ready B1+ map into the ratio actual / nominal flip angle.

    Parameters
    ----------
    data : array_like
        The map; zeros and non-finite values mean "not measured".
    units : str
        The sidecar's ``Units``: percent ("percent of the nominal flip angle", "p.u.", "%"), a ratio ("ratio",
        "relative", "unitless", "1"), degrees ("degrees", "degrees x 10"), or "arbitrary" (BIDS; then percent or ratio,
        as the values tell).
    nominal_flip_deg : float, optional
        Nominal flip angle of the B1+ acquisition; needed for maps in degrees.

    Returns
    -------
    ndarray of float32
        Ratio f; NaN where not measured or not plausible.

    Raises
    ------
    ValueError
        When the units are not understood, or the values do not go with them.
    """
    values = np.asarray(data, dtype=np.float64)
    measured = np.isfinite(values) & (values > 0)
    if not measured.any():
        raise ValueError("the B1+ map has no positive value; check the file, or leave the map out")
    ratio = values * _scale(units, float(np.median(values[measured])), nominal_flip_deg)
    return plausible_ratio(
        ratio,
        read_as=repr(units),
        remedy="correct Units in its sidecar (percent, ratio, degrees), or leave the map out",
    )


def plausible_ratio(ratio: ArrayLike, *, read_as: str, remedy: str) -> NDArray[np.float32]:
    """Keep the plausible values of a B1+ ratio, and refuse a map that is implausible as a whole.

    Parameters
    ----------
    ratio : array_like
        Ratio f; zeros and non-finite values mean "not measured".
    read_as, remedy : str
        For the message: what the map was taken for, and what to do about it.

    Returns
    -------
    ndarray of float32
        Ratio f; NaN where not measured or outside :data:`PLAUSIBLE_VALUES`.

    Raises
    ------
    ValueError
        When nothing was measured, or what was is implausible.
    """
    values = np.asarray(ratio, dtype=np.float64)
    measured = np.isfinite(values) & (values > 0)
    if not measured.any():
        raise ValueError(f"the B1+ map, read as {read_as}, has no value in any voxel; {remedy}")
    median = float(np.median(values[measured]))
    plausible = measured & (values >= PLAUSIBLE_VALUES[0]) & (values <= PLAUSIBLE_VALUES[1])
    share = np.count_nonzero(plausible) / np.count_nonzero(measured)
    if not PLAUSIBLE_MEDIAN[0] <= median <= PLAUSIBLE_MEDIAN[1] or share < LEAST_PLAUSIBLE_SHARE:
        raise ValueError(
            f"the B1+ map is implausible: read as {read_as}, its median is {median:.3g} times the nominal flip "
            f"angle, and {100 * share:.0f} % of its voxels lie within {PLAUSIBLE_VALUES[0]}–{PLAUSIBLE_VALUES[1]}; "
            f"{remedy}"
        )
    return np.where(plausible, values, np.nan).astype(np.float32)


def _scale(units: str, median: float, nominal_flip_deg: float | None) -> float:
    """Factor from the map's units to a ratio."""
    text = units.strip().lower()
    if re.search(r"percent|%|\bp\.?u\b", text):
        return SCALES["percent"]
    if re.search(r"deg|°", text):
        if not nominal_flip_deg or nominal_flip_deg <= 0:
            raise ValueError(
                f"the B1+ map is in {units!r}, but its nominal flip angle is not known; "
                "add FlipAngle (degrees) to its sidecar"
            )
        return 1 / (nominal_flip_deg * (10 if re.search(r"10", text) else 1))
    if re.search(r"ratio|fraction|relative|normali[sz]ed|unitless|dimensionless|nominal|^1$|^a?\.?u\.?$", text):
        return SCALES["ratio"]
    if re.search(r"^$|arb", text):
        return SCALES["percent"] if median > 10 * PLAUSIBLE_MEDIAN[1] else SCALES["ratio"]
    raise ValueError(
        f"the B1+ map's Units {units!r} are not understood; write 'percent', 'ratio' or 'degrees' in its sidecar"
    )


def b1_on_grid(volume: Volume, target: Volume, *, fwhm_mm: float = SMOOTHING_FWHM_MM) -> NDArray[np.float32]:
    """Bring a B1+ ratio to another grid: smoothed, filled beyond its field of view, interpolated once.

    Voxels without a value take no part in the smoothing. Beyond them, the nearest measured value goes over into a wide
    average with distance, so that the field stays smooth and never leaves the measured range.

    Parameters
    ----------
    volume : Volume
        Ratio, NaN or ≤ 0 where not measured.
    target : Volume
        The grid wanted; its data are not looked at.
    fwhm_mm : float
        Full width at half maximum of the smoothing kernel; 0 for none.

    Returns
    -------
    ndarray of float32, shape of `target`
        Ratio, finite everywhere.
    """
    from scipy import ndimage

    values = np.asarray(volume.data, dtype=np.float64)
    valid = np.isfinite(values) & (values > 0)
    if not valid.any():
        raise ValueError("the B1+ map has no positive value; check the file, or leave the map out")
    smooth = smooth_field(values, valid, volume.voxel_size, fwhm_mm=fwhm_mm)
    filled = smooth if valid.all() else _fill(smooth, valid, volume.voxel_size)
    to_source = np.linalg.inv(volume.affine) @ target.affine
    moved = ndimage.affine_transform(filled, to_source, output_shape=target.shape, order=1, mode="nearest")
    return np.asarray(moved, dtype=np.float32)


def b1_coverage(volume: Volume, target: Volume, mask: NDArray[np.bool_]) -> float:
    """Share of the voxels of `mask` (on the grid of `target`) where `volume` has a measured value."""
    from scipy import ndimage

    valid = np.isfinite(volume.data) & (np.asarray(volume.data) > 0)
    to_source = np.linalg.inv(volume.affine) @ target.affine
    there = ndimage.affine_transform(
        valid.astype(np.float32), to_source, output_shape=target.shape, order=0, mode="grid-constant"
    )
    return float(np.mean(there[mask])) if mask.any() else 0.0


def unicort_like(
    r1: NDArray[np.floating], mask: NDArray[np.bool_], voxel_size: ArrayLike, *, fwhm_mm: float = UNICORT_FWHM_MM
) -> NDArray[np.float32]:
    """Infer a B1+ ratio from an R1 map computed without one.

    Without correction the apparent R1 is R1/f², and f is smooth: the smooth inhomogeneity of the apparent R1 is 1/f²,
    up to a constant that is chosen such that f has mean 1 over the mask. The inhomogeneity is found by N4
    (doi:10.1109/TMI.2010.2046908); the idea is UNICORT (Weiskopf 2011, doi:10.1016/j.neuroimage.2010.10.023).

    Parameters
    ----------
    r1 : ndarray, shape (X, Y, Z)
        Apparent R1 in 1/s; NaN is left out.
    mask : ndarray of bool
        Brain.
    voxel_size : array_like, shape (3,)
        In mm.
    fwhm_mm : float
        Scale below which nothing is taken for B1+.

    Returns
    -------
    ndarray of float32
        Ratio f, finite everywhere.
    """
    inside = mask & np.isfinite(r1) & (r1 > 0)
    if not inside.any():
        raise ValueError("no voxel of the mask has a positive R1; B1+ cannot be inferred")
    # The field is what the true image was multiplied by, hence 1/f² up to a constant.
    ratio = 1 / np.sqrt(n4_field(r1, inside, voxel_size, fwhm_mm=fwhm_mm))
    return (ratio / ratio[inside].mean()).astype(np.float32)


def n4_field(
    image: NDArray[np.floating], inside: NDArray[np.bool_], voxel_size: ArrayLike, *, fwhm_mm: float
) -> NDArray[np.float64]:
    """Smooth field that an image was multiplied by, up to a constant (N4, doi:10.1109/TMI.2010.2046908).

    Parameters
    ----------
    image : ndarray, shape (X, Y, Z)
        Positive and finite inside.
    inside : ndarray of bool, shape (X, Y, Z)
        Where the field is looked for; it goes on smoothly outside.
    voxel_size : array_like, shape (3,)
        In mm.
    fwhm_mm : float
        Scale below which nothing is taken for the field.

    Returns
    -------
    ndarray of float64
        Positive and finite everywhere; image / field is homogeneous.
    """
    import SimpleITK as sitk  # noqa: N813 - its common name

    size = np.broadcast_to(np.asarray(voxel_size, dtype=np.float64), (3,))
    data = sitk.GetImageFromArray(np.where(inside, image, 0).astype(np.float32).T)
    data.SetSpacing(size.tolist())
    where = sitk.GetImageFromArray(inside.astype(np.uint8).T)
    where.SetSpacing(size.tolist())
    factors = [max(1, round(N4_VOXEL_MM / s)) for s in size]
    extent = np.array(image.shape) * size
    with one_itk_thread():
        corrector = sitk.N4BiasFieldCorrectionImageFilter()
        corrector.SetMaximumNumberOfIterations([50, 50])
        # Two levels: the second one halves the distance of the control points, to about one FWHM.
        corrector.SetNumberOfControlPoints([3 + max(1, round(e / (2 * fwhm_mm))) for e in extent])
        corrector.Execute(sitk.Shrink(data, factors), sitk.Shrink(where, factors))
        field = sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(data))
    return np.exp(field.T.astype(np.float64))


def smooth_field(
    values: NDArray[np.floating], valid: NDArray[np.bool_], voxel_size: ArrayLike, *, fwhm_mm: float
) -> NDArray[np.float64]:
    """Gaussian mean of a smooth field over its valid voxels only.

    Parameters
    ----------
    values : ndarray, shape (X, Y, Z)
        Finite where valid; not looked at elsewhere.
    valid : ndarray of bool, shape (X, Y, Z)
        Voxels that count.
    voxel_size : array_like, shape (3,)
        In mm.
    fwhm_mm : float
        Full width at half maximum of the kernel; 0 for none.

    Returns
    -------
    ndarray of float64
        0 where not valid.
    """
    from scipy import ndimage

    inside = np.where(valid, values, 0.0).astype(np.float64)
    if not fwhm_mm:
        return inside
    sd_voxels = fwhm_mm / _FWHM_PER_SD / np.asarray(voxel_size, dtype=np.float64)
    weight = ndimage.gaussian_filter(valid.astype(np.float64), sd_voxels, mode="constant")

    def mean(image: NDArray[np.float64]) -> NDArray[np.float64]:
        total = ndimage.gaussian_filter(np.where(valid, image, 0.0), sd_voxels, mode="constant")
        return np.divide(total, weight, out=np.zeros_like(total), where=valid)

    smooth = mean(inside)
    # Smoothing the residuals once more gives back the slope that a one-sided mean loses at the border.
    return smooth + mean(inside - smooth)


def _fill(
    values: NDArray[np.float64], valid: NDArray[np.bool_], voxel_size: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Continue `values` beyond the valid voxels without a step at the border."""
    from scipy import ndimage

    found: Any = ndimage.distance_transform_edt(~valid, sampling=voxel_size, return_indices=True)
    distance, nearest = found
    continued = values[tuple(nearest)]
    wide = ndimage.gaussian_filter(continued, 20.0 / _FWHM_PER_SD / voxel_size, mode="nearest")
    share = np.exp(-distance / 10.0)
    return np.where(valid, values, share * continued + (1 - share) * wide)
