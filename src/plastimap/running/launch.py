"""From a checked study to running jobs: take the folder, put it in order, hand over to Snakemake."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from plastimap.bids.plan import Study, keep_study
from plastimap.bids.problems import Problem, errors, format_problems
from plastimap.problems import EXIT_PROBLEMS
from plastimap.running.chunks import GROUP, WHOLE, chunks_of
from plastimap.running.engine import environment, snakemake_command
from plastimap.running.handover import RUN_VARIABLE
from plastimap.running.lock import Busy, RunLock, hold, is_working, note, read_run
from plastimap.running.planned import keep_aside
from plastimap.running.resume import look, put_in_order
from plastimap.running.room import room_line, room_problems
from plastimap.running.signals import run_to_the_end, was_stopped
from plastimap.running.wanted import final_files, keep_wanted, with_sidecars


@dataclass(frozen=True)
class Execution:
    """How a study is to be run.

    Attributes
    ----------
    target : {"all", "participant"}
    cores : str
    profile : str or None
        Name of a shipped profile, or a folder.
    dry_run : bool
    scratch : Path or None
        Folder for the temporary files of jobs.
    chunk_scans : int
        Studies of more scans than this are run in chunks of people of about this many scans.
    """

    target: str
    cores: str
    profile: str | None
    dry_run: bool
    scratch: Path | None
    chunk_scans: int


def launch(study: Study, problems: Sequence[Problem], how: Execution, *, stay: bool = False) -> int:
    """Run a checked study.

    Parameters
    ----------
    study : Study
    problems : sequence of Problem
        What was noticed about it; nothing that stands in the way.
    how : Execution
    stay : bool
        Come back when it is done. Otherwise Snakemake takes this process over where one call is enough, which
        keeps signals and terminal as it has them.

    Returns
    -------
    int
        Exit code.
    """
    if how.dry_run:
        return _run_chunks(_preview(study, problems, how))
    lock = _take(study, problems, how)
    if lock is None:
        return EXIT_PROBLEMS
    calls = _Calls(study, how, lock)
    if calls.chunks == [WHOLE] and not stay:
        command, variables = calls.of(WHOLE)
        sys.stdout.flush()
        return os.execve(command[0], command, variables)  # noqa: S606
    status = _run_chunks(calls)
    if not was_stopped(status):
        os.environ[RUN_VARIABLE] = lock.name
        note(lock.out, ended=time.time())
    lock.release()
    return status


@dataclass(frozen=True)
class _Calls:
    """Calls of Snakemake that a run consists of."""

    study: Study
    how: Execution
    lock: RunLock | None = None
    plan: str = ""
    again: tuple[str, ...] = ()

    @cached_property
    def chunks(self) -> list[str]:
        return chunks_of(self.study, self.how.chunk_scans)

    def of(self, chunk: str) -> tuple[list[str], dict[str, str]]:
        """Arguments and environment of the call for a chunk."""
        run, out = self.lock.name if self.lock else None, self.study.config["output_dir"]
        command = snakemake_command(
            self.study.config, target=self.how.target, cores=self.how.cores, profile=self.how.profile,
            dry_run=self.how.dry_run, run=run, chunk=chunk, plan=self.plan,
            again=self.again if chunk == WHOLE else (),
        )  # fmt: skip
        return command, environment(out, run=run, scratch=self.how.scratch, chunk=chunk, plan=self.plan)


def _take(study: Study, problems: Sequence[Problem], how: Execution) -> RunLock | None:
    """Take the output folder and put it in order; None, with the reason told, when that cannot be."""
    out = Path(study.config["output_dir"])
    narrow = room_problems(study)
    if narrow:
        print(format_problems(narrow), file=sys.stderr)
    if errors(narrow):
        return None
    try:
        lock = hold(out)
    except Busy as busy:
        print(busy, file=sys.stderr)
        return None
    keep_study(study, problems)
    keep_wanted(study, how.target)
    wanted = with_sidecars(final_files(study, how.target))
    for line in (room_line(study), *put_in_order(out, lock.left, wanted)):
        print(line, file=sys.stderr)
    return lock


def _preview(study: Study, problems: Sequence[Problem], how: Execution) -> _Calls:
    """What a run would call, as far as it can be told without changing anything."""
    out = Path(study.config["output_dir"])
    plan, run = keep_aside(study, problems), read_run(out)
    if is_working(run):
        print("a run is at work here; what it has not done yet is among the jobs", file=sys.stderr)
        return _Calls(study, how, plan=plan)
    wanted = with_sidecars(final_files(study, how.target))
    found = look(out, {} if run.get("ended") else run, wanted)
    for line in found.told():
        print(line, file=sys.stderr)
    # Others may be none of this plan any more, and Snakemake would look for a rule for them.
    return _Calls(study, how, plan=plan, again=tuple(file for file in found.again if file in wanted))


def _run_chunks(calls: _Calls) -> int:
    """One Snakemake after another; a failure in one chunk does not keep the others from running."""
    status = 0
    for chunk in calls.chunks:
        if chunk.startswith(GROUP) and (calls.how.dry_run or calls.how.target == "participant"):
            # The group level is planned from files that a dry run has not made.
            break
        if chunk != WHOLE:
            print("group level" if chunk.startswith(GROUP) else f"people, chunk {chunk}", file=sys.stderr, flush=True)
        if status and chunk.startswith(GROUP):
            print("the group level waits until every chunk is done", file=sys.stderr)
            break
        command, variables = calls.of(chunk)
        # Whoever comes while the call lasts is refused, also when this process should not be there any more.
        keep = [calls.lock.handle] if calls.lock else []
        sys.stdout.flush()
        status = run_to_the_end(command, environment=variables, keep=keep) or status
        if was_stopped(status):
            # Whoever sent the signal meant the run, not the chunk.
            break
    return status
