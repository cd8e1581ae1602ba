"""Files that a run is to have made: the run writes them down, and the status asks which of them are there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from plastimap.bids.plan import Study
from plastimap.paths import sidecar_of
from plastimap.running.cleaning import is_inside
from plastimap.writing import PathLike, write_if_changed

if TYPE_CHECKING:
    from plastimap.planning.scans import Wildcards

WANTED = ".plastimap/wanted.txt"
"""What the last run was to make: files that it asked Snakemake for, an empty line, and all final files."""


def final_files(study: Study, target: str) -> list[str]:
    """Final files of a run to `target`, the whole study (``all``) or the participant level."""
    return [*study.participant_targets, *(study.group_targets if target == "all" else [])]


def with_sidecars(files: list[str]) -> set[str]:
    """Files, and the sidecars of images: Snakemake does not know them, jobs write them beside their outputs."""
    return {*files, *(sidecar_of(file) for file in files if file.endswith(".nii.gz"))}


def keep_wanted(study: Study, target: str) -> None:
    """Write down what a run of a study is to make."""
    # The people of all chunks; the function is one that Snakemake calls with wildcards, and has none of them.
    goals = [*study.participant_goals(cast("Wildcards", None)), *(study.group_targets if target == "all" else [])]
    lines = [*goals, "", *final_files(study, target)]
    write_if_changed(Path(study.config["output_dir"], WANTED), "\n".join(lines) + "\n")


def read_wanted(out: PathLike) -> tuple[list[str], set[str]]:
    """What the last run asked Snakemake for, and all final files with their sidecars; empty where no run said so."""
    try:
        text = Path(out, WANTED).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    goals, _, files = text.partition("\n\n")
    return list(filter(is_inside, goals.splitlines())), with_sidecars(list(filter(is_inside, files.splitlines())))
