"""Design matrices from a table of people: groups, covariates, contrasts, and everything wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.contrasts import Contrast, auto_contrasts, parse_contrast, read_contrasts
from plastimap.stats.glm import estimable, rank
from plastimap.stats.problems import listed, suggestion

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Contrast", "Design", "auto_contrasts", "design_matrix", "design_problems", "designs_for", "parse_contrast"]

ONE_GROUP = "all"
"""Name of the group when the study has none."""

CONFOUNDED = 0.9
"""Share of a covariate's variance between groups from which the report warns."""

ContrastsOption = str | Sequence[str | Mapping[str, str] | Contrast]


@dataclass(frozen=True)
class Design:
    """A group model.

    Attributes
    ----------
    matrix : ndarray, shape (n, p)
        Group columns (0/1), then a slope's regressor, then covariates; regressor and covariates mean-centred.
    names : tuple of str, length p
    people : tuple of str, length n
        Participants, in the order of the rows.
    rows : ndarray of int, shape (n,)
        Their positions in the table that was given.
    groups : tuple of str, length n
        Group of every row.
    contrasts : tuple of Contrast
        Those that can be tested in this model.
    vectors : tuple of ndarray, shape (r, p)
        Their weights: one row for a t test, more for an F test.
    n_tested : int
        Leading columns that contrasts may weigh (groups, and a slope's regressor); covariates follow.
    scale : float
        Standard deviation of a slope's regressor; 1 for comparisons of groups.
    dof : int
        People less rank.
    notes, problems : tuple of str
    """

    matrix: NDArray[np.float64]
    names: tuple[str, ...]
    people: tuple[str, ...]
    rows: NDArray[np.intp]
    groups: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    vectors: tuple[NDArray[np.float64], ...]
    n_tested: int
    scale: float
    dof: int
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def group_labels(participants: pd.DataFrame, group: str | None) -> NDArray[Any]:
    """Every person's group as text (``""`` where missing); ``"all"`` when there is no group column."""
    if group is None:
        return np.full(len(participants), ONE_GROUP, dtype=object)
    column = participants[group]
    labels = [f"{value:g}" if isinstance(value, float) else " ".join(str(value).split()) for value in column]
    return np.array(["" if gone else text for gone, text in zip(_missing(column), labels, strict=True)], dtype=object)


def design_problems(
    participants: pd.DataFrame,
    *,
    group: str | None,
    covariates: Sequence[str],
    contrasts: ContrastsOption,
    computed: Sequence[str] = (),
) -> list[str]:
    """Everything wrong with a model, before anything is computed.

    Parameters
    ----------
    participants : DataFrame
        One row per person, with ``participant_id``.
    group, covariates, contrasts
        As in :func:`design_matrix`.
    computed : sequence of str
        Columns that will only be known later (``tiv``, behaviour parameters): taken as given.

    Returns
    -------
    list of str
        In plain words; empty if nothing is wrong.
    """
    columns = [str(column) for column in participants.columns]
    known = [*columns, *computed]
    ids = participants["participant_id"].astype("string")
    problems = [f"participant {name!r} is listed more than once" for name in sorted(set(ids[ids.duplicated()]))]
    for name in covariates:
        problems += _covariate_problems(participants, name, known, computed)
    if group is not None and group not in columns:
        return [*problems, f"participants have no column {group!r} for the groups; {suggestion(group, columns)}"]
    labels = group_labels(participants, group)
    lost = ids[labels == ""].tolist()
    if lost:
        problems.append(f"no group ({group}) for {listed(lost)}: fill it in, or leave these people out of the study")
    read, wrong = read_contrasts(contrasts, _ordered(labels))
    problems += [_with_hint(text, known) for text in wrong]
    for contrast in read:
        if contrast.column is not None and contrast.column not in known:
            hint = suggestion(contrast.column, known)
            problems.append(f"contrast {contrast.test!r}: no column {contrast.column!r}; {hint}")
        if contrast.column in covariates:
            problems.append(f"contrast {contrast.test!r}: {contrast.column!r} is also a covariate; name it only once")
    return problems


def _covariate_problems(
    participants: pd.DataFrame, name: str, known: Sequence[str], computed: Sequence[str]
) -> list[str]:
    """Name a covariate that does not exist or has gaps."""
    if name not in known:
        return [f"participants have no covariate {name!r}; {suggestion(name, known)}"]
    if name in computed or name not in participants.columns:
        return []
    gone = participants["participant_id"][_missing(participants[name])].tolist()
    return [f"covariate {name!r} is missing for {listed(gone)}: fill it in, or leave {name!r} out"] if gone else []


