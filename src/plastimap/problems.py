"""What rooms share where a user has something to put right. Imports nothing: every command may."""

from __future__ import annotations

from collections.abc import Iterable

EXIT_PROBLEMS = 2
"""Exit code when there are problems that a person must solve first."""


class ListedProblem(ValueError):
    """Several problems raised at once.

    Attributes
    ----------
    problems : tuple of str
        Every problem found, in plain words.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))
