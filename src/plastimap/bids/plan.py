"""From manifest and config to what will be made: scans, maps, stages, inputs of every rule.

Snakemake's input functions are methods here (wildcards in, paths out), so the
rules hold no logic. Imports nothing heavy: every job reads this module.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import yaml
from snakemake_interface_common.exceptions import WorkflowError

from plastimap.bids.fields import Field, find_field
from plastimap.bids.manifest import MIN_PARTICIPANTS, Manifest, Row, behaviour_files, read_manifest, write_manifest
from plastimap.bids.problems import Problem, errors, format_problems
from plastimap.bids.rows import B1_SUFFIXES, RECEIVE_SUFFIX
from plastimap.brainage.plan import BrainagePlan
from plastimap.check import check_study
from plastimap.config import load_config, usable_config
from plastimap.exclusion import excluded_scans, read_exclusions
from plastimap.paths import (
    ANALYSED_TISSUES,
    DWI_MAPS,
    ERROR_MAPS,
    TISSUES,
    WILDCARDS,
    WITH_ERRORS,
    Paths,
    paths_of,
    scan_session,
    scan_subject,
    sidecar_of,
)
from plastimap.running.handover import chunk_people, is_checked
from plastimap.space.atlases import with_images
from plastimap.writing import read_json, write_if_changed

STAGES = ("mpm", "dwi", "anat", "space", "smooth", "behaviour", "glm", "brainage", "report")
CONTRAST_ORDER = ("MTsat", "R1", "T1w")


PROGRAM_MB = 500
"""Memory of a job before it reads an image: Python and the numerical packages."""

LEAST_MB = 1000
"""A job with images asks for no less, however small they are, unless its rule does."""

USUAL_VOXELS = {"anat": 176 * 256 * 256, "dwi": 110 * 110 * 70 * 70}
"""Numbers of an image at 1 mm, and of a diffusion series at 2 mm with 70 volumes: the rules' figures are for these."""


class Wildcards(Protocol):
    """The wildcards of a Snakemake job."""

    def __getattr__(self, name: str) -> str: ...


@dataclass(frozen=True)
class Scan:
    """One person in one session, and the files that belong to it."""

    label: str
    day: float | None = None
    rows: tuple[Row, ...] = field(default=(), repr=False)

    @property
    def subject(self) -> str:
        """Label of the person, without ``sub-``."""
        return scan_subject(self.label)

    @property
    def session(self) -> str | None:
        """Label of the session, without ``ses-``."""
        return scan_session(self.label)

    def files(self, *suffixes: str, stage: str = "raw") -> list[Row]:
        """Rows of this scan with one of the suffixes at a stage."""
        return [row for row in self.rows if row.suffix in suffixes and row.stage == stage]

    @property
    def echoes(self) -> list[Row]:
        """Multi-echo images of multi-parameter mapping."""
        return self.files("MPM", "MTS")

    @property
    def b1(self) -> list[Row]:
        """The images of one B1+ acquisition (a ready map, or those that one is made from), or nothing."""
        return self.files(*B1_SUFFIXES)

    @property
    def receive(self) -> list[Row]:
        """Images by the head and the body coil, for the receive field, or nothing."""
        return self.files(RECEIVE_SUFFIX)

    @property
    def dwi(self) -> Row | None:
        """The diffusion series."""
        return next(iter(self.files("dwi")), None)

    @property
    def t1w(self) -> Row | None:
        """The T1-weighted image."""
        return next(iter(self.files("T1w")), None)

    def external(self, map_name: str, stage: str, tissue: str | None = None) -> str | None:
        """Path of a map made elsewhere, or None."""
        for row in self.rows:
            wanted = (
                row.stage == stage and row.map == map_name and row.datatype != ("dwi" if map_name == "mask" else "")
            )
            if wanted and (tissue is None or row.tissue in (None, "", tissue)):
                return row.path
        return None

    @property
    def mpm_maps(self) -> tuple[str, ...]:
        """Maps that the weightings of this scan allow, as they are fitted: A, not PD."""
        protocols = {row.weighting: (row.flip_angle_deg, row.tr_s) for row in self.echoes}
        needs = {"R2s": (), "R1": ("PDw", "T1w"), "A": ("PDw", "T1w"), "MTsat": ("PDw", "T1w", "MTw")}
        found = [name for name, contrasts in needs.items() if protocols and protocols.keys() >= set(contrasts)]
        alike = "PDw" in protocols and protocols["PDw"] == protocols.get("MTw")
        return (*found, "MTR") if alike else tuple(found)

    @cached_property
    def native_maps(self) -> frozenset[str]:
        """Maps that exist, or will, on the native grid."""
        made = {*self.mpm_maps, *(DWI_MAPS if self.dwi else ()), *(("T1w",) if self.t1w else ())}
        made |= {"PD"} if "A" in made else set()
        made |= {error for error, name in ERROR_MAPS.items() if name in self.mpm_maps}
        given = {row.map for row in self.rows if row.stage == "native" and row.map}
        return frozenset(made | given)


