"""Checks of the images of a study: protocol, geometry, diffusion schemes, B1, maps made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from plastimap.bids.b1_checks import check_receive, check_transmit
from plastimap.bids.fields import check_field
from plastimap.bids.gradients import GradientError, Gradients, check_gradients, read_bvals, read_bvecs
from plastimap.bids.header import Matrix, corner_distance
from plastimap.bids.manifest import Manifest, wants
from plastimap.bids.problems import Problem
from plastimap.bids.rows import B1_SUFFIXES, MPM_SUFFIXES, RECEIVE_SUFFIX, Row

GRID_TOLERANCE_MM = 1e-3
"""As :data:`plastimap.images.GEOMETRY_TOLERANCE_MM`: larger distances are another grid."""

LONGEST_TR_S = 1.0
"""A spoiled gradient echo is repeated every 5 to 100 ms; a larger number was meant in milliseconds."""

LONGEST_TE_S = 0.2
SHORTEST_S = 1e-4
"""Below a tenth of a millisecond neither an echo nor a repetition is possible."""

LEAST_ECHOES = 4
"""Fewer echoes in all give an R2* map of noise."""

Label = Callable[[str], str]


def check_images(manifest: Manifest, config: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with the images that count, for the stages that are wanted.

    Parameters
    ----------
    manifest : Manifest
    config : mapping
        A configuration as :func:`plastimap.config.load_config` gives it.

    Returns
    -------
    list of Problem
    """
    label = manifest.file_label
    scans: dict[str, list[Row]] = {}
    for row in manifest.used:
        scans.setdefault(row.scan, []).append(row)
    everything: dict[str, list[Row]] = {}
    for row in manifest.rows:
        everything.setdefault(row.scan, []).append(row)
    problems: list[Problem] = []
    for rows in scans.values():
        if wants(config, "mpm"):
            problems += check_mpm([row for row in rows if row.suffix in MPM_SUFFIXES], label)
            problems += check_b1(rows, label)
        if wants(config, "dwi"):
            for row in rows:
                if row.suffix == "dwi" and row.stage == "raw":
                    dwi = config["dwi"]
                    problems += check_dwi(row, label, b0_threshold=dwi["b0_threshold"], unring=dwi["unring"])
                    same = everything[row.scan]
                    problems += check_field(row, same, label, how=dwi["susceptibility"])
                    problems += check_eddy(row, label) if dwi["motion"] == "eddy" else []
        problems += _check_t1w(rows, label)
    return problems + check_common_grid(manifest.used, label)


def check_mpm(rows: Sequence[Row], label: Label) -> list[Problem]:
    """Protocol and geometry of one scan's multi-echo acquisitions."""
    if not rows:
        return []
    problems = [problem for row in rows for problem in _protocol(row, label)]
    weightings: dict[str, list[Row]] = {}
    for row in rows:
        if row.weighting is not None:
            weightings.setdefault(row.weighting, []).append(row)
    for name, echoes in weightings.items():
        problems += _consistent(name, echoes, label)
    problems += check_grids(rows, "echoes", label)
    if all(row.echo_time_s is not None for row in rows):
        problems += _enough_echoes(rows, weightings, label)
    return problems


def _protocol(row: Row, label: Label) -> Iterator[Problem]:
    file = label(row.path)
    missing = {
        "RepetitionTimeExcitation": row.tr_s,
        "FlipAngle": row.flip_angle_deg,
        "EchoTime": row.echo_time_s,
        "MTState": row.mt,
    }
    for key, value in missing.items():
        if value is None:
            why = "quantitative maps are computed from it, and no sidecar of this file has it"
            yield Problem(file, f"no {key}", why, f"add {key} to the JSON sidecar (seconds, degrees; true or false)")
    yield from _time(file, "RepetitionTimeExcitation", row.tr_s, LONGEST_TR_S)
    yield from _time(file, "EchoTime", row.echo_time_s, LONGEST_TE_S)
    if row.tr_s and row.echo_time_s and row.tr_s <= row.echo_time_s and row.echo_time_s <= LONGEST_TE_S:
        why = f"EchoTime {row.echo_time_s:g} s, RepetitionTimeExcitation {row.tr_s:g} s"
        yield Problem(file, "the echo comes after the next excitation", why, "correct the sidecar")
    angle = row.flip_angle_deg
    if angle is not None and not 0 < angle <= 90:
        why = "a spoiled gradient echo flips by more than 0 and at most 90 degrees"
        yield Problem(file, f"FlipAngle is {angle:g}", why, "write it in degrees")
    elif angle is not None and angle < 0.9:
        why = "that is less than a degree; it looks like radians"
        yield Problem(file, f"FlipAngle is {angle:g}", why, f"BIDS wants degrees: {angle * 57.29578:.3g}")


