"""From the output folder to the inputs of the pages: the only part of the report that reads files.

What is missing is left out; the pages say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plastimap.icbm import standard_image
from plastimap.images import Volume, read_volume
from plastimap.paths import (
    ANALYSED_TISSUES,
    DWI_MAPS,
    MPM_MAPS,
    Paths,
    paths_of,
    scan_session,
    scan_subject,
    sidecar_of,
)
from plastimap.provenance import software
from plastimap.report.checks import tissue_medians
from plastimap.report.inputs import (
    STAGE_NAMES,
    Model,
    PersonInputs,
    ResultImage,
    ScanInputs,
    Stage,
    StudyInputs,
)
from plastimap.report.results import judge
from plastimap.writing import PathLike, read_json

if TYPE_CHECKING:
    import pandas as pd

KINDS: Mapping[str, tuple[str, ...]] = {
    "MPM": ("MPM", "MTS"),
    "B1+": ("TB1map", "TB1AFI", "TB1EPI", "TB1TFL", "TB1RFM", "TB1DAM"),
    "T1w": ("T1w",),
    "DWI": ("dwi",),
    "Behaviour": ("beh",),
}
"""Kinds of raw data in the picture of missing data → BIDS suffixes."""

OUTLINED_SPACE = "MNI152NLin2009aSym"
"""Target space whose outlines nilearn ships."""


class Output:
    """An output folder, opened once.

    Parameters
    ----------
    folder : path-like
        The study's output folder.
    """

    def __init__(self, folder: PathLike) -> None:
        import yaml

        self.folder = Path(folder)
        text = self.folder / Paths.effective_config
        self.config_text = text.read_text(encoding="utf-8") if text.exists() else ""
        self.config: dict[str, Any] = yaml.safe_load(self.config_text) or {}
        self.plan = self.json(Paths.plan) or {}
        self.description = self.json(Paths.description) or {}
        self.contrast = str(self.plan.get("contrast", ""))
        given = self.config.get("space", {"target": OUTLINED_SPACE, "resolution": 1.5})
        self.paths = paths_of({"space": given}, self.contrast or "T1w")
        self.versions = software()

    @property
    def version(self) -> str:
        """Of PlastiMap."""
        return self.versions.get("plastimap", "")

    @property
    def title(self) -> str:
        """Title of the config, else name of the dataset."""
        return str((self.config.get("report") or {}).get("title") or self.description.get("Name") or "PlastiMap study")

    def json(self, relative: str) -> dict[str, Any] | None:
        """Read a JSON file of the folder; None where it is missing."""
        file = self.folder / relative
        return read_json(file) if file.exists() else None

    def table(self, relative: str) -> pd.DataFrame | None:
        """Read a table of the folder; None where it is missing."""
        import pandas as pd

        file = self.folder / relative
        if not file.exists() or file.stat().st_size == 0:
            return None
        labels = {"participant_id": str, "session": str, "scan": str, "influential": str}
        return pd.read_csv(file, sep="\t", na_values=["n/a"], dtype=labels)

    def volume(self, relative: str) -> Volume | None:
        """Read an image of the folder; None where it is missing."""
        file = self.folder / relative
        return read_volume(file) if file.exists() else None

    def volumes(self, files: Mapping[str, str]) -> dict[str, Volume]:
        """Read the images that exist, by name."""
        found = {name: self.volume(relative) for name, relative in files.items()}
        return {name: volume for name, volume in found.items() if volume is not None}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What ran and what was left out, as planned."""
        if not self.plan:
            return ()
        left = self.plan.get("left_out", {})
        return tuple(Stage(name, name in self.plan.get("stages", []), left.get(name, "")) for name in STAGE_NAMES)


# --- a person -------------------------------------------------------------------------------------------------------
def load_person(folder: PathLike, subject: str, *, title: str | None = None) -> PersonInputs:
    """Gather everything about one person.

    Parameters
    ----------
    folder : path-like
        The study's output folder.
    subject : str
        Label without ``sub-``.
    title : str, optional
        Of the study; None = from configuration or dataset.

    Returns
    -------
    PersonInputs
    """
    output = Output(folder)
    labels = [label for label in output.plan.get("scans", {}) if scan_subject(label) == subject]
    sources = _day_sources(output)
    return PersonInputs(
        participant_id=f"sub-{subject}",
        title=title or output.title,
        scans=tuple(_scan(output, label, sources) for label in labels),
        target_outlines=_target_outlines(output.paths.space),
        target_name=output.paths.space,
        facts=_facts(output, f"sub-{subject}"),
        stages=output.stages,
        version=output.version,
    )


def _scan(output: Output, label: str, day_sources: Mapping[str, str]) -> ScanInputs:
    paths = output.paths

    def at(pattern: str) -> str:
        return paths.at(pattern, label)

    # A is shown as what it becomes, PD.
    names = [name for name in (*MPM_MAPS, *DWI_MAPS) if name != "A"]
    maps = output.volumes({name: at(paths.native(name)) for name in names})
    brain = output.volume(at(paths.mask))
    tissues = output.volumes({name: at(paths.tissue(name)) for name in ANALYSED_TISSUES})
    outlines = {} if brain is None else {"brain": brain}
    masks = {"mpm": brain, "dwi": output.volume(at(paths.dwi_mask))}
    quality = {
        "mpm": paths.mpm_qa,
        "mpm in tissue": paths.mpm_quality,
        "dwi": paths.dwi_qa,
        "anat": paths.anat_qa,
        "dwi to structural": paths.coreg_qa,
    }
    found = {stage: output.json(at(file)) for stage, file in quality.items()}
    for stage, image in {"session": paths.to_template, "midpoint": paths.template, "target": paths.to_target}.items():
        found[stage] = _notes_of_sidecar(output.json(at(sidecar_of(image))))
    warped_name, warped = _warped(output, label)
    return ScanInputs(
        label=label,
        day=output.plan["scans"][label].get("day"),
        day_source=day_sources.get(label, ""),
        structural=output.volume(at(paths.structural)),
        structural_name=paths.contrast,
        outlines={**outlines, **tissues},
        maps=maps,
        map_masks={kind: mask for kind, mask in masks.items() if mask is not None},
        direction=output.volume(at(paths.dwi_direction)),
        warped=warped,
        warped_name=warped_name,
        qa={stage: content for stage, content in found.items() if content is not None},
        medians=_medians(output, label, maps, tissues),
    )


