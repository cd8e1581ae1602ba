"""Files of the group level: the tables that a model starts from, and the folder that its result ends in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plastimap.images import Volume, write_volume
from plastimap.paths import motion_column
from plastimap.stats.study import with_motion
from plastimap.stats.tables import statistic_maps
from plastimap.writing import PathLike, replacing, write_table

if TYPE_CHECKING:
    import pandas as pd

    from plastimap.stats.analysis import AnalysisResult


def read_tables(
    scans: PathLike, participants: PathLike, *, labels: Sequence[str], model: Mapping[str, Any], map_name: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scans of a group model, in the order of its maps, and everybody.

    Parameters
    ----------
    scans, participants : path-like
        ``group/scans.tsv``, ``group/participants.tsv``.
    labels : sequence of str
        Of the scans.
    model : mapping
        The configuration's ``model``; weighting by motion adds ``motion_index`` to the scans.
    map_name : str
        Tells which index of motion goes with the map.
    """
    import pandas as pd

    text = {"participant_id": str, "session": str, **({model["group"]: str} if model["group"] else {})}
    read: dict[str, Any] = {"sep": "\t", "na_values": ["n/a"], "dtype": text}
    table = pd.read_csv(scans, **read).set_index("scan").loc[list(labels)].reset_index()
    if model["weighting"] == "motion":
        column = motion_column(map_name)
        table = with_motion(table, table.assign(motion_index=table.get(column, np.nan)))
    return table, pd.read_csv(participants, **read)


def save_maps(folder: PathLike, result: AnalysisResult, *, bayes_scale: float | None) -> None:
    """Write t (or F), effect, standard error and so on as NIfTI, with peaks and null distributions beside them."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name, values in statistic_maps(result, bayes_scale=bayes_scale):
        write_volume(place / f"{name}.nii.gz", Volume(values, result.affine))
    with replacing(place / "nulls.npy") as beside:
        np.save(beside, result.nulls)
    write_table(place / "maxima.tsv", result.maxima)
