"""Warps for the space stage: the shared transforms under the room's own roof."""

from __future__ import annotations

from plastimap.transforms import (
    Chain,
    Grid,
    Transform,
    TransformProblem,
    Warp,
    compose,
    folding_share,
    grid_of,
    invert,
    jacobian,
    resample,
    transform_points,
    world_points,
)
from plastimap.warpfiles import read_matrix, read_warp, write_matrix, write_warp

__all__ = [
    "Chain",
    "Grid",
    "Transform",
    "TransformProblem",
    "Warp",
    "compose",
    "folding_share",
    "grid_of",
    "invert",
    "jacobian",
    "read_matrix",
    "read_warp",
    "resample",
    "transform_points",
    "world_points",
    "write_matrix",
    "write_warp",
]
