"""From the echoes of one scan to its quantitative maps, with their standard errors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plastimap.mpm import maps
from plastimap.mpm.b1 import unicort_like
from plastimap.mpm.errors import Excitation, gradients, standard_errors
from plastimap.mpm.estatics import (
    LEAST_ECHOES,
    EstaticsFit,
    Method,
    fit_each_contrast,
    fit_estatics,
    line_covariances,
    noise_variance,
)
from plastimap.mpm.foreground import foreground
from plastimap.mpm.joint import fit_joint
from plastimap.mpm.protocol import WEIGHTINGS, Protocol, check_protocol
from plastimap.mpm.repetitions import combine_repetitions
from plastimap.mpm.spoiling import SpoilingCorrection, correct_spoiling

RECOMMENDED_ECHOES = 6
"""Echoes in all below which R2* is fitted with a warning."""

CHUNK = 1 << 17
"""Voxels whose standard errors are worked out at a time."""

LIMITS = {
    "R2s": maps.R2S_RANGE,
    "R1": maps.R1_RANGE,
    "A": maps.AMPLITUDE_RANGE,
    "MTsat": maps.MTSAT_RANGE,
    "MTR": maps.MTR_RANGE,
}
"""Plausible values of each map."""

Model = Literal["two_step", "joint"]
Image = NDArray[np.float32]
Vector = NDArray[np.floating]


@dataclass(frozen=True)
class MpmSettings:
    """How maps are made from signals.

    Attributes
    ----------
    model : {"two_step", "joint"}
        ``two_step``: R2* and the signals at TE = 0 first, then R1, A and MTsat in closed form. ``joint``: all by
        maximum likelihood under Rician noise (:mod:`plastimap.mpm.joint`).
    r2s_fit : {"ols", "wls1", "wls2", "wls3", "robust"}
        Estimator of the two-step way.
    small_angle, b1_correction, b1_constant
        As in :func:`plastimap.mpm.maps.mtsat`.
    unicort : bool
        Without a measured B1+: infer it from R1 itself and correct R1 and A by it (not MTsat).
    spoiling : SpoilingCorrection, optional
        Corrects R1 for imperfect spoiling.
    """

    model: Model = "two_step"
    r2s_fit: Method = "wls1"
    small_angle: bool = False
    b1_correction: maps.B1Correction = "helms"
    b1_constant: float | None = None
    unicort: bool = False
    spoiling: SpoilingCorrection | None = None


DEFAULTS = MpmSettings()


@dataclass(frozen=True)
class MpmMaps:
    """Result of :func:`fit_maps`; images are float32, NaN where no value is plausible.

    Attributes
    ----------
    maps : dict of str to ndarray
        What the contrasts allow of ``R2s`` and ``R1`` (1/s), ``A`` (the amplitude: proton density × receive sensitivity
        × a constant, in units of the images), ``MTsat`` and ``MTR`` (p.u.).
    standard_errors : dict of str to ndarray
        Of these maps (not of ``MTR``), in their units.
    contrast_r2s : dict of str to ndarray
        R2* of every contrast alone (1/s), where it has enough echoes: they differ where the head moved. Where no
        contrast has enough: the common one, as ``all``.
    mask : ndarray of bool
        Voxels that were fitted.
    notes : tuple of str
        What a reader of the maps has to know.
    qa : dict
        Counts, ready for JSON.
    """

    maps: dict[str, Image]
    standard_errors: dict[str, Image]
    contrast_r2s: dict[str, Image]
    mask: NDArray[np.bool_]
    notes: tuple[str, ...]
    qa: dict[str, Any] = field(default_factory=dict)

    @property
    def contrast_r2s_series(self) -> Image:
        """R2* of the contrasts as one series, shape (X, Y, Z, n_contrasts)."""
        return np.stack(list(self.contrast_r2s.values()), axis=-1)


def fit_maps(
    echoes: Mapping[str, Sequence[NDArray]],
    protocol: Protocol,
    settings: MpmSettings = DEFAULTS,
    *,
    b1: NDArray | None = None,
    receive: Mapping[str, NDArray] | None = None,
    mask: NDArray | None = None,
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
    settings : MpmSettings
    b1 : ndarray, optional
        Measured B1+ ratio on the same grid. R1, A and a corrected MTsat are NaN where it is not finite.
    receive : mapping of str to ndarray, optional
        Receive sensitivity per contrast on the same grid; the echoes are divided by it.
    mask : ndarray of bool, optional
        Voxels to fit; everything but air when not given.
    voxel_size : sequence of float
        In mm.

    Returns
    -------
    MpmMaps

    Raises
    ------
    ValueError
        When images and protocol do not go together; the message says what to change.
    """
    check_protocol(echoes, protocol)
    chosen = foreground(echoes) if mask is None else np.array(mask, dtype=bool)
    if not chosen.any():
        raise ValueError("no voxel to fit: the mask is empty, or the images hold no signal")
    signals = echoes if receive is None else _without_sensitivity(echoes, receive)
    work = _Work(signals, protocol, settings, b1, chosen, tuple(voxel_size))
    found = (_two_step if settings.model == "two_step" else _joint)(work)
    counts: dict[str, Any] = {"n_voxels": int(np.count_nonzero(chosen)), "n_echoes": sum(map(len, echoes.values()))}
    images: dict[str, Image] = {}
    for name, values in found.maps.items():
        images[name], counts[f"n_out_of_range_{name}"] = maps.within(values, LIMITS[name])
    return MpmMaps(
        maps=images,
        standard_errors={
            name: np.where(np.isfinite(images[name]), error, np.nan).astype(np.float32)
            for name, error in found.errors.items()
        },
        contrast_r2s=_alone(work) or {"all": images["R2s"]},
        mask=chosen,
        notes=(*_echo_notes(counts["n_echoes"]), *_b1_notes(work, found.b1), *found.notes, *_missing_notes(images)),
        qa=counts | found.qa,
    )


