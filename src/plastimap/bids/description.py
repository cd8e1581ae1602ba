"""What an output folder says of itself: dataset_description.json, .bidsignore, README."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plastimap import __version__
from plastimap.writing import read_json

BIDS_VERSION = "1.10.0"

IGNORED = (
    "*_xfm.*",
    "*_jacobian.*",
    "*_dwimap.*",
    "*_qa.json",
    "*.html",
    "figures",
    "report",
    "group",
    "brainage",
    "*_parcels.tsv",
    "*_lesions.tsv",
    "logs",
    "benchmarks",
    "work",
    "manifest.tsv",
    "plan.json",
    "problems.json",
    "plastimap.yaml",
)
"""What BIDS derivatives have no name for yet."""


def dataset_description(raw: str | None) -> dict[str, Any]:
    """Content of ``dataset_description.json`` for derivatives of the dataset at `raw` (None: maps made elsewhere)."""
    source = Path(raw) / "dataset_description.json" if raw else None
    known = read_json(source) if source and source.exists() else {}
    content: dict[str, Any] = {
        "Name": f"PlastiMap derivatives of {known.get('Name', 'a study')}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "PlastiMap", "Version": __version__}],
    }
    if raw:
        content["SourceDatasets"] = [{"URL": Path(raw).as_uri()}]
        content["DatasetLinks"] = {"raw": Path(raw).as_uri()}
    return content


def ignore_list() -> str:
    """Content of ``.bidsignore``."""
    return "\n".join(IGNORED) + "\n"


def readme(plan: Mapping[str, Any]) -> str:
    """Text of the README: what was made, what was left out and why."""
    lines = [
        "# PlastiMap derivatives",
        "",
        f"Made by PlastiMap {__version__}. The report is `report/index.html`; the settings are in `plastimap.yaml`.",
        "",
        f"- stages: {', '.join(plan['stages'])}",
        f"- structural image: {plan['contrast']}",
    ]
    lines += [f"- left out: {stage} ({reason})" for stage, reason in plan["left_out"].items()]
    lines += [f"- note: {notice}" for notice in plan["notices"]]
    return "\n".join(lines) + "\n"
