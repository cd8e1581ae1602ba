"""The table of participants: read as text, selected, and checked against what the model needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from plastimap.bids.problems import Problem
from plastimap.bids.tables import number, read_table
from plastimap.bids.words import enumeration

FILE = "participants.tsv"

Participant = dict[str, str | None]


def read_participants(bids_dir: Path) -> tuple[list[Participant], list[Problem]]:
    """Everybody in ``participants.tsv``, in its order; the first line of a person listed twice counts.

    Parameters
    ----------
    bids_dir : Path
        The raw dataset.

    Returns
    -------
    list of dict, list of Problem
        Column → text, None for ``n/a``; ``participant_id`` starts with ``sub-``.
    """
    file = bids_dir / FILE
    if not file.exists():
        return [], []
    table, problems = read_table(file, FILE, required=("participant_id",))
    people: dict[str, Participant] = {}
    counts: Counter[str] = Counter()
    for line in table.rows:
        label = line["participant_id"]
        if label is None:
            why = "nobody can say whom it describes"
            problems.append(Problem(FILE, "a line without participant_id", why, "fill it in or remove the line"))
            continue
        name = f"sub-{label.removeprefix('sub-')}"
        counts[name] += 1
        people.setdefault(name, {**line, "participant_id": name})
    for name, count in counts.items():
        if count > 1:
            why = "a person counted twice, or two persons under one name, makes every group statistic wrong"
            remedy = "remove the surplus line, or give the second person a label of their own"
            problems.append(Problem(FILE, f"{name} is listed {count} times", why, remedy))
    return list(people.values()), problems


def check_presence(
    people: Sequence[Participant], with_data: Collection[str], *, exists: bool, needed: bool
) -> list[Problem]:
    """Participants without data, and data without a line in the table.

    Parameters
    ----------
    people : sequence of dict
        Lines of the table, already narrowed to the participants that are wanted.
    with_data : collection of str
        ``sub-…`` of everybody with files.
    exists : bool
        Whether there is a table at all.
    needed : bool
        Whether the group model needs columns of it.
    """
    listed = {person["participant_id"] for person in people}
    problems: list[Problem] = []
    idle = sorted(name for name in listed if name is not None and name not in with_data)
    if idle:
        why = "the table lists them, and no file of theirs can be used"
        remedy = "nothing, or fetch their data"
        problems.append(Problem(FILE, f"no data for {enumeration(idle)}", why, remedy, "notice"))
    unlisted = sorted(set(with_data) - listed)
    if unlisted and exists:
        why = "group and covariates come from this table" if needed else "the table should list everybody"
        severity = "error" if needed else "notice"
        problems.append(Problem(FILE, f"no line for {enumeration(unlisted)}", why, _padding(unlisted, idle), severity))
    return problems


def _padding(unlisted: Sequence[str], idle: Sequence[str]) -> str:
    """Remedy for people without a line; spreadsheets take the zeros from 01."""
    plain = {name.removeprefix("sub-").lstrip("0"): name for name in idle}
    meant = [(plain[bare], name) for name in unlisted if (bare := name.removeprefix("sub-").lstrip("0")) in plain]
    return f"write {meant[0][1]} for {meant[0][0]}, and so on" if meant else "add the missing lines"


def check_model_columns(
    people: Sequence[Participant],
    with_data: Collection[str],
    *,
    exists: bool,
    group: str | None,
    covariates: Sequence[str],
) -> list[Problem]:
    """Group and covariates that the model needs and the table lacks.

    A missing value is an error, never a dropped person.

    Parameters
    ----------
    people : sequence of dict
    with_data : collection of str
    exists : bool
    group : str or None
        Column of the groups.
    covariates : sequence of str
        Other columns; ``tiv`` is measured, not read.
    """
    wanted = [("model.group", group)] if group else []
    wanted += [("model.covariates", column) for column in covariates if column != "tiv"]
    if not wanted:
        return []
    if not exists:
        columns = ", ".join(str(column) for _, column in wanted)
        remedy = (
            f"write {FILE} with participant_id, {columns}; or set model.group: null and "
            "model.covariates to what there is; or leave glm out of stages"
        )
        return [Problem(FILE, "no participants.tsv", f"the group model needs: {columns}", remedy)]
    columns = list(people[0]) if people else []
    problems: list[Problem] = []
    for key, column in wanted:
        if column not in columns:
            why = f"{key} names it; the table has: {', '.join(columns)}"
            remedy = f"add the column, or change {key} (null or [] for none), or leave glm out of stages"
            problems.append(Problem(FILE, f"no column {column!r}", why, remedy))
            continue
        present = [person for person in people if person["participant_id"] in with_data]
        problems += _missing_values(key, str(column), present)
        problems += (
            _mixed_values(str(column), present) if key == "model.covariates" else _alike_groups(key, column, present)
        )
    return problems


def _missing_values(key: str, column: str, people: Sequence[Participant]) -> list[Problem]:
    missing = sorted(str(person["participant_id"]) for person in people if person[column] is None)
    if not missing:
        return []
    what, why = f"no {column} for {enumeration(missing)}", f"{key} names it, and nobody is dropped in silence"
    remedy = f"fill it in, or leave them out (participants:), or take {column} out of {key}"
    return [Problem(FILE, what, why, remedy)]


def _alike_groups(key: str, column: str, people: Sequence[Participant]) -> list[Problem]:
    """Groups that differ by upper and lower case only: one more group, of those who were mistyped."""
    spellings: dict[str, set[str]] = {}
    for person in people:
        if (text := person[column]) is not None:
            spellings.setdefault(text.casefold(), set()).add(text)
    alike = [" and ".join(repr(name) for name in sorted(names)) for names in spellings.values() if len(names) > 1]
    why = f"{key} names the column, and each spelling would be a group of its own"
    return [Problem(FILE, f"groups {names} differ by case only", why, "write them alike") for names in alike]


def _mixed_values(column: str, people: Sequence[Participant]) -> list[Problem]:
    """Numbers and words in one covariate: most often a decimal comma or a unit in the cell."""
    values: Mapping[str, str] = {
        str(person["participant_id"]): text for person in people if (text := person[column]) is not None
    }
    words = {name: text for name, text in values.items() if number(text) is None}
    if not words or len(words) == len(values):
        commas = [text for text in words.values() if number(text.replace(",", ".", 1)) is not None]
        if not commas:
            return []
        words = {name: text for name, text in words.items() if text in commas}
    shown = ", ".join(f"{name} {text!r}" for name, text in list(words.items())[:5])
    why = f"a covariate is numbers or categories, not both: {shown}"
    return [Problem(FILE, f"{column} is not a number everywhere", why, "write numbers with a decimal point, no units")]
