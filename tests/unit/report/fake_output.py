"""An output folder as the workflow leaves it, with invented brains and numbers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from plastimap.images import Volume, write_volume
from plastimap.paths import Paths
from plastimap.shipped import workflow_file
from plastimap.writing import write_json, write_table, write_text

DAYS = {"01": 0.0, "02": 14.0, "03": 84.0}
HOSTILE = "<script>alert('x')</script>"
TISSUE_VALUES = {
    "R1": (0.65, 1.05, 0.3), "R2s": (16.5, 22.0, 4.0), "MTsat": (0.9, 1.8, 0.1), "PD": (820.0, 690.0, 1000.0),
    "FA": (0.15, 0.45, 0.05), "MD": (0.85, 0.75, 2.4), "AD": (1.0, 1.2, 2.5), "RD": (0.8, 0.55, 2.3),
}  # fmt: skip


@dataclass(frozen=True)
class Phantom:
    """Tissue probabilities on a grid."""

    gm: np.ndarray
    wm: np.ndarray
    csf: np.ndarray
    affine: np.ndarray

    @property
    def brain(self) -> np.ndarray:
        return (self.gm + self.wm + self.csf) > 0.5


def ellipsoid(step_mm: float = 8.0) -> Phantom:
    """A ball of white matter in a shell of grey matter, with CSF around it."""
    size = np.ceil(np.array([150.0, 190.0, 150.0]) / step_mm).astype(int)
    affine = np.diag([step_mm] * 3 + [1.0])
    affine[:3, 3] = -step_mm * (size - 1) / 2
    world = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), axis=-1) * step_mm + affine[:3, 3]
    radius = np.sqrt(((world / [65.0, 85.0, 65.0]) ** 2).sum(axis=-1))
    classes = [(radius < 0.7), (radius >= 0.7) & (radius < 0.92), (radius >= 0.92) & (radius < 1.0)]
    wm, gm, csf = (part.astype(np.float32) for part in classes)
    return Phantom(gm, wm, csf, affine)


@dataclass(frozen=True)
class Study:
    """What the fake study holds; switches for what is missing."""

    phantom: Phantom
    people: int = 4
    mpm: bool = True
    dwi: bool = True
    group: bool = True
    simulated: bool = True
    hostile: bool = False
    seed: int = 7


def regions(study: Study) -> list[dict[str, Any]]:
    """Of the configuration: six, of which one lies outside of the brain."""
    if not study.group:
        return []
    places = {HOSTILE if study.hostile else "hand": 42, "thalamus": 0, "$a$ and $b": -42, "foot": -21, "tongue": 21}
    made = [{"name": name, "sphere": {"centre": [x, 0, 0], "radius": 16}} for name, x in places.items()]
    return [*made, {"name": "nowhere", "sphere": {"centre": [500, 0, 0], "radius": 8}}]


def write_output(folder: Path, study: Study) -> Paths:
    """Write the folder; the first person lacks the last session."""
    rng = np.random.default_rng(study.seed)
    contrast = "MTsat" if study.mpm else "T1w"
    paths = Paths("MNI152NLin2009aSym", 1.5, contrast)
    labels = [f"sub-{person:02d}_ses-{session}" for person in range(1, study.people + 1) for session in DAYS
              if (person, session) != (1, "03")]  # fmt: skip
    _write_top(folder, study, labels, contrast)
    for label in labels:
        _write_scan(folder, paths, study, label, rng)
    if study.group:
        _write_group(folder, study, labels, rng)
    return paths


def _write_top(folder: Path, study: Study, labels: list[str], contrast: str) -> None:
    config = workflow_file("config/config.yaml").read_text(encoding="utf-8")
    config = re.sub(r"^bids_dir: null", f"bids_dir: {folder / 'raw'}", config, flags=re.MULTILINE)
    config = re.sub(r"^rois: \[\]", f"rois: {json.dumps(regions(study))}", config, flags=re.MULTILINE)
    raw = pd.DataFrame({"participant_id": ["sub-01", "sub-02"], "group": ["trainees", "controls"], "age": [31, np.nan]})
    write_table(folder / "raw" / "participants.tsv", raw)
    write_text(folder / Paths.effective_config, config)
    left = {} if study.mpm else {"mpm": "no multi-echo MPM images"}
    left |= {} if study.dwi else {"dwi": "no diffusion series"}
    left |= {} if study.group else {"behaviour": "no behaviour tables", "glm": "a group model needs at least 4 people"}
    stages = [s for s in ("mpm", "dwi", "anat", "space", "smooth", "behaviour", "glm", "report") if s not in left]
    scans = {label: {"day": DAYS[label[-2:]], "maps": []} for label in labels}
    notices = ["no MTsat in sub-99_ses-01: left out of segmentation and of the target space"]
    write_json(folder / Paths.plan, {"stages": stages, "left_out": left, "contrast": contrast, "notices": notices,
                                     "scans": scans})  # fmt: skip
    write_json(folder / Paths.description, {"Name": "Invented training study", "BIDSVersion": "1.10.0"})
    problem = {"file": "sub-02/ses-02/anat/x.nii.gz", "what": "An echo was acquired twice.",
               "why": "Only one can count.", "remedy": "The last one is used.", "severity": "notice"}  # fmt: skip
    if study.hostile:
        problem["what"] = HOSTILE
    write_text(folder / Paths.problems, json.dumps([problem]))
    rows = []
    for label in labels:
        suffixes = ["MPM"] * study.mpm + ["TB1map"] * study.mpm + ["T1w"] * (not study.mpm) + ["dwi"] * study.dwi
        there = [suffix for suffix in suffixes if (label, suffix) != ("sub-03_ses-02", "dwi")]
        about = {"participant_id": label[:6], "session": label[-2:], "used": "true", "day_source": "sessions.tsv"}
        rows += [{**about, "suffix": suffix} for suffix in there]
    write_table(folder / Paths.manifest, pd.DataFrame(rows))
    for rule, seconds in (("mpm", 41.0), ("dwi", 95.0), ("person_template", 130.0)):
        table = pd.DataFrame({"s": [seconds], "max_rss": [812.5]})
        write_table(folder / "benchmarks" / rule / "sub-01" / "x.tsv", table)
        write_table(folder / "benchmarks" / rule / "sub-02" / "x.tsv", table.assign(s=seconds * 1.2))


def _image(phantom: Phantom, values: tuple[float, float, float], rng: np.random.Generator, noise: float) -> np.ndarray:
    clean = phantom.gm * values[0] + phantom.wm * values[1] + phantom.csf * values[2]
    grain = 1 + noise * rng.standard_normal(clean.shape)
    return np.where(phantom.brain, clean * grain, np.nan).astype(np.float32)


def _write_scan(folder: Path, paths: Paths, study: Study, label: str, rng: np.random.Generator) -> None:
    phantom = study.phantom

    def save(pattern: str, data: np.ndarray) -> None:
        write_volume(folder / paths.at(pattern, label), Volume(data, phantom.affine))

    maps = [name for name in TISSUE_VALUES if (study.mpm if name in ("R1", "R2s", "MTsat", "PD") else study.dwi)]
    for name in maps:
        image = _image(phantom, TISSUE_VALUES[name], rng, 0.06)
        save(paths.native(name), image)
        if name != "PD":
            save(paths.warped(name), image)
    save(paths.structural, np.nan_to_num(_image(phantom, TISSUE_VALUES["MTsat"], rng, 0.06)))
    save(paths.mask, phantom.brain)
    for tissue, data in (("GM", phantom.gm), ("WM", phantom.wm), ("CSF", phantom.csf)):
        save(paths.tissue(tissue), data)
        save(paths.warped_tissue(tissue), data)
    write_json(folder / paths.at(paths.anat_qa, label), {
        "tiv_ml": 1450 + 60 * rng.standard_normal(), "mask_method": "given",
        "notes": ["The mask was given with the data."]})  # fmt: skip
    if study.mpm:
        notes = [HOSTILE] if study.hostile else ["No B1+ map: R1 is not corrected for the transmit field."]
        write_json(folder / paths.at(paths.mpm_qa, label), {
            "n_echoes": 22, "motion_index": {"PDw": 0.02 + 0.004 * rng.random(), "T1w": 0.03}, "n_out_of_range_R1": 12,
            "notes": notes})  # fmt: skip
    if study.dwi:
        save(paths.dwi_mask, phantom.brain)
        direction = np.nan_to_num(gaussian_filter(rng.standard_normal((*phantom.gm.shape, 3)), (2, 2, 2, 0)))
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        save(paths.dwi_direction, direction.astype(np.float32))
        steps = np.cumsum(0.05 * rng.standard_normal((32, 6)), axis=0)
        moved = np.linalg.norm(steps[:, :3], axis=1) + (3.0 if label == "sub-02_ses-02" else 0.0) * (
            np.arange(32) == 20
        )
        write_json(folder / paths.at(paths.dwi_qa, label), {
            "displacement_mm": moved, "parameters": steps, "noise_sigma": 12.4, "notes": []})  # fmt: skip


def _write_group(folder: Path, study: Study, labels: list[str], rng: np.random.Generator) -> None:
    phantom = study.phantom
    ids = sorted({label[:6] for label in labels})
    names = [HOSTILE if study.hostile and number == 0 else name for number, name in enumerate(ids)]
    groups = ["trainees" if number % 2 == 0 else "controls" for number in range(len(ids))]
    people = pd.DataFrame({
        "participant_id": names, "n_sessions": [sum(name in label for label in labels) for name in ids],
        "tiv": 1450 + 90 * rng.standard_normal(len(ids)), "group": groups,
        "age": rng.uniform(21, 63, len(ids)).round(1),
        "sex": rng.choice(["F", "M"], len(ids)), "csr_percent_delta": rng.uniform(10, 40, len(ids))})  # fmt: skip
    write_table(folder / Paths.cohort, people)
    scans = pd.DataFrame([{"participant_id": label[:6], "session": label[-2:], "scan": label,
                           "day": DAYS[label[-2:]] + rng.integers(-1, 2) * (label[-2:] != "01"),
                           "tiv_ml": 1450 + 60 * rng.standard_normal(), "n_echoes": 22,
                           "motion_index_PDw": 0.02 + 0.003 * rng.standard_normal() + 0.04 * (label == "sub-02_ses-02")}
                          for label in labels])  # fmt: skip
    write_table(folder / Paths.scans, scans)
    _write_behaviour(folder, names, groups, rng)
    write_volume(folder / Paths.mean_structural, Volume(_image(phantom, TISSUE_VALUES["R1"], rng, 0.0), phantom.affine))
    search = np.where(phantom.wm + phantom.gm > 0.5, np.where(np.arange(phantom.gm.shape[0]) <
                      phantom.gm.shape[0] / 2, 1, 2)[:, None, None], 0).astype(np.uint8)  # fmt: skip
    for tissue in ("GM", "WM"):
        write_volume(folder / Paths.search_volumes.format(tissue=tissue), Volume(search, phantom.affine))
    sizes = {region["name"]: {"L GM": 512, "R GM": 498} for region in regions(study)}
    notes = [f"region {HOSTILE} is empty"] if study.hostile else []
    write_json(folder / Paths.rois_qa, {"voxels": sizes, "notes": notes})
    _write_results(folder, study, names, groups, rng)


def _write_behaviour(folder: Path, names: list[str], groups: list[str], rng: np.random.Generator) -> None:
    rows, fits = [], []
    for name, group in zip(names, groups, strict=True):
        delta = rng.uniform(20, 40) if group == "trainees" else rng.uniform(0, 6)
        for outcome, alpha, sign in (("csr_percent", 75.0, 1), ("rt_ms", 60.0, -1)):
            fits.append({"participant_id": name, "outcome": outcome, "alpha": alpha, "delta": sign * delta,
                         "gamma": 0.09,
                         "improvement": delta, "days_to_95": 33.3, "flag": ""})  # fmt: skip
            for day in (0, 7, 14, 28, 84):
                for side in ("L", "R"):
                    value = alpha - sign * delta * np.exp(-0.09 * day) + 2 * rng.standard_normal()
                    rows.append({"participant_id": name, "day": day, "side": side, "outcome": outcome, "value": value})
    write_table(folder / Paths.behaviour_tidy, pd.DataFrame(rows))
    write_table(folder / Paths.behaviour_fits, pd.DataFrame(fits))
    test = {"test": "one-sample", "outcome": "csr_percent", "group": "trainees", "quantity": "delta", "n": "6",
            "median": 30.0, "iqr": 4, "z": 2.2, "p_exact": 0.031, "p_asymptotic": 0.028, "shapiro_p": 0.4}  # fmt: skip
    tests = pd.DataFrame([test])
    write_table(folder / Paths.behaviour_tests, tests)
    sides = {"outcome": "csr_percent", "n_left": 6, "n_right": 6, "z": 0.1, "p_exact": 0.9, "p_asymptotic": 0.9,
             "paired_z": 0.2, "paired_p": 0.8, "differ": False, "decision": "averaged"}  # fmt: skip
    write_table(folder / Paths.behaviour_sides, pd.DataFrame([sides]))


def _write_results(folder: Path, study: Study, names: list[str], groups: list[str], rng: np.random.Generator) -> None:
    contrast, threshold = "trainees > controls", 3.6
    family = {"contrast": contrast, "test": contrast}
    all_clusters, all_families = [], []
    for name in ("R1", "vbm"):
        for tissue in ("GM", "WM"):
            place = folder / f"group/{name}_{tissue}"
            families = [{**family, "map": name, "tissue": tissue, "hemisphere": side, "term": term, "direction": ">",
                         "min_p": 0.4, "n_clusters": 0, "n": len(names), "dof": 20.0, "threshold": threshold,
                         "n_voxels": 5000, "resels": 41.2, "fwhm_mm": 8.1}
                        for side in "LR" for term in ("linear", "quadratic")]  # fmt: skip
            clusters = []
            if (name, tissue) in (("R1", "GM"), ("vbm", "WM")):
                clusters.append(
                    _plant(folder, study, name, tissue, place, threshold, rng, p=0.0004 if name == "R1" else 0.03)
                )
                families[0 if clusters[0]["hemisphere"] == "L" else 2] |= {"min_p": clusters[0]["cluster_p_fwe"],
                                                                          "n_clusters": 1}  # fmt: skip
                _write_trajectories(place, names, groups, rng)
                write_table(place / "courses.tsv", pd.DataFrame([
                    {"cluster": 1, "course": course, "bic": 10.0 + n, "delta_aic": 2.0 * n, "weight": 0.6 / (n + 1)}
                    for n, course in enumerate(("quadratic", "linear", "none"))]))  # fmt: skip
            matrix = np.column_stack([[g == "controls" for g in groups], [g == "trainees" for g in groups],
                                      *rng.standard_normal((2, len(names)))]).astype(float)  # fmt: skip
            write_json(place / "model.json", {
                "map": name, "tissue": tissue, "time_coding": "Linear and quadratic time over days 0, 14, 84.",
                "notes": ["quadratic: people with two sessions are left out."], "matrix": matrix,
                "columns": ["controls", "trainees", "age", "tiv"], "people": names,
                "preservation": [{"hemisphere": "L", "n": 6, "mean_r": 0.21, "t": 2.4, "p": 0.06}],
                "tests": [{"file": "trainees-controls_linear", "contrast": contrast, "term": "linear",
                           "threshold": threshold, "dof": 20.0}]})  # fmt: skip
            all_clusters += clusters
            all_families += families
    p_families = len(all_families)
    clusters = pd.DataFrame(all_clusters)
    clusters["cluster_p_corrected"] = np.minimum(1.0, clusters["cluster_p_fwe"] * p_families)
    families = pd.DataFrame(all_families)
    families["min_p_corrected"] = np.minimum(1.0, families["min_p"] * p_families)
    write_table(folder / Paths.clusters, clusters)
    write_table(folder / Paths.families, families)
    if study.simulated:
        write_table(folder / Paths.found, pd.DataFrame([
            {"place": "hand area R", "map": "R1", "tissue": "GM", "term": "linear", "planted": 0.05, "found": "yes",
             "cluster_p_fwe": 0.0004, "peak_distance_mm": 2.1}]))  # fmt: skip
        write_table(
            folder / Paths.control, pd.DataFrame([{"contrast": "controls A > controls B", "k": np.nan}]).iloc[:0]
        )


def _plant(folder: Path, study: Study, name: str, tissue: str, place: Path, threshold: float, rng: np.random.Generator,
           *, p: float) -> dict[str, object]:  # fmt: skip
    phantom = study.phantom
    weight = phantom.gm if tissue == "GM" else phantom.wm
    inverse = np.linalg.inv(phantom.affine)
    world = np.array([34.0, -24.0, 40.0])
    candidates = np.argwhere(weight > 0.6)
    wanted = inverse[:3, :3] @ world + inverse[:3, 3]
    peak = candidates[((candidates - wanted) ** 2).sum(axis=1).argmin()]
    distance = np.linalg.norm((np.indices(weight.shape).transpose(1, 2, 3, 0) - peak) @ phantom.affine[:3, :3], axis=-1)
    t = np.where(weight > 0.2, rng.standard_normal(weight.shape) * 0.5 + 6.5 * np.exp(-((distance / 16) ** 2)), np.nan)
    write_volume(place / "maps" / "trainees-controls_linear_stat-t_statmap.nii.gz",
                 Volume(t.astype(np.float32), phantom.affine))  # fmt: skip
    x, y, z = phantom.affine[:3, :3] @ peak + phantom.affine[:3, 3]
    return {"cluster": 1, "contrast": "trainees > controls", "test": "trainees > controls", "map": name,
            "tissue": tissue, "hemisphere": "R" if x > 0 else "L", "term": "linear", "direction": ">",
            "cluster_p_fwe": p, "cluster_p_unc": p / 10, "k": 212, "volume_mm3": 715.5, "peak_t": float(t[tuple(peak)]),
            "peak_z": 5.2, "peak_p_fwe": 0.002, "x": x, "y": y, "z": z, "effect": 4e-4, "effect_percent": 3.9, "n": 12,
            "n_by_group": "trainees 6, controls 6", "cluster_t": 6.1, "influence": 0.2, "influential": "sub-02",
            "warnings": "" if name == "R1" else "hangs on one person: without sub-02 60% is gone"}  # fmt: skip


def _write_trajectories(place: Path, names: list[str], groups: list[str], rng: np.random.Generator) -> None:
    rows = []
    for name, group in zip(names, groups, strict=True):
        level = 0.66 + 0.01 * rng.standard_normal()
        for session, day in DAYS.items():
            gain = 0.03 * (1 - np.exp(-day / 20)) * (group == "trainees")
            rows.append({"cluster": 1, "participant_id": name, "group": group, "session": session, "day": day,
                         "value": level + gain + 0.004 * rng.standard_normal()})  # fmt: skip
    write_table(place / "trajectories.tsv", pd.DataFrame(rows))
