"""Sentences about regional brain age for the methods section."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plastimap.brainage.said import LOCAL_CONTROLS, TOLD, WORDS
from plastimap.paths import Paths
from plastimap.writing import read_json

_MODELS = {
    "gaussian_process": "Gaussian processes of log age (Rasmussen and Williams 2006), one region at a time",
    "ridge": "ridge regression, one region at a time",
    "gcn": "an ensemble of graph convolutional networks (Kipf and Welling 2017) with edges inside regions alone",
}
_WHOLE_GRAPH = (
    "an ensemble of graph convolutional networks (Kipf and Welling 2017) with edges across regions, so that ages of "
    "regions are not independent"
)
_HARMONISED = {
    "none": "Sites were not harmonised.",
    "location": "Parcels were shifted by the site's offset, learnt from the training data.",
    "combat": "Parcels were shifted by the site's offset as in ComBat [@johnson2007], learnt from the training data; "
    "its scale was not applied, since the age that it needs is what is predicted.",
}


_LEARNT = (
    "Bias of age [@beheshti2019] and intervals of {coverage:.0f} % (conformal, in either band of ages below and above "
    "40 years [@vovk2013]) were learnt {how}."
)
_TWICE = "twice: from people left out, for people of sites trained on, and from whole sites left out, for all others"
_ONCE = "from people left out; there were too few sites to leave out whole ones"
_CONTROLS = (
    "Ages of sites with ten or more healthy controls of their own were shifted by those, and have prediction intervals "
    "(Student's t of log age) with a variance that is moderated by that of other sites [@smyth2004]."
)


def brainage_sentences(config: Mapping[str, Any]) -> list[str]:
    """What was done for regional brain age, by the configuration, the model's card and the notes of the run."""
    section = config["brainage"]
    card, notes = _card(config), _notes(config)
    # A model that was trained elsewhere is what its card says, whatever this study's configuration would train.
    settings = card["settings"] if card else {} if section["model"] else {**section, "coverage": 0.9}
    parcels = "means of the maps over labels" if section["labels"] and not section["table"] else "a table of parcels"
    seen = " and ".join(["that region", *settings.get("covariates", ())])
    sentences = [f"Age was predicted for every functional network of either hemisphere from {parcels} of {seen}."]
    if section["model"]:
        sentences.append("The model had been trained elsewhere; its card stands in the report.")
    sentences += _training(settings, card.get("training_data") or section["training_data"], card)
    if section["controls"]:
        used = not notes or any(WORDS[LOCAL_CONTROLS] in note for note in notes)
        sentences.append(_CONTROLS if used else "Local controls were given, but no site had enough to be used.")
    sentences += [note for note in notes if note.startswith(TOLD)]
    sentences.append(
        "Lesioned and missing parcels were replaced by their expectation given the intact parcels of the hemisphere "
        "(conditional Gaussian, shrunk covariance [@ledoit2004])."
    )
    return sentences


def _training(settings: Mapping[str, Any], data: str | None, card: Mapping[str, Any]) -> list[str]:
    """How the model was trained, where that is known."""
    if not settings:
        return []
    way = _WHOLE_GRAPH if settings["whole_graph"] and settings["method"] == "gcn" else _MODELS[settings["method"]]
    whole_sites = card.get("calibrations", {}).get("whole_sites", True)
    return [
        f"The model was trained on {data or 'healthy adults'}: {way}.",
        _HARMONISED[settings["harmonise"]],
        _LEARNT.format(coverage=100 * settings["coverage"], how=_TWICE if whole_sites else _ONCE),
    ]


def _card(config: Mapping[str, Any]) -> dict[str, Any]:
    """The card of the model that was applied; empty where there is none to read."""
    model = config["brainage"]["model"]
    return _json(Path(model).with_suffix(".json")) if model else _made(config, Paths.brainage_card)


def _notes(config: Mapping[str, Any]) -> list[str]:
    """What was said of the people when they were judged."""
    return _made(config, Paths.brainage_notes).get("notes", [])


def _made(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A file of the run's output folder."""
    folder = config.get("output_dir")
    return _json(Path(folder, name)) if folder else {}


def _json(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
