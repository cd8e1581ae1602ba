"""Closed forms against doing it the long way; peers; sites' shifts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

from plastimap.brainage.calibration import calibrate
from plastimap.brainage.evaluate import cross_validate, scores, splits, summary
from plastimap.brainage.gaussian_process import GaussianProcess, fit_gaussian_process
from plastimap.brainage.harmonise import fit_harmoniser
from plastimap.brainage.model import BrainAgeModel, Settings, fit_model, with_local_controls
from plastimap.brainage.predicted import LEAST_VARIANCE, Predicted
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.ridge import fit_ridge
from plastimap.brainage.tables import ParcelTable


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=(80, 4))
    return x, np.sin(x[:, 0]) + 0.5 * x[:, 1] + rng.normal(0, 0.2, 80)


def test_the_process_says_what_scikit_learn_says(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    ours = fit_gaussian_process(x, y)
    a, length, b, noise = ours.kernel
    kernel = ConstantKernel(a) * RBF(length * 2) + ConstantKernel(b / 4) * DotProduct(1e-9) + WhiteKernel(noise)
    theirs = GaussianProcessRegressor(kernel, optimizer=None).fit(x, ours.target)
    mean, sd = theirs.predict(x[:10] + 0.1, return_std=True)
    found = ours.predict(x[:10] + 0.1)
    np.testing.assert_allclose((found[0] - ours.level) / ours.spread, mean, atol=1e-6)
    np.testing.assert_allclose(found[1] / ours.spread, sd, atol=1e-6)


def test_the_kernel_is_at_least_as_likely_as_scikit_learns(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    ours = fit_gaussian_process(x, y)
    kernel = ConstantKernel(0.5) * RBF(1.6) + ConstantKernel(0.05) * DotProduct(1e-9, "fixed") + WhiteKernel(0.1)
    theirs = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=1).fit(x, ours.target)
    a, length, b, noise = ours.kernel
    at_ours = np.log([a, length * 2, b / 4, noise])
    assert theirs.log_marginal_likelihood(at_ours) > theirs.log_marginal_likelihood_value_ - 0.5


def test_what_is_left_out_is_what_a_fit_without_it_says(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    groups = np.arange(80) % 7
    whole = fit_gaussian_process(x, y)
    ridge = fit_ridge(x, y)
    rows = groups == 3
    part = GaussianProcess(x[~rows], whole.target[~rows], whole.level, whole.spread, whole.kernel)
    for one, other in zip(whole.left_out(groups), part.predict(x[rows]), strict=True):
        np.testing.assert_allclose(one[rows], other, rtol=1e-5, atol=1e-6)
    gram = x[~rows].T @ x[~rows] + ridge.penalty * np.eye(4)
    slopes = np.linalg.solve(gram, x[~rows].T @ ridge.target[~rows])
    np.testing.assert_allclose(ridge.left_out(groups)[0][rows], ridge.level + x[rows] @ slopes, rtol=1e-8)
    # What is left out may look otherwise than it did in training: a site that is not harmonised.
    moved = x + 0.3
    for one, other in zip(whole.left_out(groups, moved), part.predict(moved[rows]), strict=True):
        np.testing.assert_allclose(one[rows], other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ridge.left_out(groups, moved)[0][rows], ridge.level + moved[rows] @ slopes, rtol=1e-8)


def test_intervals_and_bias_of_known_errors(rng: np.random.Generator) -> None:
    age = rng.uniform(20, 80, 5000)
    predicted = (50 + 0.5 * (age - 50) + rng.normal(0, 5, 5000))[:, None]
    found = calibrate(age, predicted, np.full_like(predicted, 3.0), np.arange(5000) % 10, coverage=0.9)
    assert found.bias.slope[0] == pytest.approx(0.5, abs=0.02)
    assert found.bias.intercept[0] == pytest.approx(25, abs=1)
    given = Predicted(predicted, np.full_like(predicted, 3.0), np.zeros((1, *predicted.shape)))
    low, high = found.interval(given, np.full(5000, "0"))
    inside = (low[:, 0] <= age) & (age <= high[:, 0])
    young, old = inside[age < 40].mean(), inside[age >= 40].mean()
    # Tails are tried in steps of 0.25 %, so the worse of the two bands is held by at most as much more on either side.
    assert min(young, old) == pytest.approx(0.9025, abs=0.0035)
    assert max(young, old) < 0.93


def ensemble(rng: np.random.Generator, people: int, members: int) -> tuple[np.ndarray, np.ndarray]:
    """Ages, and predictions of every member: what all get wrong (10 %), and what each does by itself (8 %)."""
    age = rng.uniform(20, 80, people)
    logs = np.log(age) + rng.normal(0, 0.1, people) + rng.normal(0, 0.08, (members, people))
    return age, np.exp(logs)


def test_the_mean_of_members_has_the_intervals_of_a_mean(rng: np.random.Generator) -> None:
    age, members = ensemble(rng, 5000, 10)
    single = members[rng.integers(0, 10, 5000), np.arange(5000)][:, None]
    found = calibrate(age, single, 0.2 * single, np.arange(5000) % 10)
    age, members = ensemble(rng, 5000, 10)
    logs = np.log(members)[..., None]
    mean, names = np.exp(logs.mean(axis=0)), np.full(5000, "0")
    held: list[float] = []
    for apart in (logs - logs.mean(axis=0), np.zeros_like(logs)):
        low, high = found.interval(Predicted(mean, 0.2 * mean, apart), names)
        held.append(float(((low[:, 0] <= age) & (age <= high[:, 0])).mean()))
    # A member's log error has an SD of 0.128, the mean's 0.103: intervals of a member hold 96 %.
    assert held[0] == pytest.approx(0.9, abs=0.02)
    assert held[1] > 0.945
    sd = found.scaled(Predicted(mean, 0.2 * mean, logs - logs.mean(axis=0)), names)[:, 0]
    assert (np.abs(mean[:, 0] - age) <= sd).mean() == pytest.approx(0.683, abs=0.03)


def test_errors_are_in_the_unit_that_tells_who_errs(rng: np.random.Generator) -> None:
    age, sites = rng.uniform(20, 80, 4000), np.arange(4000) % 10
    spread = rng.choice([2.0, 8.0], 4000)
    predicted = np.column_stack([age + rng.normal(0, spread), age + rng.normal(0, 0.1 * age)])
    told = np.column_stack([spread, 5 * rng.lognormal(0, 0.5, 4000)])
    members, alone = (calibrate(age, predicted, told, sites, by_members=one) for one in (True, False))
    np.testing.assert_array_equal(members.errors.relative, [False, True])
    assert not alone.errors.relative.any()


def test_a_noisy_sd_of_members_does_not_widen_intervals_of_their_mean(rng: np.random.Generator) -> None:
    # A member's SD is off by half at random, that of the mean is not: in units of the former, tails are too long.
    age, members = ensemble(rng, 5000, 1)
    noisy = 0.2 * members.T * rng.lognormal(0, 0.5, (5000, 1))
    found = calibrate(age, members.T, noisy, np.arange(5000) % 10, by_members=True)
    age, members = ensemble(rng, 5000, 1)
    given = Predicted(members.T, 0.2 * members.T, np.zeros((1, 5000, 1)))
    low, high = found.interval(given, np.full(5000, "0"))
    assert ((low[:, 0] <= age) & (age <= high[:, 0])).mean() == pytest.approx(0.9, abs=0.02)


def test_members_that_are_far_apart_do_not_make_an_interval_vanish(rng: np.random.Generator) -> None:
    age, members = ensemble(rng, 400, 1)
    predicted, names = members.T, np.full(400, "0")
    found = calibrate(age, predicted, 0.2 * predicted, np.arange(400) % 4)
    steps = np.array([-2.0, 2.0])[:, None, None] + np.zeros((2, *predicted.shape))
    far, near = (found.scaled(Predicted(predicted, 0.2 * predicted, one), names) for one in (steps, 0 * steps))
    np.testing.assert_allclose(far, np.sqrt(LEAST_VARIANCE) * near)


@pytest.mark.parametrize("method", ["location", "combat"])
def test_shifts_of_sites_are_taken_off(rng: np.random.Generator, method: str) -> None:
    site = np.repeat(np.array(["a", "b", "c", "d"]), 60)
    age = rng.uniform(20, 80, 240) + 15 * (site == "d")
    shift = {"a": 0.0, "b": 0.4, "c": -0.3, "d": 0.2}
    base = 3 - 0.01 * age[:, None] + rng.normal(0, 0.1, (240, 8))
    values = base + np.array([shift[one] for one in site])[:, None]
    harmoniser = fit_harmoniser(values, age, np.zeros(240), site, method=method)  # type: ignore[arg-type]
    out = harmoniser.apply(values, site) + 0.01 * age[:, None]
    means = [out[site == one].mean() for one in "abcd"]
    # Shifts of up to 0.4 are left with chance (0.1/√480 = 0.005) and what shrinkage keeps.
    assert np.ptp(means) < 0.04
    unknown = harmoniser.apply(values, np.full(240, "new"))
    np.testing.assert_array_equal(unknown, values)


@pytest.mark.parametrize("method", ["location", "combat"])
def test_the_course_with_age_stays_where_sites_scatter_differently(rng: np.random.Generator, method: str) -> None:
    # −0.005 a year at every site, noise of 0.05, 0.1 and 0.2: divided by its noise, a site would age 0.6 to 2.6 times.
    number = rng.integers(0, 3, 600)
    age, site = rng.uniform(20, 80, 600), number.astype(str)
    noise = rng.normal(0, 1, (600, 30)) * np.array([0.05, 0.1, 0.2])[number][:, None]
    values = 2.5 - 0.005 * age[:, None] + np.array([0, 0.1, -0.1])[number][:, None] + noise
    harmoniser = fit_harmoniser(values, age, np.zeros(600), site, method=method)  # type: ignore[arg-type]
    out = harmoniser.apply(values, site)
    for one in range(3):
        before, after = (np.polyfit(age[number == one], each[number == one].mean(axis=1), 1) for each in (values, out))
        assert after[0] == pytest.approx(before[0], abs=1e-9)
    means = [(out + 0.005 * age[:, None])[number == one].mean() for one in range(3)]
    assert np.ptp(means) < 0.02


def test_shifts_of_combat_are_shrunk_by_their_spread_over_parcels(rng: np.random.Generator) -> None:
    # True shifts differ by 0.02 between parcels, means of 20 people by 0.22: a parcel's own says hardly anything.
    site, age = np.repeat(np.array(["a", "b"]), 20), rng.uniform(20, 80, 40)
    true = rng.normal(0.5, 0.02, 200)
    values = rng.normal(0, 1, (40, 200)) + (site == "b")[:, None] * true
    found = fit_harmoniser(values, age, np.zeros(40), site, method="combat")
    apart = found.sites["b"].location - found.sites["a"].location
    raw = values[20:].mean(axis=0) - values[:20].mean(axis=0)
    assert apart.std() < 0.5 * raw.std()
    assert apart.mean() == pytest.approx(raw.mean(), rel=0.1)


def test_with_controls_the_shift_of_a_site_is_no_bias_of_age(rng: np.random.Generator) -> None:
    # Older sites are taken for too old: without their shifts, the real age is what to expect.
    number, shift = np.repeat(np.arange(20), 60), np.linspace(-0.3, 0.3, 20)
    age = 20 + 2 * number + rng.uniform(0, 20, 1200)
    predicted = (age * np.exp(shift[number] + rng.normal(0, 0.03, 1200)))[:, None]
    found = calibrate(age, predicted, 0.1 * predicted, number)
    assert found.bias.slope[0] > 1.3
    assert found.bias_with_controls.slope[0] == pytest.approx(1, abs=0.05)


def test_a_new_site_is_learnt_from_its_controls(rng: np.random.Generator) -> None:
    site = np.repeat(np.array(["a", "b", "c", "d"]), 60)
    age = rng.uniform(20, 80, 260)
    values = 3 - 0.01 * age[:, None] + rng.normal(0, 0.1, (260, 8))
    values[:240] += np.repeat([0.0, 0.4, -0.3, 0.2], 60)[:, None]
    values[240:] += 0.5
    known = fit_harmoniser(values[:240], age[:240], np.zeros(240), site)
    more = known.with_site("new", values[240:], age[240:], np.zeros(20))
    moved = values[240:] - more.apply(values[240:], np.full(20, "new"))
    assert moved.mean() == pytest.approx(0.5 - 0.075, abs=0.06)
    assert "new" not in known.sites


def test_nobody_trains_and_is_tested(healthy: ParcelTable) -> None:
    for scheme in ("random", "sites"):
        tested = list[int]()
        for training, test in splits(healthy, scheme):  # type: ignore[arg-type]
            assert not set(training) & set(test)
            if scheme == "sites":
                assert not set(healthy.site[training]) & set(healthy.site[test])
            tested += test.tolist()
        assert sorted(tested) == list(range(200))


def test_sessions_of_a_person_stay_together(healthy: ParcelTable) -> None:
    twice = healthy.rows(np.repeat(np.arange(200), 2))
    names = twice.people["participant_id"].to_numpy()
    for training, test in splits(twice, "random"):
        assert not set(names[training]) & set(names[test])


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Whom each fold's model is trained on."""
    seen = list[set[str]]()

    def watched(table: ParcelTable, *given: Any, **options: Any) -> BrainAgeModel:
        seen.append(set(table.persons.tolist()))
        return fit_model(table, *given, **options)

    monkeypatch.setattr("plastimap.brainage.evaluate.fit_model", watched)
    return seen


