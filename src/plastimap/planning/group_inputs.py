"""Inputs of the rules that are about a person or the whole study: wildcards in, paths out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from plastimap.paths import ANALYSED_TISSUES, scan_subject, sidecar_of
from plastimap.planning.scan_inputs import ScanInputs
from plastimap.planning.scans import Wildcards
from plastimap.planning.targets import Targets
from plastimap.space.atlases import with_images
from plastimap.writing import read_json


class GroupInputs(ScanInputs, Targets):
    """Snakemake's input functions of people and groups."""

    def person_files(self, pattern: str) -> Any:
        """An input function: a file of each of a person's sessions."""

        def files(wildcards: Wildcards) -> list[str]:
            return [self.paths.at(pattern, label) for label in self.template_members(wildcards.subject)]

        return files

    def template_members(self, subject: str) -> list[str]:
        """Scans that a person's template is made from; with `freeze_template`, those it *was* made from."""
        labels = [scan.label for scan in self.of_subject(subject)]
        if self.config["space"]["freeze_template"]:
            frozen = self._frozen_members(subject)
            return [label for label in labels if label in frozen] or labels
        return labels

    def _frozen_members(self, subject: str) -> list[str]:
        image = Path(self.config["output_dir"]) / self.paths.template.format(subject=subject)
        sidecar = Path(sidecar_of(str(image)))
        if not (image.exists() and sidecar.exists()):
            return []
        return list(read_json(sidecar).get("Members", []))

    @cached_property
    def study_template(self) -> dict[str, Any]:
        """Template of all people, where the configuration wants one between midpoint and target."""
        if not self.config["space"]["study_template"]:
            return {"study_tissues": [], "study_warps": []}
        tissues = [self.paths.study_tissue.format(tissue=tissue) for tissue in ANALYSED_TISSUES]
        return {"study_tissues": tissues, "study_warps": [self.paths.study_to_target, self.paths.study_from_target]}

    @cached_property
    def target_files(self) -> list[str]:
        """Tissue probabilities of the target, where it is not the built-in one."""
        return list((self.config["space"]["template"] or {}).values())

    def every_person(self, pattern: str) -> list[str]:
        """A file of every person who reaches the target space."""
        return [pattern.format(subject=subject) for subject in sorted({scan.subject for scan in self.in_space})]

    def lesion_files(self, wildcards: Wildcards) -> list[str]:
        """Lesion masks that stand beside the images that a person's template is made from."""
        labels = self.template_members(wildcards.subject)
        # A mask of the person may be for several sessions.
        return list(dict.fromkeys(file for label in labels for file in self.lesions_of(label)))

    def joining_lesions(self, wildcards: Wildcards) -> list[str]:
        """Lesion masks of a session and of all that its person's template is made from: each once."""
        labels = [*self.template_members(scan_subject(wildcards.scan)), wildcards.scan]
        return list(dict.fromkeys(file for label in labels for file in self.lesions_of(label)))

    def glm_files(self, wildcards: Wildcards) -> list[str]:
        """Smoothed maps of the group model, in the order of :meth:`glm_scans`."""
        pair = (wildcards.map, wildcards.tissue)
        return [self.smoothed_file(scan, *pair) for scan in self.analysed[pair]]

    def glm_errors(self, wildcards: Wildcards) -> list[str]:
        """Smoothed standard errors that weigh the scans of a group model; none where one is missing, or not wanted."""
        error, tissue = f"{wildcards.map}_stderr", wildcards.tissue
        scans = self.analysed[wildcards.map, tissue]
        if not all((error, tissue) in self.smoothed_maps(scan) for scan in scans):
            return []
        return [self.smoothed_file(scan, error, tissue) for scan in scans]

    def glm_scans(self, wildcards: Wildcards) -> list[str]:
        """Labels of the scans of a group model."""
        return [scan.label for scan in self.analysed[wildcards.map, wildcards.tissue]]

    def every(self, pattern: str) -> Callable[[Wildcards], list[str]]:
        """An input function: a file of every scan that reaches the target space.

        Not the list itself: each chunk of a large study would check all of it for a rule that it does not run.
        """

        def files(_: Wildcards) -> list[str]:
            return [self.paths.at(pattern, scan.label) for scan in self.in_space]

        return files

    def members_of(self, wildcards: Wildcards) -> list[str]:
        """Scans that a person's template is made from."""
        return self.template_members(wildcards.subject)

    def glm_tables(self, pattern: str) -> list[str]:
        """A table of every (map, tissue) model."""
        return [pattern.format(map=name, tissue=tissue) for name, tissue in self.analysed]

    def grid_references(self, wildcards: Wildcards) -> list[str]:
        """Images whose mean is the study's background picture, and whose grid is the group's."""
        name = "R1" if self.contrast == "MTsat" else self.contrast
        warped = [
            self.paths.at(self.paths.warped(name), scan.label)
            for scan in self.in_space
            if name in self.target_maps(scan)
        ]
        if self.in_space or not self.analysed:
            # T1w images have arbitrary units and are not brought to the target: white matter shows the anatomy.
            return warped or self.every(self.paths.warped_tissue("WM"))(wildcards)
        (pair, scans), *_ = self.analysed.items()
        return [self.smoothed_file(scans[0], *pair)]

    @cached_property
    def roi_images(self) -> list[str]:
        """Images, atlases and transforms that regions of the config point to."""
        rois = with_images(self.config["rois"])
        return [str(roi[key]) for key in ("image", "transform") for roi in rois if roi.get(key)]

    @cached_property
    def participants_file(self) -> list[str]:
        """The table of people, where the dataset has one."""
        table = Path(self.config["bids_dir"] or ".") / "participants.tsv"
        return [str(table)] if self.config["bids_dir"] and table.exists() else []

    @cached_property
    def label_columns(self) -> list[str]:
        """Columns of the table of people that hold labels: the group's."""
        return [self.config["model"]["group"]] if self.config["model"]["group"] else []

    @cached_property
    def behaviour_fits(self) -> list[str]:
        """The table of fitted learning curves, where there is behaviour."""
        return [self.paths.behaviour_fits] if "behaviour" in self.possible else []

    def person_report_files(self, wildcards: Wildcards) -> list[str]:
        """Everything that a person's page shows."""
        files = [self.paths.plan, self.paths.manifest, *self.participants_file]
        for scan in self.all_of_subject.get(wildcards.subject, []):
            # The page reads what it finds; one file of each job says when there is something new.
            files += [*self.scan_goals(scan), *self.scan_quality(scan, self.stages)]
        return files

    def study_report_files(self, _: Wildcards) -> list[str]:
        """Everything that the study's page shows."""
        paths = self.paths
        files = [
            paths.plan,
            paths.manifest,
            paths.problems,
            paths.effective_config,
            paths.description,
            *self.quality_files,
        ]
        if "behaviour" in self.stages:
            files += [paths.behaviour_tidy, paths.behaviour_fits, paths.behaviour_tests]
            files += [paths.behaviour_sides, paths.training]
        if "glm" in self.stages:
            files += [paths.clusters, paths.families, paths.mean_structural, paths.rois_qa, paths.scans, paths.cohort]
            files += [paths.search_volumes.format(tissue=tissue) for tissue in ANALYSED_TISSUES]
            for pattern in (paths.glm_model, paths.glm_trajectories, paths.glm_maps):
                files += self.glm_tables(pattern)
            files += self.found_files
        return files + self.brainage.report_files
