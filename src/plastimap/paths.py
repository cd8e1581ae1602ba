"""Where everything is written: each output path is defined here, once, and used by name.

Patterns are relative to the output folder and carry Snakemake wildcards:
``{folder}`` is ``sub-01/ses-02`` (or ``sub-01``), ``{scan}`` is
``sub-01_ses-02`` (or ``sub-01``), ``{subject}`` is ``01``. Imports nothing
heavy, since every job reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MPM_MAPS = ("R1", "R2s", "MTsat", "PD", "A", "MTR")
"""A is the amplitude that PD is calibrated from."""

WITH_ERRORS = ("R1", "R2s", "MTsat", "A")
"""Maps that have a map of standard errors."""

ERROR_MAPS = {f"{name}_stderr": name for name in WITH_ERRORS}
"""Maps of standard errors, and the maps that they belong to."""

DWI_MAPS = ("FA", "MD", "AD", "RD")
TISSUES = ("GM", "WM", "CSF")
ANALYSED_TISSUES = ("GM", "WM")
HEMISPHERES = ("L", "R")

SUFFIX = {
    "R1": "R1map",
    "R2s": "R2starmap",
    "MTsat": "MTsat",
    "PD": "PDmap",
    "A": "desc-amplitude_PDmap",
    "MTR": "MTRmap",
    "T1w": "T1w",
    "R1_stderr": "desc-stderr_R1map",
    "R2s_stderr": "desc-stderr_R2starmap",
    "MTsat_stderr": "desc-stderr_MTsat",
    "A_stderr": "desc-amplitudestderr_PDmap",
    **{name: f"model-tensor_param-{name.lower()}_dwimap" for name in DWI_MAPS},
}
"""BIDS ending of each map; DTI maps follow BEP 16, which is not in the standard yet."""

UNITS = {"R1": "1/s", "R2s": "1/s", "MTsat": "p.u.", "PD": "p.u.", "A": "arbitrary", "MTR": "p.u.",
         "FA": "1", "MD": "um^2/ms", "AD": "um^2/ms", "RD": "um^2/ms", "vbm": "1",
         "R1_stderr": "1/s", "R2s_stderr": "1/s", "MTsat_stderr": "p.u.", "A_stderr": "arbitrary"}  # fmt: skip

WILDCARDS = {
    "folder": r"sub-[^/_]+(/ses-[^/_]+)?",
    "scan": r"sub-[^/_]+(_ses-[^/_]+)?",
    "subject": r"[^/_]+",
    "map": "|".join((*MPM_MAPS, *DWI_MAPS, "vbm")),
    "tissue": "|".join(ANALYSED_TISSUES),
}
"""What each wildcard may stand for."""


def datatype(map_name: str) -> str:
    """BIDS folder of a map: ``dwi`` for tensor maps, else ``anat``."""
    return "dwi" if map_name in DWI_MAPS else "anat"


def kind(map_name: str) -> str:
    """Which smoothing kernel a map takes: ``mpm``, ``dwi`` or ``vbm``."""
    if map_name == "vbm":
        return "vbm"
    return "dwi" if map_name in DWI_MAPS else "mpm"


def motion_column(map_name: str) -> str:
    """Column of the table of scans with the motion index that goes with a map: of its echoes, or of its volumes."""
    return "mean_displacement_mm" if map_name in DWI_MAPS else "motion_index_mean"


@dataclass(frozen=True)
class Paths:
    """The table of outputs for one configuration.

    Attributes
    ----------
    space : str
        Name of the target space, e.g. ``MNI152NLin2009aSym``.
    resolution : float
        Target voxel size in millimetres.
    contrast : str
        Structural contrast: ``MTsat``, ``R1`` or ``T1w``.
    """

    space: str
    resolution: float
    contrast: str

    @property
    def grid(self) -> str:
        """Entities of an image in the target space, e.g. ``space-…_res-1p5``."""
        return f"space-{self.space}_res-{self.resolution:g}".replace(".", "p")

    # --- one scan -----------------------------------------------------------------------------------------------
    def native(self, map_name: str) -> str:
        """A map on its own grid."""
        return f"{{folder}}/{datatype(map_name)}/{{scan}}_{SUFFIX[map_name]}.nii.gz"

    def error(self, map_name: str) -> str:
        """Standard error of a map, on its own grid."""
        return self.native(f"{map_name}_stderr")

    contrast_r2s = "{folder}/anat/{scan}_desc-contrasts_R2starmap.nii.gz"
    mpm_quality = "{folder}/anat/{scan}_mpm_tissues_qa.json"
    mpm_qa = "{folder}/anat/{scan}_mpm_qa.json"
    dwi_b0 = "{folder}/dwi/{scan}_desc-preproc_S0map.nii.gz"
    dwi_mask = "{folder}/dwi/{scan}_desc-brain_mask.nii.gz"
    dwi_direction = "{folder}/dwi/{scan}_model-tensor_param-direction_dwimap.nii.gz"
    dwi_residual = "{folder}/dwi/{scan}_model-tensor_param-residual_dwimap.nii.gz"
    dwi_qa = "{folder}/dwi/{scan}_dwi_qa.json"
    mask = "{folder}/anat/{scan}_desc-brain_mask.nii.gz"
    anat_qa = "{folder}/anat/{scan}_anat_qa.json"
    dwi_to_anat = "{folder}/dwi/{scan}_from-dwi_to-anat_mode-image_xfm.txt"
    coreg_qa = "{folder}/dwi/{scan}_coreg_qa.json"
    to_template = "{folder}/anat/{scan}_from-anat_to-midpoint_mode-image_xfm.nii.gz"
    from_template = "{folder}/anat/{scan}_from-midpoint_to-anat_mode-image_xfm.nii.gz"
    jacobian = "{folder}/anat/{scan}_space-midpoint_jacobian.nii.gz"
    space_qa = "{folder}/anat/{scan}_space_qa.json"

    @property
    def structural(self) -> str:
        """The structural image that segmentation and registration use (bias-corrected when weighted)."""
        return f"{{folder}}/anat/{{scan}}_desc-preproc_{SUFFIX[self.contrast]}.nii.gz"

    def tissue(self, tissue: str) -> str:
        """Probability of a tissue on the native grid."""
        return f"{{folder}}/anat/{{scan}}_label-{tissue}_probseg.nii.gz"

    def warped(self, map_name: str) -> str:
        """A map in the target space."""
        return f"{{folder}}/{datatype(map_name)}/{{scan}}_{self.grid}_{SUFFIX[map_name]}.nii.gz"

    def warped_tissue(self, tissue: str) -> str:
        """Probability of a tissue in the target space."""
        return f"{{folder}}/anat/{{scan}}_{self.grid}_label-{tissue}_probseg.nii.gz"

    def modulated(self, tissue: str) -> str:
        """Tissue volume per voxel in the target space (probability × Jacobian)."""
        return f"{{folder}}/anat/{{scan}}_{self.grid}_label-{tissue}_desc-modulated_probseg.nii.gz"

    def smoothed(self, map_name: str, tissue: str) -> str:
        """A smoothed map of one tissue in the target space."""
        if map_name == "vbm":
            return f"{{folder}}/anat/{{scan}}_{self.grid}_label-{tissue}_desc-smoothed_probseg.nii.gz"
        if map_name in ERROR_MAPS:
            suffix = SUFFIX[ERROR_MAPS[map_name]]
            return f"{{folder}}/anat/{{scan}}_{self.grid}_desc-smoothed{tissue}stderr_{suffix}.nii.gz"
        return f"{{folder}}/{datatype(map_name)}/{{scan}}_{self.grid}_desc-smoothed{tissue}_{SUFFIX[map_name]}.nii.gz"

    # --- one person ---------------------------------------------------------------------------------------------
    @property
    def template(self) -> str:
        """The person's midpoint image over all sessions."""
        return f"sub-{{subject}}/anat/sub-{{subject}}_space-midpoint_{SUFFIX[self.contrast]}.nii.gz"

    template_transforms = "work/sub-{subject}/midpoint"

    def template_tissue(self, tissue: str) -> str:
        """Mean probability of a tissue in the person's midpoint space."""
        return f"sub-{{subject}}/anat/sub-{{subject}}_space-midpoint_label-{tissue}_probseg.nii.gz"

    @property
    def to_target(self) -> str:
        """Warp that brings midpoint images into the target space."""
        return f"sub-{{subject}}/anat/sub-{{subject}}_from-midpoint_to-{self.space}_mode-image_xfm.nii.gz"

    @property
    def from_target(self) -> str:
        """Warp that brings images of the target space into the person's midpoint."""
        return f"sub-{{subject}}/anat/sub-{{subject}}_from-{self.space}_to-midpoint_mode-image_xfm.nii.gz"

    person_page = "report/sub-{subject}.html"
    person_figures = "report/figures/sub-{subject}"

    # --- the study ----------------------------------------------------------------------------------------------
    description = "dataset_description.json"
    manifest = "manifest.tsv"
    problems = "problems.json"
    plan = "plan.json"
    effective_config = "plastimap.yaml"
    scans = "group/scans.tsv"
    cohort = "group/participants.tsv"
    behaviour_tidy = "group/behaviour.tsv"
    behaviour_fits = "group/behaviour_fits.tsv"
    behaviour_tests = "group/behaviour_tests.tsv"
    behaviour_sides = "group/behaviour_sides.tsv"
    training = "group/training.tsv"
    mean_structural = "group/mean_structural.nii.gz"
    study_tissue = "group/template/label-{tissue}_probseg.nii.gz"
    study_to_target = "group/template/from-study_to-target_mode-image_xfm.nii.gz"
    study_from_target = "group/template/from-target_to-study_mode-image_xfm.nii.gz"
    masks = "group/mask_{tissue}.nii.gz"
    search_volumes = "group/search_{tissue}.nii.gz"
    rois_qa = "group/rois.json"
    glm_maps = "group/{map}_{tissue}/maps"
    glm_clusters = "group/{map}_{tissue}/clusters.tsv"
    glm_families = "group/{map}_{tissue}/families.tsv"
    glm_model = "group/{map}_{tissue}/model.json"
    glm_trajectories = "group/{map}_{tissue}/trajectories.tsv"
    glm_courses = "group/{map}_{tissue}/courses.tsv"
    glm_preservation = "group/{map}_{tissue}/preservation.tsv"
    clusters = "group/clusters.tsv"
    families = "group/families.tsv"
    found = "group/planted_vs_found.tsv"
    control = "group/control.tsv"
    found_text = "group/planted_vs_found.txt"
    brainage_means = "{folder}/anat/{scan}_parcels.tsv"
    brainage_scan_lesions = "{folder}/anat/{scan}_lesions.tsv"
    brainage_parcels = "brainage/parcels.tsv"
    brainage_edges = "brainage/edges.tsv"
    brainage_table = "brainage/table.tsv"
    brainage_lesions = "brainage/lesions.tsv"
    brainage_model = "brainage/model.safetensors"
    brainage_card = "brainage/model.json"
    brainage_ages = "brainage/ages.tsv"
    brainage_people = "brainage/people.tsv"
    brainage_notes = "brainage/notes.json"
    brainage_statistics = "brainage/statistics"
    brainage_surfaces = "brainage/surfaces"
    report = "report/index.html"
    study_figures = "report/figures/study"
    rating = "report/rating.html"
    viewers = "report/viewer"
    paper = "report/paper"

    def at(self, pattern: str, label: str) -> str:
        """Fill a scan's `label` (``sub-01_ses-02``) into a pattern."""
        return pattern.format(scan=label, folder=scan_folder(label), subject=scan_subject(label))


