"""The tables of a paper, in the layout of the study that this software follows, for any study.

Table 1 people · Table 2 change (the first comparison of groups) · Table 3 change and learning · Table 4 further
comparisons of groups · S1 behaviour · S2 baseline differences · S3–S5 all clusters of Tables 2–4 · S6 matched groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from plastimap.report.layout import PaperTable, mean_and_sd
from plastimap.report.posthoc import Ask, cluster_posthoc
from plastimap.report.tables import p_value
from plastimap.stats.contrasts import Contrast, parse_contrast

if TYPE_CHECKING:
    import pandas as pd

TERMS = {"linear": "β₁", "quadratic": "β₂"}
"""How the published tables name the terms."""

GROUP_TERMS_AT_REST = ("baseline", "level")
"""Terms of differences that are no change."""

PRINTED_UNITS = {"R1": "s⁻¹", "R2s": "s⁻¹", "MTsat": "p.u.", "PD": "p.u.", "MD": "µm²/ms", "AD": "µm²/ms",
                 "RD": "µm²/ms", "vbm": "a.u.", "MTR": "p.u."}  # fmt: skip
MAP_NAMES = {"vbm": "VBM", "R2s": "R2*"}
PARAMETERS = {"alpha": "plateauing (α)", "delta": "improvement (δ)", "gamma": "improvement speed (γ)",
              "improvement": "improvement"}  # fmt: skip
OUTCOMES = {"csr_percent": "%CSR", "rt_ms": "RT", "points_percent": "points"}

PLACE_COLUMNS = ("roi", "tissue", "map", "parameter", "contrast", "p_fwe", "p_all_families", "cluster_voxels", "z",
                 "x_mm", "y_mm", "z_mm")  # fmt: skip
POSTHOC_COLUMNS = tuple(
    f"{kind}_{key}"
    for kind in ("beta", "retention", "followup")
    for key in ("first_mean", "first_sd", "second_mean", "second_sd", "p", "bf01", "p_equal")
)


@dataclass(frozen=True)
class Results:
    """What tables of clusters are made of.

    Attributes
    ----------
    clusters : DataFrame
        All clusters of the study; ``place`` names the region of the peak.
    trajectories : DataFrame or None
        map, tissue, cluster, participant_id, group, session, day, value.
    model : mapping
        The configuration's ``model``.
    posthoc : mapping or None
        ``first`` and ``second`` groups to compare inside clusters.
    matched : sequence of str
        Contrasts of matched groups (Table S6).
    days : tuple of float
        End of training and follow-up.
    limit : float
        Family-wise p.
    equivalence_sd : float
        Margin of equivalence inside clusters, in standard deviations.
    """

    clusters: pd.DataFrame
    trajectories: pd.DataFrame | None
    model: Mapping[str, Any]
    posthoc: Mapping[str, Sequence[str]] | None
    matched: Sequence[str]
    days: tuple[float, float]
    limit: float
    equivalence_sd: float = 0.5


def cluster_tables(results: Results) -> list[PaperTable]:
    """Tables 2, 3, 4 and S2 to S6, those that have something to show or say that nothing was found."""
    contrasts = _contrasts(results)
    slopes = [name for name, contrast in contrasts.items() if contrast.column is not None]
    groups = [name for name in contrasts if name not in slopes and name not in results.matched]
    change = results.clusters[~results.clusters["term"].isin(GROUP_TERMS_AT_REST)]
    rest = results.clusters[results.clusters["term"].isin(GROUP_TERMS_AT_REST)]
    sections = (
        ("table_2", "S3", "Change of the brain", groups[:1], True),
        ("table_3", "S4", "Association between change of the brain and learning", slopes, False),
        ("table_4", "S5", "Further differences of groups in change", groups[1:], False),
    )
    tables: list[PaperTable] = []
    for name, supplement, title, names, posthoc in sections:
        if not names:
            continue
        rows = _rows(change[change["contrast"].isin(names)], results, contrasts, posthoc=posthoc)
        number = name.removeprefix("table_")
        tables.append(_table(name, f"Table {number} | {title}", largest(rows), results, _asked(results, contrasts)))
        everything = f"Table {supplement} | All clusters of Table {number}"
        tables.append(_table(f"table_{supplement}", everything, rows, results, None))
    if len(rest) or any(term in GROUP_TERMS_AT_REST for term in results.model.get("terms", [])):
        rows = _rows(rest, results, contrasts, posthoc=False)
        tables.append(_table("table_S2", "Table S2 | Differences at baseline", rows, results, None))
    if results.matched:
        rows = _rows(change[change["contrast"].isin(results.matched)], results, contrasts, posthoc=False)
        tables.append(_table("table_S6", "Table S6 | Groups matched for what they trained", rows, results, None))
    return sorted(tables, key=lambda table: table.name)


def _contrasts(results: Results) -> dict[str, Contrast]:
    """Contrast of every name, in the order of the configuration, else of the clusters."""
    given = results.model.get("contrasts", "auto")
    pairs = [] if given == "auto" else [(str(one["name"]), str(one["test"])) for one in given]
    found = dict(pairs) | dict(zip(results.clusters["contrast"], results.clusters["test"], strict=True))
    return {str(name): parse_contrast(str(test), name=str(name)) for name, test in found.items()}


def _asked(results: Results, contrasts: Mapping[str, Contrast]) -> Ask | None:
    """What is compared inside the clusters of Table 2; None without a comparison of groups."""
    first = next((one for name, one in contrasts.items() if not one.column and name not in results.matched), None)
    if first is None or results.trajectories is None or results.trajectories.empty:
        return None
    given = results.posthoc
    sides = (given["first"], given["second"]) if given else (first.left, first.right)
    return Ask(tuple(sides[0]), tuple(sides[1]), test_coefficients=given is not None, days=results.days,
               model=results.model, margin_sd=results.equivalence_sd)  # fmt: skip


def _rows(
    clusters: pd.DataFrame, results: Results, contrasts: Mapping[str, Contrast], *, posthoc: bool
) -> pd.DataFrame:
    """Significant clusters as numbers and names, best first within map and term."""
    import pandas as pd

    significant = clusters[clusters["cluster_p_fwe"].astype(float) < results.limit]
    ask = _asked(results, contrasts) if posthoc else None
    rows: list[dict[str, Any]] = []
    for cluster in significant.to_dict("records"):
        contrast = contrasts[str(cluster["contrast"])]
        row = _place({str(key): value for key, value in cluster.items()}, contrast)
        rows.append(row | (_inside(cluster, results, ask) if ask else {}))
    columns = [*PLACE_COLUMNS, *(POSTHOC_COLUMNS if ask else ()), "warnings"]
    table = pd.DataFrame(rows, columns=columns)
    order = {name: number for number, name in enumerate(dict.fromkeys(clusters["map"]))}
    keys = pd.DataFrame({"map": table["map"].map(lambda name: order.get(_plain(name), 99)), "p": table["p_fwe"]})
    return table.loc[keys.sort_values(["map", "p"], kind="stable").index].reset_index(drop=True)


def _plain(printed: Any) -> Any:
    return next((name for name, shown in MAP_NAMES.items() if shown == printed), printed)


def _place(cluster: Mapping[str, Any], contrast: Contrast) -> dict[str, Any]:
    p_all = cluster.get("cluster_p_corrected", math.nan)
    return {
        "roi": cluster.get("place") or f"hemisphere {cluster['hemisphere']}",
        "tissue": cluster["tissue"],
        "map": MAP_NAMES.get(str(cluster["map"]), str(cluster["map"])),
        "parameter": TERMS.get(str(cluster["term"]), str(cluster["term"])),
        "contrast": directed(contrast, str(cluster["direction"])),
        "p_fwe": float(cluster["cluster_p_fwe"]),
        "p_all_families": float(p_all),
        "cluster_voxels": int(cluster["k"]),
        "z": float(cluster["peak_z"]),
        "x_mm": float(cluster["x"]), "y_mm": float(cluster["y"]), "z_mm": float(cluster["z"]),
        "warnings": cluster["warnings"] if isinstance(cluster.get("warnings"), str) else "",
    }  # fmt: skip


def directed(contrast: Contrast, direction: str) -> str:
    """What was larger: ``trainees > controls``; for slopes the outcome and ``positive`` or ``negative``."""
    if contrast.column is not None:
        return f"{learned(contrast.column)}, {'negative' if direction == '<' else 'positive'}"
    if contrast.sides:
        return contrast.test
    left, right = " + ".join(contrast.left), " + ".join(contrast.right) or "no change"
    return f"{left} {direction} {right}"


def learned(column: str) -> str:
    """``csr_percent_delta`` → ``%CSR improvement (δ)``."""
    for outcome, name in OUTCOMES.items():
        parameter = column.removeprefix(f"{outcome}_")
        if column.startswith(f"{outcome}_") and parameter in PARAMETERS:
            return f"{name} {PARAMETERS[parameter]}"
    return column.replace("_", " ")


def _inside(cluster: Mapping[Any, Any], results: Results, ask: Ask) -> dict[str, float]:
    assert results.trajectories is not None
    mine = results.trajectories
    for key in ("map", "tissue", "cluster"):
        mine = mine[mine[key].astype(str) == str(cluster[key])]
    mine = mine.dropna(subset=["day", "value"])
    return cluster_posthoc(mine, str(cluster["term"]), ask) if len(mine) else {}


def largest(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the largest cluster of each map, parameter, contrast and region, as the published tables do."""
    order = rows.sort_values("cluster_voxels", ascending=False, kind="stable")
    kept = order.drop_duplicates(["roi", "tissue", "map", "parameter", "contrast"])
    return rows.loc[sorted(kept.index)].reset_index(drop=True)