def _notes_of_sidecar(sidecar: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {"notes": sidecar["Notes"]} if sidecar and sidecar.get("Notes") else None


def _warped(output: Output, label: str) -> tuple[str, Volume | None]:
    """Choose what shows the fit of the target space: the structural contrast, else another map, else a tissue."""
    paths = output.paths
    for name in dict.fromkeys((paths.contrast, "MTsat", "R1", "FA")):
        volume = output.volume(paths.at(paths.warped(name), label))
        if volume is not None:
            return name, volume
    return "white matter probability", output.volume(paths.at(paths.warped_tissue("WM"), label))


def _medians(output: Output, label: str, maps: Mapping[str, Volume], tissues: Mapping[str, Volume]
             ) -> dict[str, dict[str, float]]:  # fmt: skip
    """Medians per map and tissue: in the target space where maps share a grid with tissues, else on the native grid."""
    paths = output.paths
    warped = output.volumes({name: paths.at(paths.warped_tissue(name), label) for name in ANALYSED_TISSUES})
    found: dict[str, dict[str, float]] = {}
    for name, native in maps.items():
        in_target = output.volume(paths.at(paths.warped(name), label))
        for volume, classes in ((in_target, warped), (native, tissues)):
            same = [tissue for tissue, image in classes.items() if volume is not None and image.shape == volume.shape]
            if volume is not None and same and name not in found:
                medians = tissue_medians(volume.data, {tissue: classes[tissue].data for tissue in same})
                found.update({name: medians} if medians else {})
    return found


def _facts(output: Output, participant: str) -> dict[str, Any]:
    # From the raw dataset: the group level's table may not be there yet when a person's page is made.
    import pandas as pd

    file = Path(output.config.get("bids_dir") or output.folder / "no dataset") / "participants.tsv"
    if not file.exists():
        return {}
    table = pd.read_csv(file, sep="\t", na_values=["n/a"], dtype={"participant_id": str})
    rows = table[table["participant_id"] == participant] if "participant_id" in table else table.iloc[:0]
    wanted = dict.fromkeys((str((output.config.get("model") or {}).get("group") or "group"), "age", "sex"))
    return {name: rows.iloc[0][name] for name in wanted if len(rows) and name in rows}


def _target_outlines(space: str) -> dict[str, Volume]:
    """Brain and white matter of the target space, on a 2 mm grid; nothing for a space that does not travel with us."""
    if space != OUTLINED_SPACE:
        return {}
    from scipy import ndimage

    # Every second voxel: an outline on a page needs no more.
    thinner = np.diag([2.0, 2.0, 2.0, 1.0])
    t1, wm = standard_image("t1"), standard_image("wm")
    brain = np.asarray(ndimage.binary_fill_holes(t1.data[::2, ::2, ::2] > 0), dtype=np.float32)
    return {"brain": Volume(brain, t1.affine @ thinner), "WM": Volume(wm.data[::2, ::2, ::2], wm.affine @ thinner)}


def _day_sources(output: Output) -> dict[str, str]:
    manifest = output.table(Paths.manifest)
    if manifest is None or not {"participant_id", "session", "day_source"} <= set(manifest.columns):
        return {}
    known = manifest.dropna(subset=["day_source"])
    names = _labels(known)
    return dict(zip(names, known["day_source"].astype(str), strict=True))


def _labels(table: pd.DataFrame) -> Iterable[str]:
    for person, session in zip(table["participant_id"], table["session"], strict=True):
        yield str(person) + (f"_ses-{session}" if isinstance(session, str) and session else "")


# --- the study ------------------------------------------------------------------------------------------------------
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
    clusters, families = output.table(Paths.clusters), output.table(Paths.families)
    return StudyInputs(
        title=title or output.title,
        version=output.version,
        participants=output.table(Paths.cohort),
        scans=_scans(output),
        availability=_availability(output),
        stages=output.stages,
        problems=_problems(output),
        notes=tuple(str(note) for note in output.plan.get("notices", [])),
        behaviour=output.table(Paths.behaviour_tidy),
        behaviour_fits=output.table(Paths.behaviour_fits),
        behaviour_tests=output.table(Paths.behaviour_tests),
        models=models,
        clusters=clusters,
        families=families,
        results=_results(output, models, clusters, families),
        background=output.volume(Paths.mean_structural),
        trajectories=_trajectories(output, models),
        found=output.table(Paths.found),
        control=output.table(Paths.control),
        rois=output.json(Paths.rois_qa) or {},
        config=output.config,
        config_text=output.config_text,
        versions=output.versions,
        provenance=_provenance(output),
        timing=_timing(output),
        people=tuple(sorted({f"sub-{scan_subject(label)}" for label in output.plan.get("scans", {})})),
    )


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
    sources = _day_sources(output)
    return table.assign(day_source=table["scan"].astype(str).map(sources))


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


def _trajectories(output: Output, models: Iterable[Model]) -> pd.DataFrame | None:
    import pandas as pd

    parts: list[pd.DataFrame] = []
    for model in models:
        table = output.table(Paths.glm_trajectories.format(map=model.map, tissue=model.tissue))
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
