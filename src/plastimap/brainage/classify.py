"""Who does badly: classifiers of motor outcome, judged by people they have not seen (exploratory).

Settings are chosen in an inner loop, the area under the curve and the importance of features come from the outer one
(Varma & Simon 2006, doi:10.1186/1471-2105-7-91). Both loops deal people, with all their sessions: a session of somebody
seen is nobody unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.problems import BrainageProblem

if TYPE_CHECKING:
    import pandas as pd

OUTER, INNER, SHUFFLES, TREES = 5, 3, 5, 60

FEWEST_EACH = 10
"""People of either outcome below whom nothing is classified."""


@dataclass(frozen=True)
class Classified:
    """How well, and by what.

    Attributes
    ----------
    scores : DataFrame
        ``classifier``, ``fold``, ``auc``; NaN where a fold has one outcome only.
    importance : DataFrame
        ``classifier``, ``feature``, ``importance`` (loss of AUC when the feature is shuffled, mean over outer folds),
        largest first.
    """

    scores: pd.DataFrame
    importance: pd.DataFrame


def features(ages: pd.DataFrame) -> pd.DataFrame:
    """One row per person and session: PAD and lesioned share of every network, ipsi- and contralesional."""
    known = ages[ages["side"].notna()]
    keys = [key for key in ("participant_id", "session") if key in known]
    wide = known.pivot_table(
        index=keys, columns=["side", "network"], values=["pad_corrected", "lesioned_fraction"], dropna=False
    )
    names = {"pad_corrected": "PAD", "lesioned_fraction": "lesion load"}
    wide.columns = [f"{side} {network} {names[value]}" for value, side, network in wide.columns]
    return wide.loc[:, wide.nunique() > 1].reset_index()


def classify(
    table: pd.DataFrame, outcome: NDArray[np.bool_], people: ArrayLike, *, seed: int = 1, trees: int = TREES
) -> Classified:
    """Nested cross-validation of logistic regression and a random forest.

    Parameters
    ----------
    table : DataFrame, shape (n, features)
        Numbers; missing ones are replaced by the training folds' medians.
    outcome : ndarray of bool, shape (n,)
        True = does badly.
    people : array-like, shape (n,)
        Whose row it is; all rows of a person are in one fold.
    seed : int
    trees : int
        Of every forest.

    Raises
    ------
    BrainageProblem
        If either outcome has too few people.
    """
    import pandas as pd
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

    names = np.asarray(people)
    fewest = min(len(np.unique(names[outcome])), len(np.unique(names[~outcome])))
    if fewest < FEWEST_EACH:
        raise BrainageProblem(f"{fewest} people have one of the outcomes; {FEWEST_EACH} of either are needed")
    data, rows, weights = table.to_numpy(np.float64), list[dict[str, Any]](), dict[str, list[NDArray[np.float64]]]()
    outer = StratifiedGroupKFold(OUTER, shuffle=True, random_state=seed)
    for name, (model, grid) in _candidates(seed, trees).items():
        for fold, (seen, unseen) in enumerate(outer.split(data, outcome, names)):
            if len(np.unique(outcome[unseen])) < 2:
                rows.append({"classifier": name, "fold": fold, "auc": np.nan})
                continue
            inner = StratifiedGroupKFold(INNER, shuffle=True, random_state=seed)
            search = GridSearchCV(model, grid, scoring="roc_auc", cv=inner)
            search.fit(data[seen], outcome[seen], groups=names[seen])
            auc: Any = search.score(data[unseen], outcome[unseen])
            rows.append({"classifier": name, "fold": fold, "auc": float(auc)})
            found: Any = permutation_importance(
                search, data[unseen], outcome[unseen], scoring="roc_auc", n_repeats=SHUFFLES, random_state=seed
            )
            weights.setdefault(name, []).append(found["importances_mean"])
    parts = [pd.DataFrame({"classifier": name, "feature": list(table), "importance": np.mean(one, axis=0)})
             for name, one in weights.items()]  # fmt: skip
    ranked = pd.concat(parts).sort_values(["classifier", "importance"], ascending=[True, False], kind="stable")
    return Classified(pd.DataFrame(rows), ranked.reset_index(drop=True))


def _candidates(seed: int, trees: int) -> dict[str, tuple[Any, dict[str, list[Any]]]]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    line = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=2000))
    forest = make_pipeline(SimpleImputer(strategy="median"), RandomForestClassifier(trees, random_state=seed))
    return {
        "logistic regression": (line, {"logisticregression__C": [0.01, 0.1, 1.0]}),
        "random forest": (forest, {"randomforestclassifier__min_samples_leaf": [2, 8]}),
    }
