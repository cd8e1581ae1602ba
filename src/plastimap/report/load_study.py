"""From the output folder to the inputs of the study's pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from plastimap.icbm import standard_image
from plastimap.paths import Paths, scan_session, scan_subject
from plastimap.report.anatomy_methods import anatomy_counts
from plastimap.report.brainage import read_brainage
from plastimap.report.inputs import Model, ResultImage, StudyInputs
from plastimap.report.output import OUTLINED_SPACE, Output
from plastimap.report.places import place_names, region_of
from plastimap.report.results import judge
from plastimap.writing import PathLike, read_json

if TYPE_CHECKING:
    import pandas as pd

    from plastimap.images import Volume

KINDS: Mapping[str, tuple[str, ...]] = {
    "MPM": ("MPM", "MTS"),
    "B1+": ("TB1map", "TB1AFI", "TB1EPI", "TB1TFL", "TB1RFM", "TB1DAM"),
    "T1w": ("T1w",),
    "DWI": ("dwi",),
    "Behaviour": ("beh",),
}
"""Kinds of raw data in the picture of missing data → BIDS suffixes."""


def load_study(folder: PathLike, *, title: str | None = None) -> StudyInputs:
    """Gather everything about the study.

    Parameters
    ----------
    folder : path-like
        The study's output folder.
    title : str, optional
        None = from configuration or dataset.

    Returns
    -------
    StudyInputs
    """
    output = Output(folder)
    models = _models(output)
    families, background = output.table(Paths.families), output.volume(Paths.mean_structural)
    regions = {} if background is None else _regions(output, background)
    clusters = _with_places(output.table(Paths.clusters), regions, background)
    days = (output.config.get("behaviour") or {}).get("retention_days") or (28.0, 84.0)
    return StudyInputs(
        title=title or output.title,
        version=output.version,
        participants=_people(output),
        scans=_scans(output),
        availability=_availability(output),
        stages=output.stages,
        problems=_problems(output),
        notes=tuple(str(note) for note in output.plan.get("notices", [])),
        behaviour=output.table(Paths.behaviour_tidy),
        behaviour_fits=output.table(Paths.behaviour_fits),
        behaviour_tests=output.table(Paths.behaviour_tests),
        behaviour_sides=output.table(Paths.behaviour_sides),
        training=output.table(Paths.training),
        days=(float(days[0]), float(days[1])),
        models=models,
        clusters=clusters,
        families=families,
        results=_results(output, models, clusters, families),
        background=_background(output, background),
        trajectories=_of_models(output, models, Paths.glm_trajectories),
        courses=_of_models(output, models, Paths.glm_courses),
        found=output.table(Paths.found),
        control=output.table(Paths.control),
        brainage=read_brainage(folder, output.config),
        rois=output.json(Paths.rois_qa) or {},
        regions=regions,
        config=output.config,
        config_text=output.config_text,
        versions=output.versions,
        anatomy=anatomy_counts(_anatomy(output)),
        provenance=_provenance(output),
        timing=_timing(output),
        people=tuple(sorted({f"sub-{scan_subject(label)}" for label in output.plan.get("scans", {})})),
    )


def _people(output: Output) -> pd.DataFrame | None:
    """Read the table of people, with the configured column of groups under the name ``group``."""
    table = output.table(Paths.cohort)
    column = (output.config.get("model") or {}).get("group")
    if table is None or column in (None, "group") or column not in table:
        return table
    return table.drop(columns="group", errors="ignore").rename(columns={column: "group"})


def _background(output: Output, mean: Volume | None) -> Volume | None:
    """Choose what results are drawn over: the study's mean image, or the template where people's images are not ours.

    Without a segmented image the mean is that of some finished map, smoothed and perhaps cut to regions.
    """
    ours = "anat" in output.plan.get("stages", ["anat"])
    return mean if mean is None or ours or output.paths.space != OUTLINED_SPACE else standard_image("t1")


def _with_places(
    clusters: pd.DataFrame | None, regions: Mapping[str, Volume], grid: Volume | None
) -> pd.DataFrame | None:
    """Name the region that each cluster's peak lies in."""
    if clusters is None or clusters.empty or grid is None:
        return clusters
    named = [region_of(name, region.data, region.affine) for name, region in regions.items()]
    tolerance = float(grid.voxel_size.max()) * np.sqrt(3) / 2
    names = place_names(clusters[["x", "y", "z"]].to_numpy(), named, tolerance_mm=tolerance)
    return clusters.assign(place=names)


def _regions(output: Output, grid: Volume) -> dict[str, Volume]:
    """Regions of the configuration on the study's grid."""
    from plastimap.images import Volume
    from plastimap.space.atlases import with_images
    from plastimap.space.regionfiles import region_images
    from plastimap.space.rois import build_rois
    from plastimap.transforms import grid_of

    wanted = with_images(output.config.get("rois") or [])
    if not wanted:
        return {}
    images, transforms = region_images(wanted)
    made = build_rois(wanted, grid_of(grid), images=images, transforms=transforms, space=output.paths.space)
    return {region.name: Volume(region.mask, grid.affine) for region in made}


def _scans(output: Output) -> pd.DataFrame | None:
    """Read the table of scans and add where days come from; without a group level, scans and days as planned."""
    import pandas as pd

    table = output.table(Paths.scans)
    if table is None and output.plan.get("scans"):
        rows = [{"participant_id": f"sub-{scan_subject(label)}", "session": scan_session(label), "scan": label,
                 "day": about.get("day")} for label, about in output.plan["scans"].items()]  # fmt: skip
        table = pd.DataFrame(rows)
    if table is None or "day_source" in table or "scan" not in table:
        return table
    sources = output.day_sources
    return table.assign(day_source=table["scan"].astype(str).map(sources))


