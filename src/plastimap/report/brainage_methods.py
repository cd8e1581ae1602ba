"""Sentences about regional brain age for the methods section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    "combat": "Sites were harmonised by ComBat [@johnson2007], learnt from the training data.",
}
_LEFT_OUT = {"new_sites": "whole sites", "known_sites": "people"}


def brainage_sentences(config: Mapping[str, Any]) -> list[str]:
    """What was done for regional brain age, by the configuration that was run."""
    section = config["brainage"]
    parcels = "means of the maps over labels" if section["labels"] and not section["table"] else "a table of parcels"
    sentences = [
        f"Age was predicted for every functional network of either hemisphere from {parcels} of that region"
        + (" and sex." if "sex" in section["covariates"] else ".")
    ]
    if section["model"]:
        sentences.append("The model had been trained elsewhere; its card stands in the report.")
    else:
        way = _WHOLE_GRAPH if section["whole_graph"] and section["method"] == "gcn" else _MODELS[section["method"]]
        sentences += [
            f"The model was trained on {section['training_data'] or 'healthy adults'}: {way}.",
            _HARMONISED[section["harmonise"]],
            f"Bias of age [@beheshti2019] and intervals of 90 % (conformal, in either band of ages below and above 40 "
            f"years [@vovk2013]) were learnt from {_LEFT_OUT[section['calibrate_for']]} left out.",
        ]
    if section["controls"]:
        sentences.append(
            "Ages of sites with ten or more healthy controls of their own were shifted by those, and have prediction "
            "intervals (Student's t of log age) with a variance that is moderated by that of other sites [@smyth2004]."
        )
    sentences.append(
        "Lesioned and missing parcels were replaced by their expectation given the intact parcels of the hemisphere "
        "(conditional Gaussian, shrunk covariance [@ledoit2004])."
    )
    return sentences
