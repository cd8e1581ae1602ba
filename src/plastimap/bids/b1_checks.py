"""Checks of field-mapping sets (transmit: B1+, receive: RB1COR) by their names and sidecars; no image is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence

from plastimap.bids.problems import Problem
from plastimap.bids.rows import Row

LONGEST_TIME_S = 1.0
"""Repetition and mixing times of B1+ acquisitions are fractions of a second; a larger number was meant in ms."""

SMALLEST_SATURATION_DEG = 30.0
"""A smaller flip angle of a tfl_b1_map is that of its readout, which converters write."""

DOUBLE_TOLERANCE = 0.01
"""How far the ratio of two flip angles may be from 2."""

_DEGREES = re.compile(r"deg|°")
_B1_UNITS = re.compile(
    r"percent|%|\bp\.?u\b|deg|°|ratio|fraction|relative|normali[sz]ed|unitless|dimensionless|nominal|arb|^1$|^a\.?u\.?$"
)
"""Units that :func:`plastimap.mpm.b1.b1_ratio` understands."""

Label = Callable[[str], str]
Problems = Iterator[Problem]


def check_transmit(rows: Sequence[Row], label: Label) -> list[Problem]:
    """Everything wrong with the B1+ images of one scan that count: one kind, one set."""
    kind = rows[0].suffix
    raw = [] if kind == "TB1map" else [problem for row in rows for problem in _image(row, label)]
    return raw + list(_KINDS[kind](rows, label))


def check_receive(rows: Sequence[Row], weightings: Collection[str | None], label: Label) -> list[Problem]:
    """Everything wrong with the receive sensitivity images (RB1COR) of one scan.

    Parameters
    ----------
    rows : sequence of Row
        RB1COR images that count; may be empty.
    weightings : collection of str or None
        Contrasts of the scan's multi-parameter mapping.
    label : callable
        Name of a path in problems.
    """
    if not rows:
        return []
    problems = [problem for row in rows for problem in (*_image(row, label), *_coil(row, label))]
    return problems + list(_coil_pairs(rows, weightings, label))


def _coil(row: Row, label: Label) -> Problems:
    if row.role is None:
        why = "its acq- must begin with head or body, and may go on with PDw, T1w or MTw"
        yield Problem(label(row.path), "a sensitivity image of no coil", why, "rename it: acq-headPDw_RB1COR")


def _coil_pairs(rows: Sequence[Row], weightings: Collection[str | None], label: Label) -> Problems:
    """Both coils for each contrast that has one, and either all contrasts or a pair without one."""
    roles = {row.role for row in rows if row.role is not None}
    # The names of both coils have four letters; what follows is the contrast.
    contrasts = {role[len("head") :] for role in roles}
    whole = {name for name in contrasts if {f"head{name}", f"body{name}"} <= roles}
    for name in sorted(contrasts - whole):
        missing = "body" if f"head{name}" in roles else "head"
        why = "the sensitivity is the head coil's image over the body coil's"
        remedy = "add it, or move the other one to sourcedata/"
        yield Problem(label(rows[0].path), f"no acq-{missing}{name}_RB1COR", why, remedy)
    lacking = {name for name in weightings if name is not None} - whole
    if whole and "" not in whole and lacking:
        why = "a contrast divided by its sensitivity and another that is not give a wrong R1"
        remedy = "add the pair, or one for all (acq-head, acq-body)"
        yield Problem(label(rows[0].path), f"no sensitivity pair for {', '.join(sorted(lacking))}", why, remedy)


def _image(row: Row, label: Label) -> Problems:
    """One image of a set: a single volume, a flip angle and times that can be."""
    file = label(row.path)
    if row.n_volumes not in (None, 1):
        why = f"it has {row.n_volumes} volumes; each image of a set is a file of its own"
        yield Problem(file, f"a {row.suffix} image with several volumes", why, "split it (fslsplit, nibabel)")
    if row.flip_angle_deg is not None and not 0 < row.flip_angle_deg < 360:
        why = "no pulse flips by that angle"
        yield Problem(file, f"FlipAngle is {row.flip_angle_deg:g}", why, "write it in degrees")
    for key, value in (("RepetitionTimeExcitation", row.tr_s), ("MixingTime", row.mixing_time_s)):
        if value is not None and value <= 0:
            yield Problem(file, f"{key} is {value:g}", "a time is positive", f"write {key} in seconds")
    timed = {"TB1AFI": ("RepetitionTimeExcitation", row.tr_s), "TB1EPI": ("MixingTime", row.mixing_time_s)}
    key, value = timed.get(row.suffix, ("", None))
    if value is not None and value > LONGEST_TIME_S:
        why = "looks like milliseconds; BIDS wants seconds"
        yield Problem(file, f"{key} is {value:g}", why, f'write "{key}": {value / 1000:.6g}')


def _ready_map(rows: Sequence[Row], label: Label) -> Problems:
    for row in rows:
        text, file = (row.units or "").strip().lower(), label(row.path)
        if not text:
            why = "a B1 map may be percent, a ratio, or ten times degrees; without Units its range decides"
            remedy = 'add "Units": "percent" (100 = nominal) or "ratio" (1 = nominal)'
            yield Problem(file, "no Units for the B1 map", why, remedy, "notice")
        elif not _B1_UNITS.search(text):
            why = "known: percent, ratio, degrees (with FlipAngle), arbitrary"
            remedy = 'write "Units": "percent", if 100 is the nominal flip angle'
            yield Problem(file, f"unknown Units {row.units!r} of the B1 map", why, remedy)
        elif _DEGREES.search(text) and row.flip_angle_deg is None:
            why = f"the map is in {row.units!r}, and its nominal flip angle is not known"
            yield Problem(file, "no FlipAngle for the B1 map", why, "add FlipAngle (degrees) to its sidecar")


def _afi(rows: Sequence[Row], label: Label) -> Problems:
    yield from _pair(rows, label, "the flip angle follows from images of two repetition times (acq-tr1, acq-tr2)")
    yield from _missing(rows, label, "FlipAngle", [row.flip_angle_deg for row in rows])
    yield from _missing(rows, label, "RepetitionTimeExcitation", [row.tr_s for row in rows])
    times = [row.tr_s for row in rows if row.tr_s is not None]
    if len(times) == 2 and times[0] == times[1]:
        why = f"RepetitionTimeExcitation is {times[0]:g} s in both, and the flip angle follows from their ratio"
        remedy = "correct the sidecars (is one sidecar inherited by both?)"
        yield Problem(label(rows[0].path), "both TB1AFI images have one repetition time", why, remedy)
    elif len(times) == 2 and {rows[0].role, rows[1].role} == {"tr1", "tr2"} and times[0] > times[1]:
        why = f"BIDS gives tr1 to the shorter one; the sidecars say {times[0]:g} s for it, and {times[1]:g} s for tr2"
        remedy = "nothing if the sidecars are right: the times count, not the labels"
        yield Problem(label(rows[0].path), "labels of TB1AFI do not follow the repetition times", why, remedy, "notice")
    angles = {row.flip_angle_deg for row in rows if row.flip_angle_deg is not None}
    if len(angles) > 1:
        why = f"both images are made by one pulse; the sidecars say {_degrees(angles)}"
        yield Problem(label(rows[0].path), "FlipAngle differs between TB1AFI images", why, "correct the sidecars")


def _epi(rows: Sequence[Row], label: Label) -> Problems:
    stimulated = [row for row in rows if row.echo == 2]
    yield from _missing(stimulated, label, "FlipAngle", [row.flip_angle_deg for row in stimulated])
    yield from _missing(stimulated, label, "MixingTime", [row.mixing_time_s for row in stimulated])
    pairs: dict[int | None, dict[int | None, Row]] = {}
    for row in rows:
        pairs.setdefault(row.flip, {})[row.echo] = row
    for pair in pairs.values():
        yield from _echoes(pair, label)
    if sum({1, 2} <= pair.keys() for pair in pairs.values()) < 2:
        why = "one nominal flip angle cannot tell an angle from its supplement to 180°"
        yield Problem(label(rows[0].path), "too few flip angles of TB1EPI", why, "add the missing images (flip-2, …)")


def _echoes(pair: dict[int | None, Row], label: Label) -> Problems:
    """Spin echo (echo-1) and stimulated echo (echo-2) at one nominal flip angle."""
    first = next(iter(pair.values()))
    if pair.keys() != {1, 2}:
        there = ", ".join(f"echo-{echo}" if echo is not None else "no echo-" for echo in pair)
        why = f"at each flip angle a spin echo (echo-1) and a stimulated one (echo-2) are compared; there is: {there}"
        yield Problem(
            label(first.path), "a TB1EPI echo without its partner", why, "add the missing image, or remove this"
        )
        return
    spin, stimulated = pair[1], pair[2]
    single, found = stimulated.flip_angle_deg, spin.flip_angle_deg
    if single is not None and found is not None and found not in (single, 2 * single):
        why = f"echo-1 says {found:g}°, echo-2 {single:g}°; the spin echo's pulse has the same, or twice the angle"
        yield Problem(label(spin.path), "FlipAngle differs between a pair's echoes", why, "correct the sidecars")
    if (spin.echo_time_s or 0) > (stimulated.echo_time_s or float("inf")):
        why = "echo-1 must be the spin echo, which has the shorter EchoTime; some scanners write others"
        remedy = "nothing, if echo-1 is the spin echo; else rename the files"
        yield Problem(label(spin.path), "the spin echo comes after the stimulated echo", why, remedy, "notice")


def _saturated(rows: Sequence[Row], label: Label) -> Problems:
    yield from _anatomical_and_map(rows, label)
    flip_maps = [row for row in rows if row.role == "famp"]
    yield from _missing(flip_maps, label, "FlipAngle", [row.flip_angle_deg for row in flip_maps])
    for row in flip_maps:
        if row.flip_angle_deg is not None and 0 < row.flip_angle_deg < SMALLEST_SATURATION_DEG:
            why = "it looks like the readout's; the map is relative to the saturation pulse, often 80 or 90 degrees"
            remedy = "write the saturation pulse's angle (the protocol's printout has it)"
            yield Problem(label(row.path), f"FlipAngle of TB1TFL is {row.flip_angle_deg:g}", why, remedy)


def _anatomical_and_map(rows: Sequence[Row], label: Label) -> Problems:
    for role, meaning in (("anat", "anatomical image"), ("famp", "flip angle map")):
        n = sum(row.role == role for row in rows)
        if n != 1:
            what = f"{n or 'no'} acq-{role}_{rows[0].suffix}"
            why = f"the scanner makes an anatomical image and a flip angle map; the {meaning} must be there once"
            remedy = "add the missing image, or rename it" if n == 0 else "keep one of them"
            yield Problem(label(rows[0].path), what, why, remedy)


def _double_angle(rows: Sequence[Row], label: Label) -> Problems:
    yield from _pair(rows, label, "the flip angle follows from images at α and 2α (flip-1, flip-2)")
    yield from _missing(rows, label, "FlipAngle", [row.flip_angle_deg for row in rows])
    angles = sorted(row.flip_angle_deg for row in rows if row.flip_angle_deg is not None)
    if len(angles) == 2 and (angles[0] <= 0 or abs(angles[1] / angles[0] - 2) > DOUBLE_TOLERANCE):
        why = f"the sidecars say {_degrees(angles)}; the double angle method needs one to be twice the other"
        yield Problem(label(rows[0].path), "flip angles of TB1DAM are not α and 2α", why, "correct the sidecars")


def _pair(rows: Sequence[Row], label: Label, why: str) -> Problems:
    if len(rows) != 2:
        what = f"{len(rows)} {rows[0].suffix} image{'s' if len(rows) > 1 else ''} where two are wanted"
        remedy = "add the missing image" if len(rows) == 1 else "keep the two that belong together"
        yield Problem(label(rows[0].path), what, why, f"{remedy}, or move the set to sourcedata/")


def _missing(rows: Sequence[Row], label: Label, key: str, values: Sequence[float | None]) -> Problems:
    for row, value in zip(rows, values, strict=True):
        if value is None:
            why = "the B1 map is computed from it, and no sidecar of this file has it"
            yield Problem(label(row.path), f"no {key}", why, f"add {key} to the JSON sidecar (seconds, degrees)")


def _degrees(angles: Collection[float]) -> str:
    return ", ".join(f"{angle:g}°" for angle in sorted(angles))


_KINDS: dict[str, Callable[[Sequence[Row], Label], Problems]] = {
    "TB1map": _ready_map,
    "TB1AFI": _afi,
    "TB1EPI": _epi,
    "TB1TFL": _saturated,
    "TB1RFM": _anatomical_and_map,
    "TB1DAM": _double_angle,
}
