"""What a result says of itself beside its maps: names and the model's summary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.analysis import AnalysisResult
from plastimap.stats.bayes import log_bf10_map
from plastimap.stats.fitted import TestMaps
from plastimap.stats.preservation import Preservation


def file_stem(test: TestMaps) -> str:
    """Give a contrast and term a name that is safe in a file name: ``trainees-vs-controls_linear``."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", test.contrast.name).strip("-")
    return f"{words}_{test.term}"


def statistic_maps(result: AnalysisResult, *, bayes_scale: float | None) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Give every map of a result, with the name of its file.

    Parameters
    ----------
    result : AnalysisResult
    bayes_scale : float or None
        Width of the prior of Bayes factor maps (natural logarithm of BF10); None = no such maps.

    Yields
    ------
    name : str
        Such as ``trainees-vs-controls_linear_stat-t_statmap``.
    volume : ndarray of float32, shape (X, Y, Z)
    """
    for test in result.tests:
        kinds = {test.statistic: test.values}
        if test.statistic == "t":
            kinds |= {"effect": test.effect, "se": test.standard_error}
            if bayes_scale is not None:
                kinds["logbf10"] = log_bf10_map(test.values, test.effective_n, test.dof, scale=bayes_scale)
        for kind, values in kinds.items():
            yield f"{file_stem(test)}_stat-{kind}_statmap", result.volume(values)


def model_summary(result: AnalysisResult, preserved: Preservation) -> dict[str, Any]:
    """The model behind a result, ready for JSON: a block per contrast and term, and the notes.

    Parameters
    ----------
    result : AnalysisResult
    preserved : Preservation
        Change against deficit, where it was asked for.

    Returns
    -------
    dict
        ``map``, ``tissue``, ``method``, ``time_coding``, ``n_voxels``, ``notes``; the first test's design as
        ``columns``, ``matrix`` and ``people``; ``tests`` with file name, contrast, statistic, degrees of freedom,
        threshold and smoothness; ``preservation``, a block per hemisphere.
    """
    first = result.tests[0].design if result.tests else None
    return {
        "map": result.map_name,
        "tissue": result.tissue,
        "method": result.method,
        "time_coding": result.time_coding,
        "n_voxels": int(result.mask.sum()),
        "notes": (*result.notes, *preserved.notes),
        "preservation": preserved.tests.to_dict(orient="records"),
        "columns": first.names if first else [],
        "matrix": first.matrix if first else [],
        "people": first.people if first else [],
        "dof": first.dof if first else None,
        "fwhm": result.tests[0].smoothness.fwhm if first else None,
        "tests": [_test(test) for test in result.tests],
    }


def _test(test: TestMaps) -> dict[str, Any]:
    return {
        "file": file_stem(test),
        "contrast": test.contrast.name,
        "test": test.contrast.test,
        "term": test.term,
        "statistic": test.statistic,
        "dof": test.dof,
        "threshold": test.threshold,
        "fwhm_voxels": test.smoothness.fwhm,
        "resels": test.smoothness.resels,
        "n": test.n,
        "n_by_group": test.n_by_group,
        "columns": test.design.names,
    }
