"""What goes with regional brain age in a stroke cohort: lesion, motor score, time, and who does badly.

Models are per network and side of the lesion (ipsi- or contralesional), corrected over all of them by the false
discovery rate. Mediation and classifiers are exploratory: they rank ideas, and prove no cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.modelled import Modelled, discovery_rate, joined_people, left_out, numbers, person_keys
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.random_intercept import fit_intercept

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

FEWEST = 12
"""People below whom a network is not modelled."""

LESION, MOTOR, TIME = "log lesion volume", "motor score", "log time since stroke"

SOURCES = {LESION: "lesion_volume_ml", MOTOR: "motor_score", TIME: "days_since_stroke"}
"""Term → column of the people."""

RESAMPLES = 2000


def predictors(people: pd.DataFrame) -> pd.DataFrame:
    """Terms of the cohort's model: log volume, motor score, log time, age, age², sex; what a table lacks is left out.

    Parameters
    ----------
    people : DataFrame
        ``age``, ``sex``, and any of ``lesion_volume_ml``, ``motor_score``, ``days_since_stroke``.
    """
    import pandas as pd

    out: dict[str, Any] = {}
    for name, column in SOURCES.items():
        if column in people and people[column].notna().any():
            values = numbers(people, column)
            out[name] = np.log1p(values) if name == LESION else np.log(values.clip(lower=1)) if name == TIME else values
    years = numbers(people, "age") - numbers(people, "age").mean()
    out |= {"age": years, "age²": years**2}
    if people["sex"].nunique() > 1:
        out["sex"] = numbers(people, "sex")
    return pd.DataFrame(out, index=people.index)


def cohort_models(ages: pd.DataFrame, people: pd.DataFrame) -> Modelled:
    """PAD ~ lesion + motor score + time + age + age² + sex + (1 | site) + (1 | person), per network and side.

    People with several sessions have an intercept of their own, so that they count once for what does not change in
    them. A region that cannot be modelled is left out with a note.

    Parameters
    ----------
    ages : DataFrame
        As :func:`plastimap.brainage.results.long_table`, with sides.
    people : DataFrame
        One row per person (and session), with the columns of :func:`predictors` and ``site``.

    Returns
    -------
    Modelled
        ``network``, ``side``, ``term``, ``estimate`` (years per unit), ``error``, ``t``, ``dof``, ``p``, ``q`` (false
        discovery rate over networks and sides, per term), ``n`` (rows), ``people``, ``sites``, ``model`` (``mixed``,
        ``clustered``: no variance between sites, or ``plain``: one site), ``site_variance``, ``person_variance``.

    Raises
    ------
    BrainageProblem
        If no network can be modelled.
    """
    import pandas as pd

    joined = _joined(ages, people)
    terms = [str(name) for name in predictors(people) if name in joined]
    rows, reasons = list[dict[str, Any]](), list[tuple[Any, str]]()
    for region, part in joined.groupby(["network", "side"], sort=False):
        known = part.dropna(subset=["pad_corrected", *terms])
        varied = [term for term in terms if known[term].nunique() > 1]
        try:
            rows += _modelled_region(known, varied, {"network": region[0], "side": region[1]})
        except BrainageProblem as problem:
            reasons.append((region, str(problem)))
    if not rows:
        raise BrainageProblem(f"no network has {FEWEST} people with all of {', '.join(terms)} and a side of the lesion")
    return Modelled(discovery_rate(pd.DataFrame(rows)), left_out("model", reasons))


def _joined(ages: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    terms = predictors(people)
    side = ages[ages["side"].notna()].drop(columns=["age", "site"], errors="ignore")
    return joined_people(side, people[[*person_keys(ages, people), "site"]].join(terms))


def _modelled_region(known: pd.DataFrame, terms: Sequence[str], head: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lines of the table for one network and side."""
    people, needed = known["participant_id"].nunique(), max(FEWEST, len(terms) + 3)
    if people < needed:
        raise BrainageProblem(f"{people} people have an age there and all terms; {needed} are needed")
    design = np.column_stack([np.ones(len(known)), known[list(terms)].to_numpy(np.float64)])
    fit = fit_intercept(known["pad_corrected"], design, known["site"], people=known["participant_id"])
    error, p, dof = np.sqrt(np.diag(fit.covariance)), fit.p_values(), fit.dofs()
    tail = {"n": len(known), "people": people, "sites": fit.groups, "model": fit.way, "site_variance": fit.between,
            "person_variance": fit.of_people}  # fmt: skip
    return [{**head, "term": term, "estimate": fit.beta[i], "error": error[i], "t": fit.beta[i] / error[i],
             "dof": dof[i], "p": p[i], **tail} for i, term in enumerate(terms, 1)]  # fmt: skip


