"""Maps made elsewhere: folders of BIDS derivatives, and a table of images."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from plastimap.bids.entities import BidsName
from plastimap.bids.header import HeaderError, check_place, read_header
from plastimap.bids.index import DataFile, Dataset
from plastimap.bids.masks import IGNORED_SPACES, NATIVE_SPACES, purpose_of
from plastimap.bids.problems import Problem
from plastimap.bids.raw import flat, is_selected
from plastimap.bids.rows import MAP_KEYS, TISSUES, Row
from plastimap.bids.tables import number, read_table
from plastimap.bids.words import closest

MAP_OF_SUFFIX = {
    "R1map": "R1",
    "R2starmap": "R2s",
    "MTsat": "MTsat",
    "PDmap": "PD",
    "FA": "FA",
    "MD": "MD",
    "ADC": "MD",
    "AD": "AD",
    "RD": "RD",
    "T1w": "T1w",
}
"""Map key of a derivative's suffix; the diffusion ones are the older, informal names."""

MAP_OF_PARAM = {"fa": "FA", "md": "MD", "ad": "AD", "rd": "RD"}
"""Map key of ``model-tensor_param-…_dwimap``."""

IMAGE_STAGES = ("native", "warped", "smoothed")


def derivative_rows(
    dataset: Dataset, *, participants: Collection[str] = (), sessions: Collection[str] = ()
) -> tuple[list[Row], list[Problem]]:
    """Rows of the maps in a folder of derivatives.

    Parameters
    ----------
    dataset : Dataset
        The folder.
    participants, sessions : collection of str
        Labels; empty means all.

    Returns
    -------
    list of Row, list of Problem
    """
    rows: list[Row] = []
    for file in dataset.files:
        if file.is_image and file.datatype and is_selected(file.name, participants, sessions):
            kind = _kind(file.name)
            if kind is not None:
                rows.append(_derivative_row(dataset, file, *kind))
    rows, problems = _one_per_map(rows)
    place = str(dataset.root)
    if not rows and not any(purpose_of(file.name) for file in dataset.files):
        kinds = ", ".join(MAP_OF_SUFFIX)
        what, why = "no maps found in this folder", f"it has none of: {kinds}, probseg, mask, label-lesion_mask"
        problems.append(Problem(place, what, why, "give the folder that holds sub-…, or remove it from derivatives"))
    return rows, problems + _located(dataset.problems, place)


def _kind(name: BidsName) -> tuple[str, str, str | None] | None:
    """Map key, stage and tissue of a derivative, or None when PlastiMap has no use for it."""
    description, label = name.get("desc") or "", name.get("label")
    if name.get("space") in IGNORED_SPACES or name.get("hemi") or _is_by_product(description):
        return None
    stage = "native" if name.get("space") in NATIVE_SPACES else "warped"
    if description.startswith("smooth"):
        stage = "smoothed"
    if name.suffix == "probseg" and label in TISSUES:
        is_volume = stage == "smoothed" or description == "modulated"
        return ("vbm", stage, label) if is_volume else (label, stage, None)
    if name.suffix == "mask":
        return ("mask", stage, None) if description in ("", "brain") and not label else None
    key = MAP_OF_PARAM.get(name.get("param") or "") if name.suffix == "dwimap" else MAP_OF_SUFFIX.get(name.suffix)
    # A mask in dwi/ or a T1w there is not the structural one.
    if key is None or (key == "T1w" and name.get("rec")):
        return None
    tissue = next((one for one in TISSUES if description.removeprefix("smoothed") == one or label == one), None)
    return key, stage, tissue


def _is_by_product(description: str) -> bool:
    """Whether an image belongs to a map, without being one: its error, the map of each contrast, what PD is made of."""
    return description in ("preproc", "amplitude", "contrasts") or description.endswith("stderr")


def _derivative_row(dataset: Dataset, file: DataFile, key: str, stage: str, tissue: str | None) -> Row:
    metadata = dataset.metadata(file)
    header = dataset.header(file)
    stripped = metadata.get("SkullStripped")
    units = metadata.get("Units")
    return Row(
        participant_id=f"sub-{file.name.get('sub')}",
        session=file.name.get("ses"),
        path=dataset.absolute(file),
        datatype=file.datatype or "",
        suffix=file.name.suffix,
        stage=stage,
        map=key,
        tissue=tissue,
        acq=file.name.get("acq"),
        run=file.name.index("run"),
        units=units if isinstance(units, str) else None,
        skull_stripped=stripped if isinstance(stripped, bool) else None,
        shape=header.shape if header else None,
        affine=flat(header.affine) if header else None,
    )


