from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from plastimap.stats.exchange import sign_scheme
from plastimap.stats.sandwich import fit_sandwich
from plastimap.stats.tails import t_at_dof_fast
from plastimap.stats.wild import bootstrap_images, wild_bootstrap

DAYS = np.array([0, 14, 28, 84.0])
SLOPES = np.array([0.0, 1, 0, -1])


def study(rng: np.random.Generator, voxels: int, *, missing: bool = True) -> dict[str, object]:
    rows = [(i, k) for i in range(12) for k in range(4) if not (missing and (i * 3 + k) % 11 == 0)]
    who, visit = (np.array(part) for part in zip(*rows, strict=True))
    t, first = DAYS[visit], who < 6
    course = np.column_stack([np.ones(t.size), t])
    own = rng.normal(size=(12, voxels))[who] + 0.02 * rng.normal(size=(12, voxels))[who] * t[:, None]
    return {
        "data": 3 + own + 0.3 * rng.normal(size=(t.size, voxels)),
        "matrix": np.column_stack([course * first[:, None], course * ~first[:, None]]),
        "people": [f"{i:02d}" for i in who],
        "visits": [str(k) for k in visit],
        "groups": np.where(first, "a", "b").tolist(),
        "between": np.column_stack([np.arange(12) < 6, np.arange(12) >= 6]).astype(float),
    }


@pytest.mark.parametrize("weighted", [False, True])
def test_a_sample_is_the_fit_of_the_data_it_stands_for(rng: np.random.Generator, weighted: bool) -> None:
    given = study(rng, 15, missing=weighted)
    n = len(np.asarray(given["data"]))
    weights = rng.uniform(0.5, 2, n) if weighted else None
    fit = fit_sandwich(**given, weights=weights)  # type: ignore[arg-type]
    engine = wild_bootstrap(fit, SLOPES)
    signs = sign_scheme(12, 5, seed=1).signs
    people = np.unique(np.asarray(given["people"]), return_inverse=True)[1]
    root = fit.glm.root
    for image, sign in zip(engine.images(signs), signs, strict=True):
        residuals = np.zeros((n, 15))
        whitened = engine.restricted @ (np.asarray(given["data"]) * root[:, None])
        for i, slots in enumerate(fit.slots.place):
            rows = slots[slots >= 0]
            inside = slots >= 0
            residuals[rows] = engine.adjust[i][np.ix_(inside, inside)] @ whitened[rows]
        fresh = sign[people][:, None] * residuals / root[:, None]
        again = fit_sandwich(**(given | {"data": fresh}), weights=weights).t_map(SLOPES)  # type: ignore[arg-type]
        # Wallace's approximation stands in for the exact conversion of degrees of freedom.
        np.testing.assert_allclose(image, again.t, rtol=0.02, atol=0.01)


def test_the_null_hypothesis_is_kept(rng: np.random.Generator) -> None:
    fit = fit_sandwich(**study(rng, 300))  # type: ignore[arg-type]
    observed = np.abs(fit.t_map(SLOPES).t)
    signs = sign_scheme(12, 400, seed=2).signs
    larger = sum(
        (np.abs(batch) >= observed).sum(axis=0) for batch in bootstrap_images(wild_bootstrap(fit, SLOPES), signs)
    )
    p = (1 + np.asarray(larger)) / 401
    # 300 voxels at 5 %: 15 expected, standard deviation 3.8.
    assert 4 <= (p < 0.05).sum() <= 28


def test_the_fast_conversion_is_near_the_exact_one() -> None:
    t = np.linspace(-8, 8, 33)
    for dof_from, dof_to in ((6.0, 20.0), (15.0, 12.0), (30.0, 100.0)):
        exact = np.sign(t) * stats.t.isf(stats.t.sf(np.abs(t), dof_from), dof_to)
        np.testing.assert_allclose(t_at_dof_fast(t, dof_from, dof_to), exact, rtol=0.01, atol=1e-9)
