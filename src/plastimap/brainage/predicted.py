"""What an ensemble says of people: ages, how far a member may err, and what each member says beside the others.

Errors are learnt from people whom one member left out, but the mean of all members is applied, which errs less: its
squared error is the members' mean squared error less the variance among them (Krogh & Vedelsby 1995, NIPS 7, eq. 6).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

LEAST_VARIANCE = 0.5
"""Share of a member's variance that the mean of all is left with at least: the variance among few is a rough figure."""


class Predicted(NamedTuple):
    """Predictions of n people; NaN where data are missing.

    Attributes
    ----------
    age : ndarray, shape (n, regions)
        Geometric mean of the members, years.
    sd : ndarray, shape (n, regions)
        That members give, years.
    members : ndarray, shape (members, n, regions)
        log(age of a member / age). One of zeros where people left out were predicted by the same mean as any others.
    """

    age: Array
    sd: Array
    members: Array

    @property
    def apart(self) -> Array:
        """Standard deviation of the members about their mean, years, shape (n, regions)."""
        return self.age * np.sqrt((self.members**2).mean(axis=0))

    def rows(self, chosen: NDArray[np.bool_]) -> Predicted:
        """Some of the people."""
        return Predicted(self.age[chosen], self.sd[chosen], self.members[:, chosen])


def variance_of_mean(of_member: ArrayLike, among: ArrayLike) -> Array:
    """Variance of the members' mean, given a member's and that among members, which may be broadcast."""
    whole = np.asarray(of_member, dtype=np.float64)
    return np.maximum(whole - np.asarray(among, dtype=np.float64), LEAST_VARIANCE * whole)