def scan_label(subject: str, session: str | None) -> str:
    """``01``, ``02`` → ``sub-01_ses-02``."""
    return f"sub-{subject}" + (f"_ses-{session}" if session else "")


def scan_folder(label: str) -> str:
    """``sub-01_ses-02`` → ``sub-01/ses-02``."""
    return label.replace("_", "/")


def scan_subject(label: str) -> str:
    """``sub-01_ses-02`` → ``01``."""
    return label.partition("_")[0].removeprefix("sub-")


def scan_session(label: str) -> str | None:
    """``sub-01_ses-02`` → ``02``; ``sub-01`` → None."""
    found = re.search(r"_ses-([^_]+)", label)
    return found[1] if found else None


def log_of(rule: str, *parts: str) -> str:
    """Log of a job, e.g. ``logs/segment/{folder}/{scan}.log``."""
    return "/".join(("logs", rule, *parts)) + ".log"


def benchmark_of(rule: str, *parts: str) -> str:
    """Time and memory of a job, measured by Snakemake."""
    return "/".join(("benchmarks", rule, *parts)) + ".tsv"


def sidecar_of(pattern: str) -> str:
    """The JSON beside an image."""
    return pattern.removesuffix(".gz").removesuffix(".nii") + ".json"


SCAN = ("{folder}", "{scan}")
"""Wildcards of a job about one scan, as the parts of its log's name."""


def paths_of(config: Mapping[str, Mapping[str, object]], contrast: str) -> Paths:
    """The table for a study configuration and its structural contrast."""
    space = config["space"]
    return Paths(str(space["target"]), float(str(space["resolution"])), contrast)
