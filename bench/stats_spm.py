"""Every model and table of SPM12's reference, recomputed.

    python bench/stats_spm.py REFERENCE [--json FILE] [--check]

REFERENCE is the folder with ``data``, ``A_twosample_slopes`` (unequal variance of groups) and ``B2_remeasures_reml``
(five visits, fifteen components). Printed is the largest difference of each quantity, and the limit it must keep.
p values are compared where SPM's uncorrected p is above 1e-10: below, SPM's 1 - F(t) saturates, and ours is exact.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from stats_simulation import finish, parser

from plastimap.images import read_volume
from plastimap.stats.clusters import RandomField, cluster_table, search_volume
from plastimap.stats.fitted import noise_smoothness
from plastimap.stats.glm import fit_glm
from plastimap.stats.reml import estimate_covariance, group_components, pooled_products, visit_components
from plastimap.stats.rft import FField, TField

LIMITS = {
    "V": 1e-6, "|ΔT|": 1e-4, "|ΔF|": 1e-4, "ResMS, relative": 1e-6, "FWHM, relative": 1e-5, "resels, relative": 1e-5,
    "cluster sizes": 0.0, "peak places": 0.0, "cluster p, relative": 1e-4, "cluster q, relative": 1e-4,
    "peak p, relative": 1e-4, "peak q, relative": 1e-4,
}  # fmt: skip

TABLES = (
    ("wholebrain", None, 0.001, 20, 16, 4),
    ("wholebrain_p01_k0", None, 0.01, 1, 1, 8),
    ("svc_roi_A_15mm", "roi_A_15mm", 0.001, 20, 16, 4),
    ("svc_roi_B_15mm", "roi_B_15mm", 0.001, 20, 16, 4),
)
"""Name, region, cluster-forming p, least extent, peaks per cluster, their distance in mm."""


def off(found: Any, expected: Any) -> float:
    """Largest relative difference."""
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    return float(np.abs(found / expected - 1).max(initial=0.0))


def compare(root: Path, name: str) -> dict[str, float]:
    """Largest differences of one model."""
    folder = root / name
    reference = json.loads((folder / "model.json").read_text())
    design = pd.read_csv(root / "data" / "design.csv", dtype=str)
    grid = read_volume(folder / "mask.nii.gz")
    mask = grid.data > 0
    visits = name.startswith("B2")
    files = design["file"] if visits else [f"slope_sub-{i:02d}.nii" for i in range(1, 25)]
    data = np.stack([read_volume(root / "data" / f"{file}.gz").data[mask] for file in files])
    matrix = np.loadtxt(folder / "design_matrix_X.csv", delimiter=",")
    components = (
        visit_components(design["subject"].tolist(), design["timepoint"].tolist())
        if visits
        else group_components(["1"] * 12 + ["2"] * 12)
    )
    products, n_voxels = pooled_products(data, matrix)
    estimate = estimate_covariance(products, matrix, components, n_voxels=n_voxels)
    fit = fit_glm(data, matrix, covariance=estimate.covariance, variance_floor=1e-3)
    smoothness = noise_smoothness(fit, mask)

    def image(which: str) -> NDArray[np.float64]:
        return read_volume(folder / f"{which}.nii.gz", dtype=np.float64).data[mask]

    found = {
        "V": float(np.abs(estimate.covariance - np.loadtxt(folder / "xVi_V.csv", delimiter=",")).max()),
        "ResMS, relative": off(fit.resms, image("ResMS")),
        "FWHM, relative": off(smoothness.fwhm, reference["FWHM_vox"]),
        "resels, relative": off(smoothness.resels, reference["RESELS_R"]),
    }
    for number, contrast in enumerate(reference["contrasts"], start=1):
        volume = np.full(mask.shape, np.nan)
        if contrast["STAT"] == "T":
            values, field, key = fit.t_map(contrast["c"]).t, TField(fit.dof), "|ΔT|"
        else:
            joint = fit.f_map(contrast["c"])
            values, field, key = joint.f, FField(joint.dof), "|ΔF|"
        volume[mask] = values
        worst = float(np.abs(values - image(f"spm{contrast['STAT']}_{number:04d}")).max())
        found[key] = max(found.get(key, 0.0), worst)
        for table, region, p, extent, maxima, distance in TABLES:
            file = folder / f"clusters_{table}_con{number:02d}.csv"
            if not file.exists():
                continue
            inside = mask if region is None else read_volume(root / "data" / f"{region}.nii.gz").data > 0
            search, threshold = search_volume(inside, mask, smoothness.fwhm), field.threshold(p)
            mine, _ = cluster_table(
                volume,
                search,
                judge=RandomField(field, search, threshold, smoothness.fwhm),
                field=field,
                affine=grid.affine,
                threshold=threshold,
                minimum_extent=extent,
                maxima=maxima,
                distance_mm=distance,
            )
            for what, difference in table_differences(mine, pd.read_csv(file).astype(float)).items():
                found[what] = max(found.get(what, 0.0), difference)
    return found


def table_differences(mine: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, float]:
    """Largest differences of one table."""
    if len(mine) != len(theirs):
        return {"peak places": float("inf")}
    first, heads = mine[mine["peak"] == 1], theirs[theirs["cluster_k_vox"].notna()]
    honest = (theirs["peak_pUnc"] > 1e-10).to_numpy()
    places = mine[["x", "y", "z"]].to_numpy() - theirs[["x_mm", "y_mm", "z_mm"]].to_numpy()
    return {
        "peak places": float(np.abs(places).max(initial=0.0)),
        "cluster sizes": float(np.abs(first["k"].to_numpy() - heads["cluster_k_vox"].to_numpy()).max(initial=0.0)),
        "cluster p, relative": off(first["cluster_p_fwe"], heads["cluster_pFWE"]),
        "cluster q, relative": off(first["cluster_q"], heads["cluster_qFDR"]),
        "peak p, relative": off(mine["peak_p_fwe"][honest], theirs["peak_pFWE"][honest]),
        "peak q, relative": off(mine["peak_q"][honest], theirs["peak_qFDR"][honest]),
    }


def main() -> int:
    """Compare, print, judge."""
    options_of = parser(__doc__)
    options_of.add_argument("reference", type=Path)
    options = options_of.parse_args()
    rows: list[dict[str, Any]] = []
    for name in ("A_twosample_slopes", "B2_remeasures_reml"):
        for what, difference in compare(options.reference, name).items():
            rows.append({"model": name, "what": what, "difference": difference, "limit": LIMITS[what]})
            print(f"{name:20s} {what:20s} {difference:9.2e}   limit {LIMITS[what]:g}")
    missed = [f"{row['model']}, {row['what']}: {row['difference']:.2e}" for row in rows
              if not row["difference"] <= row["limit"]]  # fmt: skip
    return finish(options, rows, missed)


if __name__ == "__main__":
    sys.exit(main())
