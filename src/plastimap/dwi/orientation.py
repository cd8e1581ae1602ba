"""Whether the b-vectors belong to the image's axes, told from the fibres themselves.

Fibres go on in their own direction. Where a table of b-vectors has an axis reversed or two exchanged, the directions
still vary smoothly, but neighbours along a fibre no longer point at each other (Schilling 2019,
doi:10.1016/j.mri.2019.01.018).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

LEAST_FA = 0.3
"""Voxels below it have no direction to speak of."""

MOST_PAIRS = 10_000
"""Pairs of neighbours looked at per direction; more cost time and change nothing."""

CLEARLY_MORE = 1.1
"""Another table must make the fibres more coherent by this factor to be named."""

STANDS_OUT = 1.04
"""... and be better than any third one by this: fibres that are no fibres (simulated ones) prefer several alike."""

LEAST_VOXELS = 500
"""Fewer voxels with a direction cannot tell."""


@dataclass(frozen=True)
class TableCheck:
    """Result of :func:`check_table`.

    Attributes
    ----------
    best : str
        The table that makes fibres most coherent: ``as given``, ``x reversed``, ``y x z``, ``y x z, z reversed`` …
    gain : float
        Its coherence over that of the table as given; 1 where that is the best. NaN where too few voxels can tell.
    notes : tuple of str
    """

    best: str
    gain: float
    notes: tuple[str, ...]


def check_table(direction: NDArray, fa: NDArray, affine: NDArray[np.float64]) -> TableCheck:
    """Compare how coherent fibres would be had the table of b-vectors its axes reversed or exchanged.

    Parameters
    ----------
    direction : ndarray, shape (X, Y, Z, 3)
        First eigenvectors in world axes.
    fa : ndarray, shape (X, Y, Z)
        NaN outside the brain.
    affine : ndarray, shape (4, 4)

    Returns
    -------
    TableCheck
    """
    clear = np.nan_to_num(fa) > LEAST_FA
    if np.count_nonzero(clear) < LEAST_VOXELS:
        return TableCheck("as given", float("nan"), ())
    size = np.linalg.norm(affine[:3, :3], axis=0)
    own = np.nan_to_num(direction) @ (affine[:3, :3] / size)
    scores = np.zeros(len(TABLES))
    for step in NEIGHBOURS:
        one, other = _neighbours(own, clear, step)
        line = step * size / np.linalg.norm(step * size)
        for number, (_, table) in enumerate(TABLES):
            # With another table a direction d would be table · d.
            along = line @ table
            scores[number] += float((((one @ along) * (other @ along)) ** 4).sum())
    best = int(np.argmax(scores))
    gain = float(scores[best] / scores[0])
    name = TABLES[best][0]
    if gain < CLEARLY_MORE or scores[best] < STANDS_OUT * np.sort(scores)[-2]:
        return TableCheck(name, gain, ())
    note = (
        f"the b-vectors do not seem to belong to the image: with {name} fibres would be {gain:.2f} times as coherent; "
        "convert the data again, or correct the .bvec file"
    )
    return TableCheck(name, gain, (note,))


def _tables() -> list[tuple[str, NDArray[np.float64]]]:
    """Signed exchanges of the axes that differ in what they do to an axis without ends, the given table first."""
    found: list[tuple[str, NDArray[np.float64]]] = []
    for order in permutations(range(3)):
        for reversed_axis in (None, 0, 1, 2):
            table = np.eye(3)[list(order)]
            words = [] if order == (0, 1, 2) else ["the axes in the order " + " ".join("xyz"[k] for k in order)]
            if reversed_axis is not None:
                table[reversed_axis] *= -1
                words.append(f"{'xyz'[reversed_axis]} reversed")
            found.append((", ".join(words) or "as given", table))
    return found


TABLES = _tables()
"""Names and matrices of the tables compared."""

NEIGHBOURS = np.array([step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)])
"""Steps to half of a voxel's 26 neighbours, shape (13, 3)."""


def _neighbours(
    directions: NDArray[np.float64], clear: NDArray[np.bool_], step: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions (n, 3) of pairs of clear voxels one step apart."""
    shape = np.array(clear.shape)
    first = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, shape, strict=True))
    second = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, shape, strict=True))
    both = np.argwhere(clear[first] & clear[second])
    both = both[:: max(1, round(len(both) / MOST_PAIRS))]
    low, high = np.maximum(0, -step), np.maximum(0, step)
    return directions[tuple((both + low).T)], directions[tuple((both + high).T)]
