"""From one group model to tables: t maps, clusters in every search volume and direction, checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.bayes import bf10_contrast
from plastimap.stats.clusters import Cluster, Judge, SearchVolume, cluster_table
from plastimap.stats.contrasts import Direction
from plastimap.stats.fitted import FittedModel, Inference, Place, TestMaps
from plastimap.stats.glm import effective_n, rank
from plastimap.stats.judges import JUDGES
from plastimap.stats.rft import FField, TField
from plastimap.stats.safeguards import check_cluster_means, warnings_of
from plastimap.stats.smoothness import Smoothness

if TYPE_CHECKING:
    import pandas as pd

CLUSTER_COLUMNS = (
    "cluster", "contrast", "test", "map", "tissue", "hemisphere", "term", "direction",
    "cluster_p_fwe", "cluster_p_unc", "cluster_q", "k", "volume_mm3",
    "peak_t", "peak_z", "peak_p_fwe", "peak_q", "x", "y", "z",
    "effect", "effect_percent", "n", "n_by_group", "cluster_t", "cluster_bf10", "largest_bf01",
    "influence", "influential", "warnings",
)  # fmt: skip

MAXIMA_COLUMNS = (
    "cluster", "contrast", "test", "map", "tissue", "hemisphere", "term", "direction",
    "peak", "peak_t", "peak_z", "peak_p_fwe", "peak_q", "peak_p_unc", "x", "y", "z",
)  # fmt: skip

FAMILY_COLUMNS = (
    "contrast", "test", "map", "tissue", "hemisphere", "term", "direction",
    "min_p", "n_clusters", "n", "n_by_group", "dof", "threshold", "n_voxels", "resels", "fwhm_mm",
)  # fmt: skip


@dataclass
class Findings:
    """Rows collected over tests; turned into tables once at the end."""

    clusters: list[dict[str, Any]]
    maxima: list[dict[str, Any]]
    families: list[dict[str, Any]]
    members: list[NDArray[np.intp]]
    nulls: list[NDArray[np.float64]]

    @classmethod
    def empty(cls) -> Findings:
        """Nothing found so far."""
        return cls([], [], [], [], [])

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Clusters, maxima, families."""
        import pandas as pd

        return (
            pd.DataFrame(self.clusters, columns=list(CLUSTER_COLUMNS)),
            pd.DataFrame(self.maxima, columns=list(MAXIMA_COLUMNS)),
            pd.DataFrame(self.families, columns=list(FAMILY_COLUMNS)),
        )


def run_contrast(
    model: FittedModel, index: int, place: Place, rule: Inference, findings: Findings
) -> tuple[TestMaps, tuple[str, ...]]:
    """Test one contrast of a model; clusters and families are appended to `findings`, notes returned."""
    maps = contrast_maps(model, index, rule.cluster_forming_p)
    judges, notes = JUDGES[rule.method](model, index, maps, place, rule)
    volume = place.volume(maps.values, dtype=np.float64)
    for side, search in model.searches.items():
        for direction in maps.directions:
            family = Family(model, maps, model.vectors[index], side, search, direction)
            _search(family, judges[side, direction], place, volume, rule, findings)
    return maps, notes


def contrast_maps(model: FittedModel, index: int, cluster_forming_p: float) -> TestMaps:
    """Compute t or F of one contrast, with its effect and threshold."""
    contrast, rows = model.design.contrasts[index], model.vectors[index]
    single = len(rows) == 1 and not contrast.sides
    if single:
        found = model.fit.t_map(rows[0])
        values, effect, error, field = found.t, found.effect, found.standard_error, TField(found.dof)
    else:
        joint = model.fit.f_map(rows)
        nothing = np.full(joint.f.size, np.nan)
        values, effect, error, field = joint.f, nothing, nothing, FField(joint.dof)
    with np.errstate(invalid="ignore", divide="ignore"):
        percent = 100 * effect * model.span * model.design.scale / model.baseline
    check = model.check
    size = (
        np.nan
        if check is None or not single
        else effective_n(check.matrix, model.design.vectors[index][0], check.weights)
    )
    counts = {name: model.design.groups.count(name) for name in contrast.groups}
    return TestMaps(
        contrast=contrast,
        term=model.term,
        statistic="t" if single else "F",
        values=values,
        effect=effect.astype(np.float32),
        standard_error=error.astype(np.float32),
        effect_percent=percent.astype(np.float32),
        field=field,
        threshold=field.threshold(cluster_forming_p),
        smoothness=model.smoothness,
        design=model.design,
        effective_n=size,
        n=sum(counts.values()),
        n_by_group=", ".join(f"{name} {count}" for name, count in counts.items()),
    )


@dataclass(frozen=True)
class Family:
    """One search: a contrast of a term, in one direction, in one volume."""

    model: FittedModel
    maps: TestMaps
    rows: NDArray[np.float64]
    side: str
    search: SearchVolume
    direction: Direction


