"""From a raw diffusion series to its maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.denoise import denoise_mppca, without_nan
from plastimap.dwi.drift import drift_gains
from plastimap.dwi.eddy import align_by_eddy
from plastimap.dwi.freewater import TooFewShells, fit_free_water
from plastimap.dwi.gradients import check_gradients, fsl_to_world
from plastimap.dwi.mask import brain_mask
from plastimap.dwi.motion import Undistort, correct_motion
from plastimap.dwi.orientation import check_table
from plastimap.dwi.quality import contrasts, distortion_summary, motion_summary, signal_to_noise
from plastimap.dwi.resampling import resampled
from plastimap.dwi.susceptibility import FieldMap, ReversedPhase, find_distortion
from plastimap.dwi.tensor import Method, colour_fa, fit_tensor
from plastimap.dwi.unring import unring as without_ringing
from plastimap.images import Volume

SCALARS = ("fa", "md", "ad", "rd")

Field = ReversedPhase | FieldMap
Motion = bool | Literal["eddy"]

Image = NDArray[np.float32]


@dataclass(frozen=True)
class DwiMaps:
    """Result of :func:`process_dwi`; maps are float32, NaN outside the mask.

    Attributes
    ----------
    fa : ndarray, shape (X, Y, Z)
    md, ad, rd : ndarray
        µm²/ms; these four of the tissue beside free water where that was asked for and can be told.
    water : ndarray or None
        Share of free water where it was asked for and can be told.
    s0 : ndarray
        Fitted signal at b = 0.
    direction : ndarray, shape (X, Y, Z, 3)
        Unit vector of the largest diffusivity in world axes (RAS).
    tensor : ndarray, shape (X, Y, Z, 6)
        xx, yy, zz, xy, xz, yz in µm²/ms and world axes.
    colour_fa : ndarray, shape (X, Y, Z, 3)
        |direction| × FA; 0 outside the mask.
    residual : ndarray
        Standard deviation of what the tensor leaves unexplained, in signal units.
    sigma, rank : ndarray or None
        Noise and number of signal components found by denoising, None without it; before alignment.
    mean_b0 : ndarray
        Mean of the aligned b = 0 volumes, finite everywhere.
    mask : ndarray of bool
    notes : tuple of str
    qa : dict
        Counts, signal-to-noise ratio, contrast-to-noise ratio per shell, motion and eddy currents per volume, replaced
        slices, drift, the check of the table of b-vectors; ready for JSON.
    """

    fa: Image
    md: Image
    ad: Image
    rd: Image
    water: Image | None
    s0: Image
    direction: Image
    tensor: Image
    colour_fa: Image
    residual: Image
    sigma: Image | None
    rank: Image | None
    mean_b0: Image
    mask: NDArray[np.bool_]
    notes: tuple[str, ...]
    qa: dict[str, Any]


@dataclass(frozen=True)
class _Prepared:
    """A series ready for the tensor fit, and what is known about it."""

    data: Image
    bvecs: NDArray[np.float64]
    sigma: Image | None
    rank: Image | None
    notes: tuple[str, ...]
    qa: dict[str, Any]


def process_dwi(
    volume: Volume,
    bvals: ArrayLike,
    bvecs: ArrayLike,
    *,
    denoise: bool = True,
    denoise_stride: int | None = None,
    rician: bool = False,
    unring: bool = False,
    drift: bool = True,
    motion: Motion = True,
    susceptibility: str = "none",
    field: Field | None = None,
    fit: Method = "wls",
    b0_threshold: float = 50,
    max_bval: float = 1500,
    free_water: bool = False,
    phase_encoding: str | None = None,
    partial_fourier: float | None = None,
    readout_s: float | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> DwiMaps:
    """Denoise, take ringing off, align, mask and fit a diffusion series.

    Parameters
    ----------
    volume : Volume, shape (X, Y, Z, N)
        Raw magnitude series.
    bvals : array_like, shape (N,)
        s/mm².
    bvecs : array_like, shape (N, 3)
        In FSL's convention, as in BIDS.
    denoise, unring, drift : bool
        Whether to take these steps.
    motion : bool or "eddy"
        Whether to align the volumes, and whether FSL's eddy does it.
    susceptibility : {"none", "auto", "reversed", "field_map"}
        What was asked for; without a `field` to do it by, a note says that distortion stays.
    field : ReversedPhase or FieldMap, optional
        What shows the distortion by susceptibility; it is taken back with the motion, in one interpolation.
    denoise_stride : int, optional
        Voxels between patches; the patch's radius when not given.
    rician : bool
        Whether denoising takes off the bias of magnitude data.
    fit : {"ols", "wls", "iwls", "robust"}
        Tensor estimator.
    b0_threshold : float
        s/mm²; at or below it a volume counts as b = 0.
    max_bval : float
        s/mm²; shells above it are left out of the tensor fit where enough directions remain below.
    free_water : bool
        Whether FA, MD, AD and RD are those of the tissue beside free water. Needs two shells; else a note says that
        they are those of the voxel.
    phase_encoding : str, optional
        BIDS ``PhaseEncodingDirection``; without it eddy currents are not corrected.
    partial_fourier : float, optional
        BIDS ``PartialFourier``.
    readout_s : float, optional
        BIDS ``TotalReadoutTime``, for FSL's eddy.
    mask : ndarray of bool, shape (X, Y, Z), optional
        Brain; found on the mean b = 0 image when not given.

    Returns
    -------
    DwiMaps

    Raises
    ------
    ValueError
        When series and gradients do not go together; the message names every problem. When ringing was to be removed
        from an image of partial Fourier.
    """
    if volume.data.ndim != 4:
        raise ValueError(f"a series of shape (X, Y, Z, N) is wanted, not {volume.data.shape}")
    problems = check_gradients(bvals, bvecs, n_volumes=volume.data.shape[3], b0_threshold=b0_threshold)
    if problems:
        raise ValueError("; ".join(problems))
    b = np.asarray(bvals, dtype=np.float64)
    b0 = b <= b0_threshold
    raw = without_nan(volume.data)
    # The first mask is only for what comes before alignment; the last word is that of the aligned b = 0 images.
    first_mask = (
        brain_mask(raw[..., b0].mean(axis=-1), voxel_size=volume.voxel_size)
        if mask is None
        else np.asarray(mask, dtype=bool)
    )
    made = _Prepared(raw, fsl_to_world(bvecs, volume.affine), None, None, (), {})
    del raw
    made = _denoised(made, _widened(first_mask), stride=denoise_stride, rician=rician) if denoise else made
    if unring:
        clean = without_ringing(made.data, mask=_widened(first_mask), partial_fourier=partial_fourier)
        made = replace(made, data=clean)
    protocol = _Protocol(b, b0_threshold, phase_encoding, readout_s)
    undistort = _undistort(field, phase_encoding, first_mask) if field else None
    if motion == "eddy":
        made = _aligned_by_eddy(made, volume.affine, protocol, first_mask)
    elif motion:
        made = _aligned(made, volume.affine, protocol, first_mask, undistort)
    elif undistort:
        made = _undistorted(made, volume.affine, b0, first_mask, undistort)
    if field and mask is None:
        first_mask = brain_mask(made.data[..., b0].mean(axis=-1), voxel_size=volume.voxel_size)
    if drift:
        # After alignment: a head that moves out of the mask would look like drift.
        made = _without_drift(made, first_mask, b0)
    mean_b0 = made.data[..., b0].mean(axis=-1)
    final_mask = first_mask if mask is not None else brain_mask(mean_b0, voxel_size=volume.voxel_size)
    tensor = fit_tensor(
        made.data, b, made.bvecs, mask=final_mask, method=fit, b0_threshold=b0_threshold, max_bval=max_bval
    )
    table = check_table(tensor.direction, tensor.fa, volume.affine)
    sigma = float("nan") if made.sigma is None else float(np.nanmedian(made.sigma[first_mask]))
    maps: dict[str, Any] = {name: getattr(tensor, name) for name in (*SCALARS, "s0", "direction", "tensor", "residual")}
    maps["water"], notes = None, ()
    if free_water:
        tissue, notes = _tissue(made, b, final_mask, b0_threshold)
        maps |= tissue
    return DwiMaps(
        **maps,
        colour_fa=colour_fa(tensor),
        sigma=made.sigma,
        rank=made.rank,
        mean_b0=mean_b0,
        mask=final_mask,
        notes=made.notes + _stays_distorted(susceptibility, field) + tensor.notes + table.notes + notes,
        qa={
            "n_volumes": int(b.size),
            "n_b0": int(b0.sum()),
            **made.qa,
            **tensor.qa,
            **signal_to_noise(mean_b0[final_mask], sigma, tensor.qa["noise_sd"]),
            "cnr": contrasts(made.data, b, made.bvecs, final_mask, b0_threshold),
            "bvec_table": {"best": table.best, "coherence_gain": table.gain},
        },
    )


def _tissue(
    series: _Prepared, bvals: NDArray[np.float64], mask: NDArray[np.bool_], b0_threshold: float
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Maps of the tissue beside free water, and of the water; a note where a single shell cannot tell them apart."""
    try:
        made = fit_free_water(series.data, bvals, series.bvecs, mask=mask, b0_threshold=b0_threshold)
    except TooFewShells as problem:
        return {"water": None}, (f"FA, MD, AD and RD are not corrected for free water: {problem}",)
    return {"water": made.fraction, **{name: getattr(made, name) for name in SCALARS}}, ()


