"""Who takes part: age, sex, size, tissue offsets, learning curves, and how strongly each person changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plastimap.simulate.places import time_shape
from plastimap.simulate.randomness import stream
from plastimap.simulate.spec import Effect, SimulationSpec

if TYPE_CHECKING:
    import pandas as pd

AGE_RANGE = (24.0, 62.0)
AGE_PER_YEAR = {"R1": -0.0008, "MTsat": -0.001, "FA": -0.001, "MD": 0.001, "R2s": 0.001}
"""Relative change of a tissue parameter per year of age."""

OFFSET_KEYS = tuple(f"{quantity}_{tissue}" for quantity in AGE_PER_YEAR for tissue in ("GM", "WM"))
"""Tissue parameters in which people differ."""

MALE_SIZE = 0.012
"""Relative linear head size of men above, of women below the mean."""

LEARNING = {
    "csr_percent": {"alpha": (70.0, 5.0), "delta": (35.0, 8.0), "gamma": (0.10, 0.015)},
    "rt_ms": {"alpha": (40.0, 4.0), "delta": (-16.0, 3.5), "gamma": (0.079, 0.012)},
}
"""Mean and standard deviation of the curve y(t) = α − δ exp(−γ t) per outcome."""


@dataclass(frozen=True)
class Person:
    """One participant.

    Attributes
    ----------
    label : str
        Without ``sub-``.
    group, sex : str
    age : float
        Years at the first session.
    scale : float
        Relative linear head size.
    offsets : dict
        Factor on a tissue parameter, e.g. ``R1_WM``.
    learning : dict
        Outcome → {alpha, delta, gamma}; empty without training.
    strength : dict
        Effect name → factor on its size for this person (0 = no change).
    """

    label: str
    group: str
    sex: str
    age: float
    scale: float
    offsets: Mapping[str, float]
    learning: Mapping[str, Mapping[str, float]]
    strength: Mapping[str, float]


@dataclass(frozen=True)
class Session:
    """One visit: `label` without ``ses-`` (empty in a study of one session) and `day`."""

    label: str
    day: float


def sessions(spec: SimulationSpec) -> tuple[Session, ...]:
    """List the visits of everybody."""
    if len(spec.days) == 1:
        return (Session("", spec.days[0]),)
    return tuple(Session(f"{number:02d}", day) for number, day in enumerate(spec.days, start=1))


def scan_label(person: Person, session: Session) -> str:
    """``sub-01_ses-02``, or ``sub-01`` in a study of one session."""
    return f"sub-{person.label}" + (f"_ses-{session.label}" if session.label else "")


def people(spec: SimulationSpec) -> tuple[Person, ...]:
    """Everybody, the same for the same seed.

    Learning gains and planted changes are standardised within groups: groups
    with the same effect have exactly the same mean change and mean gain, so a
    contrast between them has nothing to find.
    """
    members = [(group, number) for group, count in spec.groups.items() for number in range(count)]
    gains = {outcome: _scores(spec, f"gain {outcome}") for outcome in LEARNING}
    spreads = {effect.name: _scores(spec, f"spread {effect.name}") for effect in spec.effects}
    everybody: list[Person] = []
    for index, (group, number) in enumerate(members):
        label = f"{index + 1:02d}" if len(members) < 100 else f"{index + 1:03d}"
        own_gains = {outcome: float(gains[outcome][group][number]) for outcome in LEARNING}
        strength = {
            effect.name: _strength(effect, group, own_gains, float(spreads[effect.name][group][number]), gains, spec)
            for effect in spec.effects
        }
        everybody.append(_person(spec, label, group, number, own_gains, strength))
    return tuple(everybody)


def _person(
    spec: SimulationSpec, label: str, group: str, number: int, gains: Mapping[str, float], strength: Mapping[str, float]
) -> Person:
    rng = stream(spec.seed, "person", label)
    # One person per stratum of age, so that small groups do not differ in age by bad luck.
    stratum = stream(spec.seed, "ages", group).permutation(spec.groups[group])[number]
    age = AGE_RANGE[0] + (stratum + rng.uniform()) * (AGE_RANGE[1] - AGE_RANGE[0]) / spec.groups[group]
    sex = "M" if number % 2 == 0 else "F"
    size = np.clip(rng.normal(0, spec.size_sd), -2 * spec.size_sd, 2 * spec.size_sd)
    scale = 1 + size + (MALE_SIZE if sex == "M" else -MALE_SIZE)
    offsets = {key: _offset(key, age, rng, spec) for key in OFFSET_KEYS}
    learning = {outcome: _curve(outcome, gains[outcome], rng) for outcome in LEARNING}
    return Person(
        label=label,
        group=group,
        sex=sex,
        age=round(float(age), 1),
        scale=float(scale),
        offsets=offsets,
        learning=learning if group in spec.trainees else {},
        strength=strength,
    )


def _offset(key: str, age: float, rng: np.random.Generator, spec: SimulationSpec) -> float:
    ageing = AGE_PER_YEAR[key.partition("_")[0]] * (age - np.mean(AGE_RANGE))
    return float((1 + ageing) * (1 + spec.tissue_sd * np.clip(rng.standard_normal(), -2.5, 2.5)))


def _curve(outcome: str, score: float, rng: np.random.Generator) -> dict[str, float]:
    numbers = LEARNING[outcome]
    mean, sd = numbers["delta"]
    curve = {"delta": mean + sd * score}
    for name in ("alpha", "gamma"):
        centre, spread = numbers[name]
        curve[name] = float(centre + spread * np.clip(rng.standard_normal(), -2, 2))
    return curve


def _scores(spec: SimulationSpec, name: str) -> dict[str, NDArray[np.float64]]:
    """Per group: one score per person with mean 0 and standard deviation 1 within the group (0 for one person)."""
    found: dict[str, NDArray[np.float64]] = {}
    for group, count in spec.groups.items():
        rng = stream(spec.seed, name, group)
        # Evenly spread scores with a jitter: a small group must not be all alike.
        scores = (rng.permutation(count) + 0.5 + 0.3 * rng.uniform(-1, 1, count)) / count
        scores = scores - scores.mean()
        found[group] = scores / scores.std() if count > 1 else scores
    return found


def _strength(
    effect: Effect,
    group: str,
    gains: Mapping[str, float],
    spread: float,
    everybody: Mapping[str, Mapping[str, NDArray[np.float64]]],
    spec: SimulationSpec,
) -> float:
    if group not in effect.groups:
        return 0.0
    if effect.link is None:
        return 1 + spec.slope_sd * spread
    largest = max(float(np.abs(everybody[effect.link][name]).max()) for name in effect.groups)
    # A gain in reaction time is a negative δ: a higher raw δ always means a larger value here.
    return gains[effect.link] / largest if largest > 0 else 0.0


def change(effect: Effect, person: Person, day: float, spec: SimulationSpec) -> float:
    """Fraction by which the map of `effect` differs from the first day, in its place, in this person."""
    course = time_shape(day, term=effect.term, first=spec.days[0], last=spec.days[-1])
    return float(effect.size * person.strength[effect.name] * course)


def behaviour_table(person: Person, spec: SimulationSpec) -> pd.DataFrame:
    """One row per assessment × side: day, side, csr_percent, rt_ms (empty for people who do not train)."""
    import pandas as pd

    rng = stream(spec.seed, "behaviour", person.label)
    rows: list[dict[str, float | str]] = []
    for day in spec.behaviour_days if person.learning else ():
        for side in ("left", "right"):
            row: dict[str, float | str] = {"day": day, "side": side}
            for outcome, curve in person.learning.items():
                value = curve["alpha"] - curve["delta"] * np.exp(-curve["gamma"] * day)
                value += spec.behaviour_noise.get(outcome, 0.0) * rng.standard_normal()
                upper = 100.0 if outcome == "csr_percent" else np.inf
                row[outcome] = round(float(np.clip(value, 0, upper)), 2)
            rows.append(row)
    return pd.DataFrame(rows, columns=["day", "side", *LEARNING])