def design_matrix(
    participants: pd.DataFrame,
    *,
    group: str | None,
    covariates: Sequence[str],
    contrasts: ContrastsOption,
) -> tuple[Design, ...]:
    """Group models for a table of people.

    Comparisons of groups share one model with a column per group and all
    people in it. Each slope has its own: only the people of its groups who
    have a value, a column per group, the regressor, the covariates.

    Parameters
    ----------
    participants : DataFrame
        One row per person, with ``participant_id``.
    group : str or None
        Column with the groups; None = one group.
    covariates : sequence of str
        Columns; numbers are mean-centred, words become centred 0/1 columns (all levels but the first).
    contrasts : "auto" or sequence of str, mapping or Contrast
        See :mod:`plastimap.stats.contrasts`.

    Returns
    -------
    tuple of Design
        What cannot be tested is named in `problems` and left out of `contrasts`.
    """
    wrong = design_problems(participants, group=group, covariates=covariates, contrasts=contrasts)
    if wrong:
        return (_empty(tuple(wrong)),)
    read, _ = read_contrasts(contrasts, _ordered(group_labels(participants, group)))
    return designs_for(participants, group=group, covariates=covariates, contrasts=read)


def designs_for(
    participants: pd.DataFrame, *, group: str | None, covariates: Sequence[str], contrasts: Sequence[Contrast]
) -> tuple[Design, ...]:
    """As :func:`design_matrix`, for contrasts already read and people already checked (some may have been lost)."""
    labels = group_labels(participants, group)
    designs: list[Design] = []
    between = tuple(contrast for contrast in contrasts if contrast.column is None)
    if between:
        designs.append(_build(participants, labels, np.arange(len(labels)), covariates, between, None, ()))
    designs.extend(_slope(participants, labels, covariates, c, c.column) for c in contrasts if c.column is not None)
    return tuple(designs)


def _slope(
    participants: pd.DataFrame, labels: NDArray[Any], covariates: Sequence[str], contrast: Contrast, column: str
) -> Design:
    inside = np.isin(labels, contrast.left)
    without = inside & _missing(participants[column])
    notes: tuple[str, ...] = ()
    if without.any():
        names = participants["participant_id"].to_numpy()[without]
        notes = (f"{contrast.name}: no {column} for {listed(names)}; not in this model.",)
    return _build(participants, labels, np.flatnonzero(inside & ~without), covariates, (contrast,), column, notes)


