"""The manifest: one row per file of a study, with entities, metadata and days since baseline.

The main process indexes once and writes the table when it changed; jobs read
it as it was when the run started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from plastimap.bids.choose import choose
from plastimap.bids.days import add_days
from plastimap.bids.external import derivative_rows, image_rows
from plastimap.bids.index import Dataset
from plastimap.bids.masks import is_brain_mask, is_mask
from plastimap.bids.participants import Participant, read_participants
from plastimap.bids.problems import Problem, unique_problems
from plastimap.bids.raw import is_selected, raw_rows
from plastimap.bids.rows import Row, format_rows, parse_rows
from plastimap.bids.words import closest
from plastimap.writing import PathLike, write_if_changed

__all__ = ["Manifest", "Row", "behaviour_files", "index_dataset", "read_manifest", "wants", "write_manifest"]

MIN_PARTICIPANTS = 4
"""Fewer people than this leave no degrees of freedom for a group model with covariates."""


@dataclass(frozen=True)
class Manifest:
    """What a study contains.

    Attributes
    ----------
    rows : tuple of Row
        One per file, in the order of person, session and path.
    participants : tuple of dict
        Lines of ``participants.tsv`` for the participants that are wanted, as text; None for ``n/a``. Everybody
        with data is there, if only with ``participant_id``.
    problems : tuple of Problem
        What was wrong when indexing; :func:`plastimap.bids.checks.check_study` adds the rest.
    name : str or None
        The dataset's name.
    bids_dir : str or None
        Absolute path of the raw dataset.
    listed : frozenset of str
        ``sub-…`` of those whom ``participants.tsv`` lists.
    masks : tuple of str
        Paths of all masks on structural images, whether or not they can be used.
    """

    rows: tuple[Row, ...]
    participants: tuple[Participant, ...] = ()
    problems: tuple[Problem, ...] = field(default=(), compare=False)
    name: str | None = None
    bids_dir: str | None = None
    listed: frozenset[str] = frozenset()
    masks: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def used(self) -> tuple[Row, ...]:
        """Rows that count."""
        return tuple(row for row in self.rows if row.used)

    @property
    def scans(self) -> tuple[str, ...]:
        """Labels of all scans with an image that counts, in order: ``sub-01_ses-02``, or ``sub-01``."""
        return tuple(dict.fromkeys(row.scan for row in self.used if row.datatype != "beh"))

    @property
    def people(self) -> tuple[str, ...]:
        """``sub-…`` of everybody with a file that counts."""
        return tuple(dict.fromkeys(row.participant_id for row in self.used))

    def of(self, scan: str) -> tuple[Row, ...]:
        """Rows that count, of one scan."""
        return self._by_scan.get(scan, ())

    @cached_property
    def _by_scan(self) -> dict[str, tuple[Row, ...]]:
        found: dict[str, list[Row]] = {}
        for row in self.used:
            found.setdefault(row.scan, []).append(row)
        return {scan: tuple(rows) for scan, rows in found.items()}

    def file_label(self, path: str) -> str:
        """Name a path as problems do: relative to the dataset where it lies inside."""
        return path.removeprefix(f"{self.bids_dir}/") if self.bids_dir else path


def wants(config: Mapping[str, Any], stage: str) -> bool:
    """Whether the configuration asks for a stage, or leaves it to the data (``auto``)."""
    stages = config.get("stages", "auto")
    return stages == "auto" or stage in stages


def index_dataset(bids_dir: PathLike | None, config: Mapping[str, Any]) -> Manifest:
    """Index a study: the raw dataset, folders of derivatives, and the table of images.

    Parameters
    ----------
    bids_dir : path-like or None
        Raw BIDS dataset; None when all maps come from elsewhere.
    config : mapping
        A configuration as :func:`plastimap.config.load_config` gives it.

    Returns
    -------
    Manifest
    """
    people, visits = [str(one) for one in config["participants"]], [str(one) for one in config["sessions"]]
    dataset = Dataset(bids_dir) if bids_dir is not None and Path(bids_dir).is_dir() else None
    rows, lines, problems = _raw(dataset, config, people, visits)
    folders = [Dataset(folder) for folder in config["derivatives"] if Path(folder).is_dir()]
    outside, found = _outside(folders, config, people, visits)
    problems += found
    masks = _masks([*([dataset] if dataset else []), *folders], people, visits)
    rows, shared = _without_shared_masks([*rows, *outside])
    rows = sorted(rows, key=lambda row: (row.participant_id, row.session or "", row.path, row.stage))
    several = len({row.participant_id for row in rows}) > 1
    longitudinal = wants(config, "glm") and several
    rows, found = add_days(rows, dataset, config["input"]["days"], longitudinal=longitudinal)
    problems += found
    for key, wanted, entity, there in (
        ("participants", people, "sub", {row.subject for row in rows}),
        ("sessions", visits, "ses", {row.session for row in rows if row.session}),
    ):
        # Where nothing is left, a label that some file has is not the one to blame.
        problems += _selection_problems(key, wanted, there if rows else _labels(dataset, entity), dataset, entity)
    name = dataset.name if dataset is not None else None
    problems += dataset.problems if dataset is not None else []
    return Manifest(
        rows=tuple(rows),
        participants=tuple(_everybody(lines, rows, people)),
        problems=tuple(unique_problems(problems)),
        name=name,
        bids_dir=dataset.root.as_posix() if dataset is not None else None,
        listed=frozenset(str(line["participant_id"]) for line in lines),
        masks=tuple(dict.fromkeys([*masks, *shared])),
    )


def _raw(
    dataset: Dataset | None, config: Mapping[str, Any], people: Sequence[str], visits: Sequence[str]
) -> tuple[list[Row], list[Participant], list[Problem]]:
    if dataset is None:
        return [], [], []
    lines, problems = read_participants(dataset.root)
    rows, notices = choose(
        raw_rows(dataset, participants=people, sessions=visits),
        repeated_runs=config["input"]["repeated_runs"],
        prefer=config["input"]["prefer"],
    )
    prefix = f"{dataset.root.as_posix()}/"
    problems += [Problem(one.file.removeprefix(prefix), one.what, one.why, one.remedy, one.severity) for one in notices]
    return rows, lines, problems


def _outside(
    folders: Sequence[Dataset], config: Mapping[str, Any], people: Sequence[str], visits: Sequence[str]
) -> tuple[list[Row], list[Problem]]:
    rows: list[Row] = []
    problems: list[Problem] = []
    for folder in folders:
        found, wrong = derivative_rows(folder, participants=people, sessions=visits)
        rows, problems = rows + found, problems + wrong
    if config["images"] and Path(config["images"]).is_file():
        found, wrong = image_rows(Path(config["images"]), participants=people, sessions=visits)
        rows, problems = rows + found, problems + wrong
    return rows, problems


def _masks(datasets: Sequence[Dataset], people: Sequence[str], visits: Sequence[str]) -> list[str]:
    """Masks on structural images; those of our own steps, and of surfaces, are left out."""
    return [
        dataset.absolute(file)
        for dataset in datasets
        for file in dataset.files
        if is_mask(file.name) and file.datatype in ("anat", None) and is_selected(file.name, people, visits)
    ]


def _without_shared_masks(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Part the rows from the brain masks of people with sessions that name none: they are no scan of their own."""
    with_sessions = {row.participant_id for row in rows if row.session}
    shared = [row for row in rows if is_brain_mask(row) and not row.session and row.participant_id in with_sessions]
    paths = {row.path for row in shared}
    return [row for row in rows if row.path not in paths], [row.path for row in shared]


