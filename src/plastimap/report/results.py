"""What the group statistics found: tables, pictures and safeguards of the study's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.report.inputs import ResultImage, StudyInputs
from plastimap.report.tables import Table, make_table, number
from plastimap.report.trajectories import Panel
from plastimap.stats.contrasts import parse_contrast

if TYPE_CHECKING:
    import pandas as pd

CLUSTER_COLUMNS: Mapping[str, str] = {
    "map": "map",
    "where": "where",
    "contrast": "contrast",
    "term": "term",
    "direction": "sign",
    "cluster_p_corrected": "p (all families)",
    "cluster_p_fwe": "p (volume)",
    "k": "voxels",
    "peak_t": "t",
    "peak_z": "Z",
    "peak": "peak (mm)",
    "effect_percent": "change (%)",
    "warnings": "look at",
}
CLUSTER_P_COLUMNS = ("cluster_p_corrected", "cluster_p_fwe")
CLUSTER_KEY = ("map", "tissue", "cluster")


@dataclass(frozen=True)
class Verdict:
    """Clusters sorted by what they survived.

    Attributes
    ----------
    survived : DataFrame
        Significant across all families.
    own_only : DataFrame
        Significant in their own search volume only.
    families : int
        Families tested.
    limit : float
        Family-wise p.
    """

    survived: pd.DataFrame
    own_only: pd.DataFrame
    families: int
    limit: float


def judge(clusters: pd.DataFrame, families: pd.DataFrame | None, *, limit: float) -> Verdict:
    """Sort clusters into those that survive correction across families and those that do not.

    Parameters
    ----------
    clusters : DataFrame
        With ``cluster_p_fwe`` and, where corrected, ``cluster_p_corrected``.
    families : DataFrame or None
        One row per family.
    limit : float
        Family-wise p.
    """
    corrected = clusters["cluster_p_corrected" if "cluster_p_corrected" in clusters else "cluster_p_fwe"].astype(float)
    ordered = clusters.assign(_p=corrected).sort_values(["_p", "cluster_p_fwe"], kind="stable")
    survived, own = ordered["_p"] < limit, ordered["cluster_p_fwe"].astype(float) < limit
    counted = 0 if families is None else len(families)
    return Verdict(ordered[survived].drop(columns="_p"), ordered[own & ~survived].drop(columns="_p"), counted, limit)


def cluster_table(frame: pd.DataFrame, caption: str) -> Table:
    """Clusters in the layout of the page."""
    places = zip(frame["x"], frame["y"], frame["z"], strict=True)
    sides = frame["place"] if "place" in frame else "hemisphere " + frame["hemisphere"].astype(str)
    # Map and tissue share a column: the table must fit a page of usual width.
    named = frame.assign(
        map=frame["map"].astype(str) + " " + frame["tissue"].astype(str),
        where=sides,
        peak=[_place(place) for place in places],
    )
    return make_table(named, CLUSTER_COLUMNS, caption=caption, p_columns=CLUSTER_P_COLUMNS)


def shape_table(shown: pd.DataFrame, courses: pd.DataFrame | None) -> Table | None:
    """Which shape of change describes the clusters that are shown: every shape's weight, best first.

    Parameters
    ----------
    shown : DataFrame
        Clusters of the page, in order.
    courses : DataFrame or None
        map, tissue, cluster, course, delta_aic, weight, bic.

    Returns
    -------
    Table or None
        None where no shapes were compared in them.
    """
    import pandas as pd

    if courses is None or "cluster" not in shown:
        return None
    rows: list[dict[str, str]] = []
    for _, one in shown.iterrows():
        mine = courses
        for key in CLUSTER_KEY:
            mine = mine[mine[key].astype(str) == str(one[key])]
        if len(mine) < 2 or not _told_by_shapes(one, mine):
            continue
        ordered = mine.sort_values("delta_aic", kind="stable")
        by_bic = mine.sort_values("bic", kind="stable")["course"]
        weights = zip(ordered["course"], ordered["weight"], strict=True)
        rows.append(
            {
                "cluster": f"{one['map']} {one['tissue']}, {one.get('place', one['hemisphere'])}",
                "term": str(one["term"]),
                "best (AIC)": str(ordered["course"].iloc[0]),
                "best (BIC)": str(by_bic.iloc[0]),
                "weight of each": ", ".join(f"{name} {float(weight):.2f}" for name, weight in weights),
            }
        )
    return make_table(pd.DataFrame(rows), caption="Shape of change in these clusters") if rows else None


def _told_by_shapes(cluster: pd.Series, courses: pd.DataFrame) -> bool:
    """Whether the shapes that were compared can describe what the cluster shows.

    Three days cannot tell a parabola from none, and what goes with learning is no shape of a group.
    """
    bent = cluster["term"] == "quadratic" and "quadratic" not in set(courses["course"])
    return not bent and parse_contrast(str(cluster["test"]), name="").column is None


def preservation_table(study: StudyInputs) -> Table | None:
    """Is change where tissue is preserved? The tests of every map, tissue and hemisphere; None where not asked."""
    import pandas as pd

    rows = [{"map": model.map, "tissue": model.tissue, **test}
            for model in study.models for test in model.info.get("preservation", [])]  # fmt: skip
    if not rows:
        return None
    caption = "Change against the deficit at baseline (positive: more change where tissue is preserved)"
    columns = {"map": "map", "tissue": "tissue", "hemisphere": "side", "n": "patients", "mean_r": "mean r", "t": "t",
               "p": "p"}  # fmt: skip
    return make_table(pd.DataFrame(rows), columns, caption=caption, p_columns=("p",))


def cluster_voxels(result: ResultImage) -> NDArray[np.bool_]:
    """Voxels of the clusters that hold the result's peaks.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        18-connected voxels beyond the threshold, on the peak's side of zero, cut to the peak's hemisphere of the
        search volume.
    """
    from scipy.ndimage import generate_binary_structure, label

    t = np.nan_to_num(np.asarray(result.t_map.data, dtype=np.float64))
    shown = np.zeros(t.shape, dtype=bool)
    inverse = np.linalg.inv(result.t_map.affine)
    for peak in result.peaks:
        i, j, k = (int(index) for index in np.rint(inverse[:3, :3] @ np.array(peak) + inverse[:3, 3]))
        place = (i, j, k)
        if any(not 0 <= index < size for index, size in zip(place, t.shape, strict=True)):
            continue
        beyond = np.sign(t[place]) * t >= result.threshold
        if result.search is not None and result.search.shape == t.shape:
            beyond &= np.asarray(result.search.data) == result.search.data[place]
        numbered = np.asarray(label(beyond, structure=generate_binary_structure(3, 2))[0])  # type: ignore[index]
        if numbered[place]:
            shown |= numbered == numbered[place]
    return shown


def peaks_array(result: ResultImage) -> NDArray[np.float64]:
    """Peaks of a result as an array, shape (n, 3)."""
    return np.array(result.peaks, dtype=np.float64).reshape(-1, 3)


def trajectory_panels(clusters: pd.DataFrame, trajectories: pd.DataFrame, *, limit: int) -> list[Panel]:
    """Values per scan of the first `limit` clusters that have values.

    Parameters
    ----------
    clusters : DataFrame
        In the order in which they are shown.
    trajectories : DataFrame
        map, tissue, cluster, participant_id, group, session, day, value.
    limit : int
    """
    if not {*CLUSTER_KEY, "value"} <= set(trajectories.columns) or "cluster" not in clusters:
        return []
    panels: list[Panel] = []
    for record in clusters.to_dict("records"):
        row = {str(key): value for key, value in record.items()}
        mine = trajectories
        for key in CLUSTER_KEY:
            mine = mine[mine[key].astype(str) == str(row[key])]
        mine = mine.dropna(subset=["day", "value"])
        if len(mine) and len(panels) < limit:
            contrast = parse_contrast(str(row["test"])) if "test" in row else None
            sides = (contrast.left, contrast.right) if contrast and not contrast.column else ((), ())
            values = mine.assign(group=mine["group"].fillna("everybody"))
            panels.append(Panel(_cluster_title(row), str(row["map"]), values, *sides))
    return panels


def _cluster_title(row: Mapping[str, Any]) -> str:
    where = row.get("place") or f"hemisphere {row['hemisphere']}"
    place = _place([row[axis] for axis in "xyz"])
    return f"{row['map']}, {row['tissue']} {where}, {row['term']}\n{row['contrast']} ({place})"


def _place(coordinates: Sequence[float]) -> str:
    return " ".join(f"{float(value):.4g}" for value in coordinates)


def safeguards(study: StudyInputs, verdict: Verdict | None) -> list[tuple[str, str]]:
    """Say what to know before believing a result: (heading, sentence) pairs, true to this study."""
    found: list[tuple[str, str]] = []
    if verdict is not None:
        method = str(study.config.get("inference", {}).get("family_correction", "none"))
        told = f"{verdict.families} families were tested (contrast × map × tissue × side × term × direction). "
        told += (
            f"The first table counts what is left after correction across all of them ({method})."
            if method != "none"
            else "No correction was made across them: expect about one false cluster in twenty families."
        )
        found.append(("Many questions", told))
        found.append(_warned(verdict))
    found += _time_coding(study)
    if study.trajectories is not None and len(study.trajectories):
        found.append((
            "Circularity",
            "Trajectories are drawn inside clusters that these same data selected: they show the effect, they "
            "do not test "
            "it, and its size is overestimated.",
        ))  # fmt: skip
    dofs = _range(study.families, "dof")
    widths = _range(study.families, "fwhm_mm")
    if (dofs or widths) and "random_field" in str(study.config.get("inference", {}).get("method", "random_field")):
        told = f"Degrees of freedom {dofs}; smoothness {widths} mm. " if dofs and widths else ""
        found.append((
            "Random field theory",
            told
            + "Cluster p values assume smooth, stationary noise and a high threshold; below about 10 degrees of "
            "freedom or 3 voxels of smoothness they are rough.",
        ))  # fmt: skip
    found.append((
        "No result is not no change",
        "A place without a cluster is not shown to be stable: p above the limit is no evidence for the absence "
        "of change.",
    ))  # fmt: skip
    return found


def _warned(verdict: Verdict) -> tuple[str, str]:
    import pandas as pd

    shown = pd.concat([verdict.survived, verdict.own_only])
    heading = "One person, or a disagreeing mean"
    if "warnings" not in shown:
        return heading, "Clusters were not checked for single influential people."
    warned = shown[shown["warnings"].notna() & ~shown["warnings"].astype(str).isin(["", "n/a", "nan"])]
    if warned.empty:
        return heading, (
            "In every cluster shown, the mean over the cluster agrees with the t map, and no single person "
            "carries half of "
            "the effect."
        )
    return heading, f"{len(warned)} of {len(shown)} clusters shown carry a warning (last column of the tables)."


def _time_coding(study: StudyInputs) -> list[tuple[str, str]]:
    told = dict.fromkeys(str(model.info["time_coding"]) for model in study.models if model.info.get("time_coding"))
    if not told:
        return []
    sentence = " ".join(told)
    return [("Time coding", f"{sentence} Another coding of time can change the size and even the sign of these terms.")]


def _range(frame: pd.DataFrame | None, column: str) -> str:
    if frame is None or column not in frame or frame[column].dropna().empty:
        return ""
    low, high = float(frame[column].min()), float(frame[column].max())
    return number(low) if number(low) == number(high) else f"{number(low)}–{number(high)}"
