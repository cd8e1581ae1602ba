"""Statistics tables of FreeSurfer and FastSurfer → one wide table.

Read are ``?h.aparc….stats`` and ``aseg….stats`` of single people, and the tables that ``aparcstats2table`` and
``asegstats2table`` write (Destrieux 2010, doi:10.1016/j.neuroimage.2010.06.010; Henschel 2020,
doi:10.1016/j.neuroimage.2020.117012). No program of either is needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plastimap.brainage.problems import BrainageProblem
from plastimap.writing import PathLike

if TYPE_CHECKING:
    import pandas as pd

SURFACE_COLUMN = {"thickness": "ThickAvg", "volume": "GrayVol", "area": "SurfArea"}
"""Measure → its column in ``?h.aparc….stats``."""

INTRACRANIAL = re.compile(r"^# Measure (?:EstimatedTotalIntraCranialVol|IntraCranialVol), \w+, [^,]+, ([0-9.]+)")


def read_stats_folder(
    folder: PathLike, *, surface: str = "aparc.a2009s", volumes: str | None = "aseg", measure: str = "thickness"
) -> pd.DataFrame:
    """Every person of a ``SUBJECTS_DIR``.

    Parameters
    ----------
    folder : path-like
        With ``<person>/stats/``.
    surface : str
        Which parcellation: ``aparc.a2009s`` (Destrieux), ``aparc``, ``aparc.DKTatlas.mapped`` (FastSurfer), …
    volumes : str or None
        Which segmentation, ``aseg`` or ``aseg+DKT``; None = none.
    measure : {"thickness", "volume", "area"}
        Of the surface.

    Returns
    -------
    DataFrame
        ``participant_id``, ``lh_…``, ``rh_…``, names of structures, ``eTIV`` (mm³).

    Raises
    ------
    BrainageProblem
        Naming every file that is missing or cannot be read.
    """
    import pandas as pd

    wanted = [f"{side}.{surface}.stats" for side in ("lh", "rh")] + ([f"{volumes}.stats"] if volumes else [])
    people = sorted(place.parent for place in Path(folder).glob("*/stats") if place.is_dir())
    if not people:
        raise BrainageProblem(f"{folder}: no <person>/stats folder in it")
    rows, problems = list[dict[str, float | str]](), list[str]()
    for person in people:
        row: dict[str, float | str] = {"participant_id": person.name}
        for name in wanted:
            try:
                row |= read_stats(person / "stats" / name, measure=measure)
            except (OSError, BrainageProblem) as error:
                problems.append(str(error))
        rows.append(row)
    if problems:
        raise BrainageProblem(problems)
    return pd.DataFrame(rows)


def read_stats(file: PathLike, *, measure: str = "thickness") -> dict[str, float]:
    """One ``.stats`` file: structure → number.

    Parameters
    ----------
    file : path-like
    measure : {"thickness", "volume", "area"}
        Which column of a surface's file; a segmentation's has volumes alone.

    Raises
    ------
    BrainageProblem
        If it is no table of statistics.
    """
    path = Path(file)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    head = next((line.split()[2:] for line in lines if line.startswith("# ColHeaders")), None)
    wanted = SURFACE_COLUMN[measure] if head and SURFACE_COLUMN["thickness"] in head else "Volume_mm3"
    if not head or "StructName" not in head or wanted not in head:
        raise BrainageProblem(f"{path}: no table of statistics (no ColHeaders with StructName and {wanted})")
    side = re.match(r"(lh|rh)\.", path.name)
    prefix = f"{side[1]}_" if side else ""
    name, value = head.index("StructName"), head.index(wanted)
    cells = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    if any(len(row) < len(head) for row in cells):
        raise BrainageProblem(f"{path}: a line is cut short; was the disk full? Make the file again")
    try:
        found = {prefix + row[name]: float(row[value]) for row in cells}
    except ValueError as error:
        raise BrainageProblem(f"{path}: {wanted} is no number ({error}); make the file again") from error
    volume = next((hit[1] for hit in map(INTRACRANIAL.match, lines) if hit), None)
    return found | ({"eTIV": float(volume)} if volume and not side else {})


def read_stats_tables(files: Sequence[PathLike]) -> pd.DataFrame:
    """Tables of ``aparcstats2table`` and ``asegstats2table``, joined by person.

    Parameters
    ----------
    files : sequence of path-like
        Left and right surface, segmentation; tab-, comma- or space-separated.

    Raises
    ------
    BrainageProblem
        If one is no table, or they do not list the same people.
    """
    import pandas as pd

    joined: pd.DataFrame | None = None
    for file in files:
        try:
            # Identifiers stay as they are: 001 is not 1.
            table = pd.read_csv(file, sep=r"[\t,; ]+", engine="python", converters={0: str})
        except (OSError, UnicodeDecodeError, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
            raise BrainageProblem(f"{file}: no table of aparcstats2table or asegstats2table ({error})") from error
        table = table.rename(columns={table.columns[0]: "participant_id", "EstimatedTotalIntraCranialVol": "eTIV"})
        table["participant_id"] = table["participant_id"].str.strip("/")
        if joined is None:
            joined = table
            continue
        apart = set(joined["participant_id"]) ^ set(table["participant_id"])
        if apart:
            raise BrainageProblem(f"{file}: its people are not those of {files[0]}: {', '.join(sorted(apart)[:6])}")
        # Totals stand in every one of the tables: the first counts.
        new = [column for column in table if column == "participant_id" or column not in joined]
        joined = joined.merge(table[new], on="participant_id")
    if joined is None:
        raise BrainageProblem("no table of statistics was named")
    return joined
