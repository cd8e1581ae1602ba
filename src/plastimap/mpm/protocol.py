"""From the echoes of one scan to its quantitative maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.mpm import maps
from plastimap.mpm.b1 import unicort_like
from plastimap.mpm.estatics import EstaticsFit, Method, fit_estatics
from plastimap.mpm.foreground import foreground

WEIGHTINGS = ("PDw", "T1w", "MTw")
"""The contrasts known, in the order of their first use."""

LONGEST_TR_S = 1.0
"""A repetition time above this is taken for milliseconds, and refused."""

RECOMMENDED_ECHOES = 6
"""Echoes in all below which R2* is fitted with a warning."""

_SD_PER_MAD = 1.4826

Image = NDArray[np.float32]
Vector = NDArray[np.floating]


@dataclass(frozen=True)
class Protocol:
    """Acquisition of a multi-parameter mapping scan, per contrast (``PDw``, ``T1w``, ``MTw``).

    Attributes
    ----------
    echo_times : mapping of str to sequence of float
        In seconds, in the order of the echo images.
    flip_deg : mapping of str to float
        Nominal flip angle in degrees.
    tr : mapping of str to float
        Repetition time of the excitation in seconds.
    """

    echo_times: Mapping[str, Sequence[float]]
    flip_deg: Mapping[str, float]
    tr: Mapping[str, float]


@dataclass(frozen=True)
class MpmMaps:
    """Result of :func:`fit_maps`: float32 maps, NaN where no value is plausible; None for what the data do not allow.

    Attributes
    ----------
    r1 : ndarray or None
        1/s.
    r2s : ndarray
        1/s.
    mtsat : ndarray or None
        Percent units.
    pd : ndarray or None
        Signal amplitude A (proton density × receive sensitivity × a constant), not calibrated: units of the images.
    mtr : ndarray or None
        Percent units.
    r2s_se : ndarray
        Standard error of R2* in 1/s.
    residual_sd : dict of str to ndarray
        Root mean square residual per contrast in signal units.
    mask : ndarray of bool
        Voxels that were fitted.
    notes : tuple of str
        What a reader of the maps has to know.
    qa : dict
        Counts and indices, ready for JSON.
    """

    r1: Image | None
    r2s: Image
    mtsat: Image | None
    pd: Image | None
    mtr: Image | None
    r2s_se: Image
    residual_sd: dict[str, Image]
    mask: NDArray[np.bool_]
    notes: tuple[str, ...]
    qa: dict[str, Any]


def fit_maps(
    echoes: Mapping[str, Sequence[NDArray]],
    protocol: Protocol,
    *,
    b1: NDArray | None = None,
    mask: NDArray | None = None,
    white_matter: NDArray | None = None,
    r2s_fit: Method = "wls1",
    small_angle: bool = False,
    b1_correction: maps.B1Correction = "helms",
    b1_constant: float | None = None,
    unicort: bool = False,
    voxel_size: Sequence[float] = (1.0, 1.0, 1.0),
) -> MpmMaps:
    """Fit R2*, R1, MTsat and A as far as the contrasts allow.

    R2* needs any contrast; R1 and A need ``PDw`` and ``T1w``; MTsat needs all three; MTR needs ``PDw`` and ``MTw`` with
    the same repetition time and flip angle.

    Parameters
    ----------
    echoes : mapping of str to sequence of ndarray
        Magnitude images of shape (X, Y, Z) per contrast, on one grid.
    protocol : Protocol
    b1 : ndarray, optional
        Measured B1+ ratio on the same grid. R1, A and a corrected MTsat are NaN where it is not finite.
    mask : ndarray of bool, optional
        Voxels to fit; everything but air when not given.
    white_matter : ndarray of bool, optional
        Where the motion index is taken; all fitted voxels when not given.
    r2s_fit, small_angle, b1_correction, b1_constant
        As in :func:`~plastimap.mpm.estatics.fit_estatics` and :func:`~plastimap.mpm.maps.mtsat`.
    unicort : bool
        Without `b1`: infer B1+ from R1 itself and correct R1 and A by it (not MTsat).
    voxel_size : sequence of float
        In mm; used by `unicort` only.

    Returns
    -------
    MpmMaps

    Raises
    ------
    ValueError
        When images and protocol do not go together; the message says what to change.
    """
    _check_protocol(echoes, protocol)
    chosen = foreground(echoes) if mask is None else np.array(mask, dtype=bool)
    if not chosen.any():
        raise ValueError("no voxel to fit: the mask is empty, or the images hold no signal")
    fit = fit_estatics(echoes, protocol.echo_times, method=r2s_fit, mask=chosen)
    signals = {name: image[chosen] for name, image in fit.intercepts.items()}
    notes, qa = _first_notes(echoes, chosen, fit)
    qa["motion_index"] = motion_index(fit, chosen if white_matter is None else np.asarray(white_matter, dtype=bool))
    qa["motion_index_region"] = "all fitted voxels" if white_matter is None else "white matter"
    ratio = None if b1 is None else np.asarray(b1)[chosen]
    if unicort and b1 is None and {"PDw", "T1w"} <= signals.keys():
        ratio = _inferred_b1(signals, protocol, chosen, small_angle, voxel_size)
    notes += _b1_notes(b1 is not None, ratio is not None, b1_correction, signals.keys())

    images: dict[str, Image] = {}
    for name, (values, limits) in {
        "R2s": (fit.r2s[chosen], maps.R2S_RANGE),
        **_relaxation(signals, protocol, ratio, small_angle),
        **_transfer(signals, protocol, None if b1 is None else ratio, small_angle, b1_correction, b1_constant),
    }.items():
        limited, qa[f"n_out_of_range_{name}"] = maps.within(values, limits)
        images[name] = _placed(limited, chosen)
    notes += _missing_notes(images.keys())
    return MpmMaps(
        r1=images.get("R1"),
        r2s=images["R2s"],
        mtsat=images.get("MTsat"),
        pd=images.get("PD"),
        mtr=images.get("MTR"),
        r2s_se=np.asarray(fit.r2s_se, dtype=np.float32),
        residual_sd={name: np.asarray(image, dtype=np.float32) for name, image in fit.residual_sd.items()},
        mask=chosen,
        notes=tuple(notes),
        qa=qa,
    )


def motion_index(fit: EstaticsFit, mask: NDArray[np.bool_]) -> dict[str, float]:
    """Spread of each contrast's own R2* about the shared one, in 1/s.

    Motion during a contrast disturbs its echoes, and with them its R2*: the distribution widens.

    Parameters
    ----------
    fit : EstaticsFit
    mask : ndarray of bool
        White matter, or all voxels.

    Returns
    -------
    dict of str to float
        Robust standard deviation (1.4826 × median absolute deviation) per contrast. With one contrast: the same of R2*.
    """
    images = fit.r2s_difference or dict.fromkeys(fit.intercepts, fit.r2s)
    return {name: _robust_sd(image[mask]) for name, image in images.items()}


def _robust_sd(values: NDArray[np.floating]) -> float:
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return float("nan")
    return float(_SD_PER_MAD * np.median(np.abs(finite - np.median(finite))))


def _check_protocol(echoes: Mapping[str, Sequence[NDArray]], protocol: Protocol) -> None:
    """Raise ValueError for contrasts, flip angles or repetition times that cannot be."""
    unknown = sorted(set(echoes) - set(WEIGHTINGS))
    if unknown or not echoes:
        raise ValueError(f"contrasts {unknown or 'missing'}; known are {', '.join(WEIGHTINGS)}")
    for name in echoes:
        flip, tr = protocol.flip_deg.get(name), protocol.tr.get(name)
        if flip is None or not 0 < flip < 90:
            raise ValueError(f"{name}: flip angle {flip}; it must lie between 0 and 90 degrees")
        if tr is None or not 0 < tr <= LONGEST_TR_S:
            raise ValueError(f"{name}: repetition time {tr}; seconds are wanted (0.025, not 25)")
    if {"PDw", "T1w"} <= echoes.keys() and protocol.flip_deg["T1w"] <= protocol.flip_deg["PDw"]:
        raise ValueError(
            f"the T1w flip angle ({protocol.flip_deg['T1w']}°) is not larger than the PDw one "
            f"({protocol.flip_deg['PDw']}°); are the two interchanged?"
        )


def _first_notes(
    echoes: Mapping[str, Sequence[NDArray]], chosen: NDArray[np.bool_], fit: EstaticsFit
) -> tuple[list[str], dict[str, Any]]:
    """Collect notes and counts known after the fit of R2*."""
    n_echoes = sum(len(images) for images in echoes.values())
    notes: list[str] = []
    if n_echoes < RECOMMENDED_ECHOES:
        notes.append(f"R2* was fitted to {n_echoes} echoes only ({RECOMMENDED_ECHOES} or more are recommended)")
    qa = {"n_voxels": int(np.count_nonzero(chosen)), "n_echoes": n_echoes, "n_invalid_signal": fit.n_invalid}
    return notes, qa


def _relaxation(
    signals: Mapping[str, Vector], protocol: Protocol, b1: Vector | None, small_angle: bool
) -> dict[str, tuple[Vector, tuple[float, float]]]:
    """R1 and A with their plausible ranges, where the contrasts allow."""
    if not {"PDw", "T1w"} <= signals.keys():
        return {}
    r1, a = maps.r1_and_a(
        signals["PDw"], signals["T1w"], b1=b1, small_angle=small_angle, **_settings(protocol, ("PDw", "T1w"))
    )
    return {"R1": (r1, maps.R1_RANGE), "PD": (a, maps.AMPLITUDE_RANGE)}


def _transfer(
    signals: Mapping[str, Vector],
    protocol: Protocol,
    b1: Vector | None,
    small_angle: bool,
    correction: maps.B1Correction,
    constant: float | None,
) -> dict[str, tuple[Vector, tuple[float, float]]]:
    """MTsat and MTR with their plausible ranges, where the contrasts allow."""
    found: dict[str, tuple[Vector, tuple[float, float]]] = {}
    if set(WEIGHTINGS) <= signals.keys():
        saturation = maps.mtsat(
            signals["PDw"],
            signals["T1w"],
            signals["MTw"],
            b1=b1,
            correction=correction,
            constant=constant,
            small_angle=small_angle,
            **_settings(protocol, WEIGHTINGS),
        )
        found["MTsat"] = (saturation, maps.MTSAT_RANGE)
    alike = all(
        values.get("PDw") is not None and values.get("PDw") == values.get("MTw")
        for values in (protocol.flip_deg, protocol.tr)
    )
    if {"PDw", "MTw"} <= signals.keys() and alike:
        found["MTR"] = (maps.mtr(signals["PDw"], signals["MTw"]), maps.MTR_RANGE)
    return found


def _settings(protocol: Protocol, names: Sequence[str]) -> dict[str, float]:
    """Flip angles and repetition times under the argument names of :mod:`plastimap.mpm.maps`."""
    flips = {f"flip_{name.lower()}_deg": protocol.flip_deg[name] for name in names}
    return flips | {f"tr_{name.lower()}": protocol.tr[name] for name in names}


def _inferred_b1(
    signals: Mapping[str, Vector],
    protocol: Protocol,
    chosen: NDArray[np.bool_],
    small_angle: bool,
    voxel_size: Sequence[float],
) -> Vector:
    """B1+ ratio of the chosen voxels, from the inhomogeneity of R1."""
    r1, limits = _relaxation(signals, protocol, None, small_angle)["R1"]
    plausible, _ = maps.within(r1, limits)
    return unicort_like(_placed(plausible, chosen), chosen, voxel_size)[chosen]


def _b1_notes(measured: bool, corrected: bool, correction: str, contrasts: Collection[str]) -> list[str]:
    """Say what was done about B1+."""
    if not {"PDw", "T1w"} <= set(contrasts):
        return []
    if measured:
        return ["MTsat is not corrected for B1+ beyond its own compensation"] if correction == "none" else []
    if corrected:
        return ["B1+ was inferred from R1 itself: R1 and A are corrected by it, MTsat is not"]
    return ["no B1+ map: R1, A and MTsat are not corrected for the transmit field"]


def _missing_notes(present: Collection[str]) -> list[str]:
    """Say which maps are missing, and why."""
    reasons = {"R1": "R1 and A need PDw and T1w", "MTsat": "MTsat needs PDw, T1w and MTw"}
    return [f"not computed: {reason}" for name, reason in reasons.items() if name not in present]


def _placed(values: Vector, chosen: NDArray[np.bool_]) -> Image:
    """Make an image with `values` in the chosen voxels and NaN elsewhere."""
    image = np.full(chosen.shape, np.nan, dtype=np.float32)
    image[chosen] = values
    return image
