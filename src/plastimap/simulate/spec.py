"""What to simulate: a frozen specification, read from a mapping with every mistake listed at once."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

MAPS = ("R1", "R2s", "MTsat", "PD", "FA", "MD", "vbm")
"""Maps that an effect can be planted in."""

OUTCOMES = ("csr_percent", "rt_ms")
"""Behaviour that people who train show."""

LARGEST_SNR = 30.0
"""The simulation refuses to be kinder than a good clinical scan."""

LARGEST_CHANGE = {"R1": 0.05, "MTsat": 0.05, "R2s": 0.05, "PD": 0.05, "FA": 0.08, "MD": 0.08, "vbm": 0.10}
"""Largest planted change (as a fraction) that still counts as realistic."""

Content = Literal["mpm", "b1", "dwi", "t1w"]
Term = Literal["linear", "quadratic"]
Tissue = Literal["GM", "WM", "CSF"]


class SpecProblem(ValueError):
    """A specification that cannot be simulated; `problems` lists everything wrong with it."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("the simulation cannot start:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Effect:
    """A change planted in one map of one tissue around one place.

    Attributes
    ----------
    place : str
        Name of the place; with the map it names the effect.
    map, tissue : str
        Which map changes, and in which tissue. ``vbm`` is volume: everything
        inside the place expands, and `tissue` is where it should be found.
    term : {"linear", "quadratic"}
        Time shape: (t − first)/(last − first), or the parabola that is 0 on
        the first and the last day and 1 midway.
    size : float
        Fraction at the last day (linear) or at the peak (quadratic).
    groups : tuple of str
        Groups that change.
    centre : tuple of float
        MNI millimetres.
    radius, edge : float
        Millimetres: the change is full within ``radius − edge/2`` and gone
        beyond ``radius + edge/2``, a raised cosine between.
    link : str or None
        None: every person of `groups` changes by `size`, give or take the
        spread of the specification. ``"csr_percent"``: the change is
        proportional to the z-score (within groups) of that person's learning
        gain δ in this outcome, `size` for the largest |z|, 0 on average.
    contrast : str
        Name of the study contrast in which the effect should be found.
    """

    place: str
    map: str
    tissue: Tissue
    term: Term
    size: float
    groups: tuple[str, ...]
    centre: tuple[float, float, float]
    radius: float = 13.0
    edge: float = 4.0
    link: str | None = None
    contrast: str = ""

    @property
    def name(self) -> str:
        """What the truth tables call the effect."""
        return f"{self.map}-{self.place}".replace(" ", "-")


