"""Write a simulated study as a BIDS dataset, with its truth beside the data."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume, write_volume
from plastimap.simulate.people import Person, Session, behaviour_table, people, scan_label, sessions
from plastimap.simulate.scan import Scan, simulate_scan
from plastimap.simulate.spec import SimulationSpec
from plastimap.simulate.truth import write_truth
from plastimap.writing import PathLike, read_json, write_json, write_table, write_text

SIMULATOR_VERSION = 1
"""Raised when the same specification would give other data."""

DONE = Path("truth") / "simulation.json"
"""Written last: a folder that holds it is a whole study."""

WEIGHTINGS = {"PDw": ("1", "off"), "T1w": ("2", "off"), "MTw": ("1", "on")}
"""BIDS entities flip and mt of each weighting."""


class StudyProblem(ValueError):
    """A folder that a study cannot be written to."""


def simulate_study(
    out_dir: PathLike,
    spec: SimulationSpec,
    *,
    workers: int = 1,
    progress: Callable[[str], None] | None = print,
) -> Path:
    """Simulate a study and write it as BIDS.

    Does nothing when the folder already holds this study, whole.

    Parameters
    ----------
    out_dir : path-like
        Made when missing. A folder with anything but (part of) this study is
        refused.
    spec : SimulationSpec
    workers : int
        Processes; the files do not depend on it.
    progress : callable or None
        Told one line per scan.

    Returns
    -------
    Path
        `out_dir`.

    Raises
    ------
    StudyProblem
        When the folder holds something else.
    """
    root = Path(out_dir)
    say = progress if progress is not None else _silent
    if _holds(root, spec):
        say(f"{root} already holds this simulated study")
        return root
    everybody = people(spec)
    scans = [(person, session) for person in everybody for session in sessions(spec)]
    scans = [pair for pair in scans if scan_label(*pair) not in spec.missing]
    write_json(root / ".simulating.json", _identity(spec))
    _write_top(root, spec, everybody)
    write_truth(root / "truth", spec, everybody)
    start = time.monotonic()
    for number, label in enumerate(_all_scans(root, spec, scans, workers), start=1):
        left = (time.monotonic() - start) / number * (len(scans) - number)
        say(f"simulated {label} ({number} of {len(scans)}, {left:.0f} s left)")
    write_json(root / DONE, _identity(spec))
    (root / ".simulating.json").unlink()
    return root


def _silent(_line: str) -> None:
    return


def _identity(spec: SimulationSpec) -> dict[str, Any]:
    return {"simulator_version": SIMULATOR_VERSION, "spec": spec.to_dict()}


def _holds(root: Path, spec: SimulationSpec) -> bool:
    """Whether the folder holds this study; complain when it holds something else."""
    if (root / DONE).exists():
        if read_json(root / DONE) == _plain(_identity(spec)):
            return True
        raise StudyProblem(f"{root}: holds another simulated study; choose another folder or remove this one")
    unfinished = root / ".simulating.json"
    if root.exists() and any(root.iterdir()):
        if unfinished.exists() and read_json(unfinished) == _plain(_identity(spec)):
            return False
        raise StudyProblem(f"{root}: is not empty; choose another folder or remove it")
    return False


def _plain(content: Any) -> Any:
    """Give what is left of `content` after a way through JSON: lists for tuples."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    return content


def _all_scans(
    root: Path, spec: SimulationSpec, scans: Iterable[tuple[Person, Session]], workers: int
) -> Iterator[str]:
    if workers <= 1:
        for person, session in scans:
            yield _make_scan(root, spec, person, session)
        return
    # "spawn": a forked process may inherit a lock that some library's thread holds.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        waiting = [pool.submit(_make_scan, root, spec, person, session) for person, session in scans]
        for done in as_completed(waiting):
            yield done.result()


def _make_scan(root: Path, spec: SimulationSpec, person: Person, session: Session) -> str:
    scan = simulate_scan(spec, person, session)
    write_scan(root, scan, person, session)
    return scan.label


def _folder(root: Path, person: Person, session: Session) -> Path:
    folder = root / f"sub-{person.label}"
    return folder / f"ses-{session.label}" if session.label else folder


def write_scan(root: PathLike, scan: Scan, person: Person, session: Session) -> None:
    """Write the images of a scan to their places in the dataset `root`."""
    folder = _folder(Path(root), person, session)
    for weighting, data in scan.echoes.items():
        for number in range(data.shape[-1]):
            name = f"{scan.label}_{_mpm_entities(weighting, number)}_MPM.nii.gz"
            write_volume(folder / "anat" / name, Volume(_counts(data[..., number]), scan.affine))
    if scan.t1w is not None:
        write_volume(folder / "anat" / f"{scan.label}_T1w.nii.gz", Volume(_counts(scan.t1w.data), scan.affine))
    if scan.b1 is not None:
        write_volume(folder / "fmap" / f"{scan.label}_TB1map.nii.gz", scan.b1)
    if scan.dwi is not None:
        stem = folder / "dwi" / f"{scan.label}_dir-AP_dwi"
        write_text(f"{stem}.bval", _rows(scan.bvals[None], "%d"))
        write_text(f"{stem}.bvec", _rows(scan.bvecs, "%.6f"))
        write_volume(f"{stem}.nii.gz", Volume(_counts(scan.dwi.data), scan.dwi.affine))


