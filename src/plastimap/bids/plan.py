"""From manifest and config to what will be made; the Snakefile's door.

What the study has and what the rules get lies in :mod:`plastimap.planning`. Imports nothing heavy: every job reads
this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import yaml
from snakemake_interface_common.exceptions import WorkflowError

from plastimap.bids.manifest import read_manifest, write_manifest
from plastimap.bids.problems import Problem, errors, format_problems
from plastimap.check import check_study
from plastimap.config import load_config, read_config, usable_config
from plastimap.paths import ERROR_MAPS, Paths
from plastimap.planning.available import STAGES
from plastimap.planning.group_inputs import GroupInputs
from plastimap.running.handover import is_checked, plan_folder
from plastimap.writing import write_if_changed

PLAN_FILES = ("manifest", "problems", "plan", "effective_config")
"""Names, in the table of outputs, of the files that say what a study is and what is made of it."""


class Study(GroupInputs):
    """What one run will make.

    Parameters
    ----------
    config : mapping
        The checked configuration.
    manifest : Manifest
        The files of the study.
    """

    def summary(self) -> str:
        """What will be made and what not, as JSON for the report."""
        return json.dumps(
            {
                "stages": [stage for stage in STAGES if stage in self.stages],
                "left_out": self.left_out,
                "contrast": self.contrast,
                "notices": self.notices,
                "scans": {
                    scan.label: {"day": scan.day, "maps": sorted(scan.native_maps - ERROR_MAPS.keys())}
                    for scan in self.scans
                },
            },
            indent=2,
        )


def open_study(*, files: Sequence[str | Path], settings: Mapping[str, Any], refresh: bool) -> Study:
    """Check the configuration, index the dataset and decide what to make.

    Parameters
    ----------
    files : sequence of path-like
        Configuration files, later ones over earlier ones; relative paths count from the folder of their file.
    settings : mapping
        Single settings over the files (Snakemake's ``--config``).
    refresh : bool
        True in the main process, which writes the manifest; jobs read it as it was then.

    Raises
    ------
    StudyProblem
        When something is wrong: the message lists everything.
    """
    if not refresh or is_checked():
        known = read_config([*files, settings])
        manifest = read_manifest(Path(known["output_dir"], plan_folder(), Paths.manifest))
        study = Study(known, replace(manifest, bids_dir=known["bids_dir"]))
        return _taken_from(study, plan_folder()) if plan_folder() else study
    checked, problems = load_config([*files, settings])
    manifest, problems = check_study(usable_config(checked), config_problems=problems)
    _stop_at(problems)
    study = Study(checked, manifest)
    keep_study(study, problems)
    return study


def keep_study(study: Study, problems: Sequence[Problem], *, folder: str = "") -> None:
    """Write down manifest, problems, plan and configuration of a checked study.

    Each is written only when it says something new, so that nothing reruns for it. Jobs read them: in an output folder
    where a run may be at work, only who holds its lock may write them there.

    Parameters
    ----------
    study : Study
    problems : sequence of Problem
    folder : str
        Where to, in the output folder; there itself when not given.
    """
    place = Path(study.config["output_dir"], folder)
    write_manifest(place / Paths.manifest, study.manifest)
    write_if_changed(place / Paths.problems, json.dumps([asdict(problem) for problem in problems], indent=2) + "\n")
    write_if_changed(place / Paths.plan, study.summary() + "\n")
    settings = yaml.safe_dump(dict(study.config), sort_keys=False, allow_unicode=True)
    write_if_changed(place / Paths.effective_config, settings)


def _taken_from(study: Study, folder: str) -> Study:
    """A study whose rules find in a folder what is new in its plan; what the last run kept is as good as it was."""
    place = Path(study.config["output_dir"])
    files = {name: str(getattr(Paths, name)) for name in PLAN_FILES}
    new = {name: f"{folder}/{file}" for name, file in files.items() if not _alike(place / file, place / folder / file)}
    study.paths = cast("Paths", type("PlannedPaths", (Paths,), new)(**asdict(study.paths)))
    return study


def _alike(first: Path, second: Path) -> bool:
    return first.is_file() and first.read_bytes() == second.read_bytes()


class StudyProblem(WorkflowError):
    """Everything that is wrong with a study, found before its first job."""


def _stop_at(problems: Sequence[Problem]) -> None:
    if errors(problems):
        raise StudyProblem(format_problems(problems))