def mediation(ages: pd.DataFrame, people: pd.DataFrame, *, seed: int = 1) -> Modelled:
    """Lesion → PAD → motor score, per network and side (exploratory).

    The indirect effect is a·b: a of log lesion volume on PAD, b of PAD on motor score beside the lesion, both beside
    age, age² and sex; its interval by resampling people with all their sessions (Preacher & Hayes 2008,
    doi:10.3758/BRM.40.3.879).

    Parameters
    ----------
    ages, people : DataFrame
        As for :func:`cohort_models`.
    seed : int

    Returns
    -------
    Modelled
        ``network``, ``side``, ``indirect`` (points of motor score per log unit of volume), ``lower``, ``upper``
        (95 %), ``direct``, ``n`` (rows), ``people``.

    Raises
    ------
    BrainageProblem
        If no network has enough people whose lesion volume and motor score are known.
    """
    import pandas as pd

    joined, rng = _joined(ages, people), np.random.default_rng(seed)
    nobody = f"no network has {FEWEST} people with {SOURCES[LESION]}, {SOURCES[MOTOR]} and a side of the lesion"
    if not {LESION, MOTOR} <= set(joined):
        raise BrainageProblem(nobody)
    beside = [name for name in ("age", "age²", "sex") if name in joined]
    rows, reasons = list[dict[str, Any]](), list[tuple[Any, str]]()
    for region, part in joined.groupby(["network", "side"], sort=False):
        known = part.dropna(subset=["pad_corrected", LESION, MOTOR, *beside])
        count = known["participant_id"].nunique()
        if count < FEWEST:
            reasons.append((region, f"{count} people have all that it needs; {FEWEST} are needed"))
            continue
        data = known[[LESION, "pad_corrected", MOTOR, *beside]].to_numpy(np.float64)
        low, high = np.quantile(_resampled_paths(data, known["participant_id"], rng), (0.025, 0.975))
        indirect, direct = _paths(data)
        rows.append({"network": region[0], "side": region[1], "indirect": indirect, "lower": low, "upper": high,
                     "direct": direct, "n": len(known), "people": count})  # fmt: skip
    if not rows:
        raise BrainageProblem(nobody)
    return Modelled(pd.DataFrame(rows), left_out("mediation", reasons))


def _resampled_paths(data: Array, people: pd.Series, rng: np.random.Generator) -> Array:
    """a·b of people drawn with all their rows, shape (resamples,)."""
    who = np.unique(people.to_numpy(np.str_), return_inverse=True)[1]
    count = int(who.max()) + 1
    draws = rng.integers(0, count, (RESAMPLES, count))
    return np.array([_paths(data, np.bincount(one, minlength=count)[who])[0] for one in draws])


def _paths(data: Array, times: NDArray[np.intp] | None = None) -> tuple[float, float]:
    """a·b and the direct path; columns are lesion, PAD, motor score, what stands beside; rows count so many times."""
    roots = np.ones(len(data)) if times is None else np.sqrt(times)
    weighted = np.column_stack([np.ones(len(data)), data]) * roots[:, None]
    lesion, beside = weighted[:, [0, 1]], weighted[:, 4:]
    to_pad = np.linalg.lstsq(np.hstack([lesion, beside]), weighted[:, 2], rcond=None)[0]
    to_motor = np.linalg.lstsq(np.hstack([lesion, weighted[:, [2]], beside]), weighted[:, 3], rcond=None)[0]
    return float(to_pad[1] * to_motor[2]), float(to_motor[1])
