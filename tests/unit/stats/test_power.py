"""Power from pilot data: grows with people and effect, and is the error rate without an effect."""

import numpy as np
import pytest
from scipy import stats

from plastimap.stats.longitudinal import TimeCoding
from plastimap.stats.power import COLUMNS, Effect, rate_interval, read_pilot, sample_sizes
from plastimap.stats.problems import StatsProblem


@pytest.fixture
def pilot_of(toy):
    def make(term="linear"):
        study = toy()
        known = study.arguments | {"covariates": []}
        pilot = read_pilot(
            study.maps, study.scans, study.participants, group=known["group"], term=term, time=TimeCoding()
        )
        for key in ("terms", "contrasts"):
            known.pop(key, None)
        return pilot, study.blob[known["mask"]], known

    return make


def names_of(pilot):
    return sorted(set(pilot.groups))[:2]


def test_more_people_and_larger_effects_have_more_power(pilot_of):
    pilot, region, known = pilot_of()
    first, second = names_of(pilot)

    def power(percent, size):
        effect = Effect(f"{first} > {second}", "linear", percent, region)
        return sample_sizes(pilot, effect, [size], rounds=12, analysis=known, seed=3).iloc[0]

    nothing, small, many = power(0.0, 12), power(4.0, 6), power(20.0, 20)
    assert nothing["power"] <= 0.25
    assert many["power"] >= 0.9
    assert small["power"] <= many["power"]
    assert list(nothing.index) == list(COLUMNS)


def test_residuals_have_no_group_course_left(pilot_of):
    pilot, _, _ = pilot_of()
    for name in set(pilot.groups):
        rows = np.concatenate([pilot.people.rows[i] for i, own in enumerate(pilot.groups) if own == name])
        days = np.concatenate([pilot.people.days[i] for i, own in enumerate(pilot.groups) if own == name])
        course = pilot.basis.at(days)
        left = np.linalg.lstsq(course, pilot.residuals[rows].astype(float), rcond=None)[0]
        assert np.abs(course @ left).max() < 1e-3 * np.abs(pilot.residuals).max()


def test_the_effect_that_was_asked_is_planted(pilot_of):
    """Without residuals, the left groups differ from the others by the percentage, over the study's days."""
    from dataclasses import replace

    from plastimap.stats.power import _study

    pilot, region, known = pilot_of()
    first, second = names_of(pilot)
    still = replace(pilot, residuals=np.zeros_like(pilot.residuals))
    drawn = {name: [i for i, own in enumerate(pilot.groups) if own == name] for name in (first, second)}
    effect = Effect(f"{first} > {second}", "linear", 5.0, region)
    maps, scans, table = _study(still, effect, (first,), drawn, 5, np.random.default_rng(0), group=known["group"])
    of = table.set_index("participant_id")[known["group"]]
    ends = scans["day"].isin([scans["day"].min(), scans["day"].max()])
    change = {}
    for name in (first, second):
        own = (scans["participant_id"].map(of) == name).to_numpy() & ends.to_numpy()
        last = scans["day"].to_numpy() == scans["day"].max()
        change[name] = maps[own & last][:, region].mean() - maps[own & ~last][:, region].mean()
    assert change[first] == pytest.approx(0.05 * pilot.mean[region].mean(), rel=1e-3)
    assert change[second] == pytest.approx(0, abs=1e-6)


def test_interval_as_of_the_beta_distribution():
    assert rate_interval(3, 20) == pytest.approx((stats.beta.ppf(0.025, 3, 18), stats.beta.ppf(0.975, 4, 17)))
    assert rate_interval(0, 20)[0] == 0


def test_problems(pilot_of):
    pilot, region, known = pilot_of()
    first, second = names_of(pilot)
    with pytest.raises(StatsProblem, match="no voxel"):
        nowhere = Effect(f"{first} > {second}", "linear", 1.0, np.zeros_like(region))
        sample_sizes(pilot, nowhere, [5], rounds=1, analysis=known)
    with pytest.raises(StatsProblem, match="piece1"):
        pilot_of("piece1")