def combined_maps(repetitions: Sequence[MpmMaps]) -> MpmMaps:
    """Combine the maps of several repetitions of a scan, weighted by their errors.

    Parameters
    ----------
    repetitions : sequence of MpmMaps
        On one grid, with the same maps.

    Returns
    -------
    MpmMaps
        Counts are those of the first repetition; a single repetition comes back as it is.
    """
    first = repetitions[0]
    if len(repetitions) == 1:
        return first
    both = {
        name: combine_repetitions(
            [one.maps[name] for one in repetitions],
            [one.standard_errors.get(name, one.standard_errors["R2s"]) for one in repetitions],
        )
        for name in first.maps
    }
    return replace(
        first,
        maps={name: pair[0] for name, pair in both.items()},
        standard_errors={name: both[name][1] for name in first.standard_errors},
        mask=np.any([one.mask for one in repetitions], axis=0),
        notes=tuple(
            dict.fromkeys(
                [
                    *(note for one in repetitions for note in one.notes),
                    f"mean of {len(repetitions)} repetitions, each weighted by its error",
                ]
            )
        ),
        qa={**first.qa, "n_repetitions": len(repetitions)},
    )


@dataclass(frozen=True)
class _Work:
    """What both models start from."""

    echoes: Mapping[str, Sequence[NDArray]]
    protocol: Protocol
    settings: MpmSettings
    b1: NDArray | None
    chosen: NDArray[np.bool_]
    voxel_size: tuple[float, ...]

    @property
    def relaxation(self) -> bool:
        """Whether the contrasts allow R1."""
        return {"PDw", "T1w"} <= self.echoes.keys()

    @property
    def excitation(self) -> Excitation:
        """Angles and times in the order of the contrasts."""
        s, p = self.settings, self.protocol
        return Excitation(p.flip_deg, p.tr, s.small_angle, s.b1_correction, s.b1_constant)

    def placed(self, values: Vector) -> Image:
        """Make an image with `values` in the chosen voxels and NaN elsewhere."""
        image = np.full(self.chosen.shape, np.nan, dtype=np.float32)
        image[self.chosen] = values
        return image


@dataclass(frozen=True)
class _Found:
    maps: dict[str, Image]
    errors: dict[str, Image]
    b1: Literal["measured", "inferred", "none"]
    qa: dict[str, Any]
    notes: tuple[str, ...] = ()


