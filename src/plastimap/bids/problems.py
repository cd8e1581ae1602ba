"""What is wrong with a study, in words a person can act on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

WIDTH = 100
"""Columns of the printed list."""

FILES_SHOWN = 12
"""How many files one entry names before it says how many more there are."""

Severity = Literal["error", "notice"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or worth knowing, before anything runs.

    Attributes
    ----------
    file : str
        The file (relative to the dataset where it lies inside), or the part of the configuration.
    what : str
        What was found.
    why : str
        Why it matters.
    remedy : str
        What to do about it.
    severity : {"error", "notice"}
        An error stops the study before its first job; a notice is only told.
    """

    file: str
    what: str
    why: str
    remedy: str
    severity: Severity = "error"


def errors(problems: Iterable[Problem]) -> list[Problem]:
    """Pick the problems that stop a study."""
    return [problem for problem in problems if problem.severity == "error"]


def unique_problems(*lists: Iterable[Problem]) -> list[Problem]:
    """Several lists as one: errors first, each problem once, the order kept otherwise."""
    found = list(dict.fromkeys(problem for problems in lists for problem in problems))
    return sorted(found, key=lambda problem: problem.severity != "error")


def format_problems(problems: Iterable[Problem], *, width: int = WIDTH, files_shown: int | None = FILES_SHOWN) -> str:
    """Print every problem: errors, then notices, numbered, the same finding in many files as one entry.

    Parameters
    ----------
    problems : iterable of Problem
    width : int
        Columns to wrap at.
    files_shown : int or None
        Files named in one entry before the rest is counted; None names all.

    Returns
    -------
    str
        Lines without a final line break; a single sentence when there are no problems.
    """
    found = unique_problems(problems)
    if not found:
        return "No problems found."
    lines: list[str] = []
    for severity, one, many in (("error", "error", "errors"), ("notice", "notice", "notices")):
        entries = _grouped([problem for problem in found if problem.severity == severity])
        if not entries:
            continue
        lines += (
            ["", f"{len(entries)} {one if len(entries) == 1 else many}"]
            if lines
            else [f"{len(entries)} {one if len(entries) == 1 else many}"]
        )
        for number, (problem, files) in enumerate(entries, start=1):
            lines += ["", *_entry(number, problem, files, width, files_shown)]
    return "\n".join(lines)


def _grouped(problems: Iterable[Problem]) -> list[tuple[Problem, list[str]]]:
    groups: dict[tuple[str, str, str], tuple[Problem, list[str]]] = {}
    for problem in problems:
        groups.setdefault((problem.what, problem.why, problem.remedy), (problem, []))[1].append(problem.file)
    return list(groups.values())


def _entry(number: int, problem: Problem, files: list[str], width: int, files_shown: int | None) -> list[str]:
    head = f"{number:3d}. "
    indent = " " * len(head)
    lines = _wrap(head, problem.what, width)
    shown = files if files_shown is None else files[:files_shown]
    lines += [line for file in shown for line in _wrap(indent + "in   ", file, width)]
    if len(files) > len(shown):
        lines.append(f"{indent}     … and {len(files) - len(shown)} more files")
    lines += _wrap(indent + "why  ", problem.why, width)
    return lines + _wrap(indent + "do   ", problem.remedy, width)


def _wrap(head: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width=width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
