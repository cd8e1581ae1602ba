"""What the pages are built from. Every part may be missing; the page then says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plastimap.images import Volume

if TYPE_CHECKING:
    import pandas as pd

    from plastimap.report.brainage import BrainageInputs

STAGE_NAMES: Mapping[str, str] = {
    "mpm": "Multi-parameter maps",
    "dwi": "Diffusion tensor",
    "anat": "Brain mask and tissues",
    "space": "Template and target space",
    "smooth": "Smoothing",
    "behaviour": "Behaviour",
    "glm": "Group statistics",
    "brainage": "Regional brain age",
    "report": "Report",
}
"""Stages in the order in which they run, with the names that readers see."""


@dataclass(frozen=True)
class Page:
    """A page and its pictures.

    Attributes
    ----------
    html : str
        Complete document; figures are referenced as ``figures/<name>/<file>``.
    figures : dict
        File name → content (PNG or SVG).
    """

    html: str
    figures: dict[str, bytes]


PersonPage = Page
StudyPage = Page


@dataclass(frozen=True)
class Stage:
    """Whether a stage ran.

    Attributes
    ----------
    name : str
        Key of `STAGE_NAMES`.
    done : bool
    why : str
        Reason when it was left out.
    """

    name: str
    done: bool
    why: str = ""


@dataclass(frozen=True)
class ScanInputs:
    """One session of a person.

    Attributes
    ----------
    label : str
        ``sub-01_ses-02`` or ``sub-01``.
    day : float or None
        Days since baseline.
    day_source : str
        Who said so.
    structural : Volume or None
        Structural image that was segmented.
    structural_name : str
        Its contrast (MTsat, R1, T1w).
    outlines : mapping
        ``brain``, ``GM``, ``WM`` → mask or probability, any grid.
    maps : mapping
        Map name → native map.
    map_masks : mapping
        ``mpm`` and ``dwi`` → brain mask on the grid of those maps.
    direction : Volume or None
        Main diffusion direction, shape (X, Y, Z, 3).
    warped : Volume or None
        An image in the target space: the structural one, or whatever was brought there.
    warped_name : str
        What it shows.
    qa : mapping
        ``mpm``, ``dwi``, ``anat`` → content of the quality file (may hold ``notes``).
    medians : mapping
        Map name → tissue → median inside that tissue.
    """

    label: str
    day: float | None = None
    day_source: str = ""
    structural: Volume | None = None
    structural_name: str = "structural image"
    outlines: Mapping[str, Volume] = field(default_factory=dict)
    maps: Mapping[str, Volume] = field(default_factory=dict)
    map_masks: Mapping[str, Volume] = field(default_factory=dict)
    direction: Volume | None = None
    warped: Volume | None = None
    warped_name: str = "structural image"
    qa: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    medians: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def session(self) -> str:
        """``ses-02``, or ``only session``."""
        return self.label.partition("_")[2] or "only session"


@dataclass(frozen=True)
class PersonInputs:
    """One person's page.

    Attributes
    ----------
    participant_id : str
        ``sub-01``; also the name of the figures' folder.
    title : str
        The study's title.
    scans : tuple of ScanInputs
        In order of sessions.
    target_outlines : mapping
        ``brain``, ``WM`` → outline of the target space (template), for the warped images.
    target_name : str
        Name of the target space.
    facts : mapping
        Group, age, sex … as in the participants' table.
    stages : tuple of Stage
    version : str
        Of PlastiMap.
    """

    participant_id: str
    title: str = "PlastiMap study"
    scans: tuple[ScanInputs, ...] = ()
    target_outlines: Mapping[str, Volume] = field(default_factory=dict)
    target_name: str = "target space"
    facts: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    version: str = ""


@dataclass(frozen=True)
class Model:
    """Group model of one map in one tissue.

    Attributes
    ----------
    map, tissue : str
    info : mapping
        Content of ``model.json``: ``columns`` (or ``names``), ``matrix``, ``dof``, ``fwhm`` …, ``notes``.
    """

    map: str
    tissue: str
    info: Mapping[str, Any]


@dataclass(frozen=True)
class ResultImage:
    """A t map with significant clusters.

    Attributes
    ----------
    map, tissue, contrast, term : str
    t_map : Volume
    threshold : float
        Cluster-forming |t|.
    search : Volume or None
        Search volume: label image, 1 = left, 2 = right.
    peaks : tuple of (x, y, z)
        Peaks of the significant clusters in mm, strongest first.
    """

    map: str
    tissue: str
    contrast: str
    term: str
    t_map: Volume
    threshold: float
    search: Volume | None
    peaks: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class StudyInputs:
    """The study's page. Tables are as written to the output folder (see `plastimap.paths`).

    Attributes
    ----------
    title, version : str
    participants : DataFrame or None
        One row per person: participant_id, group, age, sex, tiv, n_sessions, behaviour parameters.
    scans : DataFrame or None
        One row per scan: participant_id, session, scan, day, day_source, tiv_ml, quality numbers.
    availability : DataFrame or None
        participant_id, session, kind (``MPM``, ``DWI`` …), present (bool).
    stages : tuple of Stage
    problems : tuple of mapping
        file, what, why, remedy, severity.
    notes : tuple of str
        Choices and fallbacks, one sentence each.
    behaviour, behaviour_fits, behaviour_tests, behaviour_sides, training : DataFrame or None
        Values, fitted curves, tests, sides, summary of the training log.
    days : tuple of float
        End of training and follow-up.
    models : tuple of Model
    clusters, families : DataFrame or None
        Of the whole study; ``cluster_p_corrected`` counts across families, ``place`` names the peak's region.
    results : tuple of ResultImage
    background : Volume or None
        Mean structural image in the target space.
    trajectories : DataFrame or None
        map, tissue, cluster, participant_id, group, session, day, value.
    courses : DataFrame or None
        map, tissue, cluster, course, delta_aic, weight, bic …: shapes of change compared in every cluster.
    brainage : BrainageInputs or None
    found, control : DataFrame or None
        Planted against found, and the contrast with nothing planted (simulated studies).
    rois : mapping
        Content of ``rois.json``.
    regions : mapping
        Region's name → mask in the target space.
    config : mapping
        The configuration that was run.
    config_text : str
        The same as YAML, for the page.
    versions : mapping
        Package → version.
    anatomy : mapping
        Scans by how their brain was found, and those with a lesion (:mod:`plastimap.report.anatomy_methods`).
    provenance : mapping
        Anything else that says where results come from (dataset name, DOI, command …).
    timing : DataFrame or None
        step, jobs, minutes, peak_mb.
    people : tuple of str
        Participants with a page of their own (``sub-01`` → ``sub-01.html``).
    """

    title: str = "PlastiMap study"
    version: str = ""
    participants: pd.DataFrame | None = None
    scans: pd.DataFrame | None = None
    availability: pd.DataFrame | None = None
    stages: tuple[Stage, ...] = ()
    problems: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    behaviour: pd.DataFrame | None = None
    behaviour_fits: pd.DataFrame | None = None
    behaviour_tests: pd.DataFrame | None = None
    behaviour_sides: pd.DataFrame | None = None
    training: pd.DataFrame | None = None
    days: tuple[float, float] = (28.0, 84.0)
    models: tuple[Model, ...] = ()
    clusters: pd.DataFrame | None = None
    families: pd.DataFrame | None = None
    results: tuple[ResultImage, ...] = ()
    background: Volume | None = None
    trajectories: pd.DataFrame | None = None
    courses: pd.DataFrame | None = None
    found: pd.DataFrame | None = None
    control: pd.DataFrame | None = None
    brainage: BrainageInputs | None = None
    rois: Mapping[str, Any] = field(default_factory=dict)
    regions: Mapping[str, Volume] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    config_text: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    anatomy: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    timing: pd.DataFrame | None = None
    people: tuple[str, ...] = ()
