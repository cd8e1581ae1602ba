"""Ways to judge clusters, by name: random fields, equally smooth or not; permutation; wild bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from plastimap.stats.clusters import Judge, RandomField
from plastimap.stats.exchange import (
    Exchange,
    UnequalExchange,
    exchange,
    exchange_unequal,
    exchanged_images,
    permutation_scheme,
    sign_scheme,
)
from plastimap.stats.fitted import FittedModel, Inference, Place, TestMaps
from plastimap.stats.glm import GlmFit
from plastimap.stats.problems import StatsProblem
from plastimap.stats.resampling import (
    Nulls,
    Resampled,
    Search,
    height_distributions,
    null_distributions,
    search_lattice,
)
from plastimap.stats.sandwich import SandwichFit
from plastimap.stats.wild import bootstrap_images, wild_bootstrap

Judges = dict[tuple[str, str], Judge]
"""By search volume and direction."""

SIGNS: Mapping[str, float] = {">": 1.0, "<": -1.0, "!=": 1.0}

FEW_RESAMPLES = 1000
"""Below so many, p values near .05 are rough."""


def random_field(
    model: FittedModel, _index: int, maps: TestMaps, _place: Place, _rule: Inference
) -> tuple[Judges, tuple[str, ...]]:
    """Random field theory with noise that is equally smooth everywhere."""
    return _fields(model, maps, None), ()


def local_random_field(
    model: FittedModel, _index: int, maps: TestMaps, place: Place, _rule: Inference
) -> tuple[Judges, tuple[str, ...]]:
    """Random field theory with clusters measured by the smoothness inside them."""
    inside = np.full(model.fit.analysed.size, np.nan)
    inside[model.fit.analysed] = model.smoothness.rpv
    return _fields(model, maps, place.volume(inside)), ()


def _fields(model: FittedModel, maps: TestMaps, rpv: NDArray[np.float64] | None) -> Judges:
    return {
        (side, direction): RandomField(maps.field, search, maps.threshold, model.smoothness.fwhm, rpv)
        for side, search in model.searches.items()
        for direction in maps.directions
    }


def permutation(
    model: FittedModel, index: int, maps: TestMaps, place: Place, rule: Inference
) -> tuple[Judges, tuple[str, ...]]:
    """Whole people permuted, or their signs flipped where a mean is compared with 0."""
    check, fit = model.check, model.fit
    if check is None or not isinstance(fit, GlmFit):
        raise StatsProblem("permutation exchanges people's coefficients: it goes with the method 'summary'")
    contrast = maps.contrast
    signed = contrast.column is None and not contrast.right and not contrast.sides
    usable = fit.analysed & (fit.pattern == 0)
    data = check.data[:, usable]
    scheme = (sign_scheme if signed else permutation_scheme)(len(data), rule.resamples, seed=rule.seed)
    engine: Exchange | UnequalExchange
    if rule.unequal_variance and maps.statistic == "t" and not signed:
        groups = [model.design.groups[model.design.people.index(name)] for name in check.names]
        engine = exchange_unequal(data, check.matrix, model.vectors[index][0], groups=groups, weights=check.weights)
    else:
        engine = exchange(
            data, check.matrix, model.vectors[index], kind=maps.statistic, signed=signed, weights=check.weights
        )
    searches = _searches(model, maps, place, usable)
    if rule.statistic == "height" and isinstance(engine, Exchange):
        nulls = height_distributions(engine, scheme, searches)
    else:
        images = exchanged_images(engine, scheme)
        nulls = null_distributions(images, searches, statistic=rule.statistic, threshold=maps.threshold)
    notes = [_told(maps, len(scheme.orders), scheme.exhaustive, "sign flips" if signed else "permutations")]
    if (fit.analysed & ~usable).any():
        notes.append(f"{maps.term}, {contrast.name}: voxels with gaps do not take part in the permutations.")
    return _resampled(model, nulls, maps, rule), tuple(notes)


def wild(
    model: FittedModel, index: int, maps: TestMaps, place: Place, rule: Inference
) -> tuple[Judges, tuple[str, ...]]:
    """Whole people's residuals with random signs, for the sandwich estimator."""
    fit = model.fit
    if not isinstance(fit, SandwichFit):
        raise StatsProblem("the wild bootstrap goes with the method 'sandwich'")
    if maps.statistic == "F":
        raise StatsProblem("the wild bootstrap tests one contrast at a time, not several together (F)")
    engine = wild_bootstrap(fit, model.vectors[index][0])
    scheme = sign_scheme(len(fit.slots.group), rule.resamples - 1, seed=rule.seed)
    # In front: the data as they are, which no signs of the null hypothesis' residuals can give.
    observed = np.nan_to_num(maps.values)[None, :]
    images = chain([observed], bootstrap_images(engine, scheme.signs))
    searches = _searches(model, maps, place, np.ones(fit.analysed.size, dtype=bool))
    nulls = null_distributions(images, searches, statistic=rule.statistic, threshold=maps.threshold)
    return _resampled(model, nulls, maps, rule), (
        _told(maps, len(scheme.signs) + 1, scheme.exhaustive, "bootstrap samples"),
    )


def _searches(
    model: FittedModel, maps: TestMaps, place: Place, usable: NDArray[np.bool_]
) -> dict[tuple[str, str], Search]:
    """Every search of a contrast, on the lattice of the usable voxels."""
    grid = np.zeros(place.mask.shape, dtype=bool)
    grid[place.mask] = usable
    lattices = {side: search_lattice(search.mask & grid, grid) for side, search in model.searches.items()}
    return {
        (side, direction): Search(lattice, SIGNS[direction])
        for side, lattice in lattices.items()
        for direction in maps.directions
    }


def _resampled(model: FittedModel, nulls: Mapping[tuple[str, str], Nulls], maps: TestMaps, rule: Inference) -> Judges:
    return {
        (side, direction): Resampled(null, rule.statistic, maps.threshold, model.searches[side].mask)
        for (side, direction), null in nulls.items()
    }


def _told(maps: TestMaps, count: int, exhaustive: bool, what: str) -> str:
    every = "all " if exhaustive else ""
    rough = f" Fewer than {FEW_RESAMPLES}: p values are rough." if count < FEW_RESAMPLES else ""
    return f"{maps.term}, {maps.contrast.name}: {every}{count} {what}, the data themselves among them.{rough}"


JUDGES: Mapping[str, Callable[[FittedModel, int, TestMaps, Place, Inference], tuple[Judges, tuple[str, ...]]]] = {
    "random_field": random_field,
    "local_random_field": local_random_field,
    "permutation": permutation,
    "wild_bootstrap": wild,
}
