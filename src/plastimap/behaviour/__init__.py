"""Behaviour: tables in, learning curves and rank tests out."""

from __future__ import annotations

from plastimap.behaviour.curves import CurveFit, curve, fit_curve
from plastimap.behaviour.fits import fit_all
from plastimap.behaviour.pooling import PooledFit, fit_together
from plastimap.behaviour.problems import BehaviourProblem
from plastimap.behaviour.responses import Score, score
from plastimap.behaviour.summary import BehaviourResult, analyse
from plastimap.behaviour.tables import read, tidy
from plastimap.behaviour.training import DifficultyRule, replay, training_summary

__all__ = [
    "BehaviourProblem",
    "BehaviourResult",
    "CurveFit",
    "DifficultyRule",
    "PooledFit",
    "Score",
    "analyse",
    "curve",
    "fit_all",
    "fit_curve",
    "fit_together",
    "read",
    "replay",
    "score",
    "tidy",
    "training_summary",
]
