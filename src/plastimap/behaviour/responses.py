"""Scores of single responses of the dance task: which are right, how far off they are, what the game pays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.behaviour.problems import BehaviourProblem

RIGHT_WITHIN_S = 0.090
"""A response is right within this distance of its cue."""

TWO_POINTS_WITHIN_S = 0.045
"""It earns two points within this distance, one beyond."""

ROUNDING_S = 1e-9
"""Times are decimal numbers: 0.59 − 0.50 must count as 0.09."""


class Score(NamedTuple):
    """Scores of a set of responses.

    Attributes
    ----------
    csr_percent : float
        Correct step responses: share of cues answered within 90 ms, in percent.
    rt_ms : float
        Mean absolute distance of the answers from their cues; NaN without answers.
    points_percent : float
        Share of the possible points, as the game shows it: 2 within 45 ms, 1 within 90 ms, else 0.
    """

    csr_percent: float
    rt_ms: float
    points_percent: float


def score(cue_time: ArrayLike, response_time: ArrayLike) -> Score:
    """Score responses to cues.

    Parameters
    ----------
    cue_time : array-like, shape (n,)
        Seconds.
    response_time : array-like, shape (n,)
        Seconds; NaN where a cue was not answered. Unanswered cues count as
        wrong in ``csr_percent`` and do not enter ``rt_ms``.

    Returns
    -------
    Score

    Raises
    ------
    BehaviourProblem
        Without cues, or when the two do not match.
    """
    distance = _distance(cue_time, response_time)
    answered = np.isfinite(distance)
    right = answered & (distance <= RIGHT_WITHIN_S + ROUNDING_S)
    rt_ms = float(1000 * distance[answered].mean()) if answered.any() else float("nan")
    points = right + (answered & (distance <= TWO_POINTS_WITHIN_S + ROUNDING_S)).astype(int)
    return Score(float(100 * right.mean()), rt_ms, float(100 * points.mean() / 2))


def _distance(cue_time: ArrayLike, response_time: ArrayLike) -> NDArray[np.float64]:
    cues, responses = np.asarray(cue_time, dtype=np.float64), np.asarray(response_time, dtype=np.float64)
    if cues.shape != responses.shape or cues.ndim != 1:
        raise BehaviourProblem(f"cue and response times differ in shape: {cues.shape} and {responses.shape}")
    if cues.size == 0 or not np.isfinite(cues).all():
        raise BehaviourProblem("cue times are needed for every row, at least one; found none or missing ones")
    return np.abs(responses - cues)