def _table(name: str, title: str, rows: pd.DataFrame, results: Results, ask: Ask | None) -> PaperTable:
    import pandas as pd

    posthoc = "beta_p" in rows.columns
    columns: dict[str, list[str]] = {
        "ROI": [f"{tissue} {roi}" for tissue, roi in zip(rows["tissue"], rows["roi"], strict=True)],
        "Map": rows["map"].astype(str).tolist(),
        "Model parameter": rows["parameter"].astype(str).tolist(),
        "Contrast": rows["contrast"].astype(str).tolist(),
        "p (family-wise)": [p_value(p) for p in rows["p_fwe"]],
        "p (all families)": [p_value(p) for p in rows["p_all_families"]],
        "Cluster size [voxels]": [str(int(size)) for size in rows["cluster_voxels"]],
        "z-value": [">10" if z > 10 else f"{z:.3f}" for z in rows["z"]],
        **{f"{axis} [mm]": [f"{value:g}" for value in rows[f"{axis}_mm"]] for axis in "xyz"},
    }
    plain = len(columns)
    if posthoc and ask is not None:
        columns |= _posthoc_columns(rows, ask)
    spans = _spans(plain, ask) if posthoc and ask is not None else ()
    shown = pd.DataFrame(columns)
    if shown.empty:
        shown = pd.DataFrame([["No cluster reached significance.", *[""] * (len(columns) - 1)]], columns=list(columns))
    return PaperTable(name, title, rows, shown, spans, _note(results, ask if posthoc else None, rows))


