"""Everything wrong with a study, found before the first job: the configuration, the index, images and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from plastimap.bids.image_checks import check_images
from plastimap.bids.manifest import Manifest, behaviour_files, index_dataset, wants
from plastimap.bids.participants import FILE, check_model_columns, check_presence
from plastimap.bids.problems import Problem, unique_problems
from plastimap.bids.tables import read_table
from plastimap.config import check_config

STAGES_OF_DATA = {"mpm": "MPM or MTS echoes", "dwi": "diffusion series", "behaviour": "behaviour tables"}
"""What a stage needs that was asked for by name."""


def check_study(config: Mapping[str, Any]) -> tuple[Manifest, list[Problem]]:
    """Index a study and find everything wrong with it and with its configuration.

    Parameters
    ----------
    config : mapping
        A configuration as :func:`plastimap.config.load_config` gives it.

    Returns
    -------
    manifest : Manifest
        Its `problems` are the list that is also returned.
    problems : list of Problem
        Errors first.
    """
    problems = check_config(config)
    if any(problem.severity == "error" and _breaks_indexing(problem) for problem in problems):
        return Manifest((), problems=tuple(problems)), problems
    manifest = index_dataset(config["bids_dir"], config)
    problems = unique_problems(problems, manifest.problems, check_manifest(manifest, config))
    return replace(manifest, problems=tuple(problems)), problems


def check_manifest(manifest: Manifest, config: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with the images and tables of an indexed study.

    Parameters
    ----------
    manifest : Manifest
    config : mapping
        A configuration as :func:`plastimap.config.load_config` gives it.

    Returns
    -------
    list of Problem
    """
    problems = _usable(manifest, config)
    problems += check_images(manifest, config)
    problems += _check_participants(manifest, config)
    problems += _check_behaviour(manifest, config)
    return problems


def _breaks_indexing(problem: Problem) -> bool:
    """Whether a configuration is too broken to index by: lists that are no lists, sections that are none."""
    keys = ("participants", "sessions", "derivatives", "images", "bids_dir", "input", "stages", "dwi", "model", "behaviour")
    return any(problem.what.startswith(key) for key in keys) and " is " in problem.what