def _everybody(lines: Sequence[Participant], rows: Sequence[Row], people: Sequence[str]) -> list[Participant]:
    wanted = {f"sub-{label}" for label in people}
    kept = [line for line in lines if not wanted or line["participant_id"] in wanted]
    listed = {line["participant_id"] for line in kept}
    columns = list(lines[0]) if lines else ["participant_id"]
    new = [name for name in dict.fromkeys(row.participant_id for row in rows) if name not in listed]
    return kept + [{**dict.fromkeys(columns), "participant_id": name} for name in new]


def _selection_problems(
    key: str, wanted: Sequence[str], found: set[str], dataset: Dataset | None, entity: str
) -> list[Problem]:
    """Labels that were asked for and that no file has."""
    there = _labels(dataset, entity)
    problems: list[Problem] = []
    for label in wanted:
        if label not in found:
            padded = next((one for one in sorted(there) if one.lstrip("0") == label.lstrip("0")), None)
            close = padded if padded != label else None
            close = close or closest(label, there - {label})
            why = (
                "no usable file has this label" if label in there else f"the data have: {', '.join(sorted(there)[:20])}"
            )
            remedy = f'did you mean "{close}" (in quotes)?' if close else f"correct {key} in the configuration"
            problems.append(Problem(f"config: {key}", f"no {entity}-{label} in the data", why, remedy))
    return problems


def _labels(dataset: Dataset | None, entity: str) -> set[str]:
    """Labels of an entity in the names of a dataset's files."""
    files = dataset.files if dataset is not None else ()
    return {label for file in files if (label := file.name.get(entity))}


def behaviour_files(manifest: Manifest, config: Mapping[str, Any]) -> list[str]:
    """Tables of behaviour: the configured one, else BIDS ``beh`` tables, else ``behaviour.tsv`` in the dataset."""
    table = config["behaviour"]["table"]
    if table != "auto":
        return [str(table)]
    found = [row.path for row in manifest.used if row.datatype == "beh"]
    if not found and manifest.bids_dir and (plain := Path(manifest.bids_dir, "behaviour.tsv")).is_file():
        found = [plain.as_posix()]
    return found


def write_manifest(path: PathLike, manifest: Manifest) -> bool:
    """Write the rows as a table, only when it says something new.

    Returns
    -------
    bool
        Whether it was written.
    """
    return write_if_changed(path, format_rows(manifest.rows))


def read_manifest(path: PathLike) -> Manifest:
    """Read back the rows of a manifest.

    Raises
    ------
    ValueError
        When the table is not one of this version.
    """
    return Manifest(parse_rows(Path(path).read_text(encoding="utf-8")))
