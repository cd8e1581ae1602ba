"""One scan from its files' images to its maps: repetitions, denoising, alignment, fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.mpm.alignment import align_contrasts, moved_field
from plastimap.mpm.grouping import group_repetitions
from plastimap.mpm.pipeline import DEFAULTS, MpmMaps, MpmSettings, combined_maps, fit_maps
from plastimap.mpm.spoiling import Spoiler, SpoilingCorrection, Tissue, fit_spoiling

Echoes = dict[str, list[NDArray[Any]]]


def process_scan(
    volumes: Sequence[Volume],
    acquisition: Mapping[str, Sequence[Any]],
    settings: MpmSettings = DEFAULTS,
    *,
    align: bool = True,
    denoise: bool = False,
    b1: NDArray | None = None,
    receive: Mapping[str, NDArray] | None = None,
    lesion: NDArray[np.bool_] | None = None,
) -> MpmMaps:
    """Make the maps of one scan.

    Parameters
    ----------
    volumes : sequence of Volume
        Echo images on one grid.
    acquisition : mapping
        As in :func:`plastimap.mpm.grouping.group_repetitions`.
    settings : MpmSettings
    align : bool
        Bring T1w and MTw images, and those of further repetitions, to the position of the first PDw ones.
    denoise : bool
        Local low-rank denoising over all echoes of a repetition, before anything is interpolated.
    b1, receive
        As in :func:`plastimap.mpm.pipeline.fit_maps`. Receive sensitivities are those where each contrast was measured:
        they move with its echoes.
    lesion : ndarray of bool, shape (X, Y, Z), optional
        What takes no part in the alignment.

    Returns
    -------
    MpmMaps
        With several repetitions: their mean, weighted by errors.

    Raises
    ------
    ValueError
        The message says what does not go together.
    """
    repetitions, protocol = group_repetitions(volumes, acquisition)
    notes: list[str] = []
    if denoise:
        repetitions = [denoised_echoes(echoes) for echoes in repetitions]
        notes.append("echoes were denoised by local low rank (MP-PCA)")
    qa: dict[str, Any] = {}
    fields: Sequence[Mapping[str, NDArray] | None] = [receive for _ in repetitions]
    if align and sum(map(len, repetitions)) > 1:
        repetitions, fields, qa, found = _aligned(repetitions, receive, volumes[0].affine, lesion)
        notes += [*found, *(["lesions were left out of the alignment"] if lesion is not None else [])]
    voxel_size = tuple(float(edge) for edge in volumes[0].voxel_size)
    made = combined_maps(
        [
            fit_maps(echoes, protocol, settings, b1=b1, receive=field, voxel_size=voxel_size)
            for echoes, field in zip(repetitions, fields, strict=True)
        ]
    )
    return replace(made, notes=(*made.notes, *notes), qa={**made.qa, **qa})


def denoised_echoes(echoes: Mapping[str, Sequence[NDArray]]) -> Echoes:
    """Denoise all echoes of all contrasts together: their anatomy is one, and that makes the rank low.

    Parameters
    ----------
    echoes : mapping of str to sequence of ndarray
        Images of shape (X, Y, Z).

    Returns
    -------
    dict of str to list of ndarray
        float32.
    """
    from plastimap.denoise import denoise_mppca

    series = np.stack([np.nan_to_num(image) for images in echoes.values() for image in images], axis=-1)
    images = iter(np.moveaxis(denoise_mppca(series).data, -1, 0))
    return {name: [next(images) for _ in own] for name, own in echoes.items()}


def read_settings(settings: Mapping[str, Any], protocol: Mapping[str, Sequence[Any]]) -> MpmSettings:
    """Settings of a scan from those of the study.

    Parameters
    ----------
    settings : mapping
        The ``mpm`` block of the configuration.
    protocol : mapping
        As of :func:`spoiling_correction`.

    Returns
    -------
    MpmSettings
    """
    names = ("model", "r2s_fit", "small_angle", "b1_correction", "b1_constant", "unicort")
    # The joint fit has no small angles.
    small = settings["small_angle"] and settings["model"] == "two_step"
    spoiling = settings["spoiling"]
    return MpmSettings(
        **{name: settings[name] for name in names},
        spoiling=spoiling_correction(protocol, spoiling, small_angle=small) if spoiling["correct"] else None,
    )


def spoiling_correction(
    protocol: Mapping[str, Sequence[Any]], settings: Mapping[str, Any], *, small_angle: bool
) -> SpoilingCorrection | None:
    """Fit the correction for imperfect spoiling to a scan's protocol.

    Parameters
    ----------
    protocol : mapping
        ``weighting``, ``flip_angle_deg`` and ``tr_s`` per image.
    settings : mapping
        ``phase_increment_deg``, ``gradient_mt_per_m``, ``gradient_ms``, ``t2_ms``, ``diffusion_um2_per_ms``.
    small_angle : bool

    Returns
    -------
    SpoilingCorrection or None
        None without PDw and T1w images.
    """
    first = {name: protocol["weighting"].index(name) for name in ("PDw", "T1w") if name in protocol["weighting"]}
    if len(first) < 2:
        return None
    return fit_spoiling(
        flip_pdw_deg=protocol["flip_angle_deg"][first["PDw"]],
        flip_t1w_deg=protocol["flip_angle_deg"][first["T1w"]],
        tr_pdw=protocol["tr_s"][first["PDw"]],
        tr_t1w=protocol["tr_s"][first["T1w"]],
        small_angle=small_angle,
        spoiler=Spoiler(**{key: settings[key] for key in ("phase_increment_deg", "gradient_mt_per_m", "gradient_ms")}),
        tissue=Tissue(t2_ms=settings["t2_ms"], diffusion_um2_per_ms=settings["diffusion_um2_per_ms"]),
    )


def _aligned(
    repetitions: Sequence[Echoes],
    receive: Mapping[str, NDArray] | None,
    affine: NDArray[np.float64],
    lesion: NDArray[np.bool_] | None,
) -> tuple[list[Echoes], Sequence[Mapping[str, NDArray] | None], dict[str, Any], list[str]]:
    """Align all contrasts of all repetitions, and their receive fields, to the first contrast of the first."""
    labels = [
        {name: name if not number else f"{name} of repetition {number + 1}" for name in echoes}
        for number, echoes in enumerate(repetitions)
    ]
    named = {own[name]: echoes[name] for own, echoes in zip(labels, repetitions, strict=True) for name in echoes}
    found = align_contrasts(named, affine, lesion=lesion)
    moved = [{name: found.echoes[label] for name, label in own.items()} for own in labels]
    fields = [
        receive
        if receive is None
        else {
            name: moved_field(receive[name], found.transforms[label], affine)
            if label in found.transforms
            else receive[name]
            for name, label in own.items()
        }
        for own in labels
    ]
    qa = {"contrast_displacement_mm": {name: round(value, 3) for name, value in found.displacement_mm.items()}}
    return moved, fields, qa, list(found.notes)
