"""The one error that this room raises for what a user can put right."""

from __future__ import annotations

from plastimap.problems import ListedProblem


class BrainageProblem(ListedProblem):
    """A table, set of parcels or model that cannot be used; the message says why and what to do."""
