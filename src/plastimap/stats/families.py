"""Correction over all the questions a study asks of its maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.stats.fdr import benjamini_hochberg
from plastimap.stats.problems import StatsProblem, suggestion

if TYPE_CHECKING:
    import pandas as pd

Correction = Literal["holm", "bonferroni", "fdr", "min_p", "none"]

SIMPLE: tuple[Correction, ...] = ("holm", "bonferroni", "fdr", "none")
"""Corrections that need p values alone."""

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
    method : {"holm", "bonferroni", "fdr", "none"}
        ``fdr``: false discovery rate among families (Benjamini & Hochberg).

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
    families: Sequence[pd.DataFrame],
    clusters: Sequence[pd.DataFrame],
    *,
    method: Correction,
    nulls: Sequence[NDArray[np.floating]] = (),
) -> Corrected:
    """Correct cluster p values over every family of a study.

    A family's p is the smallest FWE-corrected cluster p in it, 1 if it has no
    cluster. The family's Holm (or Bonferroni) factor then applies to each of
    its clusters, so the guarantee is at the level of families. With ``min_p``,
    a p is compared with the smallest that any family gives in each resample.

    Parameters
    ----------
    families : sequence of DataFrame
        One per analysed map and tissue (``AnalysisResult.families``): the columns of `FAMILY` and ``min_p``.
    clusters : sequence of DataFrame
        Likewise ``AnalysisResult.clusters``.
    method : {"holm", "bonferroni", "fdr", "min_p", "none"}
    nulls : sequence of ndarray, shape (n_families, n_resamples)
        Likewise ``AnalysisResult.nulls``; for ``min_p``. The same resample must mean the same exchange of people
        everywhere (one seed, the same people); where it does not, the correction is conservative.

    Returns
    -------
    Corrected

    Raises
    ------
    StatsProblem
        If a family comes twice, a cluster's family is missing, or ``min_p`` lacks resamples.
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
    adjust = _by_resamples(nulls, len(table)) if method == "min_p" else _by_factors(p, method)
    table["min_p_corrected"] = adjust(p, np.arange(len(table)))
    table["n_families"] = len(table)
    if found.empty:
        found["cluster_p_corrected"] = pd.Series(dtype=float)
        found["n_families"] = pd.Series(dtype=int)
    else:
        merged = found[keys].merge(table[keys].assign(row=np.arange(len(table))), on=keys, how="left")
        if merged["row"].isna().any():
            raise StatsProblem("a cluster belongs to no family of the tables given: pass both tables of every result")
        raw = found["cluster_p_fwe"].to_numpy(dtype=np.float64)
        found["cluster_p_corrected"] = adjust(raw, merged["row"].to_numpy(dtype=np.intp))
        found["n_families"] = len(table)
    return Corrected(families=table, clusters=found)


Adjust = Callable[[NDArray[np.float64], NDArray[np.intp]], NDArray[np.float64]]
"""From p values and the families that they come from to corrected ones."""


def _by_factors(p: NDArray[np.float64], method: Correction) -> Adjust:
    """Multiply with the family's factor, and never fall below the family's own corrected p."""
    factors, family = _factors(p, method), correct(p, method)
    return lambda given, rows: np.minimum(np.maximum(given * factors[rows], family[rows]), 1.0)


def _by_resamples(nulls: Sequence[NDArray[np.floating]], n_families: int) -> Adjust:
    """Compare with the smallest p over families in every resample (Westfall & Young)."""
    rows = [np.asarray(row, dtype=np.float64) for null in nulls for row in null]
    sizes = {row.size for row in rows}
    if len(rows) != n_families or len(sizes) != 1 or sizes == {0}:
        raise StatsProblem("min_p needs equally many resamples of every family (inference.method permutation)")
    least = np.min([_rank_p(row) for row in rows], axis=0)
    ordered = np.sort(least)
    return lambda given, _: np.searchsorted(ordered, given * (1 + 1e-9), side="right") / ordered.size


def _rank_p(null: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of resamples that give at least as much as each of them."""
    ordered = np.sort(null)
    return (null.size - np.searchsorted(ordered, null, side="left")) / null.size


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
    if method == "fdr":
        # A p of 0 (below the smallest number) stays 0 whatever it is multiplied with.
        return np.divide(benjamini_hochberg(p), p, out=np.ones(p.size), where=p > 0)
    raise StatsProblem(f"unknown family correction {method!r}: {suggestion(method, SIMPLE)}")


def _stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of many; empty ones only lend their columns."""
    import pandas as pd

    filled = [table for table in tables if len(table)]
    if filled:
        return pd.concat(filled, ignore_index=True)
    return tables[0].copy() if tables else pd.DataFrame()
