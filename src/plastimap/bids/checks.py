"""Everything wrong with a study, found before the first job: the configuration, the index, images and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from plastimap.bids.image_checks import check_images
from plastimap.bids.manifest import MIN_PARTICIPANTS, Manifest, behaviour_files, index_dataset, wants
from plastimap.bids.mask_checks import check_masks
from plastimap.bids.participants import FILE, check_model_columns, check_presence
from plastimap.bids.problems import Problem, errors, unique_problems
from plastimap.bids.rows import MAPS, MPM_SUFFIXES, Row
from plastimap.bids.tables import read_table
from plastimap.config import check_config, usable_config

SELECTIONS = ("config: participants", "config: sessions")
"""Where problems with the choice of people and sessions are."""

STAGES_OF_DATA = {"mpm": "MPM or MTS echoes", "dwi": "diffusion series", "behaviour": "behaviour tables"}
"""What a stage needs that was asked for by name."""


def check_study(
    config: Mapping[str, Any], *, config_problems: Sequence[Problem] | None = None
) -> tuple[Manifest, list[Problem]]:
    """Index a study and find everything wrong with it and with its configuration.

    Parameters
    ----------
    config : mapping
        A configuration as :func:`plastimap.config.load_config` gives it.
    config_problems : sequence of Problem, optional
        What `load_config` found; without it the configuration is checked here.

    Returns
    -------
    manifest : Manifest
        Its `problems` are the list that is also returned.
    problems : list of Problem
        Errors first.
    """
    wrong = check_config(config) if config_problems is None else config_problems
    usable = usable_config(config)
    manifest = index_dataset(usable["bids_dir"], usable)
    problems = unique_problems(wrong, manifest.problems, check_manifest(manifest, usable))
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
    problems = _check_usable(manifest, config)
    problems += check_images(manifest, config)
    problems += check_masks(manifest, config)
    problems += _check_participants(manifest, config)
    problems += _check_behaviour(manifest, config)
    return problems


def _check_usable(manifest: Manifest, config: Mapping[str, Any]) -> list[Problem]:
    """Whether there are data at all, and for each stage and map that was asked for by name."""
    if not manifest.used:
        return _nothing_usable(manifest, config)
    problems: list[Problem] = []
    available = _available(manifest, config)
    if config["stages"] != "auto":
        for stage, data in STAGES_OF_DATA.items():
            if stage in config["stages"] and stage not in available:
                why = f"stages names {stage}, and there are no {data}"
                problems.append(Problem("config: stages", f"no data for {stage}", why, f"remove {stage} from stages"))
    for key in config["model"]["maps"] if config["model"]["maps"] != "auto" else ():
        if key not in available:
            why = f"model.maps names it; the data give: {', '.join(sorted(available & set(MAPS))) or 'none'}"
            problems.append(Problem("config: model.maps", f"no data for {key}", why, f"remove {key} from model.maps"))
    contrast = config["anat"]["contrast"]
    for scan in manifest.scans if contrast != "auto" else ():
        if not _has_contrast(manifest.of(scan), contrast):
            why = f"anat.contrast is {contrast} for the whole study, and this scan has none"
            remedy = "set anat.contrast to what every scan has, or to auto"
            problems.append(Problem(scan, f"no {contrast} for the structural image", why, remedy))
    return problems


def _nothing_usable(manifest: Manifest, config: Mapping[str, Any]) -> list[Problem]:
    """Tell of a study without data, unless it was told already why there are none."""
    if config["bids_dir"] is None or not Path(config["bids_dir"]).is_dir():
        return []
    if any(one.file in SELECTIONS for one in errors(manifest.problems)):
        return []
    why = "no MPM, MTS, dwi, T1w, beh file or map in sub-*/[ses-*/]anat, dwi, fmap, beh"
    remedy = "give the folder that holds sub-…; data in other formats need conversion (dcm2niix, BIDScoin)"
    return [Problem(str(config["bids_dir"]), "no usable data", why, remedy)]


def _available(manifest: Manifest, config: Mapping[str, Any]) -> set[str]:
    """Stages and maps that the data allow."""
    suffixes = {row.suffix for row in manifest.used if row.stage == "raw"}
    found = {row.map for row in manifest.used if row.map is not None}
    if suffixes & set(MPM_SUFFIXES):
        found |= {"mpm", "R1", "R2s", "MTsat", "PD"}
    if "dwi" in suffixes:
        found |= {"dwi", "FA", "MD", "AD", "RD"}
    if "T1w" in suffixes or found & {"R1", "MTsat", "T1w", "GM", "WM"}:
        found.add("vbm")
    if behaviour_files(manifest, config):
        found.add("behaviour")
    return found


def _has_contrast(rows: Sequence[Row], contrast: str) -> bool:
    if any(row.map == contrast or row.stage in ("warped", "smoothed") for row in rows):
        return True
    if contrast == "T1w":
        return any(row.suffix == "T1w" for row in rows)
    needed = {"PDw", "T1w"} | ({"MTw"} if contrast == "MTsat" else set())
    return needed <= {row.weighting for row in rows if row.weighting is not None}


def _check_participants(manifest: Manifest, config: Mapping[str, Any]) -> list[Problem]:
    people = set(manifest.people)
    file = Path(manifest.bids_dir, FILE) if manifest.bids_dir is not None else None
    exists = file is not None and file.is_file()
    if exists and not manifest.listed and any(one.file == FILE for one in errors(manifest.problems)):
        # That the table cannot be read was told; what it lacks would only follow from that.
        return []
    group, covariates = config["model"]["group"], config["model"]["covariates"]
    from_table = [group, *covariates] if group else list(covariates)
    needed = wants(config, "glm") and len(people) >= MIN_PARTICIPANTS and any(column != "tiv" for column in from_table)
    listed = [one for one in manifest.participants if one["participant_id"] in manifest.listed]
    problems = check_presence(listed, people, exists=exists, needed=needed)
    if needed:
        problems += check_model_columns(listed, people, exists=exists, group=group, covariates=covariates)
    return problems


def _check_behaviour(manifest: Manifest, config: Mapping[str, Any]) -> list[Problem]:
    if not wants(config, "behaviour"):
        return []
    problems: list[Problem] = []
    beh = {row.path for row in manifest.used if row.datatype == "beh"}
    for path in behaviour_files(manifest, config):
        if Path(path).is_file():
            # A table inside a person's folder says by its place whose it is.
            required = () if path in beh else ("participant_id",)
            problems += read_table(Path(path), manifest.file_label(path), required=required)[1]
    return problems