def _posthoc_columns(rows: pd.DataFrame, ask: Ask) -> dict[str, list[str]]:
    def pair(kind: str, side: str, *, unit: bool) -> list[str]:
        units = [f" {PRINTED_UNITS[str(_plain(name))]}" if unit and _plain(name) in PRINTED_UNITS else ""
                 for name in rows["map"]]  # fmt: skip
        values = zip(rows[f"{kind}_{side}_mean"], rows[f"{kind}_{side}_sd"], units, strict=True)
        return [mean_and_sd(mean, sd) + (u if np.isfinite(mean) else "") for mean, sd, u in values]

    def tests(kind: str) -> tuple[list[str], list[str], list[str]]:
        bayes = ["–" if math.isnan(b) else f"{b:.3f}" for b in rows[f"{kind}_bf01"]]
        return [p_value(p) for p in rows[f"{kind}_p"]], bayes, [p_value(p) for p in rows[f"{kind}_p_equal"]]

    first, second = " + ".join(ask.first), " + ".join(ask.second) or "none"
    end, late = (f"day {day:g}" for day in ask.days)
    columns = {f"β, {first}": pair("beta", "first", unit=False), f"β, {second}": pair("beta", "second", unit=False)}
    columns["p-value"], columns["BF₀₁"], columns["p (equal)"] = tests("beta")
    columns |= {
        f"{first}, {end}": pair("retention", "first", unit=True),
        f"{first}, {late}": pair("retention", "second", unit=True),
    }
    columns["p-value "], columns["BF₀₁ "], columns["p (equal) "] = tests("retention")
    columns[f"{second}, {late}"] = pair("followup", "second", unit=True)
    columns["p-value  "], columns["BF₀₁  "], columns["p (equal)  "] = tests("followup")
    return columns


def _spans(plain: int, ask: Ask) -> tuple[tuple[str, int], ...]:
    end, late = (f"{day:g}" for day in ask.days)
    first, second = " + ".join(ask.first), " + ".join(ask.second) or "none"
    return (
        ("", plain),
        (f"Fitted parameter, {first} vs. {second}", 5),
        (f"Mean in the cluster, {first}: {end} vs. {late} days", 5),
        (f"Mean in the cluster, {first} vs. {second}: day {late}", 4),
    )


def _note(results: Results, ask: Ask | None, rows: pd.DataFrame) -> str:
    told = [
        f"Clusters with family-wise p < {results.limit:g} in their search volume; p (all families) is corrected for "
        "every family that was tested. β₁ linear, β₂ quadratic change. R right, L left; p.u. percent units, "
        "a.u. arbitrary units. Peaks in millimetres of the target space."
    ]
    if ask is not None:
        told.append(
            "Welch's and paired t tests; BF₀₁ with a Cauchy prior (scale 0.707). p (equal): two one-sided tests that "
            f"the difference is within {ask.margin_sd:g} standard deviations (of the change; pooled between groups)."
        )
        if not ask.test_coefficients:
            told.append(
                "The groups shown are those that the clusters were found with, so they are not tested again: that "
                "would be circular. report.posthoc in the configuration names groups to compare."
            )
    if len(rows) and rows["warnings"].astype(bool).any():
        told.append("Clusters that hang on one person, or whose mean disagrees, are marked in the TSV (warnings).")
    return " ".join(told)
