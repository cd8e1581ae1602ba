"""Rows of the manifest from a raw BIDS dataset."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import Any

from plastimap.bids.entities import BidsName
from plastimap.bids.header import Matrix
from plastimap.bids.index import DataFile, Dataset
from plastimap.bids.problems import Problem
from plastimap.bids.rows import B1_SUFFIXES, FIELD_SUFFIXES, MPM_SUFFIXES, RECEIVE_SUFFIX, Row

WANTED = {
    "anat": frozenset({*MPM_SUFFIXES, "T1w"}),
    "dwi": frozenset({"dwi"}),
    "fmap": frozenset({*B1_SUFFIXES, RECEIVE_SUFFIX, *FIELD_SUFFIXES}),
}
"""Suffixes that PlastiMap reads, by datatype."""


def raw_rows(dataset: Dataset, *, participants: Collection[str] = (), sessions: Collection[str] = ()) -> list[Row]:
    """One row per file that PlastiMap can use; what is wrong is noted in ``dataset.problems``.

    Parameters
    ----------
    dataset : Dataset
    participants, sessions : collection of str
        Labels without ``sub-`` and ``ses-``; empty means all. Files without a session belong to every selection.
    """
    files = (file for file in dataset.files if is_selected(file.name, participants, sessions))
    return [row for file in files if (row := _row(dataset, file)) is not None]


def is_selected(name: BidsName, participants: Collection[str], sessions: Collection[str]) -> bool:
    """Whether a file belongs to the wanted participants and sessions."""
    subject, session = name.get("sub"), name.get("ses")
    if subject is None or (participants and subject not in participants):
        return False
    return not sessions or session is None or session in sessions


def flat(affine: Matrix) -> tuple[float, ...]:
    """Put the three rows of an affine one after the other."""
    return tuple(number for row in affine for number in row)


def _row(dataset: Dataset, file: DataFile) -> Row | None:
    name = file.name
    common: dict[str, Any] = {
        "participant_id": f"sub-{name.get('sub')}",
        "session": name.get("ses"),
        "path": dataset.absolute(file),
        "datatype": file.datatype or "",
        "suffix": name.suffix,
        "task": name.get("task"),
        "acq": name.get("acq"),
        "run": name.index("run"),
    }
    if file.datatype == "beh" and name.suffix == "beh" and name.extension == ".tsv":
        return Row(**common)
    if not file.is_image or name.suffix not in WANTED.get(file.datatype or "", ()):
        return None
    metadata = dataset.metadata(file)
    # A broken field map must not stop a study that does not use it: fields are looked into when they are chosen.
    header = None if name.suffix in FIELD_SUFFIXES else dataset.header(file)
    return Row(
        **common,
        **_timing(dataset, file, metadata),
        ce=name.get("ce"),
        rec=name.get("rec"),
        dir=name.get("dir"),
        echo=name.index("echo"),
        flip=name.index("flip"),
        mt=_mt(dataset, file, metadata),
        part=name.get("part"),
        phase_encoding=_text(metadata, "PhaseEncodingDirection"),
        partial_fourier=_number(dataset, file, metadata, "PartialFourier"),
        **_field(dataset, file, metadata),
        units=_text(metadata, "Units"),
        skull_stripped=metadata["SkullStripped"] if isinstance(metadata.get("SkullStripped"), bool) else None,
        bval=dataset.nearest(file, ".bval") if name.suffix == "dwi" else None,
        bvec=dataset.nearest(file, ".bvec") if name.suffix == "dwi" else None,
        shape=header.shape if header else None,
        affine=flat(header.affine) if header else None,
    )


def _timing(dataset: Dataset, file: DataFile, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Read times in seconds and the flip angle in degrees, as the sidecars say; plausibility is judged later."""
    tr = _number(dataset, file, metadata, "RepetitionTimeExcitation")
    needs_tr = file.name.suffix in (*MPM_SUFFIXES, "TB1AFI")
    if needs_tr and tr is None and "RepetitionTimeExcitation" not in metadata:
        tr = _number(dataset, file, metadata, "RepetitionTime")
        if tr is not None:
            what, why = "no RepetitionTimeExcitation", "RepetitionTime was taken for it, as older datasets have it"
            remedy = "nothing, if it is the time from excitation to excitation"
            dataset.problems.append(Problem(file.path, what, why, remedy, "notice"))
    return {
        "echo_time_s": _number(dataset, file, metadata, "EchoTime"),
        "flip_angle_deg": _number(dataset, file, metadata, "FlipAngle"),
        "tr_s": tr,
        "readout_s": _readout(dataset, file, metadata),
        "mixing_time_s": _number(dataset, file, metadata, "MixingTime"),
    }


def _readout(dataset: Dataset, file: DataFile, metadata: Mapping[str, Any]) -> float | None:
    """TotalReadoutTime; where it is missing, what echo spacing and matrix say it is."""
    if "TotalReadoutTime" in metadata:
        return _number(dataset, file, metadata, "TotalReadoutTime")
    spacing = _number(dataset, file, metadata, "EffectiveEchoSpacing")
    lines = _number(dataset, file, metadata, "ReconMatrixPE")
    return spacing * (lines - 1) if spacing and lines and lines > 1 else None


def _field(dataset: Dataset, file: DataFile, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a field is for, and what it takes to read it."""
    if file.name.suffix not in (*FIELD_SUFFIXES, "dwi"):
        return {}
    intended = [name.rpartition("/")[2] for name in _names(metadata, "IntendedFor")]
    labels = [*_names(metadata, "B0FieldIdentifier"), *_names(metadata, "B0FieldSource")]
    found: dict[str, Any] = {"intended_for": " ".join(intended) or None, "b0_field": " ".join(labels) or None}
    if file.name.suffix == "phasediff":
        first, second = (_number(dataset, file, metadata, key) for key in ("EchoTime1", "EchoTime2"))
        found["echo_difference_s"] = None if first is None or second is None else second - first
    return found


def _names(metadata: Mapping[str, Any], key: str) -> list[str]:
    """One text or a list of texts, as a list."""
    value = metadata.get(key)
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _number(dataset: Dataset, file: DataFile, metadata: Mapping[str, Any], key: str) -> float | None:
    value = metadata.get(key)
    if value is None:
        return None
    # A whole number of JSON may be larger than any float.
    bounded = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if bounded:
        return float(value)
    what, why = f"{key} is no number", f"the sidecar says {value!r}"[:120]
    dataset.problems.append(Problem(file.path, what, why, f'write it as a number: "{key}": …'))
    return None


def _text(metadata: Mapping[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    return value if isinstance(value, str) else None


def _mt(dataset: Dataset, file: DataFile, metadata: Mapping[str, Any]) -> str | None:
    """``on`` or ``off``: MTState decides, the name's ``mt`` stands in for it."""
    entity = file.name.get("mt")
    state = metadata.get("MTState")
    if file.name.suffix not in MPM_SUFFIXES:
        return None
    if not isinstance(state, bool):
        if entity in ("on", "off"):
            what, why = "no MTState (true or false)", f"mt-{entity} of the name was taken for it"
            dataset.problems.append(Problem(file.path, what, why, "add MTState to the sidecar", "notice"))
            return entity
        return None
    decided = "on" if state else "off"
    if entity in ("on", "off") and entity != decided:
        what, why = f"the name says mt-{entity}, MTState says {str(state).lower()}", "one of the two is wrong"
        dataset.problems.append(Problem(file.path, what, why, "correct the sidecar or the name"))
    return decided
