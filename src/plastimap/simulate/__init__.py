"""A study with known truth: raw multi-echo MPM, B1+, diffusion and behaviour as a BIDS dataset."""

from __future__ import annotations

from plastimap.simulate.compare import control_table, planted_vs_found
from plastimap.simulate.people import Person, Session, people, sessions
from plastimap.simulate.scan import Scan, add_noise, simulate_scan
from plastimap.simulate.spec import Effect, SimulationSpec, SpecProblem
from plastimap.simulate.study import StudyProblem, simulate_study

__all__ = [
    "Effect",
    "Person",
    "Scan",
    "Session",
    "SimulationSpec",
    "SpecProblem",
    "StudyProblem",
    "add_noise",
    "control_table",
    "people",
    "planted_vs_found",
    "sessions",
    "simulate_scan",
    "simulate_study",
]
