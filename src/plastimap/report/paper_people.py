"""Tables of people and of behaviour for a paper: Table 1 and Table S1."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from plastimap.report.layout import PaperTable, mean_and_sd
from plastimap.report.paper import OUTCOMES
from plastimap.report.tables import number, p_value

if TYPE_CHECKING:
    import pandas as pd

AGE_BAND = 5
"""Ages of single people are printed as ranges of this many years, so that nobody is known by it."""

COMPUTED = ("participant_id", "group", "n_sessions", "tiv")
CURVE_ENDINGS = ("_alpha", "_delta", "_gamma", "_improvement", "_pooled")
HEADINGS = {"age": "Age (years)", "sex": "Sex", "n_sessions": "Sessions", "tiv": "TIV (ml)"}


def people_table(participants: pd.DataFrame) -> PaperTable:
    """Table 1: people who have something to tell beyond age and sex, one by one; then every group.

    Parameters
    ----------
    participants : DataFrame
        One row per person, as ``group/participants.tsv``.

    Returns
    -------
    PaperTable
        Groups in which a clinical column (one that not everybody has a value
        in) is filled are listed person by person; without such a column
        nobody is, and only the groups' summary is shown.
    """
    import pandas as pd

    table = participants.assign(
        group=participants["group"].astype("string").fillna("not given") if "group" in participants else "everybody"
    )
    own = [str(name) for name in table.columns if name not in COMPUTED and not str(name).endswith(CURVE_ENDINGS)]
    clinical = [name for name in own if table[name].isna().any() and table[name].notna().any()]
    listed = table[table[clinical].notna().any(axis=1)] if clinical else table.iloc[:0]
    more = [name for name in ("n_sessions", "tiv") if name in table]
    data = listed[["group", "participant_id", *own, *more]].assign(**_bands(listed))
    summary = pd.DataFrame([_summary(str(name), part, [*own, "n_sessions", "tiv"])
                            for name, part in table.groupby("group", sort=True)])  # fmt: skip
    shown = pd.concat([data.rename(columns=str).astype(object), summary], ignore_index=True)
    shown = shown[[name for name in ("group", "participant_id", *own, "n_sessions", "tiv") if name in shown]]
    headings = {"group": "Group", "participant_id": "Subject", **HEADINGS}
    printed = shown.map(number).rename(columns=lambda name: headings.get(name, str(name).replace("_", " ")))
    note = "Numbers of groups are mean ± SD. " + ("Ages of single people are given as ranges." if "age" in own else "")
    return PaperTable("table_1", "Table 1 | People", shown, printed, note=note.strip())


def _bands(people: pd.DataFrame) -> dict[str, list[str]]:
    if "age" not in people:
        return {}
    return {"age": ["–" if math.isnan(age) else age_band(age) for age in people["age"].astype(float)]}


def age_band(age: float) -> str:
    """``23.4`` → ``21–25``."""
    low = (math.ceil(age / AGE_BAND) - 1) * AGE_BAND + 1
    return f"{low}–{low + AGE_BAND - 1}"


def _summary(name: str, part: pd.DataFrame, columns: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"group": name, "participant_id": f"n = {len(part)}"}
    for column in columns:
        if column not in part or part[column].isna().all():
            continue
        values = part[column].dropna()
        if values.dtype.kind in "iuf":
            row[column] = mean_and_sd(float(values.mean()), float(values.std(ddof=1)))
        else:
            counts = values.astype(str).value_counts()
            few = len(counts) <= 6
            row[column] = ", ".join(f"{count} {level}" for level, count in counts.items()) if few else "–"
    return row


def behaviour_table(tests: pd.DataFrame, sides: pd.DataFrame | None) -> PaperTable:
    """Table S1: all tests of behaviour.

    Parameters
    ----------
    tests : DataFrame
        ``group/behaviour_tests.tsv``.
    sides : DataFrame or None
        ``group/behaviour_sides.tsv``.
    """
    import pandas as pd

    data = tests.copy()
    if sides is not None and "z" in sides:
        compared = sides[sides["z"].notna()]
        counts = [f"{int(a)} + {int(b)}" for a, b in zip(compared["n_left"], compared["n_right"], strict=True)]
        own = {"test": "sides", "outcome": compared["outcome"], "group": "left vs right", "quantity": "mean over days"}
        more = pd.DataFrame({**own, "n": counts, **{k: compared[k] for k in ("z", "p_exact", "p_asymptotic")}})
        data = pd.concat([data, more], ignore_index=True)
    names = {"delta": "δ", "gamma": "γ", "alpha": "α"}
    p_columns = {"p_exact": "p (exact)", "p_asymptotic": "p (asymptotic)", "shapiro_p": "p (Shapiro–Wilk)"}
    shown = pd.DataFrame({
        "Test": data["test"],
        "Outcome": [OUTCOMES.get(str(name), str(name)) for name in data["outcome"]],
        "Group": data["group"],
        "Quantity": [names.get(str(name), str(name)) for name in data["quantity"]],
        "n": data["n"].astype(str),
        "Median": [number(value) for value in data["median"]],
        "z": ["–" if math.isnan(z) else f"{z:.3f}" for z in data["z"].astype(float)],
        **{heading: [p_value(value) for value in data[name]] for name, heading in p_columns.items() if name in data},
    })  # fmt: skip
    note = (
        "One-sample and retention: Wilcoxon signed-rank tests of δ and of the change between two days; groups and "
        "sides: rank-sum tests. z without continuity correction, corrected for ties; all p two-sided."
    )
    return PaperTable("table_S1", "Table S1 | Tests of behaviour", data, shown, note=note)
