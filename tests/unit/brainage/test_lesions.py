"""Lesions: expectations in the place of what is gone, shares, sides; and a planted stroke from end to end."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plastimap.brainage.lesions import (
    expected,
    fit_normal,
    impute,
    lesion_shares,
    lesion_side,
    lesion_volume_ml,
    named_sides,
    side_of,
)
from plastimap.brainage.model import Settings, apply, train
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.simulate import StrokePlan, age_course, simulate_stroke
from plastimap.brainage.tables import ParcelTable


def test_the_expectation_is_that_of_a_regression(rng: np.random.Generator) -> None:
    root = rng.normal(size=(5, 5))
    data = rng.normal(size=(200_000, 5)) @ root.T
    normal = fit_normal(data)
    line = np.linalg.lstsq(np.column_stack([np.ones(len(data)), data[:, 1:]]), data[:, 0], rcond=None)[0]
    known = np.array([1.0, -0.5, 0.3, 2.0])
    found = expected(known, np.arange(1, 5), np.array([0]), normal)
    # Shrinkage of the covariance is about 1/n of it.
    np.testing.assert_allclose(found, line[0] + line[1:] @ known, atol=2e-2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 23), st.floats(0.5, 5))
def test_what_a_lesion_does_to_a_parcel_does_not_matter(parcel: int, value: float) -> None:
    from tests.unit.brainage.conftest import edges, nodes

    from plastimap.brainage.parcels import as_parcels

    parcels, generator = as_parcels(nodes(), edges()), np.random.default_rng(1)
    normal = fit_normal(generator.normal(2.5, 0.2, (100, 24)))
    values = generator.normal(2.5, 0.2, (1, 24))
    shares = np.zeros((1, 24))
    shares[0, parcel] = 0.4
    changed = values.copy()
    changed[0, parcel] = value
    one, other = (impute(each, parcels, normal, lesioned=shares).values for each in (values, changed))
    np.testing.assert_array_equal(one, other)
    assert np.delete(one[0], parcel).tolist() == np.delete(values[0], parcel).tolist()


def test_only_the_same_hemisphere_stands_in(healthy: ParcelTable) -> None:
    normal, parcels = fit_normal(healthy.values), healthy.parcels
    shares = np.zeros_like(healthy.values)
    shares[:, 0] = 1.0
    moved = healthy.values.copy()
    moved[:, 12:] += 1.0  # the right hemisphere
    one, other = (impute(each, parcels, normal, lesioned=shares).values for each in (healthy.values, moved))
    np.testing.assert_array_equal(one[:, 0], other[:, 0])


def test_a_region_that_is_mostly_gone_has_no_age(healthy: ParcelTable, others: ParcelTable) -> None:
    model = train(healthy, Settings(method="ridge"))
    shares = np.zeros_like(others.values)
    shares[0, :2] = 0.9
    shares[1, :12] = 0.9
    found = apply(model, others, lesioned=shares)
    assert np.isnan(found.age[0, 0])
    assert np.isfinite(found.age[0, 1:]).all()
    assert found.imputed.replaced[0].sum() == 2
    # A whole hemisphere is half of all: then the whole brain has no age either, and the other hemisphere has its own.
    assert np.isnan(found.age[1]).tolist() == [side != "R" for _, side in model.regions]
    assert np.isfinite(found.age[2:]).all()


def test_shares_volumes_and_sides() -> None:
    labels = np.zeros((4, 4, 4), dtype=int)
    labels[:2], labels[2:] = 1, 2
    lesion = np.zeros_like(labels, dtype=bool)
    lesion[0] = True
    np.testing.assert_allclose(lesion_shares(lesion, labels, [1, 2, 3]), [0.5, 0.0, np.nan])
    assert lesion_volume_ml(lesion, 8.0) == pytest.approx(0.128)
    with pytest.raises(BrainageProblem, match="one grid"):
        lesion_shares(lesion[:2], labels, [1])
    assert side_of("L", "L") == "ipsilesional"
    assert side_of("R", "L") == "contralesional"
    assert side_of("B", "L") == side_of("L", "") == ""


def test_a_voxel_counts_by_its_share() -> None:
    labels = np.ones((2, 2, 2), dtype=int)
    np.testing.assert_allclose(lesion_shares(np.full((2, 2, 2), 0.25), labels, [1]), [0.25])


def test_sides_follow_most_of_the_lesion(healthy: ParcelTable) -> None:
    shares = np.zeros((3, 24))
    shares[0, 1] = shares[1, 20] = shares[2, 1] = shares[2, 20] = 0.5
    assert lesion_side(shares, healthy.parcels) == ["L", "R", ""]


def test_both_sides_are_asked_alike(healthy: ParcelTable) -> None:
    """0.8 and 0.2 of one parcel, four parcels and one: four fifths on either side."""
    shares = np.zeros((4, 24))
    shares[0, 1], shares[0, 20] = 0.8, 0.2
    shares[1, 1], shares[1, 20] = 0.2, 0.8
    shares[2, [0, 1, 2, 3, 20]] = shares[3, [0, 20, 21, 22, 23]] = 1.0
    assert lesion_side(shares, healthy.parcels) == ["L", "R", "L", "R"]


def test_sides_are_as_they_are_named() -> None:
    given = pd.Series(["left", "R", "bilateral", "Both", None, " rh "])
    assert named_sides(given, ["R", "R", "L", "L", "L", ""]) == ["L", "R", "", "", "L", "R"]
    with pytest.raises(BrainageProblem, match="rechts"):
        named_sides(pd.Series(["rechts", "L"]), ["", ""])


@pytest.mark.parametrize("method", ["ridge", "gaussian_process"])
def test_a_planted_stroke_is_found_where_it_is_and_nowhere_else(
    healthy: ParcelTable, others: ParcelTable, method: str
) -> None:
    model = train(healthy, Settings(method=method))  # type: ignore[arg-type]
    plan = StrokePlan(parcels_lesioned=(1, 2))
    cohort = simulate_stroke(others, age_course(healthy), plan=plan, seed=3)
    change = apply(model, cohort.table, lesioned=cohort.lesioned).age - apply(model, others).age
    sides = cohort.table.people["lesion_side"].to_numpy()
    for number, (network, hemisphere) in enumerate(others.parcels.regions):
        inside = change[sides == hemisphere, number]
        outside = change[sides != hemisphere, number]
        assert np.nanmean(inside) > 1
        if network == plan.network:
            assert outside.mean() < -1
        else:
            assert np.abs(outside).max() < 1e-6
