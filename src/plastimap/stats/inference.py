"""From one group model to tables: t maps, clusters in every search volume and direction, checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.clusters import Cluster, SearchVolume, cluster_table, search_volume
from plastimap.stats.contrasts import Contrast, Direction
from plastimap.stats.design import Design
from plastimap.stats.glm import GlmFit
from plastimap.stats.safeguards import check_cluster_means, warnings_of
from plastimap.stats.smoothness import Smoothness, estimate
from plastimap.stats.tails import t_threshold

if TYPE_CHECKING:
    import pandas as pd

CLUSTER_COLUMNS = (
    "cluster", "contrast", "test", "map", "tissue", "hemisphere", "term", "direction",
    "cluster_p_fwe", "cluster_p_unc", "k", "volume_mm3", "peak_t", "peak_z", "peak_p_fwe", "x", "y", "z",
    "effect", "effect_percent", "n", "n_by_group", "cluster_t", "influence", "influential", "warnings",
)  # fmt: skip

MAXIMA_COLUMNS = (
    "cluster", "contrast", "test", "map", "tissue", "hemisphere", "term", "direction",
    "peak", "peak_t", "peak_z", "peak_p_fwe", "peak_p_unc", "x", "y", "z",
)  # fmt: skip

FAMILY_COLUMNS = (
    "contrast", "test", "map", "tissue", "hemisphere", "term", "direction",
    "min_p", "n_clusters", "n", "n_by_group", "dof", "threshold", "n_voxels", "resels", "fwhm_mm",
)  # fmt: skip


@dataclass(frozen=True)
class Inference:
    """How clusters are judged.

    Attributes
    ----------
    cluster_forming_p : float
        Uncorrected.
    minimum_extent : int
        Voxels.
    maxima, maxima_distance_mm
        Peaks listed per cluster, and their least distance.
    minimum_subjects, variance_floor
        See :func:`plastimap.stats.glm.fit_glm`.
    by_visits : bool
        Whether people are weighted by the variance factors of their visits.
    """

    cluster_forming_p: float = 0.001
    minimum_extent: int = 20
    maxima: int = 3
    maxima_distance_mm: float = 8.0
    minimum_subjects: float = 1.0
    variance_floor: float = 0.0
    by_visits: bool = False


@dataclass(frozen=True)
class TestMaps:
    """One contrast of one term.

    Attributes
    ----------
    contrast : Contrast
    term : str
    t : ndarray of float32, shape (n_voxels,)
        In the voxels of the result's mask; NaN where not analysed.
    effect : ndarray of float32, shape (n_voxels,)
        Contrast of coefficients: unit of the map, per day or day² for growth terms, per unit of a slope's regressor.
    effect_percent : ndarray of float32, shape (n_voxels,)
        Effect times the term's span over the study's days (and times one SD of a slope's regressor), in percent of
        the model's mean baseline.
    dof : float
    threshold : float
        Cluster-forming t.
    smoothness : Smoothness
    design : Design
    n : int
        People in the groups that the contrast names.
    n_by_group : str
        Such as ``"SCI 9, CON 8"``.
    """

    # pytest would otherwise take the class for a test case because of its name.
    __test__ = False

    contrast: Contrast
    term: str
    t: NDArray[np.float32]
    effect: NDArray[np.float32]
    effect_percent: NDArray[np.float32]
    dof: float
    threshold: float
    smoothness: Smoothness
    design: Design
    n: int
    n_by_group: str


@dataclass(frozen=True)
class Place:
    """Where an analysis happens: the grid, its mask, its search volumes."""

    map_name: str
    tissue: str
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    regions: Mapping[str, NDArray[np.bool_]]

    def volume(self, values: NDArray[Any], *, dtype: Any = np.float64) -> NDArray[Any]:
        """Values of the mask's voxels on the grid, NaN elsewhere."""
        full = np.full(self.mask.shape, np.nan, dtype=dtype)
        full[self.mask] = values
        return full


@dataclass
class Findings:
    """Rows collected over tests; turned into tables once at the end."""

    clusters: list[dict[str, Any]]
    maxima: list[dict[str, Any]]
    families: list[dict[str, Any]]
    members: list[NDArray[np.intp]]

    @classmethod
    def empty(cls) -> Findings:
        """Nothing found so far."""
        return cls([], [], [], [])

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Clusters, maxima, families."""
        import pandas as pd

        return (
            pd.DataFrame(self.clusters, columns=list(CLUSTER_COLUMNS)),
            pd.DataFrame(self.maxima, columns=list(MAXIMA_COLUMNS)),
            pd.DataFrame(self.families, columns=list(FAMILY_COLUMNS)),
        )


@dataclass(frozen=True)
class FittedModel:
    """A group model fitted to one term, with its noise smoothness and search volumes."""

    design: Design
    term: str
    data: NDArray[np.float64]
    weights: NDArray[np.float64] | None
    fit: GlmFit
    smoothness: Smoothness
    searches: Mapping[str, SearchVolume]
    baseline: NDArray[np.float64]
    span: float


def noise_smoothness(fit: GlmFit, mask: NDArray[np.bool_]) -> Smoothness:
    """Smoothness of a fit's residuals in its analysed voxels."""
    inside = np.zeros(mask.shape, dtype=bool)
    inside[mask] = fit.analysed
    columns = np.flatnonzero(fit.analysed)
    every = columns.size == fit.analysed.size
    return estimate(
        lambda person: fit.residual(person) if every else fit.residual(person)[columns],
        inside,
        dof=fit.dof,
        sd=np.sqrt(fit.variance[columns]),
        n_images=fit.matrix.shape[0],
    )


def search_volumes_of(fit: GlmFit, place: Place, fwhm: NDArray[np.float64]) -> dict[str, SearchVolume]:
    """Cut every region of the place to the analysed voxels; those without any are left out."""
    inside = np.zeros(place.mask.shape, dtype=bool)
    inside[place.mask] = fit.analysed
    searches = {side: search_volume(region, inside, fwhm) for side, region in place.regions.items()}
    return {side: search for side, search in searches.items() if search.n_voxels > 0}


def run_contrast(model: FittedModel, index: int, place: Place, rule: Inference, findings: Findings) -> TestMaps:
    """Test one contrast of a model; clusters and families are appended to `findings`."""
    contrast, vector = model.design.contrasts[index], model.design.vectors[index]
    t, effect, _, _ = model.fit.t_map(vector)
    with np.errstate(invalid="ignore", divide="ignore"):
        percent = 100 * effect * model.span * model.design.scale / model.baseline
    counts = {name: model.design.groups.count(name) for name in contrast.groups}
    maps = TestMaps(
        contrast=contrast,
        term=model.term,
        t=t.astype(np.float32),
        effect=effect.astype(np.float32),
        effect_percent=percent.astype(np.float32),
        dof=model.fit.dof,
        threshold=t_threshold(rule.cluster_forming_p, model.fit.dof),
        smoothness=model.smoothness,
        design=model.design,
        n=sum(counts.values()),
        n_by_group=", ".join(f"{name} {count}" for name, count in counts.items()),
    )
    volume = place.volume(t)
    for side, search in model.searches.items():
        for direction in contrast.directions:
            _search(model, maps, vector, place, side, search, direction, volume, rule, findings)
    return maps


def _search(
    model: FittedModel,
    maps: TestMaps,
    vector: NDArray[np.float64],
    place: Place,
    side: str,
    search: SearchVolume,
    direction: Direction,
    volume: NDArray[np.float64],
    rule: Inference,
    findings: Findings,
) -> None:
    """One family: clusters of one direction in one search volume."""
    table, clusters = cluster_table(
        volume if direction == ">" else -volume,
        search,
        affine=place.affine,
        threshold=maps.threshold,
        dof=maps.dof,
        fwhm=model.smoothness.fwhm,
        minimum_extent=rule.minimum_extent,
        maxima=rule.maxima,
        distance_mm=rule.maxima_distance_mm,
    )
    family = {
        "contrast": maps.contrast.name,
        "test": maps.contrast.test,
        "map": place.map_name,
        "tissue": place.tissue,
        "hemisphere": side,
        "term": maps.term,
        "direction": direction,
    }
    findings.families.append(
        family
        | {
            "min_p": float(table["cluster_p_fwe"].min()) if len(table) else 1.0,
            "n_clusters": len(clusters),
            "n": maps.n,
            "n_by_group": maps.n_by_group,
            "dof": maps.dof,
            "threshold": maps.threshold,
            "n_voxels": search.n_voxels,
            "resels": float(search.resels[3]),
            "fwhm_mm": reported_fwhm_mm(model.smoothness, place.affine),
        }
    )
    first = len(findings.clusters) + 1
    if clusters:
        rows = table.assign(cluster=table["cluster"] + first - 1)
        extra = _describe(model, maps, vector, place, clusters, volume)
        for row in rows.to_dict("records"):
            described = family | {str(key): value for key, value in row.items()}
            if row["peak"] == 1:
                findings.clusters.append(described | extra[int(row["cluster"]) - first])
            findings.maxima.append(described)
        findings.members.extend(_columns(cluster, place.mask) for cluster in clusters)


def _describe(
    model: FittedModel,
    maps: TestMaps,
    vector: NDArray[np.float64],
    place: Place,
    clusters: tuple[Cluster, ...],
    volume: NDArray[np.float64],
) -> list[dict[str, Any]]:
    """Effect, n and checks of every cluster."""
    columns = [_columns(cluster, place.mask) for cluster in clusters]
    values = np.column_stack([_mean(model.data[:, c]) for c in columns])
    check = check_cluster_means(values, model.design.matrix, vector, weights=model.weights)
    rows: list[dict[str, Any]] = []
    for i, (cluster, c) in enumerate(zip(clusters, columns, strict=True)):
        effect = float(maps.effect[c].mean(dtype=np.float64))
        base = float(np.nanmean(model.baseline[c])) if np.isfinite(model.baseline[c]).any() else float("nan")
        person = model.design.people[int(check.person[i])]
        told = warnings_of(
            cluster_t=float(check.t[i]),
            mean_t=float(volume[tuple(cluster.voxels.T)].mean()),
            influence=float(check.influence[i]),
            person=person,
        )
        rows.append(
            {
                "effect": effect,
                "effect_percent": 100 * effect * model.span * model.design.scale / base,
                "n": maps.n,
                "n_by_group": maps.n_by_group,
                "cluster_t": float(check.t[i]),
                "influence": float(check.influence[i]),
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
