"""What a run is to make: final files, and the few of them that stand for all."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from plastimap.paths import DWI_MAPS, TISSUES, WITH_ERRORS
from plastimap.planning.available import Available
from plastimap.planning.scans import Scan, Wildcards
from plastimap.running.handover import chunk_people


class Targets(Available):
    """Lists of files of each scan, of the participant level and of the group level."""

    def scan_targets(self, scan: Scan) -> list[str]:
        """Final files of one scan."""
        paths, patterns = self.paths, list[str]()
        if "mpm" in self.stages and scan.mpm_maps:
            patterns += [paths.native(name) for name in scan.mpm_maps] + [paths.mpm_qa]
            patterns += [paths.error(name) for name in WITH_ERRORS if name in scan.mpm_maps]
            patterns += self.quality_targets(scan)
        if "dwi" in self.stages and scan.dwi:
            patterns += [paths.native(name) for name in DWI_MAPS] + [paths.dwi_qa]
        if "anat" in self.stages and self.has_structural(scan):
            patterns += [paths.tissue(tissue) for tissue in TISSUES] + [paths.mask, paths.anat_qa]
        if "space" in self.stages and self.has_structural(scan):
            patterns += [paths.warped(name) for name in self.target_maps(scan)]
            patterns += [paths.warped_tissue(tissue) for tissue in TISSUES]
            patterns += [paths.jacobian, paths.from_template, paths.space_qa]
        return [paths.at(pattern, scan.label) for pattern in patterns]

    def scan_goals(self, scan: Scan) -> list[str]:
        """One output of each job of a scan that no other job of the participant level waits for, or that tells it.

        Jobs write all their outputs or none, so one stands for all: ten times fewer files to follow.
        """
        paths, patterns = self.paths, list[str]()
        if "mpm" in self.stages and scan.mpm_maps:
            patterns += [paths.mpm_qa, *self.quality_targets(scan)[:1]]
        if "dwi" in self.stages and scan.dwi:
            patterns.append(paths.dwi_qa)
        if "anat" in self.stages and self.has_structural(scan):
            patterns.append(paths.anat_qa)
        if "space" in self.stages and self.has_structural(scan):
            patterns += [paths.warped_tissue(TISSUES[0]), paths.jacobian]
        return [paths.at(pattern, scan.label) for pattern in patterns]

    def participant_goals(self, _: Wildcards) -> list[str]:
        """What the participant level asks for, of the people that this call is about."""
        subjects = chunk_people(self.subjects)
        wanted, files = set(subjects), [self.paths.description]
        for scan in self.scans:
            if scan.subject in wanted:
                files += [*self.scan_goals(scan), *self.smoothed_targets(scan)[:1]]
        if "report" in self.stages:
            files += [self.paths.person_page.format(subject=subject) for subject in subjects]
        return files

    def quality_targets(self, scan: Scan) -> list[str]:
        """What the segmentation adds to the maps of multi-parameter mapping."""
        if "anat" not in self.stages or not self.has_structural(scan):
            return []
        return [self.paths.mpm_quality, *([self.paths.native("PD")] if "A" in scan.mpm_maps else [])]

    def smoothed_targets(self, scan: Scan) -> list[str]:
        """Smoothed files of one scan."""
        pairs = self.smoothed_maps(scan) if "smooth" in self.stages else []
        return [self.paths.at(self.paths.smoothed(*pair), scan.label) for pair in pairs]

    @cached_property
    def participant_targets(self) -> list[str]:
        """Final files of the participant level."""
        files = [self.paths.description]
        for scan in self.scans:
            files += [*self.scan_targets(scan), *self.smoothed_targets(scan)]
        if "report" in self.stages:
            files += [self.paths.person_page.format(subject=subject) for subject in self.subjects]
        return files

    @cached_property
    def group_targets(self) -> list[str]:
        """Final files of the group level."""
        files: list[str] = []
        if "behaviour" in self.stages:
            files += [self.paths.behaviour_fits, self.paths.behaviour_tests]
        if "glm" in self.stages:
            files += [self.paths.clusters, self.paths.families, *self.found_files]
        files += self.brainage.targets
        if "report" in self.stages:
            files.append(self.paths.report)
        return files

    @cached_property
    def training_file(self) -> list[str]:
        """The log of the training, where the configuration names one."""
        return [str(self.config["behaviour"]["training"])] if self.config["behaviour"]["training"] else []

    @cached_property
    def truth_files(self) -> list[str]:
        """Truth of a simulated study."""
        return [str(Path(self.config["truth"]) / "effects.tsv")] if self.config["truth"] else []

    @cached_property
    def found_files(self) -> list[str]:
        """Tables of planted against found, for a simulated study."""
        return [self.paths.found, self.paths.control, self.paths.found_text] if self.config["truth"] else []

    def scan_quality(self, scan: Scan, stages: frozenset[str]) -> list[str]:
        """Quality files of one scan, of the stages named."""
        patterns = {
            self.paths.mpm_qa: "mpm" in stages and bool(scan.mpm_maps),
            self.paths.mpm_quality: {"mpm", "anat"} <= stages and bool(scan.mpm_maps) and self.has_structural(scan),
            self.paths.dwi_qa: "dwi" in stages and scan.dwi is not None,
            self.paths.anat_qa: "anat" in stages and self.has_structural(scan),
            self.paths.space_qa: "space" in stages and self.has_structural(scan),
            self.paths.coreg_qa: "space" in stages and self.has_structural(scan) and scan.dwi is not None,
        }
        return [self.paths.at(pattern, scan.label) for pattern, there in patterns.items() if there]

    @cached_property
    def quality_files(self) -> list[str]:
        """Quality files of all scans."""
        return [file for scan in self.scans for file in self.scan_quality(scan, self.stages)]

    def cohort_quality_files(self, _: Wildcards) -> list[str]:
        """Quality files that the group level needs, whichever stages were asked for: TIV is in them."""
        return [file for scan in self.scans for file in self.scan_quality(scan, self.possible)]
