"""From the output folder to the inputs of a person's page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plastimap.icbm import standard_image
from plastimap.images import Volume
from plastimap.paths import ANALYSED_TISSUES, DWI_MAPS, MPM_MAPS, scan_subject, sidecar_of
from plastimap.report.checks import tissue_medians
from plastimap.report.inputs import PersonInputs, ScanInputs
from plastimap.report.output import OUTLINED_SPACE, Output
from plastimap.writing import PathLike


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
    sources = output.day_sources
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
        "space": paths.space_qa,
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
