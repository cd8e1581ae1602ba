"""Maps, scans and people of one analysis: checked together, put in a fixed order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.contrasts import Contrast, read_contrasts
from plastimap.stats.design import design_problems, group_labels
from plastimap.stats.longitudinal import TimeModel, term_operator
from plastimap.stats.problems import StatsProblem, listed
from plastimap.stats.timecoding import CODINGS, known_terms

if TYPE_CHECKING:
    import pandas as pd

ContrastsOption = str | Sequence[str | Mapping[str, str] | Contrast]


@dataclass(frozen=True)
class People:
    """People with scans, in the order of their names, each one's scans in the order of days.

    Attributes
    ----------
    ids : tuple of str
    rows : tuple of ndarray of int
        Every person's rows in the table of scans.
    days : tuple of ndarray
    visits : tuple of ndarray of str
        Every person's session labels.
    table : DataFrame
        Their rows of the participants table.
    """

    ids: tuple[str, ...]
    rows: tuple[NDArray[np.intp], ...]
    days: tuple[NDArray[np.float64], ...]
    visits: tuple[NDArray[Any], ...]
    table: pd.DataFrame


@dataclass(frozen=True)
class Study:
    """Everybody's maps, and how each person's time course is taken from them.

    Attributes
    ----------
    maps : ndarray, shape (n_scans, n_voxels)
    people : People
    model : TimeModel
    operators : tuple of ndarray, shape (n_terms + 1, n_sessions)
        Per person: weights that give the model's terms and, last, the baseline. NaN rows cannot be told.
    variance : ndarray, shape (n_people, n_terms + 1)
        Known variance factors.
    motion : ndarray, shape (n_scans,), or None
        Motion index of every scan.
    noise : ndarray, shape (n_scans, n_voxels), or None
        Known error variances of the maps.
    """

    maps: NDArray[np.floating]
    people: People
    model: TimeModel
    operators: tuple[NDArray[np.float64], ...]
    variance: NDArray[np.float64]
    motion: NDArray[np.float64] | None = None
    noise: NDArray[np.floating] | None = None

    def able(self, term: int) -> list[int]:
        """People whose sessions can tell this term."""
        return [i for i, factors in enumerate(self.variance) if np.isfinite(factors[term])]

    def coefficients(self, who: Sequence[int], term: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coefficient images of a term, shape (n, n_voxels), and the mean baseline, shape (n_voxels,).

        The baseline is NaN where it is next to nothing, so that no percentage is taken of it.
        """
        data = np.empty((len(who), self.maps.shape[1]))
        baseline = np.zeros(self.maps.shape[1])
        based = 0
        for position, i in enumerate(who):
            told = bool(np.isfinite(self.variance[i, -1]))
            wanted = [term, -1] if told else [term]
            values = self.operators[i][wanted] @ self.maps[self.people.rows[i]].astype(np.float64)
            data[position] = values[0]
            if told:
                baseline += values[1]
                based += 1
        baseline /= max(based, 1)
        typical = float(np.nanmedian(np.abs(baseline))) if np.isfinite(baseline).any() else 0.0
        baseline[~(np.abs(baseline) > 1e-3 * typical)] = np.nan
        return data, baseline

    def coefficient_noise(self, who: Sequence[int], term: int) -> NDArray[np.float64] | None:
        """Known error variances of a term's coefficients, shape (n, n_voxels); scans' errors are independent."""
        if self.noise is None:
            return None
        squared = [self.operators[i][term] ** 2 for i in who]
        rows = [self.people.rows[i] for i in who]
        return np.array([own @ self.noise[at].astype(np.float64) for own, at in zip(squared, rows, strict=True)])

    def pull(self, who: Sequence[int], term: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Weights of scans in people's coefficients, shape (n_people, n), and the rows of these n scans."""
        rows = np.concatenate([self.people.rows[i] for i in who])
        weights = np.zeros((len(who), rows.size))
        start = 0
        for position, i in enumerate(who):
            own = self.operators[i][term]
            weights[position, start : start + own.size] = own
            start += own.size
        return weights, rows


def make_study(
    maps: NDArray[np.floating],
    people: People,
    model: TimeModel,
    *,
    motion: NDArray[np.float64] | None = None,
    noise: NDArray[np.floating] | None = None,
) -> Study:
    """Work out every person's operators."""
    one_time_point = len(model.basis.reference_days) == 1
    pairs = [
        term_operator(np.zeros(days.size) if one_time_point else days, model.basis, (*model.terms, "baseline"))
        for days in people.days
    ]
    return Study(
        maps=maps,
        people=people,
        model=model,
        operators=tuple(operator for operator, _ in pairs),
        variance=np.stack([variance for _, variance in pairs]),
        motion=motion,
        noise=noise,
    )


def check_arrays(
    maps: NDArray[np.floating],
    scans: pd.DataFrame,
    participants: pd.DataFrame,
    mask: NDArray[np.bool_],
    regions: Mapping[str, NDArray[np.bool_]],
    terms: Sequence[str],
    coding: str,
    problems: Sequence[str],
) -> NDArray[np.floating]:
    """Check that arrays and tables go together; return the maps as (n_scans, n_voxels).

    `problems`, found before, are raised together with what is found here.
    """
    problems = [*known_terms(terms), *problems]
    if coding not in CODINGS:
        problems.append(f"unknown time coding {coding!r} (known: {', '.join(CODINGS)})")
    voxels = int(np.count_nonzero(mask))
    if mask.ndim != 3 or voxels == 0:
        problems.append("the analysis mask is empty or not three-dimensional")
    problems += [
        f"search volume {side!r} has shape {region.shape}, the mask {mask.shape}"
        for side, region in regions.items()
        if region.shape != mask.shape
    ]
    if not regions:
        problems.append("no search volume was given")
    if maps.shape not in ((len(scans), voxels), (len(scans), *mask.shape)):
        problems.append(f"maps of shape {maps.shape} do not fit {len(scans)} scans and a mask of {voxels} voxels")
    for name, table, needed in (("scans", scans, ("participant_id", "session", "day")),
                                ("participants", participants, ("participant_id",))):  # fmt: skip
        problems += [f"the table of {name} has no column {column!r}" for column in needed if column not in table]
    if problems:
        raise StatsProblem(problems)
    return maps if maps.ndim == 2 else maps[:, mask]


def with_motion(scans: pd.DataFrame, motion: pd.DataFrame) -> pd.DataFrame:
    """Add every scan's motion index.

    Parameters
    ----------
    scans : DataFrame
        With ``participant_id`` and ``session`` (empty in studies without sessions).
    motion : DataFrame
        ``participant_id``, ``session``, ``motion_index``, one row per scan.

    Returns
    -------
    DataFrame
        `scans` with the column ``motion_index``, in the same order.

    Raises
    ------
    StatsProblem
        If scans have no index, or several.
    """
    index: dict[tuple[str, str], list[float]] = {}
    for who, session, value in zip(
        motion["participant_id"].astype(str), _sessions(motion), motion["motion_index"].astype(float), strict=True
    ):
        index.setdefault((who, session), []).append(value)
    keys = list(zip(scans["participant_id"].astype(str), _sessions(scans), strict=True))
    wrong = [" ".join(key).strip() for key in keys if len(index.get(key, [])) != 1 or not np.isfinite(index[key][0])]
    if wrong:
        raise StatsProblem(f"the table of motion needs exactly one motion_index of every scan; see {listed(wrong)}")
    return scans.assign(motion_index=[index[key][0] for key in keys])


def _sessions(table: pd.DataFrame) -> list[str]:
    return table["session"].astype("string").fillna("").tolist()


def check_model(
    scans: pd.DataFrame,
    participants: pd.DataFrame,
    group: str | None,
    covariates: Sequence[str],
    contrasts: ContrastsOption,
) -> tuple[Contrast, ...]:
    """Check that model and tables go together (people without a scan may lack covariates); return the contrasts."""
    scanned = scans["participant_id"].astype(str)
    strangers = sorted(set(scanned) - set(participants["participant_id"].astype(str)))
    problems = [f"scans of people who are not in the participants table: {listed(strangers)}"] if strangers else []
    twice = scans[scans.duplicated(subset=["participant_id", "session"])]
    problems += [f"two maps of {r.participant_id}, session {r.session}" for r in twice.itertuples()]
    if scans["session"].astype("string").fillna("").nunique() > 1 and scans["day"].isna().any():
        who = [f"{r.participant_id} {r.session}" for r in scans[scans["day"].isna()].itertuples()]
        problems.append(f"days since baseline are missing for {listed(who)}")
    present = participants[participants["participant_id"].astype(str).isin(set(scanned))]
    problems += design_problems(participants, group=group, covariates=(), contrasts=contrasts)
    problems += design_problems(present, group=None, covariates=covariates, contrasts=())
    for contrast in () if problems else read_contrasts(contrasts, _groups(participants, group))[0]:
        if contrast.column in covariates:
            problems.append(f"contrast {contrast.test!r}: {contrast.column!r} is also a covariate; name it only once")
    if problems:
        raise StatsProblem(dict.fromkeys(problems))
    return read_contrasts(contrasts, _groups(participants, group))[0]


def _groups(participants: pd.DataFrame, group: str | None) -> list[str]:
    return sorted({str(label) for label in group_labels(participants, group) if label})


def order_people(scans: pd.DataFrame, participants: pd.DataFrame) -> People:
    """Put people and their scans in an order that does not depend on the tables' rows."""
    import pandas as pd

    plain = pd.DataFrame(
        {
            "who": scans["participant_id"].astype(str).to_numpy(),
            "day": scans["day"].to_numpy(dtype=np.float64),
            "session": scans["session"].astype("string").fillna("").to_numpy(),
        }
    )
    ordered = plain.sort_values(["who", "day", "session"], kind="stable")
    grouped = {str(who): part for who, part in ordered.groupby("who", sort=True)}
    table = participants.assign(participant_id=participants["participant_id"].astype(str))
    return People(
        ids=tuple(grouped),
        rows=tuple(part.index.to_numpy(dtype=np.intp) for part in grouped.values()),
        days=tuple(part["day"].to_numpy(dtype=np.float64) for part in grouped.values()),
        visits=tuple(part["session"].to_numpy(dtype=object) for part in grouped.values()),
        table=table.set_index("participant_id", drop=False).loc[list(grouped)].reset_index(drop=True),
    )
