"""What predicts the ages of all regions: one model per region, or one graph network for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.parcels import Parcels
from plastimap.brainage.predicted import Predicted
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.regionwise import fit_regionwise

Array = NDArray[np.float64]
Method = Literal["gaussian_process", "ridge", "gcn"]
LeftOut = Callable[[ArrayLike, Array | None], tuple[Array, Array]]
"""Age and standard deviation of the training people, each group without itself, each of shape (n, regions), given who
is left out together, shape (n,), and their parcels as they are when their group is not known, shape (n, p); None = as
they were trained on."""

METHODS: tuple[Method, ...] = ("gaussian_process", "ridge", "gcn")


class Engine(Protocol):
    """Predictor of all regions."""

    @property
    def regions(self) -> tuple[tuple[str, str], ...]:
        """(network, hemisphere)."""
        ...

    def predict(self, values: ArrayLike, covariates: ArrayLike) -> Predicted:
        """Ages of people, with their uncertainty."""
        ...


def fit_engine(
    values: ArrayLike,
    covariates: ArrayLike,
    age: ArrayLike,
    parcels: Parcels,
    *,
    groups: ArrayLike,
    method: Method,
    whole_graph: bool = False,
    seed: int = 1,
) -> tuple[Engine, LeftOut]:
    """Fit one.

    Parameters
    ----------
    values : array-like, shape (n, p)
    covariates : array-like, shape (n, q)
    age : array-like, shape (n,)
    parcels : Parcels
    groups : array-like, shape (n,)
        Who is left out together by a member of the graph network; other engines see everybody.
    method : {"gaussian_process", "ridge", "gcn"}
    whole_graph : bool
        GCN alone.
    seed : int

    Returns
    -------
    Engine
    left_out : callable
        See :data:`LeftOut`.
    """
    if whole_graph and method != "gcn":
        raise BrainageProblem(f"whole_graph is for the graph network, not for {method}; leave it out")
    if method == "gcn":
        from plastimap.brainage.gcn import fit_gcn

        return fit_gcn(values, covariates, age, parcels, groups=groups, whole_graph=whole_graph, seed=seed)
    engine = fit_regionwise(values, covariates, age, parcels, method=method, seed=seed)

    def left_out(together: ArrayLike, seen: Array | None) -> tuple[Array, Array]:
        data = None if seen is None else np.column_stack([seen, np.asarray(covariates, dtype=np.float64)])
        return engine.left_out(together, data)

    return engine, left_out
