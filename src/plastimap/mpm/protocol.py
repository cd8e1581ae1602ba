"""How a multi-parameter mapping scan was acquired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy.typing import NDArray

WEIGHTINGS = ("PDw", "T1w", "MTw")
"""The contrasts known, in the order of their first use."""

LONGEST_TR_S = 1.0
"""A repetition time above this is taken for milliseconds, and refused."""


@dataclass(frozen=True)
class Protocol:
    """Acquisition of a multi-parameter mapping scan, per contrast (``PDw``, ``T1w``, ``MTw``).

    Attributes
    ----------
    echo_times : mapping of str to sequence of float
        In seconds, in the order of the echo images.
    flip_deg : mapping of str to float
        Nominal flip angle in degrees.
    tr : mapping of str to float
        Repetition time of the excitation in seconds.
    """

    echo_times: Mapping[str, Sequence[float]]
    flip_deg: Mapping[str, float]
    tr: Mapping[str, float]


def check_protocol(echoes: Mapping[str, Sequence[NDArray]], protocol: Protocol) -> None:
    """Raise ValueError for contrasts, flip angles or repetition times that cannot be.

    Parameters
    ----------
    echoes : mapping of str to sequence of ndarray
    protocol : Protocol

    Raises
    ------
    ValueError
        The message says what to change.
    """
    unknown = sorted(set(echoes) - set(WEIGHTINGS))
    if unknown or not echoes:
        raise ValueError(f"contrasts {unknown or 'missing'}; known are {', '.join(WEIGHTINGS)}")
    for name in echoes:
        flip, tr = protocol.flip_deg.get(name), protocol.tr.get(name)
        if flip is None or not 0 < flip < 90:
            raise ValueError(f"{name}: flip angle {flip}; it must lie between 0 and 90 degrees")
        if tr is None or not 0 < tr <= LONGEST_TR_S:
            raise ValueError(f"{name}: repetition time {tr}; seconds are wanted (0.025, not 25)")
    if {"PDw", "T1w"} <= echoes.keys() and protocol.flip_deg["T1w"] <= protocol.flip_deg["PDw"]:
        raise ValueError(
            f"the T1w flip angle ({protocol.flip_deg['T1w']}°) is not larger than the PDw one "
            f"({protocol.flip_deg['PDw']}°); are the two interchanged?"
        )
