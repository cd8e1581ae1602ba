"""From a checked study to running jobs: take the folder, put it in order, hand over to Snakemake."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from plastimap.bids.plan import Study
from plastimap.bids.problems import errors, format_problems
from plastimap.paths import sidecar_of
from plastimap.problems import EXIT_PROBLEMS
from plastimap.running.chunks import GROUP, WHOLE, chunks_of
from plastimap.running.engine import environment, snakemake_command
from plastimap.running.lock import RUN_VARIABLE, Busy, RunLock, hold, note
from plastimap.running.resume import put_in_order
from plastimap.running.room import room_line, room_problems


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


def launch(study: Study, how: Execution, *, stay: bool = False) -> int:
    """Run a checked study.

    Parameters
    ----------
    study : Study
        Its manifest and configuration lie in the output folder.
    how : Execution
    stay : bool
        Come back when it is done. Otherwise Snakemake takes this process over where one call is enough, which
        keeps signals, exit code and terminal as it has them.

    Returns
    -------
    int
        Exit code.
    """
    out, lock = Path(study.config["output_dir"]), None
    if not how.dry_run:
        lock = _take(study, out)
        if lock is None:
            return EXIT_PROBLEMS
    chunks = chunks_of(study, how.chunk_scans)
    if len(chunks) == 1 and not stay:
        command, variables = _call(study, how, lock, WHOLE)
        sys.stdout.flush()
        return os.execve(command[0], command, variables)  # noqa: S606
    status = _run_chunks(study, how, lock, chunks)
    if lock is not None:
        os.environ[RUN_VARIABLE] = lock.name
        note(out, ended=time.time())
        lock.release()
    return status


def _take(study: Study, out: Path) -> RunLock | None:
    """Take the output folder and put it in order; None, with the reason told, when that cannot be."""
    problems = room_problems(study)
    if problems:
        print(format_problems(problems), file=sys.stderr)
    if errors(problems):
        return None
    try:
        lock = hold(out)
    except Busy as busy:
        print(busy, file=sys.stderr)
        return None
    files = [*study.participant_targets, *study.group_targets]
    # Snakemake does not know the sidecars: those of images are what a job writes beside its outputs.
    wanted = {*files, *(sidecar_of(file) for file in files if file.endswith(".nii.gz"))}
    for line in (room_line(study), *put_in_order(out, lock.left, wanted)):
        print(line, file=sys.stderr)
    return lock


def _call(study: Study, how: Execution, lock: RunLock | None, chunk: str) -> tuple[list[str], dict[str, str]]:
    run = lock.name if lock else None
    command = snakemake_command(
        study.config,
        target=how.target,
        cores=how.cores,
        profile=how.profile,
        dry_run=how.dry_run,
        run=run,
        chunk=chunk,
    )
    return command, environment(run=run, scratch=how.scratch, chunk=chunk)


def _run_chunks(study: Study, how: Execution, lock: RunLock | None, chunks: list[str]) -> int:
    """One Snakemake after another; a failure in one chunk does not keep the others from running."""
    status = 0
    for chunk in chunks:
        if chunk.startswith(GROUP) and (how.dry_run or how.target == "participant"):
            # The group level is planned from files that a dry run has not made.
            break
        if chunk != WHOLE:
            print("group level" if chunk.startswith(GROUP) else f"people, chunk {chunk}", file=sys.stderr, flush=True)
        if status and chunk.startswith(GROUP):
            print("the group level waits until every chunk is done", file=sys.stderr)
            break
        command, variables = _call(study, how, lock, chunk)
        status = subprocess.run(command, env=variables, check=False).returncode or status
        if status < 0 or status == 130:
            # Ended by a signal: whoever sent it meant the run, not the chunk.
            break
    return abs(status)
