"""What can be wrong with behaviour tables, in words a person can act on."""

from __future__ import annotations


class BehaviourProblem(ValueError):
    """A behaviour table that cannot be used; the message names table, reason and remedy."""