@pytest.mark.parametrize(("scheme", "controls"), [("random", (0,)), ("sites", (0, 10))])
def test_who_is_judged_was_not_trained_on(
    healthy: ParcelTable, trained_on: list[set[str]], scheme: str, controls: tuple[int, ...]
) -> None:
    # Half of the people were measured at another site, too.
    again = healthy.people.assign(site=np.roll(healthy.site, 1)).iloc[:100]
    people = pd.concat([healthy.people, again], ignore_index=True)
    twice = replace(healthy, people=people, values=np.vstack([healthy.values, healthy.values[:100]]))
    found = cross_validate(twice, Settings(method="ridge"), scheme, controls=controls, folds=5)  # type: ignore[arg-type]
    pairs = found.groupby(found["site"] if scheme == "sites" else found["participant_id"])
    assert len(trained_on) == (6 if scheme == "sites" else 5)
    for _, part in pairs:
        judged = set(part["participant_id"])
        assert any(not judged & one for one in trained_on)
    assert len(found[(found["controls"] == 0) & (found["hemisphere"] == "B")]) == 300


def test_controls_are_people_with_all_their_sessions(healthy: ParcelTable, monkeypatch: pytest.MonkeyPatch) -> None:
    people = pd.concat([healthy.people.assign(session=one) for one in ("1", "2")], ignore_index=True)
    twice = replace(healthy, people=people, values=np.vstack([healthy.values] * 2))
    drawn = list[list[str]]()

    def watched(model: BrainAgeModel, controls: ParcelTable) -> BrainAgeModel:
        drawn.append(controls.persons.tolist())
        return with_local_controls(model, controls)

    monkeypatch.setattr("plastimap.brainage.evaluate.with_local_controls", watched)
    found = cross_validate(twice, Settings(method="ridge"), "sites", controls=(0, 10))
    assert [(len(one), len(set(one))) for one in drawn] == [(20, 10)] * 6
    judged = set(found.loc[found["controls"] == 10, "participant_id"])
    assert not judged & {name for one in drawn for name in one}