def _time(file: str, key: str, value: float | None, longest: float) -> Iterator[Problem]:
    if value is None or SHORTEST_S <= value <= longest:
        return
    if value > longest:
        why = "looks like milliseconds; BIDS wants seconds"
        yield Problem(file, f"{key} is {value:g}", why, f'write "{key}": {value / 1000:.6g}')
    else:
        why = "no sequence is that fast; BIDS wants seconds"
        yield Problem(
            file, f"{key} is {value:g}", why, f"write {key} in seconds, such as {'0.025' if 'R' in key else '0.0023'}"
        )


def _consistent(name: str, echoes: Sequence[Row], label: Label) -> Iterator[Problem]:
    """One flip angle, one TR, each echo time once in a run, no gap in the numbers of the echoes."""
    for key, values in (
        ("FlipAngle", [row.flip_angle_deg for row in echoes]),
        ("RepetitionTimeExcitation", [row.tr_s for row in echoes]),
    ):
        different = sorted({value for value in values if value is not None})
        if len(different) > 1:
            why = f"the {name} echoes of {echoes[0].scan} have {', '.join(f'{value:g}' for value in different)}"
            yield Problem(label(echoes[0].path), f"{key} differs between echoes", why, "correct the sidecars")
    times = [(row.run, row.echo_time_s) for row in echoes if row.echo_time_s is not None]
    if len(set(times)) < len(times):
        why = f"{len(times)} {name} echoes, {len(set(times))} different echo times"
        remedy = "correct EchoTime in the sidecars (is one sidecar inherited by all echoes?)"
        yield Problem(label(echoes[0].path), "two echoes have the same EchoTime", why, remedy)
    numbers = {row.echo for row in echoes if row.echo is not None}
    gaps = sorted(set(range(1, max(numbers, default=0))) - numbers)
    if gaps:
        absent = ", ".join(map(str, gaps))
        why = f"{echoes[0].scan} has no {name} echo {absent}, but echo {max(numbers)}; the rest is used"
        remedy = "add the missing file, or nothing if it was left out on purpose"
        yield Problem(label(echoes[0].path), "an echo is missing", why, remedy, "notice")


def _enough_echoes(rows: Sequence[Row], weightings: Mapping[str, Sequence[Row]], label: Label) -> Iterator[Problem]:
    file, scan = label(rows[0].path), rows[0].scan
    if not any(len({row.echo_time_s for row in echoes}) > 1 for echoes in weightings.values()):
        why = f"no weighting of {scan} has two echo times, and R2* is the decay between echoes"
        remedy = "add the missing echoes, or leave mpm out of stages"
        yield Problem(file, "too few echoes for R2*", why, remedy)
    elif len(rows) < LEAST_ECHOES:
        why = f"{scan} has {len(rows)} echoes in all; fewer than {LEAST_ECHOES} give a map of noise"
        yield Problem(file, "few echoes for R2*", why, "add the missing echoes, if there are any", "notice")
    if "PDw" not in weightings or "T1w" not in weightings:
        have = ", ".join(sorted(weightings)) or "none"
        why = f"R1 needs two flip angles without MT pulse (PDw and T1w); there is: {have}"
        yield Problem(file, "no R1 map from this scan", why, "add the missing acquisition, if there is one", "notice")


def check_grids(rows: Sequence[Row], what: str, label: Label) -> list[Problem]:
    """Images that must lie on one grid, compared with the grid that most of them have."""
    readable = [row for row in rows if row.shape is not None and row.affine is not None]
    if not readable:
        return []
    shapes = [row.shape for row in readable]
    reference = next(row for row in readable if row.shape == max(shapes, key=shapes.count))
    problems: list[Problem] = []
    for row in readable:
        file = label(row.path)
        if row.shape != reference.shape:
            why = f"its shape is {_by(row.shape)}, that of {Path(reference.path).name} is {_by(reference.shape)}"
            remedy = "convert the series again, or resample it to the other grid, or remove it"
            problems.append(Problem(file, f"shape mismatch between {what}", why, remedy))
        elif (distance := grid_distance(row, reference)) > GRID_TOLERANCE_MM:
            why = f"its grid lies up to {distance:.3g} mm from that of {Path(reference.path).name}"
            remedy = "register and resample it to the other grid, or correct the header"
            problems.append(Problem(file, f"position mismatch between {what}", why, remedy))
    return problems