@dataclass(frozen=True)
class SimulationSpec:
    """A whole simulated study.

    Attributes
    ----------
    seed : int
        People, their anatomy, behaviour and head positions.
    noise_seed : int or None
        Image noise alone; None = `seed`. Changing it gives new scans of the
        same people.
    include : tuple of str
        ``mpm`` (PDw, T1w, MTw echoes), ``b1`` (B1+ map), ``dwi``, ``t1w``.
    voxel_mm, margin_mm : float
        Isotropic voxels; space left around the brain.
    groups : dict
        Group name → number of people.
    trainees : tuple of str
        Groups that train, so that have behaviour.
    days : tuple of float
        Day of each session; a single day makes a study without ``ses-``.
    missing : tuple of str
        Scans that were never made, e.g. ``sub-03_ses-02``.
    snr : float
        Mean signal of pure white matter (B1 = 1, receive field = 1) over the
        standard deviation of each of the two Gaussian noises, at the first
        PDw echo for MPM, at b = 0 for DWI and for T1w; at most 30.
    echoes : dict
        Echoes per weighting (PDw, T1w, MTw).
    echo_spacing_ms, tr_ms : float
        First echo time = spacing.
    flips_deg : dict
        Nominal flip angle per weighting.
    b1_c : float
        Constant C of the dependence of the MT saturation on B1.
    b1_noise : float
        Relative noise of the measured B1+ map.
    n_b0, shells, dwi_motion_mm, dwi_motion_deg
        b = 0 volumes; b-value (s/mm²) → directions; largest volume motion.
    position_mm, position_deg : float
        Largest shift and turn of the head per axis from session to session.
    morphology_mm : float
        Standard deviation of a person's smooth deformation from the template.
    size_sd : float
        Standard deviation of a person's relative linear head size.
    tissue_sd : float
        Relative standard deviation of a person's tissue parameters.
    slope_sd : float
        Spread between people of a planted effect, relative to its size.
    effects : tuple of Effect
    behaviour_days : tuple of float
        Assessment days; they may outnumber the sessions.
    behaviour_noise : dict
        Standard deviation per outcome.
    name : str
        Name of the dataset.
    """

    seed: int = 1
    noise_seed: int | None = None
    include: tuple[Content, ...] = ("mpm", "b1", "dwi")
    voxel_mm: float = 3.0
    margin_mm: float = 8.0
    groups: dict[str, int] = field(default_factory=lambda: {"SCI-UL": 4, "SCI-LL": 4, "CON": 4})
    trainees: tuple[str, ...] = ("SCI-UL", "SCI-LL")
    days: tuple[float, ...] = (0.0, 28.0, 84.0)
    missing: tuple[str, ...] = ()
    snr: float = 30.0
    echoes: dict[str, int] = field(default_factory=lambda: {"PDw": 8, "T1w": 8, "MTw": 6})
    echo_spacing_ms: float = 2.34
    tr_ms: float = 24.5
    flips_deg: dict[str, float] = field(default_factory=lambda: {"PDw": 6.0, "T1w": 21.0, "MTw": 6.0})
    b1_c: float = 0.4
    b1_noise: float = 0.015
    n_b0: int = 3
    shells: dict[float, int] = field(default_factory=lambda: {1000.0: 15})
    dwi_motion_mm: float = 0.4
    dwi_motion_deg: float = 0.4
    position_mm: float = 2.0
    position_deg: float = 2.0
    morphology_mm: float = 2.0
    size_sd: float = 0.025
    tissue_sd: float = 0.015
    slope_sd: float = 0.2
    effects: tuple[Effect, ...] = ()
    behaviour_days: tuple[float, ...] = (0.0, 7.0, 14.0, 28.0, 84.0)
    behaviour_noise: dict[str, float] = field(default_factory=lambda: {"csr_percent": 1.0, "rt_ms": 0.6})
    name: str = "Simulated plasticity study"

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SimulationSpec:
        """Make a specification from a mapping (YAML or JSON).

        Raises
        ------
        SpecProblem
            With everything that is wrong: unknown keys (and what was
            probably meant), wrong types, values out of range.
        """
        problems = _unknown(content, _names(cls), "")
        values = {key: value for key, value in content.items() if key in _names(cls)}
        raw_effects = values.pop("effects", ())
        given = _converted(values, problems)
        effects = _effects(raw_effects, problems)
        if problems:
            raise SpecProblem(problems)
        spec = cls(**given, effects=effects)
        problems = spec.problems()
        if problems:
            raise SpecProblem(problems)
        return spec

    def to_dict(self) -> dict[str, Any]:
        """Plain mapping that :meth:`from_dict` reads back."""
        content = asdict(self)
        content["shells"] = {str(bvalue): count for bvalue, count in self.shells.items()}
        return content

    def problems(self) -> list[str]:
        """Everything about the values that cannot be simulated, in words."""
        found: list[str] = []
        _check_numbers(self, found)
        _check_study(self, found)
        _check_sequences(self, found)
        for effect in self.effects:
            _check_effect(effect, self, found)
        names = [effect.name for effect in self.effects]
        found += [f"effects: '{name}' is planted twice; give one another place" for name in _repeated(names)]
        return found


def _names(kind: type) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind))


