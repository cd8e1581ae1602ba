"""How far off a way of training is: people left out, sites left out, and sites left out but for some controls.

Everything is learnt inside the folds. Leave-site-out is what counts for a new scanner, and is judged by the calibration
of a model for new sites; random folds tell of new people of sites trained on, and are judged by the other calibration.
They flatter, because a site's look tells its people's age.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.intervals import YOUNG
from plastimap.brainage.model import Settings, apply, fit_model, with_local_controls
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.results import long_table
from plastimap.brainage.suitable import refuse_rare_parcels
from plastimap.brainage.tables import ParcelTable

if TYPE_CHECKING:
    import pandas as pd

Scheme = Literal["random", "sites"]

FOLDS = 10

CORRECTED = (
    "mae_corrected and bias_slope_corrected are those of predictions from which the bias at the real age was taken "
    "off: they use what is to be predicted, and say nothing of accuracy"
)
"""What has to stand beside errors of corrected ages: even of noise they are small."""


def splits(
    table: ParcelTable, scheme: Scheme, *, folds: int = FOLDS, seed: int = 1
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to train on and rows to test, nobody in both.

    Parameters
    ----------
    table : ParcelTable
    scheme : {"random", "sites"}
        Random folds of people, or one site after the other.
    folds : int
        Of random folds.
    seed : int
    """
    if scheme == "sites":
        names, labels = table.site, list(np.unique(table.site))
        if len(labels) < 2:
            raise BrainageProblem("sites cannot be left out: there is one; evaluate with random folds")
        marks = np.searchsorted(labels, names)
        number = np.unique(table.persons, return_inverse=True)[1]
    else:
        people, number = np.unique(table.persons, return_inverse=True)
        dealt = np.random.default_rng(seed).permutation(len(people)) % folds
        marks = dealt[number]
    for mark in np.unique(marks):
        test = marks == mark
        # Who was measured at several sites is not trained on at the others.
        training = np.flatnonzero(~np.isin(number, number[test]))
        if not training.size:
            raise BrainageProblem("sites cannot be left out: all people were measured at one of them; use random folds")
        yield training, np.flatnonzero(test)


def cross_validate(
    table: ParcelTable,
    settings: Settings,
    scheme: Scheme,
    *,
    controls: Sequence[int] = (0,),
    folds: int = FOLDS,
    seed: int = 1,
) -> pd.DataFrame:
    """Predict everybody by a model that has not seen them.

    Parameters
    ----------
    table : ParcelTable
    settings : Settings
    scheme : {"random", "sites"}
    controls : sequence of int
        How many of a left-out site's people are drawn as its controls, with all of their sessions; more than one
        number = all in turn, from one training. Without controls everybody is predicted.
    folds, seed : int

    Returns
    -------
    DataFrame
        As :func:`plastimap.brainage.results.long_table`, with ``controls``, and ``compared``: whether a person is
        never drawn as a control, so that all numbers of controls are told by the same people.
    """
    import pandas as pd

    refuse_rare_parcels(table)
    spare = int(table.people.groupby("site")["participant_id"].nunique().max())
    wrong = [count for count in controls if not 0 <= count < spare]
    if wrong:
        raise BrainageProblem(f"{wrong[0]} local controls cannot be drawn; the largest site has {spare} people")
    most, parts = max(controls), list[pd.DataFrame]()
    for number, (training, test) in enumerate(splits(table, scheme, folds=folds, seed=seed)):
        tested, drawn = table.rows(test), _drawn(table.persons[test], [seed, number])
        compared = tested.rows(~np.isin(tested.persons, drawn[:most]))
        model = fit_model(table.rows(training), settings, known_sites=scheme == "random")
        for count in controls:
            own = tested.rows(np.isin(tested.persons, drawn[:count]))
            known = with_local_controls(model, own) if count else model
            judged = compared if count else tested
            if len(judged.people):
                part = long_table(known, judged, apply(known, judged))
                inside = part["participant_id"].isin(compared.people["participant_id"])
                parts.append(part.assign(controls=count, compared=inside))
    return pd.concat(parts, ignore_index=True)