@dataclass(frozen=True)
class Kind:
    """Scans that give the same set of outputs: each set is a rule of its own, since a rule's outputs are fixed.

    Attributes
    ----------
    name : str
        For the rule's name.
    members : tuple
        What these scans give: maps, or (map, tissue) pairs.
    scans : str
        Regular expression of the scans' labels.
    """

    name: str
    members: tuple[Any, ...]
    scans: str


class Study:
    """What one run will make.

    Parameters
    ----------
    config : mapping
        The checked configuration.
    manifest : Manifest
        The files of the study.
    """

    def __init__(self, config: Mapping[str, Any], manifest: Manifest) -> None:
        self.config = config
        self.manifest = manifest
        self.behaviour_tables = behaviour_files(manifest, config)
        table = config.get("exclude")
        excluded, told = excluded_scans(read_exclusions(table) if table else {}, manifest.scans)
        labels = sorted(set(manifest.scans) - excluded.keys())
        rows = {label: manifest.of(label) for label in labels}
        self.scans = tuple(Scan(label, rows[label][0].day, rows[label]) for label in labels)
        self.by_label = {scan.label: scan for scan in self.scans}
        self.contrast, self.notices = _structural_contrast(config["anat"]["contrast"], self.scans)
        self.notices = [*told, *self.notices]
        self.paths: Paths = paths_of(config, self.contrast)
        self.left_out: dict[str, str] = {}
        self.stages = self._stages()

    # --- what there is ------------------------------------------------------------------------------------------
    @cached_property
    def subjects(self) -> list[str]:
        """Labels of the people, without ``sub-``."""
        return sorted({scan.subject for scan in self.scans})

    def of_subject(self, subject: str) -> list[Scan]:
        """A person's scans that have the structural contrast, in order of sessions."""
        return self._in_space_of.get(subject, [])

    @cached_property
    def _in_space_of(self) -> dict[str, list[Scan]]:
        found: dict[str, list[Scan]] = {}
        for scan in self.in_space:
            found.setdefault(scan.subject, []).append(scan)
        return found

    @cached_property
    def in_space(self) -> list[Scan]:
        """Scans that have the structural contrast, so that they can be segmented and brought to the target."""
        return [scan for scan in self.scans if self.has_structural(scan)]

    def has_structural(self, scan: Scan) -> bool:
        """Whether a scan can be segmented and brought to the target space."""
        return self.contrast in scan.native_maps

    @cached_property
    def wanted_maps(self) -> tuple[str, ...]:
        """Maps that go on to the target space; with weighting by errors, their standard errors too."""
        maps = (*self.config["mpm"]["maps"], *self.config["dwi"]["maps"])
        weighted = self.config["model"]["weighting"] == "errors"
        return (*maps, *(error for error, name in ERROR_MAPS.items() if weighted and name in maps))

    def target_maps(self, scan: Scan) -> list[str]:
        """Maps of a scan that are brought to the target space by this run."""
        if not self.has_structural(scan):
            return []
        # The error of a map made elsewhere is not known, whatever the echoes of the same scan say.
        foreign = {error for error, name in ERROR_MAPS.items() if scan.external(name, "native")}
        return [name for name in self.wanted_maps if name in scan.native_maps - foreign]

    def smoothed_maps(self, scan: Scan) -> list[tuple[str, str]]:
        """(map, tissue) pairs of a scan that are smoothed by this run."""
        names = [name for name in self.wanted_maps if name in self.target_maps(scan) or scan.external(name, "warped")]
        if self.has_structural(scan):
            names.append("vbm")
        return [(name, tissue) for name in names for tissue in ANALYSED_TISSUES]

    @cached_property
    def analysed(self) -> dict[tuple[str, str], list[Scan]]:
        """Scans per (map, tissue) of the group level, for every pair that has enough people."""
        wanted = self.config["model"]["maps"]
        found: dict[tuple[str, str], list[Scan]] = {}
        for name in (*(name for name in self.wanted_maps if name not in ERROR_MAPS), "vbm"):
            for tissue in ANALYSED_TISSUES:
                scans = [scan for scan in self.scans if self._has_smoothed(scan, name, tissue)]
                people = {scan.subject for scan in scans}
                if (wanted == "auto" or name in wanted) and len(people) >= MIN_PARTICIPANTS:
                    found[name, tissue] = scans
        return found

    def _has_smoothed(self, scan: Scan, name: str, tissue: str) -> bool:
        return (name, tissue) in self.smoothed_maps(scan) or scan.external(name, "smoothed", tissue) is not None

    @cached_property
    def mpm_kinds(self) -> list[Kind]:
        """Sets of MPM maps that the scans' weightings allow."""
        return _kinds({scan.label: scan.mpm_maps for scan in self.scans})

    @cached_property
    def quality_kinds(self) -> list[Kind]:
        """Sets of MPM maps of the scans that are segmented: there motion and medians are told, and A calibrated."""
        return _kinds({scan.label: scan.mpm_maps for scan in self.scans if self.has_structural(scan)})

    @cached_property
    def target_kinds(self) -> list[Kind]:
        """Sets of maps that are brought to the target space; without any, the tissues alone."""
        return _kinds({scan.label: tuple(self.target_maps(scan)) for scan in self.in_space}, empty=True)

    @cached_property
    def smooth_kinds(self) -> list[Kind]:
        """Sets of (map, tissue) that are smoothed."""
        return _kinds({scan.label: tuple(self.smoothed_maps(scan)) for scan in self.scans})

    # --- stages -------------------------------------------------------------------------------------------------
    def _stages(self) -> frozenset[str]:
        possible = {
            "mpm": (any(scan.echoes for scan in self.scans), "no multi-echo MPM images"),
            "dwi": (any(scan.dwi for scan in self.scans), "no diffusion series"),
            "anat": (bool(self.in_space), "no MTsat, R1 or T1w image to segment"),
            "space": (bool(self.in_space), "no structural image to bring to the target space"),
            "smooth": (any(self.smoothed_maps(scan) for scan in self.scans), "no maps in the target space"),
            "behaviour": (bool(self.behaviour_tables), "no behaviour tables"),
            "glm": (bool(self.analysed), f"a group model needs at least {MIN_PARTICIPANTS} people with maps"),
            "brainage": (self.brainage.possible, "no table of parcels, and no labels to make one from"),
            "report": (True, ""),
        }
        self.possible = frozenset(stage for stage, (there, _) in possible.items() if there)
        asked = STAGES if self.config["stages"] == "auto" else self.config["stages"]
        for stage in STAGES:
            if stage not in asked:
                self.left_out[stage] = "not among the stages asked for"
            elif not possible[stage][0]:
                self.left_out[stage] = possible[stage][1]
        return frozenset(STAGES) - self.left_out.keys()

    # --- resources ----------------------------------------------------------------------------------------------
    def memory(self, mb: int) -> Callable[..., int]:
        """Memory request of a rule, in MB: `mb` for images of the usual size, more for larger ones and later attempts.

        Group rules read voxels inside masks of the target grid, whatever the size of the raw images.
        """
        return growing(mb, self._size_of)

    def _size_of(self, wildcards: Wildcards) -> float:
        if hasattr(wildcards, "scan"):
            return self._sizes.get(wildcards.scan, 1.0)
        scans = self.of_subject(wildcards.subject) if hasattr(wildcards, "subject") else []
        return max((self._sizes[scan.label] for scan in scans), default=1.0)

    @cached_property
    def _sizes(self) -> dict[str, float]:
        """Of each scan: its largest image, in times the usual size of its kind."""
        return {
            scan.label: max(
                (
                    math.prod(row.shape) / USUAL_VOXELS["dwi" if row.datatype == "dwi" else "anat"]
                    for row in scan.rows
                    if row.shape
                ),
                default=1.0,
            )
            for scan in self.scans
        }

    # --- targets ------------------------------------------------------------------------------------------------
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

    @cached_property
    def participant_goals(self) -> list[str]:
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
    def brainage(self) -> BrainagePlan:
        """Regional brain age: its inputs and targets."""
        labels = [scan.label for scan in self.in_space]
        return BrainagePlan(self.config, self.paths, labels, lambda label: self.target_maps(self.by_label[label]))

    # --- inputs of rules: wildcards in, paths out ---------------------------------------------------------------
    def scan_of(self, wildcards: Wildcards) -> Scan:
        """The scan that a job is about."""
        return self.by_label[wildcards.scan]

    def subject_of(self, wildcards: Wildcards) -> str:
        """Whose scan a job is about, as in the table of participants."""
        return f"sub-{self.scan_of(wildcards).subject}"

    def session_of(self, wildcards: Wildcards) -> str | None:
        """Session of a job's scan."""
        return self.scan_of(wildcards).session

    def echo_files(self, wildcards: Wildcards) -> list[str]:
        """Echo images of a scan."""
        return [row.path for row in self.scan_of(wildcards).echoes]

    def b1_files(self, wildcards: Wildcards) -> list[str]:
        """Images of a scan's B1+ acquisition, or nothing."""
        return [row.path for row in self.scan_of(wildcards).b1]

    def receive_files(self, wildcards: Wildcards) -> list[str]:
        """Images of a scan by the head and the body coil, or nothing."""
        return [row.path for row in self.scan_of(wildcards).receive]

    def dwi_files(self, wildcards: Wildcards) -> Mapping[str, str | list[str] | None]:
        """Diffusion series of a scan with its b-values and b-vectors, and the images that show its distortion."""
        row = self.scan_of(wildcards).dwi
        if row is None:
            return {}
        field = self.dwi_field(row)
        bval = [field.image.bval] if field and field.image.bval else []
        fields = {"fields": field.files if field else [], "field_bval": bval}
        return {"dwi": row.path, "bval": row.bval, "bvec": row.bvec, **fields}

    def dwi_field(self, row: Row) -> Field | None:
        """Images that show how susceptibility distorts a series, where that is to be corrected and they exist."""
        how = self.config["dwi"]["susceptibility"]
        return None if how == "none" else find_field(row, self._rows_by_scan[row.scan], how)

    def dwi_field_settings(self, wildcards: Wildcards) -> dict[str, Any] | None:
        """How those images are to be read."""
        row = self.scan_of(wildcards).dwi
        field = self.dwi_field(row) if row else None
        return field.settings(row) if field and row else None

    @cached_property
    def _rows_by_scan(self) -> dict[str, list[Row]]:
        """All rows, also of files that do not count otherwise."""
        found: dict[str, list[Row]] = {}
        for row in self.manifest.rows:
            found.setdefault(row.scan, []).append(row)
        return found

    def dwi_protocol(self, wildcards: Wildcards) -> dict[str, Any]:
        """How a diffusion series was encoded: ``j-``, say, and the share of k-space; None where no sidecar says so."""
        row = self.scan_of(wildcards).dwi
        return {key: getattr(row, key, None) for key in ("phase_encoding", "partial_fourier", "readout_s")}

    def native_file(self, scan: Scan, map_name: str) -> str:
        """A map on its native grid: made elsewhere, raw (T1w), or ours."""
        given = scan.external(map_name, "native")
        if given:
            return given
        if map_name == "T1w" and scan.t1w:
            return scan.t1w.path
        return self.paths.at(self.paths.native(map_name), scan.label)

    def structural_file(self, wildcards: Wildcards) -> str:
        """The image that is segmented."""
        return self.native_file(self.scan_of(wildcards), self.contrast)

    def mask_files(self, wildcards: Wildcards) -> list[str]:
        """A brain mask that the user gave, among the derivatives or beside the raw images, or nothing."""
        scan = self.scan_of(wildcards)
        given = scan.external("mask", "native")
        if given or not self.config["bids_dir"]:
            return [given] if given else []
        beside = Path(self.config["bids_dir"], *scan.label.split("_"), "anat")
        return sorted(map(str, beside.glob(f"{scan.label}_*desc-brain_mask.nii*")))[:1]

    def scan_lesion_files(self, wildcards: Wildcards) -> list[str]:
        """Lesion masks of a scan, or nothing."""
        return self.lesions_of(self.scan_of(wildcards).label)

    def map_files(self, wildcards: Wildcards) -> list[str]:
        """Native maps of a scan that go to the target space."""
        scan = self.scan_of(wildcards)
        return [self.native_file(scan, name) for name in self.target_maps(scan)]

    def dwi_transform(self, wildcards: Wildcards) -> list[str]:
        """Rigid transform between diffusion and structural space, where the scan has diffusion maps."""
        scan = self.scan_of(wildcards)
        wanted = any(name in DWI_MAPS for name in self.target_maps(scan)) and scan.dwi
        return [self.paths.at(self.paths.dwi_to_anat, scan.label)] if wanted else []

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
        return [file for label in labels for file in self.lesions_of(label)]

    def lesions_of(self, label: str) -> list[str]:
        """Lesion masks of a scan: ``*_label-lesion_mask`` or ``_roi`` in the dataset or among the derivatives."""
        folders = [folder for folder in (self.config["bids_dir"], *self.config["derivatives"]) if folder]
        names = [f"{label}_*label-lesion_{suffix}.nii*" for suffix in ("mask", "roi")]
        places = [Path(folder, *label.split("_"), "anat") for folder in folders]
        return sorted(str(file) for place in places for name in names for file in place.glob(name))

    def smooth_inputs(self, wildcards: Wildcards) -> dict[str, Any]:
        """Warped maps and tissues of a scan that are smoothed."""
        scan = self.scan_of(wildcards)
        names = [name for name in dict.fromkeys(name for name, _ in self.smoothed_maps(scan)) if name != "vbm"]
        files = [scan.external(name, "warped") or self.paths.at(self.paths.warped(name), scan.label) for name in names]
        inputs: dict[str, Any] = {"maps": files, "modulated": []}
        if self.has_structural(scan):
            inputs["modulated"] = [self.paths.at(self.paths.modulated(name), scan.label) for name in ANALYSED_TISSUES]
        return inputs

    def smoothed_file(self, scan: Scan, name: str, tissue: str) -> str:
        """A smoothed map: made elsewhere or ours."""
        return scan.external(name, "smoothed", tissue) or self.paths.at(self.paths.smoothed(name, tissue), scan.label)

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

    def every(self, pattern: str) -> list[str]:
        """A file of every scan that reaches the target space."""
        return [self.paths.at(pattern, scan.label) for scan in self.in_space]

    def of_person(self, *patterns: str) -> Any:
        """An input function: files of a person, for a job about one of their scans."""

        def files(wildcards: Wildcards) -> str | list[str]:
            found = [pattern.format(subject=scan_subject(wildcards.scan)) for pattern in patterns]
            return found if len(found) > 1 else found[0]

        return files

    def members_of(self, wildcards: Wildcards) -> list[str]:
        """Scans that a person's template is made from."""
        return self.template_members(wildcards.subject)

    def glm_tables(self, pattern: str) -> list[str]:
        """A table of every (map, tissue) model."""
        return [pattern.format(map=name, tissue=tissue) for name, tissue in self.analysed]

    @cached_property
    def grid_references(self) -> list[str]:
        """Images whose mean is the study's background picture, and whose grid is the group's."""
        name = "R1" if self.contrast == "MTsat" else self.contrast
        warped = [
            self.paths.at(self.paths.warped(name), scan.label)
            for scan in self.in_space
            if name in self.target_maps(scan)
        ]
        if self.in_space or not self.analysed:
            # T1w images have arbitrary units and are not brought to the target: white matter shows the anatomy.
            return warped or self.every(self.paths.warped_tissue("WM"))
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

    @cached_property
    def days(self) -> dict[str, float | None]:
        """Days since baseline of every scan."""
        return {scan.label: scan.day for scan in self.scans}

    def scan_quality(self, scan: Scan, stages: frozenset[str]) -> list[str]:
        """Quality files of one scan, of the stages named."""
        patterns = {
            self.paths.mpm_qa: "mpm" in stages and bool(scan.mpm_maps),
            self.paths.mpm_quality: {"mpm", "anat"} <= stages and bool(scan.mpm_maps) and self.has_structural(scan),
            self.paths.dwi_qa: "dwi" in stages and scan.dwi is not None,
            self.paths.anat_qa: "anat" in stages and self.has_structural(scan),
            self.paths.space_qa: "space" in stages and scan in self.in_space,
            self.paths.coreg_qa: "space" in stages and self.has_structural(scan) and scan.dwi is not None,
        }
        return [self.paths.at(pattern, scan.label) for pattern, there in patterns.items() if there]

    @cached_property
    def quality_files(self) -> list[str]:
        """Quality files of all scans."""
        return [file for scan in self.scans for file in self.scan_quality(scan, self.stages)]

    @cached_property
    def cohort_quality_files(self) -> list[str]:
        """Quality files that the group level needs, whichever stages were asked for: TIV is in them."""
        return [file for scan in self.scans for file in self.scan_quality(scan, self.possible)]

    def person_report_files(self, wildcards: Wildcards) -> list[str]:
        """Everything that a person's page shows."""
        files = [self.paths.plan, self.paths.manifest, *self.participants_file]
        for scan in self.scans:
            if scan.subject != wildcards.subject:
                continue
            # The page reads what it finds; one file of each job says when there is something new.
            files += [*self.scan_goals(scan), *self.scan_quality(scan, self.stages)]
        return files

    @cached_property
    def study_report_files(self) -> list[str]:
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

    def settings(self, stage: str) -> dict[str, Any]:
        """Settings of a stage that its maps depend on: not which of them go on to the group level."""
        return {key: value for key, value in self.config[stage].items() if key != "maps"}

    def protocol(self, wildcards: Wildcards) -> dict[str, Any]:
        """Acquisition of a scan's echoes, B1+ and receive images, in the order of their files.

        ``b1`` and ``receive`` are None where there is no such acquisition.
        """
        scan = self.scan_of(wildcards)
        return {
            "weighting": [row.weighting for row in scan.echoes],
            "echo_time_s": [row.echo_time_s for row in scan.echoes],
            "flip_angle_deg": [row.flip_angle_deg for row in scan.echoes],
            "tr_s": [row.tr_s for row in scan.echoes],
            "run": [row.run for row in scan.echoes],
            "b1": _field_mapping(scan.b1),
            "receive": _field_mapping(scan.receive),
        }

    def summary(self) -> str:
        """What will be made and what not, as JSON for the report."""
        return json.dumps(
            {
                "stages": [stage for stage in STAGES if stage in self.stages],
                "left_out": self.left_out,
                "contrast": self.contrast,
                "notices": self.notices,
                "scans": {
                    scan.label: {"day": scan.day, "maps": sorted(scan.native_maps - ERROR_MAPS.keys())}
                    for scan in self.scans
                },
            },
            indent=2,
        )


