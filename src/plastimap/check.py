"""Everything that is wrong with a study, before its first job: files, tables and the group model together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plastimap.bids import checks
from plastimap.bids.manifest import MIN_PARTICIPANTS, Manifest, behaviour_files, wants
from plastimap.bids.problems import Problem, errors, unique_problems
from plastimap.bids.rows import STRUCTURAL
from plastimap.cohort import CURVE_PARAMETERS
from plastimap.space.region_checks import region_problems

if TYPE_CHECKING:
    import pandas as pd


def check_study(
    config: Mapping[str, Any], *, config_problems: Sequence[Problem] = ()
) -> tuple[Manifest, list[Problem]]:
    """Index a study and list every problem of its configuration, files, tables and model.

    Parameters
    ----------
    config : mapping
        Complete configuration (:func:`plastimap.config.usable_config`).
    config_problems : sequence of Problem
        What :func:`plastimap.config.load_config` found.

    Returns
    -------
    Manifest, list of Problem
        Errors first.
    """
    manifest, problems = checks.check_study(config, config_problems=[*config_problems, *_place_problems(config)])
    problems = unique_problems(problems, _brace_problems(manifest), _behaviour_problems(manifest, config, problems))
    problems = unique_problems(problems, region_problems(config) if wants(config, "glm") else [])
    if errors(problems) or not wants(config, "glm") or len(manifest.people) < MIN_PARTICIPANTS:
        return manifest, problems
    return manifest, unique_problems(problems, _model_problems(manifest, config))


def _place_problems(config: Mapping[str, Any]) -> list[Problem]:
    if config["output_dir"]:
        return []
    remedy = "name a folder outside the raw data"
    return [Problem("config: output_dir", "no output folder is given", "results need a place", remedy)]


def _brace_problems(manifest: Manifest) -> list[Problem]:
    """Paths of images that the rules would take for patterns."""
    folders = sorted({os.path.dirname(row.path) for row in manifest.used if "{" in row.path or "}" in row.path})  # noqa: PTH120
    why, remedy = "the workflow takes {…} for a place to fill in", "rename the folder, or give a link without braces"
    return [Problem(folder, "the path has braces in it", why, remedy) for folder in folders[:1]]


def _behaviour_problems(manifest: Manifest, config: Mapping[str, Any], known: Sequence[Problem]) -> list[Problem]:
    """What the job that reads behaviour tables would stumble over; nothing of files that cannot be read at all."""
    if not wants(config, "behaviour"):
        return []
    broken = {problem.file for problem in errors(known)}
    files = [file for file in behaviour_files(manifest, config) if os.path.isfile(file)]  # noqa: PTH113
    files = [file for file in files if manifest.file_label(file) not in broken]
    if not files:
        return []
    from plastimap.behaviour.check import table_problems

    days = {row.scan: row.day for row in manifest.used if row.day is not None}
    found = table_problems(files, config["behaviour"]["outcomes"], days=days)
    why = "the learning curves cannot be fitted"
    return [_behaviour_problem(manifest, text, files, why) for text in found]


def _behaviour_problem(manifest: Manifest, text: str, files: Sequence[str], why: str) -> Problem:
    """Take file, cause and remedy out of one message."""
    file = next((one for one in files if text.startswith(f"{one}: ")), None)
    what, _, remedy = text.removeprefix(f"{file}: ").partition("; ")
    place = manifest.file_label(file) if file else "behaviour tables"
    return Problem(place, what, why, remedy or "correct the table")


def _model_problems(manifest: Manifest, config: Mapping[str, Any]) -> list[Problem]:
    """Contrasts and covariates against the table of participants."""
    import pandas as pd

    from plastimap.stats.design import design_problems

    model = config["model"]
    computed = [f"{outcome}_{name}" for outcome in config["behaviour"]["outcomes"] for name in CURVE_PARAMETERS]
    if not _only_finished_maps(manifest):
        computed.append("tiv")
    there = set(manifest.people)
    people = pd.DataFrame([line for line in manifest.participants if line["participant_id"] in there])
    found = design_problems(
        people, group=model["group"], covariates=model["covariates"], contrasts=model["contrasts"], computed=computed
    )
    found += _preservation_problems(model, people)
    why = "the group model cannot be built"
    remedy = "correct model in the configuration, or participants.tsv"
    return [Problem("config: model", text, why, remedy) for text in found]


def _preservation_problems(model: Mapping[str, Any], people: pd.DataFrame) -> list[str]:
    """Groups of ``model.preservation`` that are not there."""
    asked = model["preservation"]
    if asked is None:
        return []
    if not model["group"] or model["group"] not in people:
        return ["preservation compares groups, and model.group names none"]
    known = sorted(set(people[model["group"]].dropna().astype(str)))
    wanted = [*asked["patients"], *asked["controls"]]
    found = [
        f"preservation: there is no group {name!r}; known: {', '.join(known)}" for name in wanted if name not in known
    ]
    twice = sorted(set(asked["patients"]) & set(asked["controls"]))
    return found + [f"preservation: {name!r} cannot be patients and controls" for name in twice]


def _only_finished_maps(manifest: Manifest) -> bool:
    """Whether maps in the target space are all there is: no image to segment, so no TIV either."""
    stages = {row.stage for row in manifest.used}
    return bool(stages & {"warped", "smoothed"}) and not any(
        row.suffix in STRUCTURAL or (row.stage == "native" and row.map in STRUCTURAL) for row in manifest.used
    )
