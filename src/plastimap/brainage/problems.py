"""The one error that this room raises for what a user can put right."""

from __future__ import annotations

from collections.abc import Iterable


class BrainageProblem(ValueError):
    """A table, set of parcels or model that cannot be used; the message says why and what to do.

    Attributes
    ----------
    problems : tuple of str
        Every problem found, in plain words.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))