def test_scores_tell_both_errors_and_the_median(healthy: ParcelTable) -> None:
    found = cross_validate(healthy, Settings(method="ridge"), "sites", controls=(0, 10))
    table = scores(found)
    assert {"mae", "mae_corrected", "median_mae", "coverage"} <= set(table)
    # A share of variance explained would be near 1 even of noise, since the real age is used.
    assert "r2_corrected" not in table
    everybody = found[(found["controls"] == 0) & (found["hemisphere"] == "B")]
    assert len(everybody) == 200
    assert table["mae"].notna().all()
    one = summary(found)["controls 0, ages all"]
    assert one["whole brain"]["mae"] < one["whole brain"]["median_mae"]
    # Correction uses the real age: its error is smaller for free.
    assert one["mean of regions"]["mae_corrected"] < one["mean of regions"]["mae"]


def test_one_site_cannot_be_left_out(healthy: ParcelTable) -> None:
    with pytest.raises(BrainageProblem, match="there is one"):
        list(splits(healthy.rows(healthy.site == "site0"), "sites"))


def test_sites_that_share_everybody_cannot_be_left_out(healthy: ParcelTable) -> None:
    first = healthy.persons[healthy.site == "site0"]
    names = np.where(healthy.site == "site0", healthy.persons, first[0])
    shared = replace(healthy, people=healthy.people.assign(participant_id=names))
    with pytest.raises(BrainageProblem, match="all people were measured at one"):
        list(splits(shared, "sites"))


@pytest.mark.parametrize("count", [-1, 500])
def test_more_controls_than_people_are_refused(healthy: ParcelTable, count: int) -> None:
    with pytest.raises(BrainageProblem, match=f"{count} local controls"):
        cross_validate(healthy, Settings(method="ridge"), "sites", controls=(0, count))
