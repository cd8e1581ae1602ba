"""Likelihoods against statsmodels; the true shape is found."""

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from plastimap.stats.timecourses import COLUMNS, compare_courses, courses, random_level_likelihood

DAYS = np.array([0.0, 7.0, 14.0, 28.0, 84.0])
SHAPES = {
    "none": lambda d: 0 * d,
    "linear": lambda d: 0.02 * d,
    "quadratic": lambda d: 0.05 * d - 0.0006 * d**2,
    "piecewise at 14, 28": lambda d: -0.1 * np.minimum(d, 14) + 0.12 * np.clip(d - 14, 0, 14),
}


def scans(shape, *, seed=0, people=30, noise=0.15, cluster=1):
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(people):
        level = rng.normal()
        group = "SCI" if person % 2 else "CON"
        for number, day in enumerate(DAYS):
            change = SHAPES[shape](day) * (group == "SCI")
            rows.append((cluster, f"{person:02d}", group, f"{number}", day, level + change + noise * rng.normal()))
    return pd.DataFrame(rows, columns=["cluster", "participant_id", "group", "session", "day", "value"])


@pytest.mark.parametrize("noise", [0.15, 5.0])
def test_likelihood_as_statsmodels(noise):
    table = scans("linear", noise=noise).sample(frac=0.8, random_state=1)
    matrix = np.column_stack([np.ones(len(table)), table["day"] / 84])
    ours = random_level_likelihood(table["value"], matrix, table["participant_id"].tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns when the variance between people is at its border
        theirs = sm.MixedLM(table["value"].to_numpy(), matrix, table["participant_id"].to_numpy()).fit(reml=False)
    # Both are at the maximum; near the border theirs stops a little short of it.
    assert ours.log_likelihood == pytest.approx(theirs.llf, abs=1e-3)
    assert ours.parameters == 4


@pytest.mark.parametrize("shape", SHAPES)
def test_the_true_shape_has_the_lowest_criteria(shape):
    found = compare_courses(pd.concat([scans(shape, seed=s, cluster=s) for s in range(1, 9)]), knots=[14, 28])
    assert list(found.columns) == list(COLUMNS)
    best = found[found["delta_aic"] == 0].set_index("cluster")["course"]
    # AIC prefers a richer shape by chance now and then: 16 % per parameter too many.
    assert (best == shape).sum() >= 5
    by_bic = found.loc[found.groupby("cluster")["bic"].idxmin(), "course"]
    assert (by_bic == shape).sum() >= 7
    assert found.groupby("cluster")["weight"].sum().to_numpy() == pytest.approx(1.0)


def test_scale_and_order_do_not_matter():
    table = scans("quadratic")
    other = table.sample(frac=1, random_state=3).assign(value=lambda t: 1000 * t["value"])
    one, two = compare_courses(table), compare_courses(other)
    assert one["course"].tolist() == two["course"].tolist()
    np.testing.assert_allclose(one["delta_aic"], two["delta_aic"], atol=1e-5)


def test_shapes_that_the_days_cannot_tell_are_left_out():
    assert list(courses([0, 28])) == ["none"]
    assert list(courses([0, 7, 28])) == ["none", "linear"]
    assert list(courses(DAYS, knots=[14, 28])) == ["none", "linear", "quadratic", "piecewise at 14, 28"]
    assert list(courses(DAYS, knots=[90])) == ["none", "linear", "quadratic"]


def test_no_clusters_no_rows():
    assert compare_courses(scans("none").iloc[:0]).empty