def _search(
    family: Family, judge: Judge, place: Place, volume: NDArray[np.float64], rule: Inference, findings: Findings
) -> None:
    """Clusters of one family."""
    maps, search = family.maps, family.search
    turned = -volume if family.direction == "<" else volume
    table, clusters = cluster_table(
        turned,
        search,
        judge=judge,
        field=maps.field,
        affine=place.affine,
        threshold=maps.threshold,
        minimum_extent=rule.minimum_extent,
        maxima=rule.maxima,
        distance_mm=rule.maxima_distance_mm,
    )
    named = {
        "contrast": maps.contrast.name,
        "test": maps.contrast.test,
        "map": place.map_name,
        "tissue": place.tissue,
        "hemisphere": family.side,
        "term": maps.term,
        "direction": family.direction,
    }
    findings.families.append(
        named
        | {
            "min_p": float(table["cluster_p_fwe"].min()) if len(table) else 1.0,
            "n_clusters": len(clusters),
            "n": maps.n,
            "n_by_group": maps.n_by_group,
            "dof": maps.dof,
            "threshold": maps.threshold,
            "n_voxels": search.n_voxels,
            "resels": float(search.resels[3]),
            "fwhm_mm": reported_fwhm_mm(maps.smoothness, place.affine),
        }
    )
    findings.nulls.append(judge.null)
    first = len(findings.clusters) + 1
    if clusters:
        rows = table.assign(cluster=table["cluster"] + first - 1)
        extra = _describe(family, place, clusters, volume)
        for row in rows.to_dict("records"):
            described = named | {str(key): value for key, value in row.items()}
            if row["peak"] == 1:
                findings.clusters.append(described | extra[int(row["cluster"]) - first])
            findings.maxima.append(described)
        findings.members.extend(_columns(cluster, place.mask) for cluster in clusters)


def _describe(
    family: Family, place: Place, clusters: tuple[Cluster, ...], volume: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Effect, n and checks of every cluster."""
    model, maps = family.model, family.maps
    columns = [_columns(cluster, place.mask) for cluster in clusters]
    checks = _checks(family, clusters, columns, volume)
    rows: list[dict[str, Any]] = []
    for c, check in zip(columns, checks, strict=True):
        effect = float(maps.effect[c].mean(dtype=np.float64))
        base = float(np.nanmean(model.baseline[c])) if np.isfinite(model.baseline[c]).any() else float("nan")
        percent = 100 * effect * model.span * model.design.scale / base
        named = {"effect": effect, "effect_percent": percent, "n": maps.n, "n_by_group": maps.n_by_group}
        rows.append(named | check)
    return rows


def _checks(
    family: Family,
    clusters: tuple[Cluster, ...],
    columns: Sequence[NDArray[np.intp]],
    volume: NDArray[np.float64],
) -> list[dict[str, Any]]:
    """The cluster means tested once more, in people's own coefficients; nothing where a term or test has none."""
    check, row = family.model.check, family.model.design.contrasts.index(family.maps.contrast)
    vectors = family.model.design.vectors[row]
    if check is None or family.maps.statistic == "F":
        nothing = {
            "cluster_t": np.nan,
            "cluster_bf10": np.nan,
            "largest_bf01": np.nan,
            "influence": np.nan,
            "influential": "",
            "warnings": "",
        }
        return [dict(nothing) for _ in clusters]
    values = np.column_stack([_mean(check.data[:, c]) for c in columns])
    found = check_cluster_means(values, check.matrix, vectors[0], weights=check.weights)
    size, dof = effective_n(check.matrix, vectors[0], check.weights), len(check.matrix) - rank(check.matrix)
    bf10 = bf10_contrast(found.t, size, dof)
    rows: list[dict[str, Any]] = []
    for i, cluster in enumerate(clusters):
        person = check.names[int(found.person[i])]
        told = warnings_of(
            cluster_t=float(found.t[i]),
            mean_t=float(volume[tuple(cluster.voxels.T)].mean()),
            influence=float(found.influence[i]),
            person=person,
        )
        rows.append(
            {
                "cluster_t": float(found.t[i]),
                "cluster_bf10": float(bf10[i]),
                "largest_bf01": float(1 / bf10_contrast(0.0, size, dof)),
                "influence": float(found.influence[i]),
                "influential": person,
                "warnings": "; ".join(told),
            }
        )
    return rows


def reported_fwhm_mm(smoothness: Smoothness, affine: NDArray[np.float64]) -> float:
    """Geometric mean FWHM in mm for tables; never below one voxel there (p values use it as it is)."""
    size = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return float(np.prod(np.maximum(smoothness.fwhm, 1.0) * size) ** (1 / 3))


def _columns(cluster: Cluster, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Find a cluster's voxels as positions within the mask."""
    flat = np.ravel_multi_index(tuple(cluster.voxels.T), mask.shape)
    return np.asarray(np.searchsorted(np.flatnonzero(mask), flat), dtype=np.intp)


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean along voxels of what is there; 0 / 0 stays NaN."""
    there = np.isfinite(values)
    count = there.sum(axis=1)
    return np.where(there, values, 0.0).sum(axis=1) / np.where(count > 0, count, np.nan)
