"""Scales on which an outcome has no limits: where levels of learning curves vary normally between people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LARGEST = 30.0
"""Largest |logit| or log that is told apart; beyond it exp runs out of digits."""


@dataclass(frozen=True)
class Scale:
    """Logit between two limits, log of the distance to one, the outcome itself without any.

    Attributes
    ----------
    minimum, maximum : float or None
        Limits of the outcome.
    """

    minimum: float | None = None
    maximum: float | None = None

    def to_free(self, values: Array, *, margin: float = 1e-3) -> Array:
        """Give outcomes without their limits; those at a limit count as `margin` of the range (or unit) inside."""
        low, high = self.minimum, self.maximum
        if low is not None and high is not None:
            share = np.clip((values - low) / (high - low), margin, 1 - margin)
            return np.log(share / (1 - share))
        if low is not None:
            return np.log(np.maximum(values - low, margin))
        return values.copy() if high is None else -np.log(np.maximum(high - values, margin))

    def from_free(self, free: Array) -> Array:
        """Give outcomes back."""
        low, high = self.minimum, self.maximum
        inside = np.clip(free, -LARGEST, LARGEST)
        if low is not None and high is not None:
            return low + (high - low) / (1 + np.exp(-inside))
        if low is not None:
            return low + np.exp(inside)
        return free.copy() if high is None else high - np.exp(-inside)

    def slope(self, free: Array) -> Array:
        """Derivative of :meth:`from_free`."""
        low, high = self.minimum, self.maximum
        inside = np.clip(free, -LARGEST, LARGEST)
        if low is not None and high is not None:
            share = 1 / (1 + np.exp(-inside))
            return (high - low) * share * (1 - share)
        if low is not None:
            return np.exp(inside)
        return np.ones_like(free) if high is None else np.exp(-inside)