def _denoised(series: _Prepared, mask: NDArray[np.bool_], *, stride: int | None, rician: bool) -> _Prepared:
    made = denoise_mppca(series.data, mask=mask, stride=stride, rician=rician)
    return replace(series, data=made.data, sigma=made.sigma, rank=made.rank)


def _without_drift(series: _Prepared, mask: NDArray[np.bool_], b0: NDArray[np.bool_]) -> _Prepared:
    gains, notes = drift_gains(series.data[mask][:, b0].mean(axis=0), b0)
    qa = {"drift_percent": float(100 * np.ptp(1 / gains))}
    data = series.data * gains.astype(np.float32)
    return replace(series, data=data, notes=series.notes + notes, qa=series.qa | qa)


@dataclass(frozen=True)
class _Protocol:
    """How a series was encoded."""

    bvals: NDArray[np.float64]
    b0_threshold: float
    phase_encoding: str | None
    readout_s: float | None


def _aligned(
    series: _Prepared,
    affine: NDArray[np.float64],
    protocol: _Protocol,
    mask: NDArray[np.bool_],
    undistort: Undistort | None,
) -> _Prepared:
    made = correct_motion(
        Volume(series.data, affine),
        protocol.bvals,
        series.bvecs,
        mask=mask,
        b0_threshold=protocol.b0_threshold,
        phase_encoding=protocol.phase_encoding,
        undistort=undistort,
    )
    qa, notes = series.qa | motion_summary(made), made.notes
    if made.distortion is not None:
        qa["susceptibility"] = distortion_summary(made.distortion, mask)
        notes += made.distortion.notes
    return replace(series, data=made.data, bvecs=made.bvecs, notes=series.notes + notes, qa=qa)


