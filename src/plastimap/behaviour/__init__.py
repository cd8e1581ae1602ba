"""Behaviour: tables in, learning curves and rank tests out."""

from __future__ import annotations

from plastimap.behaviour.curves import CurveFit, curve, fit_all, fit_curve
from plastimap.behaviour.problems import BehaviourProblem
from plastimap.behaviour.responses import Score, feedback_percent, score
from plastimap.behaviour.summary import BehaviourResult, analyse
from plastimap.behaviour.tables import read, tidy

__all__ = [
    "BehaviourProblem",
    "BehaviourResult",
    "CurveFit",
    "Score",
    "analyse",
    "curve",
    "feedback_percent",
    "fit_all",
    "fit_curve",
    "read",
    "score",
    "tidy",
]
