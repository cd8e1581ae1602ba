"""Checks of the masks that people draw: one that nothing uses is named."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from plastimap.bids.entities import BidsName, parse_name
from plastimap.bids.manifest import Manifest, wants
from plastimap.bids.masks import NATIVE_SPACES, Masks, purpose_of, scan_of
from plastimap.bids.problems import Problem
from plastimap.bids.rows import STRUCTURAL, Row


def check_masks(manifest: Manifest, config: Mapping[str, Any]) -> list[Problem]:
    """Every mask of the study that no job would use, and every one that has to stand for several sessions.

    Parameters
    ----------
    manifest : Manifest
    config : mapping
        A configuration as :func:`plastimap.config.load_config` gives it.
    """
    if not manifest.masks or not wants(config, "anat"):
        return []
    scans = {label: manifest.of(label) for label in manifest.scans}
    scans = {label: rows for label, rows in scans.items() if any(_is_structural(row) for row in rows)}
    # Written as the index writes paths, so that they can be compared.
    masks = Masks(manifest.bids_dir, [Path(one).absolute().as_posix() for one in config["derivatives"]], scans)
    users: dict[str, list[str]] = {}
    for label in scans:
        for path in (*masks.brain(label), *masks.lesions(label)):
            users.setdefault(path, []).append(label)
    served = {label for path, labels in users.items() if _is_for_lesions(path) for label in labels}
    people = {label.partition("_")[0] for label in scans}
    idle = [path for path in manifest.masks if path not in users]
    label = manifest.file_label
    found = [_unused(path, scans, people, served, raw=label(path) != path) for path in idle]
    found += [_shared(path, len(labels)) for path, labels in users.items() if len(labels) > 1]
    return [Problem(label(one.file), one.what, one.why, one.remedy, one.severity) for one in found]


def _unused(
    path: str, scans: Collection[str], people: Collection[str], served: Collection[str], *, raw: bool
) -> Problem:
    name = parse_name(Path(path).name) or BidsName({}, "", "")
    scan, space = scan_of(name), name.get("space")
    of_lesion = "lesion" in (name.get("label"), name.get("desc"))
    severity = "error" if of_lesion and scan not in served else "notice"
    if scan not in scans and scan not in people:
        what, why = "a mask of no scan that is segmented", "its scan is left out, or has no structural image"
        return Problem(path, what, why, "correct its name, or ignore this", "notice")
    if space not in NATIVE_SPACES:
        what, why = (
            f"a mask in space-{space} is not used",
            "masks count where they lie on the grid of their scan's images",
        )
        remedy = "bring it to that grid and leave space- out of its name, or remove it"
    elif scan not in scans and purpose_of(name):
        # Programs write such masks on a grid of their own; beside raw images a person has put it for us.
        severity = "error" if raw else severity
        what = "a mask of a person with several sessions is not used"
        why = "nothing says in which session it was drawn: its grid is not that of an image of every one of them"
        remedy = "put it beside the image it was drawn on, with ses-... in its name; draw one for every session"
    else:
        what = "a mask is not used"
        why = "brain masks are called desc-brain_mask, lesion masks label-lesion_mask; of two brain masks one counts"
        remedy = "rename it, or ignore this"
    return Problem(path, what, why, remedy, severity)


def _shared(path: str, sessions: int) -> Problem:
    why = f"its name says no session, and its grid is that of an image of each of the {sessions} sessions"
    remedy = "nothing where the head lies at the same place in all of them; else draw one for every session"
    return Problem(path, "a mask counts for several sessions", why, remedy, "notice")


def _is_for_lesions(path: str) -> bool:
    name = parse_name(Path(path).name)
    return name is not None and purpose_of(name) == "lesion"


def _is_structural(row: Row) -> bool:
    return row.suffix in STRUCTURAL if row.stage == "raw" else row.stage == "native" and row.map in STRUCTURAL
