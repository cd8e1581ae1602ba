"""What a study has: scans, maps, tissues, and the stages that they and the configuration allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from plastimap.bids.manifest import MIN_PARTICIPANTS, Manifest, behaviour_files
from plastimap.brainage.plan import BrainagePlan
from plastimap.exclusion import excluded_scans, read_exclusions
from plastimap.paths import ANALYSED_TISSUES, ERROR_MAPS, Paths, paths_of
from plastimap.planning.memory import growing, image_size
from plastimap.planning.scans import Kind, Scan, Wildcards, kinds_of, structural_contrast

STAGES = ("mpm", "dwi", "anat", "space", "smooth", "behaviour", "glm", "brainage", "report")


class Available:
    """Scans, maps and stages of one study.

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
        self.contrast, self.notices = structural_contrast(config["anat"]["contrast"], self.scans)
        self.notices = [*told, *self.notices]
        self.paths: Paths = paths_of(config, self.contrast)
        self._target_maps = {scan.label: self._maps_to_target(scan) for scan in self.scans}
        self._smoothed_maps = {scan.label: self._pairs_to_smooth(scan) for scan in self.scans}
        self.left_out: dict[str, str] = {}
        self.stages = self._stages()

    # --- what there is ------------------------------------------------------------------------------------------
    @cached_property
    def subjects(self) -> list[str]:
        """Labels of the people, without ``sub-``."""
        return sorted(self.all_of_subject)

    @cached_property
    def all_of_subject(self) -> dict[str, list[Scan]]:
        """Scans of each person, in order of sessions."""
        return _by_subject(self.scans)

    def of_subject(self, subject: str) -> list[Scan]:
        """A person's scans that have the structural contrast, in order of sessions."""
        return self._in_space_of.get(subject, [])

    @cached_property
    def _in_space_of(self) -> dict[str, list[Scan]]:
        return _by_subject(self.in_space)

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
        return self._target_maps[scan.label]

    def smoothed_maps(self, scan: Scan) -> list[tuple[str, str]]:
        """(map, tissue) pairs of a scan that are smoothed by this run."""
        return self._smoothed_maps[scan.label]

    def _maps_to_target(self, scan: Scan) -> list[str]:
        if not self.has_structural(scan):
            return []
        # The error of a map made elsewhere is not known, whatever the echoes of the same scan say.
        foreign = {error for error, name in ERROR_MAPS.items() if scan.external(name, "native")}
        return [name for name in self.wanted_maps if name in scan.native_maps - foreign]

    def _pairs_to_smooth(self, scan: Scan) -> list[tuple[str, str]]:
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
        return kinds_of({scan.label: scan.mpm_maps for scan in self.scans})

    @cached_property
    def quality_kinds(self) -> list[Kind]:
        """Sets of MPM maps of the scans that are segmented: there motion and medians are told, and A calibrated."""
        return kinds_of({scan.label: scan.mpm_maps for scan in self.scans if self.has_structural(scan)})

    @cached_property
    def target_kinds(self) -> list[Kind]:
        """Sets of maps that are brought to the target space; without any, the tissues alone."""
        return kinds_of({scan.label: tuple(self.target_maps(scan)) for scan in self.in_space}, empty=True)

    @cached_property
    def smooth_kinds(self) -> list[Kind]:
        """Sets of (map, tissue) that are smoothed."""
        return kinds_of({scan.label: tuple(self.smoothed_maps(scan)) for scan in self.scans})

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
        return {scan.label: image_size(scan) for scan in self.scans}

    @cached_property
    def brainage(self) -> BrainagePlan:
        """Regional brain age: its inputs and targets."""
        labels = [scan.label for scan in self.in_space]
        return BrainagePlan(self.config, self.paths, labels, lambda label: self.target_maps(self.by_label[label]))

    @cached_property
    def days(self) -> dict[str, float | None]:
        """Days since baseline of every scan."""
        return {scan.label: scan.day for scan in self.scans}


def _by_subject(scans: Iterable[Scan]) -> dict[str, list[Scan]]:
    found: dict[str, list[Scan]] = {}
    for scan in scans:
        found.setdefault(scan.subject, []).append(scan)
    return found