def _two_step(work: _Work) -> _Found:
    fit = fit_estatics(work.echoes, work.protocol.echo_times, method=work.settings.r2s_fit, mask=work.chosen)
    signals = {name: image[work.chosen].astype(np.float64) for name, image in fit.intercepts.items()}
    measured = None if work.b1 is None else np.asarray(work.b1)[work.chosen]
    ratio, source = measured, "none" if measured is None else "measured"
    if work.settings.unicort and measured is None and work.relaxation:
        ratio, source = _inferred_b1(work, signals), "inferred"
    found: dict[str, Vector] = {"R2s": fit.r2s[work.chosen]}
    if work.relaxation:
        found["R1"], found["A"] = maps.r1_and_a(
            signals["PDw"], signals["T1w"], b1=ratio, small_angle=work.settings.small_angle, **_arguments(work, 2)
        )
    if set(WEIGHTINGS) <= signals.keys():
        found["MTsat"] = maps.mtsat(
            *(signals[name] for name in WEIGHTINGS),
            b1=measured,
            correction=work.settings.b1_correction,
            constant=work.settings.b1_constant,
            small_angle=work.settings.small_angle,
            **_arguments(work, 3),
        )
    found |= _ratio_map(work, signals)
    errors = _two_step_errors(work, fit, signals, ratio, measured)
    _correct_spoiling(work, found, errors, ratio)
    return _Found(
        maps={name: work.placed(values) for name, values in found.items()},
        errors={name: work.placed(values) for name, values in errors.items()},
        b1=source,
        qa={
            "n_invalid_signal": fit.n_invalid,
            "noise_sd": float(np.sqrt(np.nanmedian(noise_variance(fit)[work.chosen]))),
        },
    )


def _joint(work: _Work) -> _Found:
    fit = fit_joint(
        work.echoes, work.protocol.echo_times, work.excitation, b1=work.b1, mask=work.chosen, voxel_size=work.voxel_size
    )
    found = {name: image[work.chosen] for name, image in fit.maps.items()}
    errors = {name: image[work.chosen] for name, image in fit.standard_errors.items()}
    # The MT ratio is a ratio of signals, which the plain fit gives.
    found |= _ratio_map(work, {name: image[work.chosen] for name, image in fit.start.intercepts.items()})
    ratio = None if work.b1 is None else np.asarray(work.b1)[work.chosen]
    _correct_spoiling(work, found, errors, ratio)
    notes = [f"{fit.n_unsettled} voxels had no most likely value"] if fit.n_unsettled else []
    if work.settings.unicort and work.b1 is None:
        notes.append("B1+ is not inferred from R1 by the joint fit")
    return _Found(
        maps={name: work.placed(values) for name, values in found.items()},
        errors={name: work.placed(values) for name, values in errors.items()},
        b1="none" if work.b1 is None else "measured",
        qa={"n_invalid_signal": fit.n_invalid, "noise_sd": float(np.nanmedian(fit.noise_sd[work.chosen]))},
        notes=tuple(notes),
    )


def _two_step_errors(
    work: _Work, fit: EstaticsFit, signals: Mapping[str, Vector], ratio: Vector | None, measured: Vector | None
) -> dict[str, Vector]:
    """Standard errors of R2* and of what follows from the signals, chunk by chunk: covariances take room."""
    names = list(signals)
    size = next(iter(signals.values())).size
    places = np.flatnonzero(work.chosen)
    variance = noise_variance(fit)
    errors: dict[str, Vector] = {}
    for start in range(0, size, CHUNK):
        part = slice(start, min(start + CHUNK, size))
        where = np.zeros(work.chosen.size, dtype=bool)
        where[places[part]] = True
        where = where.reshape(work.chosen.shape)
        covariance, noise = line_covariances(fit, where), variance[where]
        found = {"R2s": np.sqrt(covariance[:, -1, -1] * noise)}
        if work.relaxation:
            local = {name: values[part] for name, values in signals.items()}
            slopes = gradients(
                {name: local[name] for name in ("PDw", "T1w")},
                work.excitation,
                b1=None if ratio is None else ratio[part],
            )
            if "MTw" in local:
                slopes["MTsat"] = gradients(local, work.excitation, b1=None if measured is None else measured[part])[
                    "MTsat"
                ]
            found |= standard_errors(slopes, local, covariance, noise, contrasts=names)
        for name, values in found.items():
            errors.setdefault(name, np.full(size, np.nan))[part] = values
    return errors


