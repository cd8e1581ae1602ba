"""Planted against found: what the analysis sees of what was put in, and what it sees where nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

FOUND_COLUMNS = (
    "place", "map", "tissue", "term", "contrast", "direction", "planted", "realised", "effect_found", "percent_found",
    "cluster_p_fwe", "cluster_p_corrected", "k", "peak_t", "peak_distance_mm", "found",
)  # fmt: skip

CONTROL_COLUMNS = ("contrast", "map", "tissue", "hemisphere", "term", "direction", "x", "y", "z", "k", "cluster_p_fwe",
                   "cluster_p_corrected")  # fmt: skip


def planted_vs_found(
    truth_effects: pd.DataFrame, clusters: pd.DataFrame, *, alpha: float = 0.05, max_distance_mm: float = 6.0
) -> pd.DataFrame:
    """Compare planted effects with a table of clusters.

    A cluster counts for an effect when map, tissue, term and direction agree,
    the contrast too where the effect names one, and its peak lies within the
    radius of the place plus `max_distance_mm`. Of several the one with the
    smallest p counts.

    Parameters
    ----------
    truth_effects : DataFrame
        ``truth/effects.tsv`` of the simulation.
    clusters : DataFrame
        One row per cluster: contrast, map, tissue, term, direction (">" or
        "<"), x, y, z, cluster_p_fwe; and, where there, cluster_p_corrected,
        k, peak_t, effect.
    alpha : float
        Largest cluster_p_fwe that counts as found.
    max_distance_mm : float
        Margin around the place: two voxels of the analysis grid.

    Returns
    -------
    DataFrame
        One row per effect: `FOUND_COLUMNS`; numbers are NaN where no cluster
        is near. `found` is "yes" or "no".
    """
    import pandas as pd

    rows = [
        _compare_one(effect, clusters, alpha=alpha, max_distance_mm=max_distance_mm)
        for effect in truth_effects.to_dict("records")
    ]
    return pd.DataFrame(rows, columns=list(FOUND_COLUMNS))


def _compare_one(
    effect: dict[Any, Any], clusters: pd.DataFrame, *, alpha: float, max_distance_mm: float
) -> dict[str, Any]:
    best = _nearest_candidates(effect, clusters, max_distance_mm)
    row: dict[str, Any] = {key: effect[key] for key in ("place", "map", "tissue", "term", "direction")}
    row |= {"contrast": _text(effect.get("contrast")), "planted": effect["size"], "realised": effect["realised"]}
    row |= {"effect_found": best.get("effect", np.nan), "percent_found": best.get("effect_percent", np.nan)}
    row["found"] = "no"
    for key in ("cluster_p_fwe", "cluster_p_corrected", "k", "peak_t", "peak_distance_mm"):
        row[key] = best.get(key, np.nan)
    if row["cluster_p_fwe"] <= alpha:
        row["found"] = "yes"
    return row


def _nearest_candidates(effect: dict[Any, Any], clusters: pd.DataFrame, max_distance_mm: float) -> dict[Any, Any]:
    """Return the cluster with the smallest p that counts for `effect`, or nothing."""
    if clusters.empty:
        return {}
    same = np.ones(len(clusters), dtype=bool)
    for key in ("map", "tissue", "term", "direction"):
        same &= (clusters[key] == effect[key]).to_numpy()
    contrast = _text(effect.get("contrast"))
    if contrast:
        same &= (clusters["contrast"] == contrast).to_numpy()
    distance = np.linalg.norm(
        clusters[["x", "y", "z"]].to_numpy(dtype=float) - np.array([effect[axis] for axis in "xyz"], dtype=float),
        axis=1,
    )
    near = same & (distance <= effect["radius_mm"] + max_distance_mm)
    if not near.any():
        return {}
    candidates = clusters.assign(peak_distance_mm=distance)[near].sort_values(
        ["cluster_p_fwe", "peak_distance_mm"], kind="stable"
    )
    return candidates.iloc[0].to_dict()


def _text(value: Any) -> str:
    # An empty cell of a TSV comes back as NaN.
    return value if isinstance(value, str) and value != "n/a" else ""


def control_table(clusters: pd.DataFrame, *, contrast: str, alpha: float = 0.05) -> pd.DataFrame:
    """Clusters of a contrast in which nothing was planted that survive correction across families.

    Parameters
    ----------
    clusters : DataFrame
        As in :func:`planted_vs_found`, with cluster_p_corrected.
    contrast : str
        Name of the contrast with nothing planted.
    alpha : float
        Largest cluster_p_corrected that counts.

    Returns
    -------
    DataFrame
        The false findings, `CONTROL_COLUMNS`; empty when all is well.
    """
    import pandas as pd

    if clusters.empty:
        return pd.DataFrame(columns=list(CONTROL_COLUMNS))
    false = clusters[(clusters["contrast"] == contrast) & (clusters["cluster_p_corrected"] <= alpha)]
    return false.reindex(columns=list(CONTROL_COLUMNS)).reset_index(drop=True)


def control_contrasts(truth_effects: pd.DataFrame, families: pd.DataFrame) -> list[str]:
    """Contrasts of a study in which nothing was planted."""
    planted = {_text(name) for name in truth_effects["contrast"]}
    return sorted(set(families["contrast"]) - planted)


def found_text(found: pd.DataFrame, control: pd.DataFrame, families: pd.DataFrame, contrasts: Sequence[str]) -> str:
    """Both tables for the terminal.

    Parameters
    ----------
    found : DataFrame
        From :func:`planted_vs_found`.
    control : DataFrame
        False findings of the `contrasts` with nothing planted.
    families : DataFrame
        All families that were tested.
    contrasts : sequence of str
    """
    lines = ["Planted vs found (cluster p: family-wise in its search volume; corrected: across all families)", ""]
    numbers = f"{'planted':>8}{'found':>9}{'cluster p':>11}{'corrected':>11}{'peak off':>10}"
    lines.append(f"{'place':<26}{'map':<6}{'tissue':<7}{'term':<11}{numbers}  found?")
    lines += [_found_line(row) for row in found.to_dict("records")]
    count = int((found["found"] == "yes").sum())
    lines += ["", f"{count} of {len(found)} planted effects found."]
    total = int(families["contrast"].isin(list(contrasts)).sum())
    verdict = "empty, as it should be" if control.empty else f"{len(control)} false finding(s)"
    lines.append(
        f"Control, nothing planted ({', '.join(contrasts) or 'none'}): {verdict} "
        f"({total} of {len(families)} families, corrected across all)."
    )
    return "\n".join(lines) + "\n"


def _found_line(row: dict[Any, Any]) -> str:
    """One planted effect; a dash for what no cluster tells."""

    def number(value: float, form: str) -> str:
        return format(value, form) if np.isfinite(value) else "–"

    return (
        f"{row['place']:<26}{row['map']:<6}{row['tissue']:<7}{row['term']:<11}{row['planted']:>+8.1%}"
        f"{number(row['percent_found'] / 100, '+.1%'):>9}{number(row['cluster_p_fwe'], '.2g'):>11}"
        f"{number(row['cluster_p_corrected'], '.2g'):>11}{number(row['peak_distance_mm'], '.0f') + ' mm':>10}"
        f"  {row['found']}"
    )
