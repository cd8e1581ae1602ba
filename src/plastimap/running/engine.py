"""The Snakemake call of a run, and the little that has to be known of Snakemake's own folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from plastimap.paths import Paths
from plastimap.running.chunks import GROUP, GROUP_RULES, WHOLE
from plastimap.running.handover import CHECKED_VARIABLE, CHUNK_VARIABLE, FOLDER_VARIABLE, PLAN_VARIABLE, RUN_VARIABLE
from plastimap.shipped import workflow_file
from plastimap.writing import PathLike

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
"""Scans run in parallel, so each job computes with one thread; that also keeps results equal to the last bit."""

CACHE = ".plastimap/cache"
"""Where programs keep what they need again, in the output folder, for users without a home that can be written to."""

JOB_PREFIX = "plastimap"
"""Begin of the names that jobs have in a cluster's queue; the name of the run follows."""


def snakemake_command(
    config: Mapping[str, Any],
    *,
    target: str,
    cores: str,
    profile: str | None,
    dry_run: bool,
    run: str | None = None,
    chunk: str = WHOLE,
    plan: str = "",
    again: Collection[str] = (),
) -> list[str]:
    """The Snakemake call of a run, as a list of arguments.

    Parameters
    ----------
    config : mapping
        Checked configuration; its effective copy lies in the output folder.
    target : {"all", "participant"}
    cores : str
    profile : str or None
        Name of a shipped profile, or a folder.
    dry_run : bool
    run : str, optional
        Name of the run: jobs in a cluster's queue carry it.
    chunk : str
        Of :func:`plastimap.running.chunks.chunks_of`.
    plan : str
        Folder of the plan, in the output folder; there itself when not given.
    again : collection of str
        Files that are to be made again though they are there.
    """
    place = Path(config["output_dir"])
    command = [sys.executable, "-m", "plastimap.running.call", "--snakefile", str(workflow_file("Snakefile"))]
    command += ["--configfile", str(place / plan / Paths.effective_config), "--directory", str(place)]
    # A workflow profile would win over --profile, so only one is given.
    shipped = workflow_file("profiles") / (profile or "default")
    folder = shipped if shipped.is_dir() else Path(profile or "default")
    command += ["--workflow-profile", "none", "--profile", str(folder)]
    command += ["--cores", str(cores)]
    if run and uses_slurm(folder):
        command += ["--slurm-jobname-prefix", f"{JOB_PREFIX}-{run}"]
    if chunk != WHOLE and not chunk.startswith(GROUP):
        target = "participant"
    # Options that take several values come last, or they would swallow the target.
    command += [target, *(["--dry-run", "--quiet", "rules"] if dry_run else ["--logger", "plastimap"])]
    command += ["--forcerun", *sorted(again)] if again else []
    return [*command, "--allowed-rules", *GROUP_RULES] if chunk.startswith(GROUP) else command


def uses_slurm(profile: Path) -> bool:
    """Whether a profile sends jobs to SLURM."""
    file = profile / "config.yaml"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return any(line.partition("#")[0].replace(" ", "") == "executor:slurm" for line in lines)


def environment(
    out: PathLike, *, run: str | None = None, scratch: Path | None = None, chunk: str = WHOLE, plan: str = ""
) -> dict[str, str]:
    """Environment of a run's processes.

    Parameters
    ----------
    out : path-like
        The output folder.
    run : str, optional
        Name of the run.
    scratch : Path, optional
        Folder for the temporary files of jobs.
    chunk : str
        Of :func:`plastimap.running.chunks.chunks_of`.
    plan : str
        Folder of the plan, in the output folder.
    """
    told = {CHECKED_VARIABLE: str(os.getpid()), CHUNK_VARIABLE: chunk, FOLDER_VARIABLE: os.fspath(out),
            PLAN_VARIABLE: plan}  # fmt: skip
    found = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), **told}
    if run:
        found[RUN_VARIABLE] = run
    if scratch:
        found["TMPDIR"] = str(scratch.resolve())
    if not _has_cache():
        # As in a container of a user whom it does not know: Snakemake would end with a traceback.
        found["XDG_CACHE_HOME"] = str(Path(out, CACHE).absolute())
    return found


def _has_cache() -> bool:
    """Whether Snakemake can have a folder where programs keep what they need again."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    folder = Path(home, "snakemake")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def remove_engine_locks(out: PathLike) -> bool:
    """Remove the lock of a Snakemake that was killed; whether there was one."""
    folder = Path(out, ".snakemake", "locks")
    there = folder.is_dir() and any(folder.iterdir())
    shutil.rmtree(folder, ignore_errors=True)
    return there


def make_again(out: PathLike, file: str) -> None:
    """Let Snakemake take an existing output for incomplete, so that its next run makes it again.

    The mark is the one that Snakemake sets itself when a job starts and removes when it is done.
    """
    name = urlsafe_b64encode(file.encode()).decode()
    # Longer names than a file system allows are cut into folders.
    parts = [name[start : start + 254] for start in range(0, len(name), 254)]
    mark = Path(out, ".snakemake", "incomplete", *(f"@{part}" for part in parts[:-1]), parts[-1])
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps({"external_jobid": None}), encoding="utf-8")