def grid_distance(one: Row, other: Row) -> float:
    """Largest distance in mm between the corners of two grids of the same shape."""
    return corner_distance(_matrix(one), _matrix(other), one.shape or ())


def check_b1(rows: Sequence[Row], label: Label) -> list[Problem]:
    """Transmit and receive field acquisitions of one scan with multi-parameter mapping."""
    mpm = [row for row in rows if row.suffix in MPM_SUFFIXES]
    if not mpm:
        return []
    b1 = [row for row in rows if row.suffix in B1_SUFFIXES]
    receive = [row for row in rows if row.suffix == RECEIVE_SUFFIX]
    problems = check_receive(receive, [row.weighting for row in mpm], label)
    # Each contrast's pair may have been planned anew; the two coils of a pair share a grid.
    for contrast in dict.fromkeys((row.role or "")[len("head") :] for row in receive):
        pair = [row for row in receive if row.role in (f"head{contrast}", f"body{contrast}")]
        problems += check_grids(pair, "coils", label)
    if not b1:
        why = "R1 and MTsat cannot be corrected for transmit-field differences; the report says so"
        remedy = "add a TB1map or the images it is made from (fmap/), if they were measured"
        return [Problem(label(mpm[0].path), "no B1 map", why, remedy, "notice"), *problems]
    return [*check_transmit(b1, label), *check_grids(b1, "B1 images", label), *problems]


def check_dwi(row: Row, label: Label, *, b0_threshold: float, unring: bool) -> list[Problem]:
    """b-values and b-vectors of one diffusion series."""
    file = label(row.path)
    problems: list[Problem] = []
    for name, found in (("bval", row.bval), ("bvec", row.bvec)):
        if found is None:
            kind = {"bval": "b-values", "bvec": "b-vectors"}[name]
            why = f"without {kind} no tensor can be fitted"
            remedy = f"put {Path(row.path).name.partition('.')[0]}.{name} beside it (dcm2niix writes it)"
            problems.append(Problem(file, f"no {kind} (.{name})", why, remedy))
    if unring and row.partial_fourier is not None and row.partial_fourier < 1:
        why = f"{row.partial_fourier:g} of k-space was measured, which changes the ringing that dwi.unring takes off"
        problems.append(Problem(file, "partial Fourier data", why, "set dwi.unring to false"))
    if row.readout_s is None:
        why = "distortions by susceptibility cannot be judged"
        remedy = "add TotalReadoutTime to the sidecar, if it is known"
        problems.append(Problem(file, "no TotalReadoutTime", why, remedy, "notice"))
    if row.bval is None or row.bvec is None:
        return problems
    gradients: list[Any] = []
    for path, read in ((row.bval, read_bvals), (row.bvec, read_bvecs)):
        try:
            gradients.append(read(Path(path)))
        except GradientError as error:
            problems.append(Problem(label(path), error.what, error.why, error.remedy))
    if len(gradients) == 2:
        scheme = Gradients(*gradients)
        problems += check_gradients(scheme, row.n_volumes, file=file, b0_threshold=b0_threshold)
    return problems


def check_eddy(row: Row, label: Label) -> list[Problem]:
    """What FSL's eddy needs to know of a series."""
    if row.phase_encoding is not None:
        return []
    why = "FSL's eddy needs the phase-encoding axis, and no sidecar says which it is"
    remedy = "add it to the sidecar, or set dwi.motion: true"
    return [Problem(label(row.path), "no PhaseEncodingDirection", why, remedy)]


def _check_t1w(rows: Sequence[Row], label: Label) -> list[Problem]:
    problems: list[Problem] = []
    for row in rows:
        if row.suffix == "T1w" and row.stage == "raw" and row.shape is not None and len(row.shape) != 3:
            why = f"its shape is {_by(row.shape)}; the structural image is one volume"
            problems.append(Problem(label(row.path), "a T1w image with several volumes", why, "keep one of them"))
    return problems


def check_common_grid(rows: Sequence[Row], label: Label) -> list[Problem]:
    """Warped and smoothed maps made elsewhere must share one grid, or no group statistics are possible."""
    problems: list[Problem] = []
    for stage in ("warped", "smoothed"):
        problems += check_grids([row for row in rows if row.stage == stage], f"{stage} maps", label)
    return problems


def _matrix(row: Row) -> Matrix:
    numbers = row.affine or ()
    return numbers[0:4], numbers[4:8], numbers[8:12]


def _by(shape: Sequence[int] | None) -> str:
    return " × ".join(str(n) for n in shape or ())
