"""A design of people, spread over their scans: every column of the group model takes a course over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.design import Design
from plastimap.stats.study import People
from plastimap.stats.timecoding import TimeBasis


@dataclass(frozen=True)
class ScanDesign:
    """A model of scans.

    Attributes
    ----------
    matrix : ndarray, shape (n_scans, p)
        Each column of people times each time term; covariates times the constant alone, or likewise.
    names : tuple of str, length p
    rows : ndarray of int, shape (n_scans,)
        Rows of the maps.
    people, visits, groups : tuple of str, length n_scans
    days : ndarray, shape (n_scans,)
    between : ndarray, shape (n_people, q)
        The design of people, in the sorted order of their names.
    crossed : tuple of int, length q
        How many time terms each column of people takes (its own come first, the constant before the others).
    """

    matrix: NDArray[np.float64]
    names: tuple[str, ...]
    rows: NDArray[np.intp]
    people: tuple[str, ...]
    visits: tuple[str, ...]
    groups: tuple[str, ...]
    days: NDArray[np.float64]
    between: NDArray[np.float64]
    crossed: tuple[int, ...]

    def vectors(self, people: NDArray[np.float64], time: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights on the columns that compare people by `people` in what `time` takes from the time course.

        Parameters
        ----------
        people : ndarray, shape (r, q)
        time : ndarray, shape (s, n_terms)

        Returns
        -------
        ndarray, shape (r × s, p)
        """
        pairs = [(one, other) for one in people for other in time]
        return np.stack([
            np.concatenate([weight * course[:count] for weight, count in zip(who, self.crossed, strict=True)])
            for who, course in pairs
        ])  # fmt: skip


def scan_design(
    design: Design, people: People, who: Sequence[int], basis: TimeBasis, *, covariates_over_time: bool
) -> ScanDesign:
    """Spread a design over scans.

    Parameters
    ----------
    design : Design
    people : People
    who : sequence of int
        Position among `people` of each row of the design.
    basis : TimeBasis
    covariates_over_time : bool
        Whether covariates may also go with change over time (as they do where people's coefficients are compared),
        or with the level alone (as in SPM's usual repeated-measures designs).
    """
    terms = len(basis.names)
    crossed = tuple(
        terms if covariates_over_time or column < design.n_tested else 1 for column in range(len(design.names))
    )
    days = [people.days[i] if terms > 1 else np.zeros(people.days[i].size) for i in who]
    courses = [basis.at(own) for own in days]
    blocks = [
        np.column_stack([value * course[:, :count] for value, count in zip(row, crossed, strict=True)])
        for row, course in zip(design.matrix, courses, strict=True)
    ]
    names = [
        f"{name} × {term}" if term != basis.names[0] else name
        for name, count in zip(design.names, crossed, strict=True)
        for term in basis.names[:count]
    ]
    counts = [own.size for own in days]
    return ScanDesign(
        matrix=np.concatenate(blocks),
        names=tuple(names),
        rows=np.concatenate([people.rows[i] for i in who]),
        people=tuple(np.repeat(np.asarray(design.people, dtype=object), counts)),
        visits=tuple(str(visit) for i in who for visit in people.visits[i]),
        groups=tuple(np.repeat(np.asarray(design.groups, dtype=object), counts)),
        days=np.concatenate(days),
        between=design.matrix,
        crossed=crossed,
    )