def _aligned_by_eddy(
    series: _Prepared, affine: NDArray[np.float64], protocol: _Protocol, mask: NDArray[np.bool_]
) -> _Prepared:
    if protocol.phase_encoding is None:
        raise ValueError("FSL's eddy needs PhaseEncodingDirection; add it to the sidecar, or set dwi.motion: true")
    made = align_by_eddy(
        Volume(series.data, affine),
        protocol.bvals,
        series.bvecs,
        mask=mask,
        phase_encoding=protocol.phase_encoding,
        readout_s=protocol.readout_s,
    )
    qa = series.qa | motion_summary(made)
    return replace(series, data=made.data, bvecs=made.bvecs, notes=series.notes + made.notes, qa=qa)


def _undistort(field: Field, phase_encoding: str | None, mask: NDArray[np.bool_]) -> Undistort:
    if phase_encoding is None:
        raise ValueError("susceptibility shifts signal along PhaseEncodingDirection; add it to the sidecar")
    return lambda reference: find_distortion(reference, field, phase_encoding=phase_encoding, mask=mask)


def _undistorted(
    series: _Prepared,
    affine: NDArray[np.float64],
    b0: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    undistort: Undistort,
) -> _Prepared:
    """Take distortion back in a series whose volumes are not aligned."""
    distortion = undistort(Volume(series.data[..., b0].mean(axis=-1), affine))
    volumes = [resampled(volume, np.eye(4), affine, distortion) for volume in np.moveaxis(series.data, -1, 0)]
    qa = series.qa | {"susceptibility": distortion_summary(distortion, mask)}
    return replace(series, data=np.stack(volumes, axis=-1), notes=series.notes + distortion.notes, qa=qa)


def _stays_distorted(susceptibility: str, field: Field | None) -> tuple[str, ...]:
    if susceptibility == "none" or field:
        return ()
    return ("susceptibility distortion is not corrected: neither a second phase encoding nor a field map was found",)


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Give the mask a margin of two voxels, for what may move into it."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(mask, iterations=2), dtype=bool)