def _counts(data: NDArray[Any]) -> NDArray[np.int16]:
    return np.clip(np.rint(data), 0, np.iinfo(np.int16).max).astype(np.int16)


def _rows(values: NDArray[Any], form: str) -> str:
    return "".join(" ".join(form % value for value in row) + "\n" for row in values)


def _mpm_entities(weighting: str, number: int) -> str:
    flip, mt = WEIGHTINGS[weighting]
    return f"acq-{weighting}_echo-{number + 1}_flip-{flip}_mt-{mt}"


def _write_top(root: Path, spec: SimulationSpec, everybody: Iterable[Person]) -> None:
    """Everything of the dataset but the images."""
    import pandas as pd

    everybody = tuple(everybody)
    write_json(root / "dataset_description.json", _description(spec))
    write_text(root / "README", README)
    write_text(root / ".bidsignore", "truth\n.simulating.json\n")
    rows = [{"participant_id": f"sub-{p.label}", "age": p.age, "sex": p.sex, "group": p.group} for p in everybody]
    write_table(root / "participants.tsv", pd.DataFrame(rows))
    write_json(root / "participants.json", PARTICIPANTS)
    _write_sidecars(root, spec)
    for person in everybody:
        _write_person(root, spec, person)


def _write_person(root: Path, spec: SimulationSpec, person: Person) -> None:
    import pandas as pd

    visits = [visit for visit in sessions(spec) if scan_label(person, visit) not in spec.missing]
    if len(spec.days) > 1 and visits:
        rows = [{"session_id": f"ses-{visit.label}", "day": visit.day} for visit in visits]
        write_table(root / f"sub-{person.label}" / f"sub-{person.label}_sessions.tsv", pd.DataFrame(rows))
    table = behaviour_table(person, spec)
    if len(table) and visits:
        name = f"{scan_label(person, visits[0])}_task-dance_beh.tsv"
        write_table(_folder(root, person, visits[0]) / "beh" / name, table)


def _write_sidecars(root: Path, spec: SimulationSpec) -> None:
    """Sidecars at the top, inherited by all scans: one per echo, since no two files of a level may apply to one."""
    if "mpm" in spec.include:
        for weighting, count in spec.echoes.items():
            for number in range(count):
                write_json(root / f"{_mpm_entities(weighting, number)}_MPM.json", _mpm_sidecar(spec, weighting, number))
    if "b1" in spec.include:
        write_json(root / "TB1map.json", {"Units": "percent", **_scanner()})
    if "t1w" in spec.include:
        write_json(root / "T1w.json", _scanner())
    if "dwi" in spec.include:
        encoding = {"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.05, "EchoTime": 0.07, "RepetitionTime": 6.0}
        write_json(root / "dwi.json", {**_scanner(), **encoding})
    if len(spec.days) > 1:
        write_json(root / "sessions.json", {"day": {"Description": "days since the first visit", "Units": "d"}})
    if spec.trainees:
        write_json(root / "task-dance_beh.json", BEHAVIOUR)


def _scanner() -> dict[str, Any]:
    return {"Manufacturer": "simulated", "MagneticFieldStrength": 3}


def _mpm_sidecar(spec: SimulationSpec, weighting: str, number: int) -> dict[str, Any]:
    return {
        **_scanner(),
        "EchoTime": round(spec.echo_spacing_ms * 1e-3 * (number + 1), 6),
        "FlipAngle": spec.flips_deg[weighting],
        "MTState": weighting == "MTw",
        "RepetitionTimeExcitation": round(spec.tr_ms * 1e-3, 6),
        "SpoilingState": True,
        "PulseSequenceType": "spoiled gradient echo",
    }


def _description(spec: SimulationSpec) -> dict[str, Any]:
    return {
        "Name": spec.name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["PlastiMap simulation"],
        "GeneratedBy": [{"Name": "plastimap simulate", "Version": str(SIMULATOR_VERSION)}],
    }


PARTICIPANTS = {
    "age": {"Description": "age at the first visit", "Units": "year"},
    "sex": {"Description": "sex", "Levels": {"F": "female", "M": "male"}},
    "group": {"Description": "group of the study"},
}

BEHAVIOUR = {
    "TaskName": "dance",
    "TaskDescription": "steps on cue; one row per assessment and side",
    "day": {"Description": "days since the first visit", "Units": "d"},
    "side": {"Description": "side of the body", "Levels": {"left": "left", "right": "right"}},
    "csr_percent": {"Description": "correct step responses, within 90 ms of the cue", "Units": "percent"},
    "rt_ms": {"Description": "mean absolute deviation from the cue", "Units": "ms"},
}

README = """A simulated study with known truth, written by `plastimap simulate`.

Anatomy: the ICBM152 (MNI152NLin2009aSym) grey and white matter maps, sharpened, seen through a smooth random
one-to-one deformation and a head size per person. No skull; the background holds noise only. In a voxel with
several tissues the signals, not the parameters, are mixed. Signals: spoiled gradient echo (Ernst equation) with a
saturation per TR for MT weighting, one R2* decay per tissue, smooth B1+ and receive fields; an axially symmetric
tensor per tissue for diffusion. Noise is Rician; the signal-to-noise ratio holds for pure white matter at the first
PDw echo and at b = 0. Heads change position between sessions, and a little between diffusion volumes. There is no
susceptibility distortion, no eddy current, no motion between the echoes.

`truth/` says who the people are, what was planted where, and how much it changed in whom.
"""
