"""A template of everybody in a study: the mean of their tissues, in the mean of their shapes.

Round by round each person's tissues are registered to the template, averaged there, and the average is pulled back
by the mean displacement, so that the template's shape is the mean shape (cf. Avants and Gee 2004,
https://doi.org/10.1016/j.neuroimage.2004.07.010). The first template is the mean after linear matches to the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.space.mni import Engine, Standard, averaged, match_linear, match_tissues
from plastimap.transforms import Warp, grid_of, invert, resample

ROUNDS = 3
"""The third round changes a fraction of what the first one did (a test shows it)."""


@dataclass(frozen=True)
class StudyTemplate:
    """The template of a study.

    Attributes
    ----------
    tissues : Standard
        Mean tissues, on the grid of the target's.
    changes : tuple of float
        Root mean square difference of the tissues inside the brain that each
        round made.
    """

    tissues: Standard
    changes: tuple[float, ...]


def study_template(
    people: Sequence[Standard], *, standard: Standard, rounds: int = ROUNDS, engine: Engine = "greedy"
) -> StudyTemplate:
    """Iterated mean of people's tissues.

    Parameters
    ----------
    people : sequence of Standard
        Tissues of each person's own template.
    standard : Standard
        Of the target: gives position, size and grid.
    rounds : int
        Registrations of each person.
    engine : {"greedy", "ants"}
        What makes the nonlinear matches.

    Returns
    -------
    StudyTemplate
        The order of people changes nothing beyond rounding.

    Raises
    ------
    RegistrationProblem
        When a person cannot be matched.
    ValueError
        When there is nobody.
    """
    if not people:
        raise ValueError("a study template needs at least one person")
    matrices = [match_linear(standard, person) for person in people]
    template = _mean([_pulled(person, standard, matrix) for person, matrix in zip(people, matrices, strict=True)])
    changes: list[float] = []
    for _ in range(rounds):
        warps = [match_tissues(template, person, m, engine=engine) for person, m in zip(people, matrices, strict=True)]
        before, template = template, _centred(people, warps)
        changes.append(_difference(before, template))
    return StudyTemplate(template, tuple(changes))


def _pulled(person: Standard, standard: Standard, matrix: NDArray[np.float64]) -> Standard:
    grid = grid_of(standard.gm)
    return Standard(averaged(person.gm, grid, matrix), averaged(person.wm, grid, matrix))


def _mean(people: Sequence[Standard]) -> Standard:
    return Standard(_mean_volume([p.gm for p in people]), _mean_volume([p.wm for p in people]))


def _mean_volume(volumes: Sequence[Volume]) -> Volume:
    mean = np.mean([volume.data for volume in volumes], axis=0, dtype=np.float64)
    return Volume(np.asarray(mean, dtype=np.float32), volumes[0].affine)


def _centred(people: Sequence[Standard], warps: Sequence[Warp]) -> Standard:
    """Mean tissues where the mean displacement is zero."""
    where = warps[0]
    middle = np.mean([warp.displacement for warp in warps], axis=0, dtype=np.float64)
    back = invert(Warp(np.asarray(middle, dtype=np.float32), where.affine))

    def pulled(tissue: Volume, warp: Warp) -> Volume:
        return Volume(resample(tissue, where, [back, warp], validity=False), where.affine)

    return _mean([Standard(pulled(p.gm, w), pulled(p.wm, w)) for p, w in zip(people, warps, strict=True)])


def _difference(one: Standard, other: Standard) -> float:
    brain = other.gm.data + other.wm.data > 0.5
    square = (one.gm.data - other.gm.data) ** 2 + (one.wm.data - other.wm.data) ** 2
    return float(np.sqrt(square[brain].mean() / 2)) if brain.any() else 0.0
