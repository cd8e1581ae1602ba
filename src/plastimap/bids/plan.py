"""From manifest and config to what will be made; the Snakefile's door.

What the study has and what the rules get lies in :mod:`plastimap.planning`. Imports nothing heavy: every job reads
this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from snakemake_interface_common.exceptions import WorkflowError

from plastimap.bids.manifest import Manifest, read_manifest, write_manifest
from plastimap.bids.problems import Problem, errors, format_problems
from plastimap.check import check_study
from plastimap.config import load_config, read_config, usable_config
from plastimap.paths import ERROR_MAPS, Paths
from plastimap.planning.available import STAGES
from plastimap.planning.group_inputs import GroupInputs
from plastimap.running.handover import is_checked
from plastimap.writing import write_if_changed


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
        manifest = read_manifest(Path(known["output_dir"]) / Paths.manifest)
        return Study(known, replace(manifest, bids_dir=known["bids_dir"]))
    checked, problems = load_config([*files, settings])
    manifest, problems = check_study(usable_config(checked), config_problems=problems)
    _stop_at(problems)
    return keep_study(checked, manifest, problems)


def keep_study(config: Mapping[str, Any], manifest: Manifest, problems: Sequence[Problem]) -> Study:
    """Decide what to make of a checked study, and write manifest, problems, plan and configuration down.

    Each is written only when it says something new, so that nothing reruns for it.
    """
    place = Path(config["output_dir"])
    study = Study(config, manifest)
    write_manifest(place / Paths.manifest, manifest)
    write_if_changed(place / Paths.problems, json.dumps([asdict(problem) for problem in problems], indent=2) + "\n")
    write_if_changed(place / Paths.plan, study.summary() + "\n")
    write_if_changed(place / Paths.effective_config, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    return study


class StudyProblem(WorkflowError):
    """Everything that is wrong with a study, found before its first job."""


def _stop_at(problems: Sequence[Problem]) -> None:
    if errors(problems):
        raise StudyProblem(format_problems(problems))
