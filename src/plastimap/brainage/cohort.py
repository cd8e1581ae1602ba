"""What goes with regional brain age in a stroke cohort: lesion, motor score, time, and who does badly.

Models are per network and side of the lesion (ipsi- or contralesional), corrected over all of them by the false
discovery rate. Mediation and classifiers are exploratory: they rank ideas, and prove no cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.random_intercept import InterceptFit, fit_intercept
from plastimap.stats.fdr import benjamini_hochberg

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
            values = people[column].astype(float)
            out[name] = np.log1p(values) if name == LESION else np.log(values.clip(lower=1)) if name == TIME else values
    years = people["age"].astype(float) - people["age"].astype(float).mean()
    out |= {"age": years, "age²": years**2}
    if people["sex"].nunique() > 1:
        out["sex"] = people["sex"].astype(float)
    return pd.DataFrame(out, index=people.index)


def cohort_models(ages: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """PAD ~ lesion + motor score + time + age + age² + sex + (1 | site), per network and side.

    Parameters
    ----------
    ages : DataFrame
        As :func:`plastimap.brainage.results.long_table`, with sides.
    people : DataFrame
        One row per person (and session), with the columns of :func:`predictors` and ``site``.

    Returns
    -------
    DataFrame
        ``network``, ``side``, ``term``, ``estimate`` (years per unit), ``error``, ``t``, ``dof``, ``p``, ``q`` (false
        discovery rate over networks and sides, per term), ``n``, ``sites``, ``model`` (``mixed``, ``clustered``: no
        variance between sites, or ``plain``: one site), ``site_variance``.
    """
    import pandas as pd

    joined = _joined(ages, people)
    terms = [str(name) for name in predictors(people) if name in joined]
    rows: list[dict[str, Any]] = []
    for (network, side), part in joined.groupby(["network", "side"], sort=False):
        known = part.dropna(subset=["pad_corrected", *terms])
        varied = [term for term in terms if known[term].nunique() > 1]
        if len(known) < max(FEWEST, len(varied) + 3):
            continue
        design = np.column_stack([np.ones(len(known)), known[varied].to_numpy(np.float64)])
        fit = fit_intercept(known["pad_corrected"], design, known["site"])
        rows += _lines(fit, varied, {"network": network, "side": side, "n": len(known)})
    if not rows:
        raise BrainageProblem(f"no network has {FEWEST} people with all of {', '.join(terms)} and a side of the lesion")
    table = pd.DataFrame(rows)
    table["q"] = table.groupby("term")["p"].transform(lambda p: benjamini_hochberg(p.to_numpy()))
    return table


def _joined(ages: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    keys = [key for key in ("participant_id", "session") if key in ages and key in people]
    terms = predictors(people)
    side = ages[ages["side"].notna()].drop(columns=["age", "site"], errors="ignore")
    return side.merge(people[[*keys, "site"]].join(terms), on=keys, how="inner")


def _lines(fit: InterceptFit, terms: Sequence[str], head: Mapping[str, Any]) -> list[dict[str, Any]]:
    error, p = np.sqrt(np.diag(fit.covariance)), fit.p_values()
    tail = {"dof": fit.dof, "sites": fit.groups, "model": fit.way, "site_variance": fit.between}
    return [
        {
            **head,
            "term": term,
            "estimate": fit.beta[i],
            "error": error[i],
            "t": fit.beta[i] / error[i],
            "p": p[i],
            **tail,
        }
        for i, term in enumerate(terms, 1)
    ]


def mediation(ages: pd.DataFrame, people: pd.DataFrame, *, seed: int = 1) -> pd.DataFrame:
    """Lesion → PAD → motor score, per network and side (exploratory).

    The indirect effect is a·b: a of log lesion volume on PAD, b of PAD on motor score beside the lesion, both beside
    age, age² and sex; its interval by resampling people (Preacher & Hayes 2008, doi:10.3758/BRM.40.3.879).

    Parameters
    ----------
    ages, people : DataFrame
        As for :func:`cohort_models`.
    seed : int

    Returns
    -------
    DataFrame
        ``network``, ``side``, ``indirect`` (points of motor score per log unit of volume), ``lower``, ``upper``
        (95 %), ``direct``, ``n``.

    Raises
    ------
    BrainageProblem
        If no network has enough people whose lesion volume and motor score are known.
    """
    import pandas as pd

    joined, rng = _joined(ages, people), np.random.default_rng(seed)
    columns = ["network", "side", "indirect", "lower", "upper", "direct", "n"]
    nobody = f"no network has {FEWEST} people with {SOURCES[LESION]}, {SOURCES[MOTOR]} and a side of the lesion"
    if not {LESION, MOTOR} <= set(joined):
        raise BrainageProblem(nobody)
    beside = [name for name in ("age", "age²", "sex") if name in joined]
    rows: list[dict[str, Any]] = []
    for (network, side), part in joined.groupby(["network", "side"], sort=False):
        known = part.dropna(subset=["pad_corrected", LESION, MOTOR, *beside])
        if len(known) < FEWEST:
            continue
        data = known[[LESION, "pad_corrected", MOTOR, *beside]].to_numpy(np.float64)
        draws = rng.integers(0, len(data), (RESAMPLES, len(data)))
        indirect = np.array([_paths(data[one])[0] for one in draws])
        low, high = np.quantile(indirect, (0.025, 0.975))
        found = _paths(data)
        rows.append(dict(zip(columns, (network, side, found[0], low, high, found[1], len(known)), strict=True)))
    if not rows:
        raise BrainageProblem(nobody)
    return pd.DataFrame(rows, columns=columns)


def _paths(data: Array) -> tuple[float, float]:
    """a·b and the direct path; columns are lesion, PAD, motor score, and what stands beside."""
    constant = np.ones((len(data), 1))
    to_pad = np.linalg.lstsq(np.hstack([constant, data[:, [0]], data[:, 3:]]), data[:, 1], rcond=None)[0]
    to_motor = np.linalg.lstsq(np.hstack([constant, data[:, [0, 1]], data[:, 3:]]), data[:, 2], rcond=None)[0]
    return float(to_pad[1] * to_motor[2]), float(to_motor[1])
