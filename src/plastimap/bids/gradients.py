"""b-values and b-vectors as text files, and everything wrong with a pair of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plastimap.bids.files import read_text
from plastimap.bids.problems import Problem

MAX_BYTES = 16_000_000
"""A table of b-values or b-vectors has some kilobytes."""

NORM_TOLERANCE = 0.1
"""Largest distance of a b-vector's length from 1; printed tables round to two or three digits."""

LEAST_DIRECTIONS = 6
"""A tensor has six unknowns beside S0."""

SAME_DIRECTION_COSINE = 0.9998
"""Two b-vectors closer than about one degree are one direction."""


@dataclass(frozen=True)
class Gradients:
    """A diffusion scheme.

    Attributes
    ----------
    bvals : tuple of float
        s/mm², one per volume.
    bvecs : tuple of (x, y, z)
        One per volume, as in the file.
    """

    bvals: tuple[float, ...]
    bvecs: tuple[tuple[float, ...], ...]


class GradientError(ValueError):
    """A file of b-values or b-vectors that cannot be read; `what`, `why` and `remedy` as in Problem."""

    def __init__(self, what: str, why: str, remedy: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what, self.why, self.remedy = what, why, remedy


def read_bvals(path: Path) -> tuple[float, ...]:
    """Read b-values (one line, or one per line)."""
    return tuple(value for row in _numbers(path) for value in row)


def read_bvecs(path: Path) -> tuple[tuple[float, ...], ...]:
    """Read b-vectors in FSL's form: three lines of N numbers.

    Raises
    ------
    GradientError
        When the file is empty, no table of numbers, or has another form.
    """
    rows = _numbers(path)
    lengths = sorted({len(row) for row in rows})
    if len(rows) == 3 and len(lengths) == 1:
        return tuple(zip(*rows, strict=True))
    if lengths == [3]:
        why = f"it has {len(rows)} lines of 3 numbers; BIDS wants 3 lines, one number per volume"
        raise GradientError("the b-vectors lie on their side", why, "transpose the table")
    why = f"it has {len(rows)} lines of {', '.join(map(str, lengths))} numbers"
    raise GradientError("the b-vectors are no 3 × N table", why, "convert the images again (dcm2niix writes it)")


def check_gradients(gradients: Gradients, n_volumes: int | None, *, file: str, b0_threshold: float) -> list[Problem]:
    """Say what is wrong with a diffusion scheme.

    Parameters
    ----------
    gradients : Gradients
    n_volumes : int or None
        Volumes of the image; None when unknown.
    file : str
        How problems name the image.
    b0_threshold : float
        s/mm²; at or below it a volume counts as b = 0.
    """
    counts = {"volumes": n_volumes, "b-values": len(gradients.bvals), "b-vectors": len(gradients.bvecs)}
    known = {name: count for name, count in counts.items() if count is not None}
    if len(set(known.values())) > 1:
        why = ", ".join(f"{count} {name}" for name, count in known.items())
        remedy = "convert the series again, or remove the entries of the volumes that were removed"
        return [Problem(file, "images, b-values and b-vectors do not match", why, remedy)]
    problems = _bad_values(gradients, file, b0_threshold)
    weighted = [vector for b, vector in zip(gradients.bvals, gradients.bvecs, strict=True) if b > b0_threshold]
    if len(weighted) == len(gradients.bvals):
        why = f"every b-value is above dwi.b0_threshold ({b0_threshold:g} s/mm²); a tensor fit needs one below"
        problems.append(Problem(file, "no b = 0 volume", why, "add one, or raise dwi.b0_threshold"))
    directions = count_directions(weighted)
    if directions < LEAST_DIRECTIONS:
        why = f"{directions} different directions; a tensor needs {LEAST_DIRECTIONS}"
        remedy = "move the series to sourcedata/, or leave dwi out of stages"
        problems.append(Problem(file, "too few diffusion directions", why, remedy))
    return problems


def count_directions(vectors: Sequence[Sequence[float]]) -> int:
    """Different axes among `vectors`; v and -v measure the same."""
    axes: list[list[float]] = []
    for vector in vectors:
        length = math.hypot(*vector)
        if not math.isfinite(length) or length == 0:
            continue
        unit = [part / length for part in vector]
        if all(abs(sum(a * b for a, b in zip(unit, axis, strict=True))) < SAME_DIRECTION_COSINE for axis in axes):
            axes.append(unit)
    return len(axes)


def _bad_values(gradients: Gradients, file: str, b0_threshold: float) -> list[Problem]:
    problems: list[Problem] = []
    negative = [n for n, b in enumerate(gradients.bvals, start=1) if not math.isfinite(b) or b < 0]
    if negative:
        why = f"volumes {_list(negative)}: not finite or negative"
        problems.append(Problem(file, "b-values make no sense", why, "convert the series again"))
    odd = [
        n
        for n, (b, vector) in enumerate(zip(gradients.bvals, gradients.bvecs, strict=True), start=1)
        if b > b0_threshold and not abs(math.hypot(*vector) - 1) <= NORM_TOLERANCE
    ]
    if odd:
        first = gradients.bvecs[odd[0] - 1]
        shown = ", ".join(f"{part:g}" for part in first)
        why = f"volumes {_list(odd)}: the length is not 1 (volume {odd[0]}: {shown})"
        problems.append(
            Problem(file, "b-vectors are not of unit length", why, "convert again, or divide by the length")
        )
    return problems


def _numbers(path: Path) -> list[tuple[float, ...]]:
    try:
        text = read_text(path, most=MAX_BYTES)
        rows = [tuple(float(cell) for cell in line.split()) for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise GradientError("the file cannot be read", error.strerror or str(error), "fetch it again") from error
    except ValueError as error:
        raise GradientError("the file is no table of numbers", str(error), "convert the series again") from error
    if not rows:
        size = path.stat().st_size
        raise GradientError("the file is empty", f"it has {size} bytes", "copy it or convert the series again")
    return rows


def _list(numbers: Sequence[int], shown: int = 8) -> str:
    return ", ".join(map(str, numbers[:shown])) + (f" and {len(numbers) - shown} more" if len(numbers) > shown else "")
