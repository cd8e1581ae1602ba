"""Inputs of the rules that are about one scan: wildcards in, paths out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any

from plastimap.bids.fields import Field, find_field
from plastimap.bids.masks import Masks
from plastimap.bids.rows import Row
from plastimap.paths import ANALYSED_TISSUES, DWI_MAPS, scan_subject
from plastimap.planning.available import Available
from plastimap.planning.contents import content_of
from plastimap.planning.scans import Scan, Wildcards


class ScanInputs(Available):
    """Snakemake's input functions of one scan, and what its rules have as params."""

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
        return self.drawn.brain(self.scan_of(wildcards).label)

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

    def lesions_of(self, label: str) -> list[str]:
        """Lesion masks of a scan: ``*_label-lesion_mask`` or ``_roi`` in the dataset or among the derivatives."""
        return self.drawn.lesions(label)

    @cached_property
    def drawn(self) -> Masks:
        """The masks that people have drawn."""
        scans = {scan.label: scan.rows for scan in self.in_space}
        return Masks(self.config["bids_dir"], self.config["derivatives"], scans)

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

    def of_person(self, *patterns: str) -> Any:
        """An input function: files of a person, for a job about one of their scans."""

        def files(wildcards: Wildcards) -> str | list[str]:
            found = [pattern.format(subject=scan_subject(wildcards.scan)) for pattern in patterns]
            return found if len(found) > 1 else found[0]

        return files

    def contents(self, *inputs: Any) -> Callable[[Wildcards], list[str]]:
        """A param function: what a job's files from outside hold, so that one replaced by an older one counts as new.

        It takes what the rule has as inputs, paths or functions, and not the job's: Snakemake does not compare params
        that come from those.
        """

        def found(wildcards: Wildcards) -> list[str]:
            given = [one(wildcards) if callable(one) else one for one in inputs]
            return [self._content(file) for file in _flat(given) if file.startswith("/")]

        return found

    @cached_property
    def _content(self) -> Callable[[str], str]:
        """Each file is looked at once, however many jobs read it."""
        return cache(content_of)

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


def _field_mapping(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Method and per-image parameters of a transmit or receive field acquisition."""
    if not rows:
        return None
    keys = ("acq", "echo", "flip", "flip_angle_deg", "tr_s", "mixing_time_s", "units")
    return {"method": rows[0].suffix, **{key: [getattr(row, key) for row in rows] for key in keys}}


def _flat(paths: Any) -> Iterator[str]:
    """Paths in whatever an input function gives: one, none, a list, a mapping."""
    if isinstance(paths, str):
        yield paths
    elif paths:
        for one in paths.values() if isinstance(paths, Mapping) else paths:
            yield from _flat(one)