def _anatomy(output: Output) -> Iterator[dict[str, Any]]:
    """Quality of the segmentation of every scan that has been segmented."""
    for label in output.plan.get("scans", {}):
        yield output.json(output.paths.at(output.paths.anat_qa, label)) or {}


def _availability(output: Output) -> pd.DataFrame | None:
    """Which raw data there are, from the manifest: every person × session × kind that anybody has."""
    import pandas as pd

    manifest = output.table(Paths.manifest)
    if manifest is None or not {"participant_id", "session", "suffix"} <= set(manifest.columns):
        return None
    suffixes = {suffix: kind for kind, names in KINDS.items() for suffix in names}
    kinds = manifest["suffix"].map(suffixes)
    used = manifest.assign(kind=kinds, session=manifest["session"].fillna("–"))[kinds.notna()]
    used = used.dropna(subset=["participant_id"])
    there = set(zip(used["participant_id"], used["session"], used["kind"], strict=True))
    people, sessions = sorted(used["participant_id"].unique()), sorted(used["session"].unique())
    # Behaviour in one table for everybody has no sessions of its own; only cells that can exist are shown.
    present_kinds = [kind for kind in KINDS if (used["kind"] == kind).any()]
    rows = [
        {"participant_id": person, "session": session, "kind": kind, "present": (person, session, kind) in there}
        for person in people
        for kind in present_kinds
        for session in sessions
        if ((used["kind"] == kind) & (used["session"] == session)).any()
    ]
    return pd.DataFrame(rows, columns=["participant_id", "session", "kind", "present"])


def _problems(output: Output) -> tuple[dict[str, Any], ...]:
    import json

    file = output.folder / Paths.problems
    if not file.exists():
        return ()
    content = json.loads(file.read_text(encoding="utf-8"))
    return tuple(content.get("problems", []) if isinstance(content, dict) else content)


def _models(output: Output) -> tuple[Model, ...]:
    found: list[Model] = []
    for file in sorted(output.folder.glob(Paths.glm_model.format(map="*", tissue="*"))):
        name, _, tissue = file.parent.name.rpartition("_")
        found.append(Model(name, tissue, read_json(file)))
    return tuple(found)


def _results(output: Output, models: Iterable[Model], clusters: pd.DataFrame | None, families: pd.DataFrame | None
             ) -> tuple[ResultImage, ...]:  # fmt: skip
    """Read the t maps with significant clusters, those that survive correction across families first."""
    if clusters is None or clusters.empty:
        return ()
    limit = float(output.config.get("inference", {}).get("cluster_p", 0.05))
    verdict = judge(clusters, families, limit=limit)
    tests = {(model.map, model.tissue, test["contrast"], test["term"]): test
             for model in models for test in model.info.get("tests", [])}  # fmt: skip
    found: list[ResultImage] = []
    for frame in (verdict.survived, verdict.own_only):
        for key, rows in frame.groupby(["map", "tissue", "contrast", "term"], sort=False):
            name, tissue, contrast, term = (str(part) for part in key)
            test = tests.get((name, tissue, contrast, term))
            if test is None or any(
                (r.map, r.tissue, r.contrast, r.term) == (name, tissue, contrast, term) for r in found
            ):
                continue
            folder = Paths.glm_maps.format(map=name, tissue=tissue)
            place = f"{folder}/{test['file']}_stat-{test.get('statistic', 't')}_statmap.nii.gz"
            t_map = output.volume(place)
            if t_map is not None:
                peaks = tuple(
                    (float(x), float(y), float(z)) for x, y, z in zip(rows["x"], rows["y"], rows["z"], strict=True)
                )
                search = output.volume(Paths.search_volumes.format(tissue=tissue))
                found.append(ResultImage(name, tissue, contrast, term, t_map, float(test["threshold"]), search, peaks))
    return tuple(found)


def _of_models(output: Output, models: Iterable[Model], pattern: str) -> pd.DataFrame | None:
    """Read one kind of table of every map and tissue as one."""
    import pandas as pd

    parts: list[pd.DataFrame] = []
    for model in models:
        table = output.table(pattern.format(map=model.map, tissue=model.tissue))
        if table is not None and len(table):
            parts.append(table.assign(map=model.map, tissue=model.tissue))
    return pd.concat(parts, ignore_index=True) if parts else None


def _provenance(output: Output) -> dict[str, str]:
    sources = [
        str(source.get("URL") or source.get("DOI") or "") for source in output.description.get("SourceDatasets", [])
    ]
    facts = {
        "dataset": str(output.description.get("Name", "")),
        "source": ", ".join(filter(None, sources)),
        "BIDS version": str(output.description.get("BIDSVersion", "")),
        "structural contrast": output.contrast,
        "target space": f"{output.paths.space}, {output.paths.resolution:g} mm" if output.config else "",
    }
    return {name: value for name, value in facts.items() if value}


def _timing(output: Output) -> pd.DataFrame | None:
    """Snakemake's benchmarks, summed per step."""
    import pandas as pd

    place = output.folder / "benchmarks"
    parts: list[pd.DataFrame] = []
    for file in sorted(place.rglob("*.tsv")):
        table = pd.read_csv(file, sep="\t", na_values=["-"])
        if "s" in table:
            parts.append(table.assign(step=file.relative_to(place).parts[0].removesuffix(".tsv")))
    if not parts:
        return None
    grouped = pd.concat(parts, ignore_index=True).groupby("step")
    timing = pd.DataFrame(
        {"jobs": grouped.size(), "minutes": grouped["s"].sum() / 60, "median_s": grouped["s"].median()}
    )
    if all("max_rss" in part for part in parts):
        timing["peak_mb"] = grouped["max_rss"].max()
    return timing.sort_values("minutes", ascending=False).reset_index()