def _build(
    participants: pd.DataFrame,
    labels: NDArray[Any],
    rows: NDArray[np.intp],
    covariates: Sequence[str],
    contrasts: tuple[Contrast, ...],
    regressor: str | None,
    notes: tuple[str, ...],
) -> Design:
    """Columns, contrast vectors, notes and problems for the people in `rows`."""
    table = participants.iloc[rows]
    own = labels[rows]
    groups = _ordered(own)
    names = [f"group {name}" for name in groups]
    columns: list[NDArray[np.float64]] = [(own == name).astype(np.float64) for name in groups]
    said = list(notes)
    problems: list[str] = []
    if regressor is not None:
        coded = _coded(table[regressor], regressor) if rows.size else []
        if [name for name, _ in coded] == [regressor]:
            names.append(regressor)
            columns.append(coded[0][1])
        else:
            problems.append(f"{contrasts[0].name}: {regressor!r} does not hold numbers that differ between people")
    n_tested = len(names)
    for covariate in covariates:
        coded = _coded(table[covariate], covariate)
        if not coded:
            said.append(f"Covariate {covariate} is the same for everybody in this model: left out.")
        if len(coded) > max(len(table) // 3, 1):
            problems.append(f"covariate {covariate!r} has {len(coded) + 1} different words: it looks like a label")
            continue
        names += [name for name, _ in coded]
        columns += [values for _, values in coded]
    matrix = np.column_stack(columns) if columns else np.zeros((rows.size, 0))
    dof = int(rows.size - rank(matrix))
    if dof < 1:
        problems.append(f"{rows.size} people, {len(names)} columns ({', '.join(names)}): no degrees of freedom left")
    said += _confounding(matrix, names, own, groups)
    testable = [] if problems else [c for c in contrasts if _can_test(c, matrix, names, problems)]
    return Design(
        matrix=matrix,
        names=tuple(names),
        people=tuple(str(name) for name in table["participant_id"]),
        rows=rows,
        groups=tuple(str(name) for name in own),
        contrasts=tuple(testable),
        vectors=tuple(_vectors(contrast, names) for contrast in testable),
        n_tested=n_tested,
        scale=float(matrix[:, names.index(regressor)].std(ddof=1)) if regressor in names else 1.0,
        dof=dof,
        notes=tuple(said),
        problems=tuple(problems),
    )


def _can_test(contrast: Contrast, matrix: NDArray[np.float64], names: Sequence[str], problems: list[str]) -> bool:
    """Whether a contrast can be told from this design; the reason why not is added to `problems`."""
    gone = [group for group in contrast.groups if f"group {group}" not in names]
    if gone and (contrast.column is None or len(gone) == len(contrast.groups)):
        problems.append(f"{contrast.name}: nobody is left of {listed(gone)}")
        return False
    if all(estimable(matrix, row) for row in _vectors(contrast, names)):
        return True
    same = listed(_entangled(matrix, names))
    problems.append(f"{contrast.name}: cannot be told apart from what says the same thing ({same}); leave one out")
    return False


def _vectors(contrast: Contrast, names: Sequence[str]) -> NDArray[np.float64]:
    """Weights of a contrast on the columns, shape (r, p)."""
    if contrast.column is not None:
        vector = np.zeros((1, len(names)))
        vector[0, list(names).index(contrast.column)] = 1.0
        return vector
    means = [_mean_of(side, names) for side in (contrast.sides or (contrast.left, contrast.right))]
    return np.stack([one - other for one, other in pairwise(means)])


def _mean_of(groups: Sequence[str], names: Sequence[str]) -> NDArray[np.float64]:
    """Weights of the mean of groups; nothing for none."""
    vector = np.zeros(len(names))
    for group in groups:
        vector[list(names).index(f"group {group}")] = 1 / len(groups)
    return vector


def _coded(column: pd.Series, name: str) -> list[tuple[str, NDArray[np.float64]]]:
    """Code a covariate as mean-centred columns; none if it is the same for everybody."""
    import pandas as pd

    if not len(column):
        return []
    numbers = pd.to_numeric(column, errors="coerce")
    if not numbers.isna().any():
        values = numbers.to_numpy(dtype=np.float64)
        return [] if np.ptp(values) == 0 else [(name, values - values.mean())]
    words = np.array([str(value).strip() for value in column])
    found: list[tuple[str, NDArray[np.float64]]] = []
    for level in sorted(set(words))[1:]:
        values = (words == level).astype(np.float64)
        found.append((f"{name}={level}", values - values.mean()))
    return found


def _confounding(
    matrix: NDArray[np.float64], names: Sequence[str], own: NDArray[Any], groups: Sequence[str]
) -> list[str]:
    """Name covariates that say (nearly) the same as others or as the groups."""
    notes: list[str] = []
    if matrix.shape[1] and rank(matrix) < matrix.shape[1]:
        notes.append(f"These columns say the same thing and cannot be told apart: {listed(_entangled(matrix, names))}.")
    for name, values in zip(names[len(groups) :], matrix[:, len(groups) :].T, strict=True):
        total = float(((values - values.mean()) ** 2).sum())
        within = sum(float(((values[own == g] - values[own == g].mean()) ** 2).sum()) for g in groups)
        between = 1 - within / total if total > 0 else 0.0
        if len(groups) > 1 and between > CONFOUNDED:
            notes.append(f"{name} and the groups are confounded: {between:.0%} of its variance lies between groups.")
    return notes


def _entangled(matrix: NDArray[np.float64], names: Sequence[str]) -> list[str]:
    """Columns that could be left out without loss of rank."""
    full = rank(matrix)
    return [name for j, name in enumerate(names) if rank(np.delete(matrix, j, axis=1)) == full]


def _missing(column: pd.Series) -> NDArray[np.bool_]:
    """Where a table cell holds nothing: empty, NaN, or BIDS's n/a."""
    texts = column.astype("string").str.strip().str.casefold()
    return (column.isna() | texts.isin(["", "n/a", "nan"])).to_numpy(dtype=bool)


def _ordered(labels: NDArray[Any]) -> list[str]:
    """Distinct groups, sorted: their order never depends on who comes first in the table."""
    return sorted({str(label) for label in labels if label != ""})


def _with_hint(problem: str, columns: Sequence[str]) -> str:
    """Add, where a column was named as a group, how a slope is written."""
    for column in columns:
        if f"no group {column!r}" in problem:
            return f"{problem}; a slope on the column is written '{column} in GROUP <> 0'"
    return problem


def _empty(problems: tuple[str, ...]) -> Design:
    return Design(
        matrix=np.zeros((0, 0)),
        names=(),
        people=(),
        rows=np.zeros(0, dtype=np.intp),
        groups=(),
        contrasts=(),
        vectors=(),
        n_tested=0,
        scale=1.0,
        dof=0,
        notes=(),
        problems=problems,
    )
