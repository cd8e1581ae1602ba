"""From a study's configuration to what :func:`plastimap.stats.analysis.analyse` is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plastimap.stats.fitted import Inference
from plastimap.stats.longitudinal import TimeCoding
from plastimap.stats.models import FitOptions


def analysis_settings(
    model: Mapping[str, Any], inference: Mapping[str, Any], *, minimum_subjects: float
) -> dict[str, Any]:
    """Turn the blocks ``model`` and ``inference`` into keyword arguments.

    Parameters
    ----------
    model, inference : mapping
        With every key of ``config/config.yaml``.
    minimum_subjects : float
        ``masks.minimum_subjects``.

    Returns
    -------
    dict
    """
    return {
        "terms": model["terms"],
        "time": TimeCoding(model["coding"], model["centre_days"], tuple(model["knots"]), model["last_day"]),
        "group": model["group"],
        "covariates": model["covariates"],
        "covariates_over_time": model["covariates_over_time"],
        "contrasts": model["contrasts"],
        "method": model["method"],
        "options": FitOptions(weighting=model["weighting"], minimum_subjects=minimum_subjects),
        "inference": Inference(
            method=inference["method"],
            cluster_forming_p=inference["cluster_forming_p"],
            minimum_extent=inference["minimum_extent"],
            statistic=inference["statistic"],
            resamples=inference["resamples"],
            seed=inference["seed"],
            unequal_variance=inference["unequal_variance"],
        ),
    }
