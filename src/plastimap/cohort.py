"""Two tables on which everything at the group level stands: scans and participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plastimap.paths import scan_session, scan_subject
from plastimap.writing import PathLike

if TYPE_CHECKING:
    import pandas as pd

_CURVE = ("alpha", "delta", "gamma", "improvement")

CURVE_PARAMETERS = (*_CURVE, *(f"{name}_pooled" for name in _CURVE))
"""Parameters of a learning curve that become columns of a person; the pooled ones lean on everybody's curves."""


def scan_table(days: Mapping[str, float | None], quality: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row per scan.

    Parameters
    ----------
    days : mapping of str to float or None
        Scan label (``sub-01_ses-02``) → days since baseline.
    quality : mapping of str to mapping
        Scan label → its quality numbers, all steps together. What is no plain number is left to the scan's own file.

    Returns
    -------
    DataFrame
        ``participant_id``, ``session``, ``scan``, ``day``, then a column per quality number.
    """
    import pandas as pd

    rows = [
        {
            "participant_id": f"sub-{scan_subject(label)}",
            "session": scan_session(label),
            "scan": label,
            "day": day,
            **{key: value for key, value in quality.get(label, {}).items() if isinstance(value, (int, float))},
        }
        for label, day in sorted(days.items())
    ]
    return pd.DataFrame(rows).astype({"day": float})


def participant_table(
    scans: pd.DataFrame, participants: pd.DataFrame | None, fits: pd.DataFrame | None
) -> pd.DataFrame:
    """One row per person with a scan.

    Parameters
    ----------
    scans : DataFrame
        As :func:`scan_table` gives it; the mean ``tiv_ml`` over a person's sessions becomes ``tiv``.
    participants : DataFrame or None
        ``participants.tsv``.
    fits : DataFrame or None
        Learning curves, one row per ``participant_id`` and ``outcome``; they become columns such as
        ``csr_percent_delta``.

    Returns
    -------
    DataFrame
    """
    people = scans.groupby("participant_id", sort=True).size().rename("n_sessions").reset_index()
    if "tiv_ml" in scans:
        tiv = scans.groupby("participant_id")["tiv_ml"].mean().rename("tiv").reset_index()
        people = people.merge(tiv, on="participant_id", how="left")
    if participants is not None:
        own = [column for column in participants if column not in people or column == "participant_id"]
        people = people.merge(participants[own], on="participant_id", how="left")
    return people if fits is None or fits.empty else people.merge(_wide(fits), on="participant_id", how="left")


def _wide(fits: pd.DataFrame) -> pd.DataFrame:
    wanted = [name for name in CURVE_PARAMETERS if name in fits]
    wide = fits.pivot(index="participant_id", columns="outcome", values=wanted)
    wide.columns = [f"{outcome}_{name}" for name, outcome in wide.columns]
    return wide.reset_index()


def read_participants(file: PathLike, *, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read ``participants.tsv``.

    Parameters
    ----------
    file : path-like
    text : sequence of str
        Columns that are labels even when they look like numbers, such as the group's.

    Returns
    -------
    DataFrame
        ``participant_id`` always as ``sub-…``.
    """
    import pandas as pd

    labels = dict.fromkeys(("participant_id", *text), str)
    table = pd.read_csv(file, sep="\t", na_values=["n/a"], dtype=labels)
    table["participant_id"] = "sub-" + table["participant_id"].str.removeprefix("sub-")
    return table


def scan_of_quality_file(name: str) -> str:
    """Label of the scan that a quality file belongs to: ``sub-01_ses-02_mpm_qa.json`` → ``sub-01_ses-02``."""
    parts = name.split("_")
    return "_".join(part for part in parts if part.startswith(("sub-", "ses-")))


def merge_quality(files: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Quality numbers of every scan.

    Parameters
    ----------
    files : sequence of (str, mapping)
        File name and content.
    """
    merged: dict[str, dict[str, Any]] = {}
    for name, content in files:
        merged.setdefault(scan_of_quality_file(name), {}).update(content)
    return merged