def _unknown(content: Mapping[str, Any], known: Sequence[str], where: str) -> list[str]:
    found: list[str] = []
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            found.append(f"{where}unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    return found


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return sorted({name for name in names if name in seen or seen.add(name)})


def _converted(values: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Values in the types of the fields; what cannot be converted becomes a problem."""
    default = SimulationSpec()
    given: dict[str, Any] = {}
    for key, value in values.items():
        try:
            given[key] = _like(getattr(default, key), value, key)
        except (TypeError, ValueError):
            problems.append(f"{key}: {value!r} is not of the kind of the default {getattr(default, key)!r}")
    return given


def _like(example: Any, value: Any, key: str) -> Any:
    if key == "noise_seed":
        return None if value is None else int(value)
    if isinstance(example, dict):
        if not isinstance(value, Mapping):
            raise TypeError(key)
        key_type, value_type = (type(next(iter(example))), type(next(iter(example.values()))))
        return {key_type(name): value_type(item) for name, item in value.items()}
    if isinstance(example, tuple):
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            raise TypeError(key)
        kind = type(example[0]) if example else str
        return tuple(kind(item) for item in value)
    return type(example)(value)


def _effects(raw: Any, problems: list[str]) -> tuple[Effect, ...]:
    made: list[Effect] = []
    for number, content in enumerate(raw, start=1):
        if not isinstance(content, Mapping):
            problems.append(f"effects: number {number} is no mapping with place, map, tissue, …")
            continue
        where = f"effect {number} ({content.get('place', 'without place')}): "
        found = _unknown(content, _names(Effect), where)
        needed = ("place", "map", "tissue", "term", "size", "groups", "centre")
        found += [f"{where}'{key}' is missing" for key in needed if key not in content]
        problems += found
        if found:
            continue
        try:
            numbers = {key: float(content[key]) for key in ("size", "radius", "edge") if key in content}
            centre = tuple(float(value) for value in content["centre"])
            if len(centre) != 3:
                raise ValueError
        except (TypeError, ValueError):
            problems.append(f"{where}size, radius, edge are numbers, and centre is three numbers (MNI mm)")
            continue
        groups = (content["groups"],) if isinstance(content["groups"], str) else tuple(content["groups"])
        values: dict[str, Any] = {**content, **numbers, "centre": centre, "groups": groups}
        made.append(Effect(**values))
    return tuple(made)


def _check_numbers(spec: SimulationSpec, found: list[str]) -> None:
    limits: dict[str, tuple[float, float]] = {
        "voxel_mm": (1, 12), "margin_mm": (0, 50), "snr": (1, LARGEST_SNR), "echo_spacing_ms": (0.5, 10),
        "tr_ms": (5, 100), "b1_c": (0, 0.7), "b1_noise": (0, 0.2), "dwi_motion_mm": (0, 5), "dwi_motion_deg": (0, 5),
        "position_mm": (0, 10), "position_deg": (0, 10), "morphology_mm": (0, 4), "size_sd": (0, 0.06),
        "tissue_sd": (0, 0.1), "slope_sd": (0, 1),
    }  # fmt: skip
    for key, (least, most) in limits.items():
        value = getattr(spec, key)
        if not (math.isfinite(value) and least <= value <= most):
            found.append(f"{key}: {value} is outside {least} to {most}")


def _check_study(spec: SimulationSpec, found: list[str]) -> None:
    if not spec.groups or any(count < 1 for count in spec.groups.values()):
        found.append("groups: at least one group, each with at least one person")
    found += [f"trainees: no group '{group}'" for group in spec.trainees if group not in spec.groups]
    for key in ("days", "behaviour_days"):
        days = getattr(spec, key)
        if not days or list(days) != sorted(set(days)) or days[0] < 0:
            found.append(f"{key}: days rise from 0 or later, each once; got {list(days)}")
    contents = get_args(Content)
    found += [f"include: no '{item}'; there are {', '.join(contents)}" for item in spec.include if item not in contents]
    if not spec.include:
        found.append("include: nothing to simulate")


def _check_sequences(spec: SimulationSpec, found: list[str]) -> None:
    for key in ("echoes", "flips_deg"):
        unknown = [weighting for weighting in getattr(spec, key) if weighting not in ("PDw", "T1w", "MTw")]
        found += [f"{key}: no weighting '{weighting}'; there are PDw, T1w, MTw" for weighting in unknown]
    if "PDw" not in spec.echoes:
        found.append("echoes: PDw is needed")
    for weighting, count in spec.echoes.items():
        if count < 1 or count * spec.echo_spacing_ms >= spec.tr_ms:
            found.append(f"echoes: {count} {weighting} echoes of {spec.echo_spacing_ms} ms do not fit {spec.tr_ms} ms")
        if weighting not in spec.flips_deg:
            found.append(f"flips_deg: {weighting} has echoes and no flip angle")
    if spec.n_b0 < 1 or any(count < 6 for count in spec.shells.values()):
        found.append("n_b0, shells: at least one b = 0 volume and six directions a shell")
    unknown = [outcome for outcome in spec.behaviour_noise if outcome not in OUTCOMES]
    found += [f"behaviour_noise: no outcome '{outcome}'; there are {', '.join(OUTCOMES)}" for outcome in unknown]


def _check_effect(effect: Effect, spec: SimulationSpec, found: list[str]) -> None:
    where = f"effect {effect.name}: "
    if effect.map not in MAPS:
        found.append(f"{where}no map '{effect.map}'; there are {', '.join(MAPS)}")
    elif not 0 < abs(effect.size) <= LARGEST_CHANGE[effect.map]:
        found.append(f"{where}size {effect.size} is outside ±{LARGEST_CHANGE[effect.map]} (0 excluded)")
    if effect.tissue not in get_args(Tissue):
        found.append(f"{where}no tissue '{effect.tissue}'; there are GM, WM, CSF")
    if effect.term not in get_args(Term):
        found.append(f"{where}no term '{effect.term}'; there are linear, quadratic")
    found += [f"{where}no group '{group}'" for group in effect.groups if group not in spec.groups]
    if effect.radius <= 0 or not 0 <= effect.edge <= 2 * effect.radius:
        found.append(f"{where}radius is positive, edge at most twice the radius")
    if effect.link not in (None, *OUTCOMES):
        found.append(f"{where}no outcome '{effect.link}' to link with; there are {', '.join(OUTCOMES)}")
    if effect.link is not None and not set(effect.groups) <= set(spec.trainees):
        found.append(f"{where}a link with behaviour needs groups that train ({', '.join(spec.trainees)})")
    if len(spec.days) < 2 or (effect.term == "quadratic" and len(spec.days) < 3):
        found.append(f"{where}a {effect.term} change needs more days than {list(spec.days)}")