def _drawn(persons: NDArray[np.str_], seed: Sequence[int]) -> NDArray[np.str_]:
    """People in the order in which they are drawn as controls."""
    each = np.sort(np.unique(persons, return_index=True)[1])
    return persons[np.random.default_rng(seed).permutation(each)]


def scores(predictions: pd.DataFrame, by: Sequence[str] = ("controls", "network", "hemisphere")) -> pd.DataFrame:
    """Errors per region and age group.

    Parameters
    ----------
    predictions : DataFrame
        Of :func:`cross_validate`.
    by : sequence of str

    Returns
    -------
    DataFrame
        Those columns, ``ages`` (all, < 40, ≥ 40), ``n``, ``mae``, ``r``, ``r2``, ``bias_slope`` (of the gap on age),
        ``coverage`` and mean ``width`` of the intervals, ``median_mae`` (of saying the median age of the people
        judged), and ``mae_corrected``, ``bias_slope_corrected``: see :data:`CORRECTED`.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    young = predictions["age"] < YOUNG
    for label, mask in (("all", young | ~young), (f"< {YOUNG:g}", young), (f"≥ {YOUNG:g}", ~young)):
        for keys, part in predictions[mask].groupby(list(by), sort=False):
            rows.append({**dict(zip(by, keys, strict=True)), "ages": label, **score(part)})
    return pd.DataFrame(rows)


def score(part: pd.DataFrame) -> dict[str, float]:
    """Errors of one region's predictions; see :func:`scores`."""
    known = part[part["predicted_age"].notna()]
    age, found = known["age"].to_numpy(np.float64), known["predicted_age"].to_numpy(np.float64)
    corrected = known["predicted_age_corrected"].to_numpy(np.float64)
    inside = (known["lower"] <= known["age"]) & (known["age"] <= known["upper"])
    varied = len(age) > 2 and age.std() > 0 and found.std() > 0
    return {
        "n": len(age),
        "mae": float(np.abs(found - age).mean()) if len(age) else np.nan,
        "r": float(np.corrcoef(found, age)[0, 1]) if varied else np.nan,
        "r2": _r2(age, found),
        "bias_slope": _slope(age, found - age),
        "coverage": float(inside.mean()) if len(age) else np.nan,
        "width": float((known["upper"] - known["lower"]).mean()) if len(age) else np.nan,
        "median_mae": float(np.abs(age - np.median(age)).mean()) if len(age) else np.nan,
        "mae_corrected": float(np.abs(corrected - age).mean()) if len(age) else np.nan,
        "bias_slope_corrected": _slope(age, corrected - age),
    }


def summary(predictions: pd.DataFrame) -> dict[str, Any]:
    """Errors of the whole brain and the mean over regions, per number of controls, as a model's card holds them."""
    table, found = scores(predictions), dict[str, Any]()
    for (controls, ages), part in table.groupby(["controls", "ages"], sort=False):
        numbers = [name for name in part if name not in ("controls", "ages", "network", "hemisphere")]
        whole = part[part["hemisphere"] == "B"]
        regions = part[part["hemisphere"] != "B"]
        found[f"controls {controls}, ages {ages}"] = {
            **({"whole brain": whole[numbers].iloc[0].to_dict()} if len(whole) else {}),
            **({"mean of regions": regions[numbers].mean().to_dict()} if len(regions) else {}),
        }
    return found


def _slope(age: NDArray[np.float64], gap: NDArray[np.float64]) -> float:
    centred = age - age.mean() if len(age) else age
    return float(centred @ gap / (centred @ centred)) if len(age) > 2 and centred.any() else float("nan")


def _r2(age: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    spread = ((age - age.mean()) ** 2).sum() if len(age) else 0.0
    return float(1 - ((found - age) ** 2).sum() / spread) if spread else float("nan")