def _correct_spoiling(work: _Work, found: dict[str, Vector], errors: dict[str, Vector], b1: Vector | None) -> None:
    """Correct R1, and stretch its error as the correction stretches R1; these working copies are ours to change."""
    if work.settings.spoiling is None or "R1" not in found:
        return
    apparent = found["R1"]
    found["R1"] = correct_spoiling(apparent, b1, work.settings.spoiling)
    step = 1e-4
    slope = (correct_spoiling(apparent * (1 + step), b1, work.settings.spoiling) - found["R1"]) / (apparent * step)
    errors["R1"] = errors["R1"] * np.abs(slope)


def _ratio_map(work: _Work, signals: Mapping[str, Vector]) -> dict[str, Vector]:
    alike = all(
        values.get("PDw") is not None and values.get("PDw") == values.get("MTw")
        for values in (work.protocol.flip_deg, work.protocol.tr)
    )
    return {"MTR": maps.mtr(signals["PDw"], signals["MTw"])} if {"PDw", "MTw"} <= signals.keys() and alike else {}


def _arguments(work: _Work, count: int) -> dict[str, float]:
    """Flip angles and repetition times under the argument names of :mod:`plastimap.mpm.maps`."""
    names = WEIGHTINGS[:count]
    flips = {f"flip_{name.lower()}_deg": work.protocol.flip_deg[name] for name in names}
    return flips | {f"tr_{name.lower()}": work.protocol.tr[name] for name in names}


def _inferred_b1(work: _Work, signals: Mapping[str, Vector]) -> Vector:
    """B1+ ratio of the chosen voxels, from the inhomogeneity of R1."""
    r1, _ = maps.r1_and_a(signals["PDw"], signals["T1w"], small_angle=work.settings.small_angle, **_arguments(work, 2))
    plausible, _ = maps.within(r1, maps.R1_RANGE)
    return unicort_like(work.placed(plausible), work.chosen, work.voxel_size)[work.chosen]


def _without_sensitivity(
    echoes: Mapping[str, Sequence[NDArray]], receive: Mapping[str, NDArray]
) -> dict[str, list[NDArray]]:
    return {name: [image / receive[name] for image in images] for name, images in echoes.items()}


def _alone(work: _Work) -> dict[str, Image]:
    if max(len(images) for images in work.echoes.values()) < LEAST_ECHOES:
        return {}
    method = "ols" if work.settings.r2s_fit == "ols" else "wls1"
    fits = fit_each_contrast(work.echoes, work.protocol.echo_times, method=method, mask=work.chosen)
    return {name: fit.r2s.astype(np.float32) for name, fit in fits.items()}


def _echo_notes(n_echoes: int) -> list[str]:
    if n_echoes >= RECOMMENDED_ECHOES:
        return []
    return [f"R2* was fitted to {n_echoes} echoes only ({RECOMMENDED_ECHOES} or more are recommended)"]


def _b1_notes(work: _Work, source: str) -> list[str]:
    """Say what was done about B1+."""
    if not work.relaxation:
        return []
    if source == "measured":
        plain = work.settings.b1_correction == "none"
        return ["MTsat is not corrected for B1+ beyond its own compensation"] if plain else []
    if source == "inferred":
        return ["B1+ was inferred from R1 itself: R1 and A are corrected by it, MTsat is not"]
    return ["no B1+ map: R1, A and MTsat are not corrected for the transmit field"]


def _missing_notes(present: Collection[str]) -> list[str]:
    """Say which maps are missing, and why."""
    reasons = {"R1": "R1 and A need PDw and T1w", "MTsat": "MTsat needs PDw, T1w and MTw"}
    return [f"not computed: {reason}" for name, reason in reasons.items() if name not in present]