def open_study(*, files: Sequence[str | Path], settings: Mapping[str, Any], refresh: bool) -> Study:
    """Check the configuration, index the dataset and decide what to make.

    Parameters
    ----------
    files : sequence of path-like
        Configuration files, later ones over earlier ones; relative paths count from the folder of their file.
    settings : mapping
        Single settings over the files (Snakemake's ``--config``).
    refresh : bool
        True in the main process, which writes the manifest; jobs read it as it was then.

    Raises
    ------
    StudyProblem
        When something is wrong: the message lists everything.
    """
    checked, problems = load_config([*files, settings])
    if not refresh or is_checked():
        manifest = read_manifest(Path(checked["output_dir"]) / Paths.manifest)
        return Study(checked, replace(manifest, bids_dir=checked["bids_dir"]))
    manifest, problems = check_study(usable_config(checked), config_problems=problems)
    _stop_at(problems)
    return keep_study(checked, manifest, problems)


def keep_study(config: Mapping[str, Any], manifest: Manifest, problems: Sequence[Problem]) -> Study:
    """Decide what to make of a checked study, and write manifest, problems, plan and configuration down.

    Each is written only when it says something new, so that nothing reruns for it.
    """
    place = Path(config["output_dir"])
    study = Study(config, manifest)
    write_manifest(place / Paths.manifest, manifest)
    write_if_changed(place / Paths.problems, json.dumps([asdict(problem) for problem in problems], indent=2) + "\n")
    write_if_changed(place / Paths.plan, study.summary() + "\n")
    write_if_changed(place / Paths.effective_config, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    return study


class StudyProblem(WorkflowError):
    """Everything that is wrong with a study, found before its first job."""


def _stop_at(problems: Sequence[Problem]) -> None:
    if errors(problems):
        raise StudyProblem(format_problems(problems))


def growing(mb: int, size: Callable[[Wildcards], float] = lambda _: 1.0) -> Callable[..., int]:
    """Memory request of a rule, in MB, which grows with every attempt.

    Parameters
    ----------
    mb : int
        What a job needs whose images are of the usual size.
    size : callable
        How many times the usual size a job's images have.
    """

    def request(wildcards: Wildcards, attempt: int) -> int:
        images = max(mb - PROGRAM_MB, 0) * size(wildcards)
        return round(max(PROGRAM_MB + images, min(mb, LEAST_MB))) * attempt

    return request


def _kinds(members: Mapping[str, tuple[Any, ...]], *, empty: bool = False) -> list[Kind]:
    grouped: dict[tuple[Any, ...], list[str]] = {}
    for label, found in members.items():
        if found or empty:
            grouped.setdefault(found, []).append(label)
    if len(grouped) == 1 and len(members) == len(next(iter(grouped.values()))):
        # The common case: one protocol. A list of ten thousand names would slow every match.
        return [Kind("all", found, WILDCARDS["scan"]) for found in grouped]
    return [
        Kind(f"set{number}", found, "|".join(labels))
        for number, (found, labels) in enumerate(sorted(grouped.items()), 1)
    ]


def _field_mapping(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Method and per-image parameters of a transmit or receive field acquisition."""
    if not rows:
        return None
    keys = ("acq", "echo", "flip", "flip_angle_deg", "tr_s", "mixing_time_s", "units")
    return {"method": rows[0].suffix, **{key: [getattr(row, key) for row in rows] for key in keys}}


def _structural_contrast(asked: str, scans: Sequence[Scan]) -> tuple[str, list[str]]:
    """One contrast for the whole study: the first in order that most scans have."""
    count = {name: sum(name in scan.native_maps for scan in scans) for name in CONTRAST_ORDER}
    contrast = asked if asked != "auto" else max(CONTRAST_ORDER, key=lambda name: count[name])
    without = [scan.label for scan in scans if contrast not in scan.native_maps]
    if not without or not count[contrast]:
        return contrast, []
    return contrast, [f"no {contrast} in {', '.join(without)}: left out of segmentation and of the target space"]
