"""The little language in which a study states what it compares.

    A + B > C            mean of groups A and B above group C
    A <> B               both directions
    A != B != C          any difference between them (F)
    A <> 0               one group (or the mean of several) against no change
    x in A + B <> 0      slope on column x among the people of A and B

Group names may hold letters, digits, ``-``, ``_``, ``.`` and spaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from plastimap.stats.problems import StatsProblem, suggestion

Direction = Literal[">", "<", "!="]

_OPERATOR = re.compile(r"!=|<>|>|<")


@dataclass(frozen=True)
class Contrast:
    """What is compared with what.

    Attributes
    ----------
    name : str
        As in the report; the test itself if none was given.
    left, right : tuple of str
        Groups on either side, averaged with equal weight; an empty `right` is zero.
    directions : tuple of {">", "<", "!="}
        Directions to be tested of *left minus right* (or of the slope); ``("!=",)`` = an F test of any difference.
    column : str or None
        The regressor of a slope.
    sides : tuple of tuple of str
        Of an F test: what must not all be equal; `left` then names all groups. Empty otherwise.
    """

    name: str
    left: tuple[str, ...]
    right: tuple[str, ...]
    directions: tuple[Direction, ...]
    column: str | None = None
    sides: tuple[tuple[str, ...], ...] = ()

    @property
    def test(self) -> str:
        """The comparison in the language above, in its plainest spelling."""
        if self.sides:
            return " != ".join(" + ".join(side) for side in self.sides)
        operator = "<>" if len(self.directions) == 2 else self.directions[0]
        left = " + ".join(self.left)
        if self.column is not None:
            left = f"{self.column} in {left}"
        return f"{left} {operator} {' + '.join(self.right) or '0'}"

    @property
    def groups(self) -> tuple[str, ...]:
        """All groups named, left ones first."""
        return self.left + self.right


def parse_contrast(text: str, *, name: str | None = None) -> Contrast:
    """Read one comparison.

    Parameters
    ----------
    text : str
        Such as ``"SCI-UL + SCI-LL > CON"``.
    name : str, optional
        What to call it; default: the comparison itself.

    Returns
    -------
    Contrast

    Raises
    ------
    StatsProblem
        With the reason in plain words.
    """
    operators = _OPERATOR.findall(text)
    if operators and set(operators) == {"!="}:
        return _omnibus(text, name)
    if len(operators) != 1:
        raise StatsProblem(
            f"{text!r}: a comparison needs exactly one of >, <, <> (for example 'A > B' or 'A <> 0'), or !="
        )
    left_text, right_text = (" ".join(side.split()) for side in _OPERATOR.split(text))
    column = None
    if " in " in left_text:
        column, left_text = (part.strip() for part in left_text.split(" in ", 1))
        if right_text != "0":
            raise StatsProblem(f"{text!r}: a slope is compared with 0 ('{column} in {left_text} <> 0')")
    left = _groups(left_text, text)
    right = () if right_text == "0" else _groups(right_text, text)
    _once(left + right, text)
    directions: dict[str, tuple[Direction, ...]] = {">": (">",), "<": ("<",), "<>": (">", "<")}
    contrast = Contrast(name=name or "", left=left, right=right, directions=directions[operators[0]], column=column)
    return contrast if name else replace(contrast, name=contrast.test)


def _omnibus(text: str, name: str | None) -> Contrast:
    """Read ``A != B != C``."""
    sides = tuple(_groups(" ".join(side.split()), text) for side in _OPERATOR.split(text))
    every = tuple(group for side in sides for group in side)
    _once(every, text)
    contrast = Contrast(name=name or "", left=every, right=(), directions=("!=",), sides=sides)
    return contrast if name else replace(contrast, name=contrast.test)


def _once(groups: tuple[str, ...], text: str) -> None:
    repeated = sorted({group for group in groups if groups.count(group) > 1})
    if repeated:
        raise StatsProblem(f"{text!r}: {', '.join(repeated)} is named more than once")


def _groups(side: str, text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in side.split("+"))
    if not all(names):
        raise StatsProblem(f"{text!r}: a group name is missing")
    if "0" in names:
        raise StatsProblem(f"{text!r}: 0 may only stand alone on the right-hand side")
    return names


def auto_contrasts(groups: Sequence[str]) -> tuple[Contrast, ...]:
    """Compare every pair of groups in both directions; a single group with 0."""
    if len(groups) == 1:
        return (Contrast(name=f"change in {groups[0]}", left=(groups[0],), right=(), directions=(">", "<")),)
    return tuple(
        Contrast(name=f"{one} vs {other}", left=(one,), right=(other,), directions=(">", "<"))
        for one, other in combinations(groups, 2)
    )


def read_contrasts(
    contrasts: str | Sequence[str | Mapping[str, str] | Contrast], groups: Sequence[str]
) -> tuple[tuple[Contrast, ...], list[str]]:
    """Read the contrasts of a configuration, and list everything wrong with them.

    Parameters
    ----------
    contrasts : "auto", or sequence of str, mapping (``name``, ``test``) or Contrast
    groups : sequence of str
        The study's groups.

    Returns
    -------
    contrasts : tuple of Contrast
        Those that can be read.
    problems : list of str
    """
    if isinstance(contrasts, str):
        return (auto_contrasts(groups), []) if contrasts == "auto" else read_contrasts([contrasts], groups)
    found: list[Contrast] = []
    problems: list[str] = []
    for item in contrasts:
        try:
            found.append(_read_one(item))
        except StatsProblem as problem:
            problems.extend(problem.problems)
    names = [contrast.name for contrast in found]
    problems.extend(f"two contrasts are called {name!r}" for name in sorted({n for n in names if names.count(n) > 1}))
    for contrast in found:
        problems.extend(_unknown_groups(contrast, groups))
    return tuple(found), problems


def _read_one(item: str | Mapping[str, str] | Contrast) -> Contrast:
    if isinstance(item, Contrast):
        return item
    if isinstance(item, str):
        return parse_contrast(item)
    if "test" not in item:
        raise StatsProblem(f"contrast {dict(item)}: the key 'test' is missing (for example test: 'A > B')")
    return parse_contrast(str(item["test"]), name=str(item["name"]) if item.get("name") else None)


def _unknown_groups(contrast: Contrast, groups: Sequence[str]) -> list[str]:
    return [
        f"contrast {contrast.test!r}: there is no group {group!r}; {suggestion(group, groups)}"
        for group in contrast.groups
        if group not in groups
    ]
