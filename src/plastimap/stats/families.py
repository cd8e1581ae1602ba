"""Correction over all the questions a study asks of its maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.problems import StatsProblem, suggestion

if TYPE_CHECKING:
    import pandas as pd

Correction = Literal["holm", "bonferroni", "none"]

FAMILY = ("contrast", "test", "map", "tissue", "hemisphere", "term", "direction")
"""Columns that together name one family: one search of one volume in one direction."""


class Corrected(NamedTuple):
    """Tables with the correction added.

    Attributes
    ----------
    families, clusters : DataFrame
        With ``min_p_corrected`` and ``cluster_p_corrected``, and ``n_families`` in both.
    """

    families: pd.DataFrame
    clusters: pd.DataFrame


def correct(p: ArrayLike, method: Correction) -> NDArray[np.float64]:
    """Adjust p values for their number.

    Parameters
    ----------
    p : array-like, shape (m,)
    method : {"holm", "bonferroni", "none"}

    Returns
    -------
    ndarray, shape (m,)
        Adjusted p, at most 1.
    """
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.minimum(p * _factors(p, method), 1.0)
    if method == "holm":
        order = np.argsort(p, kind="stable")
        adjusted[order] = np.maximum.accumulate(adjusted[order])
    return adjusted


def correct_families(
    families: Sequence[pd.DataFrame], clusters: Sequence[pd.DataFrame], *, method: Correction
) -> Corrected:
    """Correct cluster p values over every family of a study.

    A family's p is the smallest FWE-corrected cluster p in it, 1 if it has no
    cluster. The family's Holm (or Bonferroni) factor then applies to each of
    its clusters, so the guarantee is at the level of families.

    Parameters
    ----------
    families : sequence of DataFrame
        One per analysed map and tissue (``AnalysisResult.families``): the columns of `FAMILY` and ``min_p``.
    clusters : sequence of DataFrame
        Likewise ``AnalysisResult.clusters``.
    method : {"holm", "bonferroni", "none"}

    Returns
    -------
    Corrected

    Raises
    ------
    StatsProblem
        If a family comes twice, or a cluster's family is missing.
    """
    import pandas as pd

    keys = list(FAMILY)
    table = _stacked(families)
    found = _stacked(clusters)
    if table.empty:
        raise StatsProblem("there are no families to correct: no map was analysed")
    twice = table[table.duplicated(subset=keys)]
    if len(twice):
        raise StatsProblem(f"the same family was analysed twice: {dict(twice.iloc[0][keys])}")
    p = table["min_p"].to_numpy(dtype=np.float64)
    table["min_p_corrected"] = correct(p, method)
    table["n_families"] = len(table)
    table["factor_"] = _factors(p, method)
    if found.empty:
        found["cluster_p_corrected"] = pd.Series(dtype=float)
        found["n_families"] = pd.Series(dtype=int)
    else:
        merged = found[keys].merge(table[[*keys, "min_p_corrected", "factor_"]], on=keys, how="left")
        if merged["factor_"].isna().any():
            raise StatsProblem("a cluster belongs to no family of the tables given: pass both tables of every result")
        raw = found["cluster_p_fwe"].to_numpy(dtype=np.float64) * merged["factor_"].to_numpy(dtype=np.float64)
        found["cluster_p_corrected"] = np.minimum(np.maximum(raw, merged["min_p_corrected"].to_numpy(float)), 1.0)
        found["n_families"] = len(table)
    return Corrected(families=table.drop(columns="factor_"), clusters=found)


def _factors(p: NDArray[np.float64], method: Correction) -> NDArray[np.float64]:
    """Return what each p is multiplied with."""
    if method == "none":
        return np.ones(p.size)
    if method == "bonferroni":
        return np.full(p.size, float(p.size))
    if method == "holm":
        factors = np.empty(p.size)
        factors[np.argsort(p, kind="stable")] = np.arange(p.size, 0, -1)
        return factors
    raise StatsProblem(f"unknown family correction {method!r}: {suggestion(method, ('holm', 'bonferroni', 'none'))}")


def _stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of many; empty ones only lend their columns."""
    import pandas as pd

    filled = [table for table in tables if len(table)]
    if filled:
        return pd.concat(filled, ignore_index=True)
    return tables[0].copy() if tables else pd.DataFrame()