def _one_per_map(rows: Sequence[Row]) -> tuple[list[Row], list[Problem]]:
    """Of several files for one map, stage and tissue of a scan keep the one with the shortest name."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        # The brain mask of the diffusion series is another mask.
        place = row.datatype if row.map == "mask" else None
        groups.setdefault((row.scan, row.map, row.stage, row.tissue, place), []).append(row)
    drop: dict[str, str] = {}
    problems: list[Problem] = []
    for group in groups.values():
        kept, *others = sorted(group, key=lambda row: (len(row.path), row.path))
        if others:
            names = ", ".join(Path(row.path).name for row in others)
            why = f"{Path(kept.path).name} counts (the shortest name); left out: {names}"
            remedy = "nothing, or name the right files in a table (images:)"
            problems.append(Problem(kept.path, f"several files for {kept.map}", why, remedy, "notice"))
            drop |= {row.path: f"{Path(kept.path).name} counts" for row in others}
    chosen = [replace(row, used=False, unused_because=drop[row.path]) if row.path in drop else row for row in rows]
    return chosen, problems


def image_rows(
    table: Path, *, participants: Collection[str] = (), sessions: Collection[str] = ()
) -> tuple[list[Row], list[Problem]]:
    """Rows of the images that a table names.

    Parameters
    ----------
    table : Path
        Tab-separated: participant_id, session_id (optional), map, path, stage (native | warped | smoothed),
        tissue (optional), day (optional). Relative paths start at the table's folder and stay in it.
    participants, sessions : collection of str
        Labels; empty means all.

    Returns
    -------
    list of Row, list of Problem
    """
    content, problems = read_table(table, str(table), required=("participant_id", "map", "path", "stage"))
    rows: list[Row] = []
    seen: dict[tuple[object, ...], str] = {}
    for line in content.rows:
        row, found = _image_row(table, line)
        label = f"{table}: {line.get('participant_id')}, {line.get('map')}, {line.get('path')}"
        problems += [Problem(label, *one) for one in found]
        if row is None or (participants and row.subject not in participants):
            continue
        if sessions and row.session is not None and row.session not in sessions:
            continue
        key = (row.scan, row.map, row.stage, row.tissue)
        if key in seen:
            why = f"{seen[key]} is there for the same scan, map, stage and tissue"
            problems.append(Problem(label, "a map is listed twice", why, "remove one of the two lines"))
            continue
        seen[key] = row.path
        rows.append(row)
    return rows, problems


def _image_row(table: Path, line: Mapping[str, str | None]) -> tuple[Row | None, list[tuple[str, str, str]]]:
    """Give a row, or what is wrong with its line as (what, why, remedy)."""
    problems = [
        found
        for column, allowed in (("map", MAP_KEYS), ("stage", IMAGE_STAGES), ("tissue", TISSUES))
        if (found := _unknown_word(column, line.get(column), allowed, optional=column == "tissue"))
    ]
    person, key = line.get("participant_id"), line.get("map")
    if person is None:
        problems.append(("no participant_id", "nobody can say whose image this is", "fill it in"))
    if key == "vbm" and line.get("tissue") is None:
        problems.append(
            ("no tissue for a volume map", "vbm is analysed per tissue", "write GM or WM in the column tissue")
        )
    file, found = _resolve(table, line.get("path"))
    problems += found
    if problems or person is None or file is None:
        return None, problems
    try:
        header = read_header(file)
        check_place(header)
    except HeaderError as error:
        return None, [(error.what, error.why, error.remedy)]
    day = number(line.get("day"))
    row = Row(
        participant_id=f"sub-{person.removeprefix('sub-')}",
        session=(line.get("session_id") or "").removeprefix("ses-") or None,
        path=file.as_posix(),
        datatype="dwi" if key in MAP_OF_PARAM.values() else "anat",
        suffix=key or "",
        stage=line["stage"] or "",
        map=key,
        tissue=line.get("tissue"),
        shape=header.shape,
        affine=flat(header.affine),
        day=day,
        day_source="table of images (day)" if day is not None else None,
    )
    return row, []


def _unknown_word(
    column: str, word: str | None, allowed: Sequence[str], *, optional: bool
) -> tuple[str, str, str] | None:
    if word in allowed or (word is None and optional):
        return None
    close = closest(word or "", allowed)
    remedy = f"did you mean {close!r}?" if close else f"write one of {', '.join(allowed)}"
    return f"unknown {column} {word!r}" if word else f"no {column}", f"known: {', '.join(allowed)}", remedy


def _resolve(table: Path, text: str | None) -> tuple[Path | None, list[tuple[str, str, str]]]:
    if text is None:
        return None, [("no path", "the line names no file", "fill it in")]
    file = Path(text)
    if not file.is_absolute():
        folder = Path(os.path.normpath(table.parent.absolute()))
        file = Path(os.path.normpath(folder / text))
        if not file.is_relative_to(folder):
            why = "relative paths stay in the table's folder, so that a shared table cannot reach elsewhere"
            return None, [("the path leaves the table's folder", why, "write an absolute path, or move the table")]
    if not file.name.endswith((".nii", ".nii.gz")):
        return None, [("no NIfTI image", f"{text} does not end in .nii or .nii.gz", "convert it to .nii.gz")]
    if not file.is_file():
        return None, [("no such file", f"{file} does not exist", "correct the path; it counts from the table's folder")]
    return file, []


def _located(problems: Sequence[Problem], place: str) -> list[Problem]:
    return [replace(one, file=f"{place}/{one.file}") for one in problems if one.file != "dataset_description.json"]
