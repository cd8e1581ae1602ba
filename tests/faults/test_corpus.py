"""Whatever is given, `plastimap check` tells what is wrong or takes it: no traceback, no hang, no file outside."""

from __future__ import annotations

import resource
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plastimap.cli import main
from plastimap.running.launch import EXIT_PROBLEMS
from tests.faults.corpus import CASES, Case
from tests.unit.bids.conftest import StudyMaker


class Hangs(BaseException):
    """No program expects it, so none takes it for a trouble of a file."""


LIMIT_S = 60
"""A check of this study takes .1 s; a machine that is busy needs more."""

LIMIT_BYTES = 4 << 30
"""Address space beyond what is used at the start of a check."""


@contextmanager
def limits() -> Generator[None]:
    """End what hangs, and what eats the memory."""

    def hangs(*_: object) -> None:
        raise Hangs("the check hangs")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(LIMIT_S)
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, before[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def outside(folder: Path) -> dict[str, int]:
    return {
        str(file): file.lstat().st_mtime_ns for file in folder.rglob("*") if "out" not in file.relative_to(folder).parts
    }


@pytest.fixture
def whole(make: StudyMaker) -> StudyMaker:
    """Two people × two sessions of everything, without an error."""
    return make.everything()


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_hostile_input_is_told_or_handled(one: Case, whole: StudyMaker, tmp_path: Path, capsys) -> None:
    given = one.spoil(whole) or [str(whole.root)]
    before = outside(tmp_path)
    arguments = ["check", given[0], str(tmp_path / "out"), *given[1:]]
    with limits():
        status = main(arguments)
    said = capsys.readouterr()
    text = " ".join((said.out + said.err).split())
    assert status in (0, EXIT_PROBLEMS)
    assert "Traceback" not in text
    assert one.words in text
    if not one.words:
        assert status == 0, text
    assert outside(tmp_path) == before
    assert not Path("/tmp/plastimap-was-here").exists()


def test_the_corpus_is_as_large_as_it_says() -> None:
    assert len({one.name for one in CASES}) == len(CASES) >= 80
